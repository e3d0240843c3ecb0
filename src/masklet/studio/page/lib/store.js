/** An observable state. Watchers are called once per turn of the event loop, however many values changed. */

/**
 * @template {object} State
 */
export class Store {
    /** @param {State} state */
    constructor(state) {
        /** @type {Readonly<State>} */
        this.state = state;
        /** @type {Set<{keys: (keyof State)[], callback: () => void}>} */
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
        if (!this.changed.size) queueMicrotask(() => this.#notify());
        for (const key of news) this.changed.add(key);
    }

    /**
     * Call a function now, and again after any of these keys has changed.
     *
     * @param {(keyof State)[]} keys
     * @param {() => void} callback
     */
    watch(keys, callback) {
        this.watchers.add({ keys, callback });
        callback();
    }

    #notify() {
        const changed = this.changed;
        this.changed = new Set();
        for (const { keys, callback } of this.watchers) {
            if (keys.some((key) => changed.has(key))) callback();
        }
    }
}
