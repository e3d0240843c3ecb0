/** Fetches and caches the images of frames: the current frame first, then those ahead. */

import * as api from "./api.js";

const BYTES = 192 * 2 ** 20; // maximum size of the decoded images in the cache
const AT_ONCE = 3;
const PREVIEWS = 48; // maximum number of thumbnails in the cache
const PREVIEW_WAIT = 60; // milliseconds before the thumbnail of a frame is requested

export class FrameCache {
    /**
     * @param {string} video
     * @param {number} count
     * @param {number | null} channel  the shown channel of a TIFF; null for all
     * @param {(frame: number) => void} arrived
     * @param {(frame: number, error: Error) => void} failed  called if the current frame cannot be fetched
     */
    constructor(video, count, channel, arrived, failed) {
        this.video = video;
        this.count = count;
        this.channel = channel;
        this.arrived = arrived;
        this.failed = failed;
        /** @type {number | null} */
        this.width = null;
        /** @type {Map<number, ImageBitmap>} */
        this.images = new Map();
        /** @type {Map<number, ImageBitmap>} */
        this.previews = new Map();
        /** @type {Set<number>} */
        this.loading = new Set();
        /** @type {number[]} */
        this.wanted = [];
        this.bytes = 0;
        this.previewTimer = 0;
    }

    /** @param {number} frame */
    get(frame) {
        return this.images.get(frame) ?? null;
    }

    /**
     * The frame's thumbnail, shown until its image has loaded.
     *
     * @param {number} frame
     */
    preview(frame) {
        return this.previews.get(frame) ?? null;
    }

    /**
     * Fetch a frame and those ahead.
     *
     * @param {number} frame
     * @param {number} ahead  number of frames to prefetch; negative when moving backwards
     */
    want(frame, ahead) {
        const way = Math.sign(ahead) || 1;
        this.wanted = [frame];
        for (let step = 1; step <= Math.abs(ahead); step++) this.wanted.push(frame + way * step);
        if (ahead) this.wanted.push(frame - way);
        this.#loadNext();
        clearTimeout(this.previewTimer);
        if (!this.images.has(frame) && !this.previews.has(frame)) {
            this.previewTimer = window.setTimeout(() => void this.#loadPreview(frame), PREVIEW_WAIT);
        }
    }

    /**
     * Set the width of the images; null is the video's own.
     *
     * @param {number | null} width
     */
    resize(width) {
        if (width === this.width) return;
        this.width = width;
        this.#forget(this.images);
        this.#loadNext();
    }

    /**
     * Set the shown channel.
     *
     * @param {number | null} channel
     */
    choose(channel) {
        this.channel = channel;
        this.#forget(this.images);
        this.#forget(this.previews);
        this.retry();
    }

    /** @param {Map<number, ImageBitmap>} images */
    #forget(images) {
        for (const image of images.values()) image.close();
        images.clear();
        if (images === this.images) this.bytes = 0;
    }

    retry() {
        this.loading.clear();
        this.#loadNext();
    }

    #loadNext() {
        for (const frame of this.wanted) {
            if (this.loading.size >= AT_ONCE) return;
            if (frame < 0 || frame >= this.count || this.images.has(frame) || this.loading.has(frame))
                continue;
            void this.#load(frame, this.width, this.channel);
        }
    }

    /**
     * @param {number} frame
     * @param {number | null} width
     * @param {number | null} channel
     */
    async #load(frame, width, channel) {
        this.loading.add(frame);
        try {
            const image = await api.image(api.frameAddress(this.video, frame, width, channel));
            if (width === this.width && channel === this.channel) this.#keep(frame, image);
            else image.close();
        } catch (error) {
            if (frame === this.wanted[0]) this.failed(frame, /** @type {Error} */ (error));
            this.wanted = this.wanted.filter((at) => at !== frame);
        }
        this.loading.delete(frame);
        this.#loadNext();
    }

    /** @param {number} frame */
    async #loadPreview(frame) {
        if (this.images.has(frame) || frame !== this.wanted[0]) return;
        const { channel } = this;
        try {
            const image = await api.image(api.thumbnailAddress(this.video, frame, channel));
            if (channel !== this.channel) return image.close();
            this.previews.set(frame, image);
        } catch {
            return; // the request for the image reports the error
        }
        for (const [old, image] of this.previews) {
            if (this.previews.size <= PREVIEWS) break;
            image.close();
            this.previews.delete(old);
        }
        this.arrived(frame);
    }

    /**
     * @param {number} frame
     * @param {ImageBitmap} image
     */
    #keep(frame, image) {
        this.images.set(frame, image);
        this.bytes += 4 * image.width * image.height;
        for (const [old, image] of this.images) {
            if (this.bytes <= BYTES || this.wanted.includes(old)) break;
            this.bytes -= 4 * image.width * image.height;
            image.close();
            this.images.delete(old);
        }
        this.arrived(frame);
    }
}
