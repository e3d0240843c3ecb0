/** The position of the video on the stage: zoom, pan, and conversions between their pixels. */

/** @import * as T from "../lib/types.js" */

const MOST = 32; // screen pixels per pixel of the video

export class View {
    /**
     * @param {number} width  of the video
     * @param {number} height
     */
    constructor(width, height) {
        this.width = width;
        this.height = height;
        this.stageWidth = 1;
        this.stageHeight = 1;
        this.zoom = 1; // 1 fits the whole video to the stage
        this.centerX = width / 2;
        this.centerY = height / 2;
    }

    /** Screen pixels per pixel of the video. */
    get scale() {
        return this.zoom * Math.min(this.stageWidth / this.width, this.stageHeight / this.height);
    }

    get left() {
        return this.stageWidth / 2 - this.centerX * this.scale;
    }

    get top() {
        return this.stageHeight / 2 - this.centerY * this.scale;
    }

    /**
     * @param {number} width
     * @param {number} height
     */
    resize(width, height) {
        this.stageWidth = Math.max(1, width);
        this.stageHeight = Math.max(1, height);
        this.#hold();
    }

    /**
     * @param {number} x  on the stage
     * @param {number} y
     * @returns {T.Point} in the video
     */
    toVideo(x, y) {
        return [(x - this.left) / this.scale, (y - this.top) / this.scale];
    }

    /**
     * @param {T.Point} point  in the video
     * @returns {[number, number]} on the stage
     */
    toStage([x, y]) {
        return [this.left + x * this.scale, this.top + y * this.scale];
    }

    /**
     * The point in the video of a click; null if it is outside.
     *
     * Screen pixels that the video covers in part belong to it. A click in the first pixel becomes the pixel's middle,
     * because the server refuses coordinates there that may be fractions of width and height.
     *
     * @param {T.Point} point  in the video
     * @returns {T.Point | null}
     */
    toClick([x, y]) {
        const edge = 1 / this.scale;
        if (x <= -edge || y <= -edge || x >= this.width + edge || y >= this.height + edge) return null;
        /** @type {T.Point} */
        const inside = [within(x, this.width), within(y, this.height)];
        return Math.max(...inside) <= 1 ? [0.5, 0.5] : inside;
    }

    /**
     * @param {T.Point} point
     * @returns {T.Point} the nearest point in the video
     */
    clamp([x, y]) {
        return [Math.max(0, Math.min(this.width, x)), Math.max(0, Math.min(this.height, y))];
    }

    /**
     * Zoom around a point of the stage.
     *
     * @param {number} factor
     * @param {number} [x]
     * @param {number} [y]
     */
    zoomBy(factor, x = this.stageWidth / 2, y = this.stageHeight / 2) {
        const [videoX, videoY] = this.toVideo(x, y);
        const most = (MOST / this.scale) * this.zoom;
        this.zoom = Math.max(1, Math.min(most, this.zoom * factor));
        this.centerX = videoX + (this.stageWidth / 2 - x) / this.scale;
        this.centerY = videoY + (this.stageHeight / 2 - y) / this.scale;
        this.#hold();
    }

    /**
     * @param {number} dx  screen pixels
     * @param {number} dy
     */
    panBy(dx, dy) {
        this.centerX -= dx / this.scale;
        this.centerY -= dy / this.scale;
        this.#hold();
    }

    fit() {
        this.zoom = 1;
        this.#hold();
    }

    /** Limit panning so that the video covers the stage, or is centred if it is smaller. */
    #hold() {
        this.centerX = held(this.centerX, this.width, this.stageWidth / this.scale);
        this.centerY = held(this.centerY, this.height, this.stageHeight / this.scale);
    }
}

/**
 * @param {number} value
 * @param {number} size
 */
function within(value, size) {
    return value < size ? Math.max(0, value) : size - 0.5;
}

/**
 * @param {number} center
 * @param {number} whole
 * @param {number} seen
 */
function held(center, whole, seen) {
    if (seen >= whole) return whole / 2;
    return Math.max(seen / 2, Math.min(whole - seen / 2, center));
}
