/** Pictures of frames: the one in view first, then what comes next; the least used ones forgotten. */

import * as api from "./api.js";

const BYTES = 192 * 2 ** 20; // of decoded pictures that are kept
const AT_ONCE = 3;

export class FrameShelf {
    /**
     * @param {string} video
     * @param {number} count
     * @param {(frame: number) => void} arrived
     * @param {(error: Error) => void} failed  the frame in view cannot be had
     */
    constructor(video, count, arrived, failed) {
        this.video = video;
        this.count = count;
        this.arrived = arrived;
        this.failed = failed;
        /** @type {number | null} */
        this.width = null;
        /** @type {Map<number, ImageBitmap>} */
        this.pictures = new Map();
        /** @type {Set<number>} */
        this.loading = new Set();
        /** @type {number[]} */
        this.wanted = [];
        this.bytes = 0;
    }

    /** @param {number} frame */
    get(frame) {
        return this.pictures.get(frame) ?? null;
    }

    /**
     * Fetch a frame, and what lies ahead.
     *
     * @param {number} frame
     * @param {number} ahead  frames to have ready; negative when going backwards
     */
    look(frame, ahead) {
        const way = Math.sign(ahead) || 1;
        this.wanted = [frame];
        for (let step = 1; step <= Math.abs(ahead); step++) this.wanted.push(frame + way * step);
        if (ahead) this.wanted.push(frame - way);
        this.#next();
    }

    /**
     * Show pictures of this width from now on; null is the video's own.
     *
     * @param {number | null} width
     */
    resize(width) {
        if (width === this.width) return;
        this.width = width;
        for (const picture of this.pictures.values()) picture.close();
        this.pictures.clear();
        this.bytes = 0;
        this.#next();
    }

    retry() {
        this.loading.clear();
        this.#next();
    }

    #next() {
        for (const frame of this.wanted) {
            if (this.loading.size >= AT_ONCE) return;
            if (frame < 0 || frame >= this.count || this.pictures.has(frame) || this.loading.has(frame))
                continue;
            void this.#load(frame, this.width);
        }
    }

    /**
     * @param {number} frame
     * @param {number | null} width
     */
    async #load(frame, width) {
        this.loading.add(frame);
        try {
            const answer = await fetch(api.frameAddress(this.video, frame, width));
            if (!answer.ok) throw new Error(`Frame ${frame} cannot be read (${answer.status}).`);
            this.#keep(frame, width, await createImageBitmap(await answer.blob()));
        } catch (error) {
            if (frame === this.wanted[0]) this.failed(/** @type {Error} */ (error));
            this.wanted = this.wanted.filter((at) => at !== frame);
        }
        this.loading.delete(frame);
        this.#next();
    }

    /**
     * @param {number} frame
     * @param {number | null} width
     * @param {ImageBitmap} picture
     */
    #keep(frame, width, picture) {
        if (width !== this.width) {
            picture.close();
            return;
        }
        this.pictures.set(frame, picture);
        this.bytes += 4 * picture.width * picture.height;
        for (const [old, picture] of this.pictures) {
            if (this.bytes <= BYTES || this.wanted.includes(old)) break;
            this.bytes -= 4 * picture.width * picture.height;
            picture.close();
            this.pictures.delete(old);
        }
        this.arrived(frame);
    }
}
