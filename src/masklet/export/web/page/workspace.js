/** The actions on an open clip: prompt, track, undo, save. Views watch its state and call its methods. */

import { Store } from "./lib/store.js";
import { complain, toast } from "./lib/toast.js";
import { frameAt } from "./media/clips.js";
import { labelMap, maskletsJson, save, zip } from "./media/files.js";

/** @import { Clip } from "./media/clips.js" */
/** @import { Everything, GivenPrompt, TrackerClient } from "./tracker/client.js" */
/** @import { Mask } from "./tracker/session.js" */
/** @import { Prompt } from "./tracker/zoom.js" */

/**
 * @typedef {object} State
 * @property {number} frame  the current frame
 * @property {ImageBitmap | null} image  of the current frame
 * @property {number | null} object  the selected object; null: the next click creates one
 * @property {number[]} objects
 * @property {ReadonlyMap<number, readonly Mask[]>} masks  by frame
 * @property {GivenPrompt[]} prompts
 * @property {Mask | null} preview  the mask under the pointer
 * @property {boolean} isPositive  whether clicks are positive
 * @property {number} busy  number of running requests that block the page
 * @property {"nothing" | "tracking" | "playing"} activity
 * @property {number | null} rate  tracked frames per second
 * @property {boolean} canUndo
 */

/** @type {State} */
const INITIAL = {
    frame: 0,
    image: null,
    object: null,
    objects: [],
    masks: new Map(),
    prompts: [],
    preview: null,
    isPositive: true,
    busy: 0,
    activity: "nothing",
    rate: null,
    canUndo: false,
};
const MEASURED = 8; // frames over which the rate is averaged

export class Workspace {
    /**
     * @param {TrackerClient} tracker
     * @param {Clip} clip
     */
    constructor(tracker, clip) {
        this.tracker = tracker;
        this.clip = clip;
        /** @type {Store<State>} */
        this.store = new Store(INITIAL);
        this.encoded = -1; // the encoded frame
        this.isPreviewing = false;
        this.isClosed = false;
        /** @type {[number, number] | null} */
        this.pointer = null;
    }

    get state() {
        return this.store.state;
    }

    async open() {
        await this.#busy(async () => {
            this.#place(0, await this.clip.read(0)); // the image is visible while the model loads
            await this.tracker.request("open", { kind: this.clip.kind });
            if (this.clip.kind !== "camera") await this.#encode();
        });
        if (this.clip.kind === "camera") void this.#followCamera();
    }

    close() {
        this.stop();
        this.isClosed = true;
        this.pointer = null;
        this.clip.close();
        this.state.image?.close();
    }

    /**
     * Show a frame, and encode it in the background.
     *
     * @param {number} frame
     */
    async show(frame) {
        this.#place(frame, await this.clip.read(frame));
        if (this.clip.kind !== "camera") await this.#encode();
    }

    /**
     * Click on the current frame.
     *
     * @param {[number, number]} point
     * @param {boolean} isPositive
     */
    async click(point, isPositive) {
        const { object, objects, activity } = this.state;
        if (activity === "playing" || (activity === "tracking" && this.clip.kind !== "camera")) return;
        if (!isPositive && object === null) {
            toast("Click on the object first, then on parts outside it.");
            return;
        }
        const id = object ?? Math.max(0, ...objects) + 1;
        const prompt = { positive: isPositive ? [point] : [], negative: isPositive ? [] : [point], box: null };
        await this.#prompt(id, prompt);
    }

    /**
     * @param {number} id
     * @param {Prompt} prompt
     */
    async #prompt(id, prompt) {
        this.pointer = null;
        this.store.set({ preview: null });
        await this.#busy(async () => {
            await this.#encode();
            const answer = await this.tracker.request("prompt", { object: id, prompt });
            const { objects, masks, frame } = this.state;
            this.store.set({
                object: id,
                objects: objects.includes(id) ? objects : [...objects, id],
                masks: new Map(masks).set(frame, answer.masks),
                prompts: answer.prompts,
                canUndo: true,
            });
        });
    }

    /**
     * Show the mask that a click would give.
     *
     * @param {[number, number] | null} point  null if the pointer has left the stage
     */
    async hover(point) {
        this.pointer = point;
        if (!point) this.store.set({ preview: null });
        if (this.isPreviewing || this.encoded !== this.state.frame) return;
        this.isPreviewing = true;
        while (this.pointer && !this.state.busy && this.state.activity === "nothing") {
            const aim = this.pointer;
            const preview = await this.tracker.request("preview", { point: aim }).catch(() => null);
            if (this.pointer && !this.state.busy) this.store.set({ preview });
            if (this.pointer === aim) break;
        }
        this.isPreviewing = false;
    }

    /** Track all objects from the current frame to the last one, or until stopped. */
    async track() {
        const { clip } = this;
        const { frame, objects, activity } = this.state;
        if (clip.kind !== "video" || activity !== "nothing" || !objects.length) return;
        this.store.set({ activity: "tracking", preview: null, rate: null, canUndo: true });
        try {
            await this.tracker.request("beginTracking", {});
            let next = clip.read(frame);
            const started = [performance.now()];
            for (let at = frame; at < clip.frames && this.state.activity === "tracking"; at++) {
                const image = await next;
                const tracked = this.tracker.request("track", {
                    frame: at,
                    image: await createImageBitmap(image),
                });
                if (at + 1 < clip.frames) next = clip.read(at + 1); // while the network computes
                const { masks } = await tracked;
                this.encoded = at;
                started.push(performance.now());
                const first = Math.max(0, started.length - 1 - MEASURED);
                const seconds = (started[started.length - 1] - started[first]) / 1000;
                this.store.set({
                    masks: new Map(this.state.masks).set(at, masks),
                    rate: (started.length - 1 - first) / seconds,
                });
                this.#place(at, image);
            }
        } catch (error) {
            complain(error);
        }
        if (this.state.activity === "tracking") this.store.set({ activity: "nothing" });
    }

    /** Play the clip with its masks at its own speed. */
    async play() {
        const { clip } = this;
        const { frame, activity } = this.state;
        if (!clip.video || clip.kind !== "video" || activity !== "nothing") return;
        const { video, times } = clip;
        this.store.set({ activity: "playing", preview: null });
        const begin = frame + 1 < clip.frames ? frame : 0;
        video.currentTime = times[begin] + 1e-3;
        await video.play().catch(complain);
        while (this.state.activity === "playing" && !video.ended && !video.paused) {
            const at = frameAt(times, video.currentTime);
            this.#place(at, await createImageBitmap(video));
            await new Promise(requestAnimationFrame);
        }
        video.pause();
        if (this.state.activity === "playing") this.store.set({ activity: "nothing" });
        if (!this.isClosed) await this.show(this.state.frame).catch(complain);
    }

    /** Stop tracking or playing. */
    stop() {
        if (this.clip.kind === "camera") return;
        this.clip.video?.pause();
        this.store.set({ activity: "nothing" });
    }

    /** @param {number} id */
    async remove(id) {
        await this.#busy(async () => this.#restore(await this.tracker.request("remove", { object: id })));
    }

    async undo() {
        if (this.state.activity !== "nothing" && this.clip.kind !== "camera") return;
        await this.#busy(async () => this.#restore(await this.tracker.request("undo", {})));
    }

    /** @param {Everything} everything */
    #restore({ frames, prompts, canUndo }) {
        const objects = [...new Set(prompts.map(({ object }) => object))];
        const { object } = this.state;
        this.store.set({
            masks: new Map(frames.map(({ frame, masks }) => [frame, masks])),
            prompts,
            objects,
            object: object !== null && objects.includes(object) ? object : (objects.at(-1) ?? null),
            canUndo,
        });
    }

    /** Save the masks of the current frame as a PNG. */
    async saveFrame() {
        const { clip } = this;
        const { frame, masks } = this.state;
        const number = clip.kind === "image" ? "" : `-${String(frame).padStart(5, "0")}`;
        await this.#busy(async () =>
            save(await labelMap([...(masks.get(frame) ?? [])], clip), `${clip.name}${number}-mask.png`),
        );
    }

    /** Save all masks of a video: a PNG for each frame, and masklets.json. */
    async saveVideo() {
        const { clip } = this;
        const { masks } = this.state;
        await this.#busy(async () => {
            const frames = [...masks]
                .sort(([one], [other]) => one - other)
                .map(([frame, list]) => ({ frame, masks: [...list] }));
            /** @type {[string, Blob][]} */
            const files = [["masklets.json", maskletsJson(frames, clip)]];
            for (const { frame, masks } of frames) {
                files.push([`masks/${String(frame).padStart(5, "0")}.png`, await labelMap(masks, clip)]);
            }
            save(await zip(files), `${clip.name}-masks.zip`);
        });
    }

    /** @param {Partial<State>} patch */
    set(patch) {
        this.store.set(patch);
    }

    /** Track the objects in a camera's newest frame repeatedly. */
    async #followCamera() {
        let frame = 0;
        let before = performance.now();
        while (!this.isClosed) {
            const { objects, busy } = this.state;
            const isTracking = objects.length > 0 && !busy;
            try {
                const image = await this.clip.read(0);
                if (isTracking) {
                    frame++;
                    const copy = await createImageBitmap(image);
                    const { masks } = await this.tracker.request("track", { frame, image: copy });
                    this.encoded = frame;
                    const now = performance.now();
                    this.store.set({ masks: new Map([[frame, masks]]), rate: 1000 / (now - before) });
                    before = now;
                }
                if (isTracking) this.#place(frame, image);
                else if (this.state.busy) image.close();
                else this.#place(++frame, image);
            } catch (error) {
                complain(error);
                return;
            }
            if (!isTracking) await new Promise(requestAnimationFrame);
        }
    }

    /** Encode the current frame unless it is encoded. */
    async #encode() {
        const { frame, image } = this.state;
        if (!image || this.encoded === frame || this.isClosed) return;
        this.encoded = frame;
        await this.tracker.request("look", { frame, image: await createImageBitmap(image) });
    }

    /**
     * @param {number} frame
     * @param {ImageBitmap} image
     */
    #place(frame, image) {
        if (this.isClosed) return image.close();
        this.state.image?.close();
        this.store.set({ frame, image, preview: null });
    }

    /** @param {() => Promise<void>} work */
    async #busy(work) {
        this.store.set({ busy: this.state.busy + 1 });
        try {
            await work();
        } catch (error) {
            complain(error);
        }
        this.store.set({ busy: this.state.busy - 1 });
    }
}
