/** Fetches the times of frames in the file, in chunks. */

import * as api from "./api.js";

/** @import { Studio } from "./studio.js" */

const CHUNK = 512; // frames per request
const SETTLED = 250; // milliseconds on a frame before its time is requested; its image is loaded first
const TOLERANCE = 0.5; // deviation in frames that a constant rate may have, because times are rounded

/** A cache of the times of a video's frames. */
export class FrameTimes {
    /** @param {Studio} studio */
    constructor(studio) {
        this.studio = studio;
        /** @type {Map<number, number[]>} */
        this.chunks = new Map(); // by their first frame; empty while loading
        this.timer = 0;
        const { video } = studio.state;
        if (video.kind === "video" && video.frames > 1) studio.store.watch(["frame"], () => this.#show());
    }

    /**
     * The time of a frame, in seconds; null until it has loaded.
     *
     * @param {number} frame
     */
    at(frame) {
        return this.chunks.get(chunkOf(frame))?.[frame % CHUNK] ?? null;
    }

    /**
     * Request the time of a frame.
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
            this.chunks.delete(start); // the request for the frame reports the error
        }
    }

    /** Update the current frame's time in the state. */
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
