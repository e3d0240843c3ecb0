/** A value that many parts of the page look at; those that asked are told once per turn, however much changed. */

/**
 * @template {object} State
 */
export class Store {
    /** @param {State} state */
    constructor(state) {
        /** @type {Readonly<State>} */
        this.state = state;
        /** @type {Set<{keys: (keyof State)[], told: () => void}>} */
        this.watchers = new Set();
        /** @type {Set<keyof State>} */
        this.changed = new Set();
    }

    /** @param {Partial<State>} patch */
    set(patch) {
        const before = this.state;
        this.state = { ...before, ...patch };
        const keys = /** @type {(keyof State)[]} */ (Object.keys(patch));
        const news = keys.filter((key) => !Object.is(before[key], this.state[key]));
        if (!news.length) return;
        if (!this.changed.size) queueMicrotask(() => this.#tell());
        for (const key of news) this.changed.add(key);
    }

    /**
     * Call now, and again after any of these keys changed.
     *
     * @param {(keyof State)[]} keys
     * @param {() => void} told
     */
    watch(keys, told) {
        this.watchers.add({ keys, told });
        told();
    }

    #tell() {
        const changed = this.changed;
        this.changed = new Set();
        for (const { keys, told } of this.watchers) {
            if (keys.some((key) => changed.has(key))) told();
        }
    }
}
