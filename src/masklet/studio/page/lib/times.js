/** When frames are shown, as the file says it: asked of the server, some frames at a time. */

import * as api from "./api.js";

/** @import { Studio } from "./studio.js" */

const CHUNK = 512; // frames
const SETTLED = 250; // milliseconds on a frame before times are asked for: its image goes first
const TOLERANCE = 0.5; // frames by which a constant rate may be off, as times are rounded

/** The times of a video's frames, as far as they are here. */
export class FrameTimes {
    /** @param {Studio} studio */
    constructor(studio) {
        this.studio = studio;
        /** @type {Map<number, number[]>} */
        this.chunks = new Map(); // by their first frame; empty while they are under way
        this.timer = 0;
        const { video } = studio.state;
        if (video.kind === "video" && video.frames > 1) studio.store.watch(["frame"], () => this.#show());
    }

    /**
     * When a frame is shown, in seconds; null until that is known.
     *
     * @param {number} frame
     */
    at(frame) {
        return this.chunks.get(chunkOf(frame))?.[frame % CHUNK] ?? null;
    }

    /**
     * Have the time of a frame soon.
     *
     * @param {number} frame
     */
    want(frame) {
        const start = chunkOf(frame);
        if (!this.chunks.has(start)) void this.#fetch(start);
    }

    /** @param {number} start */
    async #fetch(start) {
        const { video } = this.studio.state;
        this.chunks.set(start, []);
        try {
            const { seconds } = await api.times(video.id, start, start + CHUNK);
            this.chunks.set(start, seconds);
            const isVariable = seconds.some((second, index) => Math.abs(second * video.fps - start - index) > TOLERANCE);
            if (isVariable) this.studio.store.set({ isVariable });
            this.#show();
        } catch {
            this.chunks.delete(start); // the frame itself says what is wrong
        }
    }

    /** Keep the time of the frame in view in the state. */
    #show() {
        const { frame } = this.studio.state;
        const seconds = this.at(frame);
        clearTimeout(this.timer);
        if (seconds === null) this.timer = window.setTimeout(() => this.want(frame), SETTLED);
        this.studio.store.set({ seconds });
    }
}

/** @param {number} frame */
function chunkOf(frame) {
    return frame - (frame % CHUNK);
}
