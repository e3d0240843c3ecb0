/** Fetches and caches the masks of a video, in chunks of frames. */

import * as api from "./api.js";

/** @import * as T from "./types.js" */

const CHUNK = 64; // frames per request
const CHUNKS = 48; // maximum number of chunks in the cache
const AGAIN = 3000; // milliseconds before a failed request is repeated

/**
 * @typedef {object} Chunk
 * @property {Map<number, Map<number, T.Mask>>} frames  frame -> object -> mask
 * @property {boolean} stale  the masks may be outdated; they are shown until new ones have loaded
 * @property {Promise<void> | null} loading  the request in progress
 * @property {boolean} loaded  whether masks were ever loaded
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
     * The loaded masks of a frame, by object. Missing ones are requested.
     *
     * @param {number} frame
     * @returns {Map<number, T.Mask>}
     */
    at(frame) {
        this.want(frame);
        return this.chunks.get(Math.floor(frame / CHUNK))?.frames.get(frame) ?? new Map();
    }

    /**
     * Whether the masks of a frame have loaded, so that they can be edited.
     *
     * @param {number} frame
     */
    has(frame) {
        return this.chunks.get(Math.floor(frame / CHUNK))?.loaded ?? false;
    }

    /**
     * Wait until the masks of a frame are up to date.
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
        this.chunks.delete(index); // added again below, as the most recently used
        this.chunks.set(index, chunk);
        if (chunk.stale && !chunk.loading) chunk.loading = this.#load(index, chunk);
        for (const old of this.chunks.keys()) {
            if (this.chunks.size <= CHUNKS) break;
            this.chunks.delete(old);
        }
    }

    /**
     * Store all masks of a frame from a response.
     *
     * @param {number} frame
     * @param {T.Mask[]} masks
     */
    put(frame, masks) {
        this.#note(frame, new Map(masks.map((mask) => [mask.object, mask])));
    }

    /**
     * Store masks of some objects of a frame; the others do not change.
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
        if (!chunk) return; // it is fetched when it is shown
        chunk.frames.set(frame, masks);
        if (chunk.loading) chunk.stale = true; // the response in progress may be older
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

    /** Expire all masks, for example after a lost connection. */
    restart() {
        this.expire([[0, this.count]]);
    }
}
