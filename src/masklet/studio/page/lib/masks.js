/** The masks of a video that were fetched: in chunks of frames, the least used ones dropped. */

import * as api from "./api.js";

/** @import * as T from "./types.js" */

const CHUNK = 64; // frames that are fetched at once
const CHUNKS = 48; // that are kept
const AGAIN = 3000; // milliseconds before masks that could not be had are asked for again

/**
 * @typedef {object} Chunk
 * @property {Map<number, Map<number, T.Mask>>} frames  frame -> object -> mask
 * @property {boolean} stale  what is here may be old; shown until the new is here
 * @property {Promise<void> | null} loading  what fetches them now
 * @property {boolean} loaded  once at least
 */

export class MaskCache {
    /**
     * @param {string} video
     * @param {number} count  frames of the video
     * @param {() => void} changed
     * @param {(error: unknown) => void} failed
     */
    constructor(video, count, changed, failed) {
        this.video = video;
        this.count = count;
        this.changed = changed;
        this.failed = failed;
        /** @type {Map<number, Chunk>} */
        this.chunks = new Map();
    }

    /**
     * The masks of a frame as far as they are here, by object; what is missing is sent for.
     *
     * @param {number} frame
     * @returns {Map<number, T.Mask>}
     */
    at(frame) {
        this.want(frame);
        return this.chunks.get(Math.floor(frame / CHUNK))?.frames.get(frame) ?? new Map();
    }

    /**
     * Whether the masks of a frame are here, so that they can be painted on.
     *
     * @param {number} frame
     */
    has(frame) {
        return this.chunks.get(Math.floor(frame / CHUNK))?.loaded ?? false;
    }

    /**
     * Wait until the masks of a frame are here as the server has them.
     *
     * @param {number} frame
     */
    async fresh(frame) {
        for (;;) {
            this.want(frame);
            const loading = this.chunks.get(Math.floor(frame / CHUNK))?.loading;
            if (!loading) return;
            await loading;
        }
    }

    /** @param {number} frame */
    want(frame) {
        if (frame < 0 || frame >= this.count) return;
        const index = Math.floor(frame / CHUNK);
        const chunk = this.chunks.get(index) ?? { frames: new Map(), stale: true, loading: null, loaded: false };
        this.chunks.delete(index); // and back in, as the last used
        this.chunks.set(index, chunk);
        if (chunk.stale && !chunk.loading) chunk.loading = this.#load(index, chunk);
        for (const old of this.chunks.keys()) {
            if (this.chunks.size <= CHUNKS) break;
            this.chunks.delete(old);
        }
    }

    /**
     * All masks of a frame, as the server answered.
     *
     * @param {number} frame
     * @param {T.Mask[]} masks
     */
    put(frame, masks) {
        this.#note(frame, new Map(masks.map((mask) => [mask.object, mask])));
    }

    /**
     * Masks of some objects of a frame; the others stay.
     *
     * @param {number} frame
     * @param {T.Mask[]} masks
     */
    add(frame, masks) {
        const here = this.chunks.get(Math.floor(frame / CHUNK))?.frames.get(frame);
        this.#note(
            frame,
            new Map([...(here ?? []), ...masks.map((mask) => /** @type {const} */ ([mask.object, mask]))]),
        );
    }

    /** @param {T.Span[]} spans  frames whose masks may have changed */
    expire(spans) {
        for (const [index, chunk] of this.chunks) {
            const first = index * CHUNK;
            if (spans.some(([start, stop]) => start < first + CHUNK && stop > first)) chunk.stale = true;
        }
        this.changed();
    }

    /**
     * @param {number} frame
     * @param {Map<number, T.Mask>} masks
     */
    #note(frame, masks) {
        const chunk = this.chunks.get(Math.floor(frame / CHUNK));
        if (!chunk) return; // it is fetched when it comes into view
        chunk.frames.set(frame, masks);
        if (chunk.loading) chunk.stale = true; // what is under way may be older than this
        this.changed();
    }

    /**
     * @param {number} index
     * @param {Chunk} chunk
     */
    async #load(index, chunk) {
        chunk.stale = false;
        try {
            const start = index * CHUNK;
            const answer = await api.masks(this.video, start, Math.min(start + CHUNK, this.count));
            if (!chunk.stale) {
                chunk.frames = new Map(
                    answer.frames.map(({ frame, masks }) => [
                        frame,
                        new Map(masks.map((mask) => [mask.object, mask])),
                    ]),
                );
                chunk.loaded = true;
            }
        } catch (error) {
            this.failed(error);
            chunk.stale = true;
            await new Promise((resolve) => setTimeout(resolve, AGAIN));
        }
        chunk.loading = null;
        this.changed();
    }

    /** After the connection was lost: everything may have changed. */
    restart() {
        this.expire([[0, this.count]]);
    }
}
