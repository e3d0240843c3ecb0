/** The lasso and polygon tools: the inside of an outline is added to the mask, or removed with Alt or the right button. */

import { paint } from "../lib/prompting.js";
import { toast } from "../lib/toast.js";

/** @import * as T from "../lib/types.js" */
/** @import { Studio } from "../lib/studio.js" */
/** @import { View } from "./view.js" */
/** @import { Tool } from "./tools.js" */

const CLOSE = 10; // a press within so many screen pixels of the first corner closes a polygon

/** @implements {Tool} */
export class OutlineTool {
    /**
     * @param {Studio} studio
     * @param {View} view
     */
    constructor(studio, view) {
        this.studio = studio;
        this.view = view;
        /** @type {Tool["box"]} */
        this.box = null;
        /** @type {Tool["draft"]} */
        this.draft = null;
        /** @type {T.Point[]} */
        this.points = [];
        /** @type {T.Point | null} */
        this.cursor = null; // the end of the unfinished line
        this.isDrawing = false; // whether a lasso is drawn with the button held
        this.minus = false;
    }

    /** All corners, and the cursor's position. */
    get path() {
        return this.cursor && this.points.length ? [...this.points, this.cursor] : this.points;
    }

    /**
     * @param {T.Point} point
     * @param {{minus: boolean}} keys
     */
    down(point, { minus }) {
        if (!this.points.length) this.minus = minus;
        this.isDrawing = true;
        if (this.studio.state.tool === "lasso") this.points = [this.view.clamp(point)];
    }

    /** @param {T.Point} point */
    move(point) {
        this.cursor = this.view.clamp(point);
        if (this.isDrawing && this.studio.state.tool === "lasso") this.points.push(this.cursor);
    }

    /** @param {T.Point} point */
    up(point) {
        this.isDrawing = false;
        if (this.studio.state.tool === "lasso") {
            this.finish();
            return;
        }
        const corner = this.view.clamp(point);
        const [first] = this.points;
        const isClosed =
            this.points.length > 2 &&
            Math.hypot(corner[0] - first[0], corner[1] - first[1]) * this.view.scale < CLOSE;
        if (isClosed) this.finish();
        else this.points.push(corner);
    }

    /** Fill the outline and send the mask. */
    finish() {
        const { points, minus } = this;
        const { video, frame } = this.studio.state;
        this.cancel();
        if (points.length < 3) return;
        if (!this.studio.masks.has(frame)) {
            toast("The masks of this frame are still loading. Try again in a moment.");
            return;
        }
        const touched = new Uint8Array(video.width * video.height);
        for (const place of filledPixels(points, video.width, video.height)) touched[place] = 1;
        paint(this.studio, touched, minus ? 0 : 1);
    }

    /** Remove the last corner of a polygon. */
    removeCorner() {
        this.points.pop();
    }

    cancel() {
        this.points = [];
        this.cursor = null;
        this.isDrawing = false;
    }
}

/**
 * The pixels whose centres lie in a polygon, row after row.
 *
 * @param {T.Point[]} points
 * @param {number} width
 * @param {number} height
 * @returns {Generator<number>}
 */
function* filledPixels(points, width, height) {
    const top = Math.max(0, Math.floor(Math.min(...points.map(([, y]) => y))));
    const bottom = Math.min(height, Math.ceil(Math.max(...points.map(([, y]) => y))));
    for (let row = top; row < bottom; row++) {
        const y = row + 0.5;
        /** @type {number[]} */
        const crossings = [];
        points.forEach(([x0, y0], index) => {
            const [x1, y1] = points[(index + 1) % points.length];
            if (y0 <= y !== y1 <= y) crossings.push(x0 + ((y - y0) / (y1 - y0)) * (x1 - x0));
        });
        crossings.sort((one, other) => one - other);
        for (let index = 0; index + 1 < crossings.length; index += 2) {
            const end = Math.min(width - 0.5, crossings[index + 1]);
            for (let x = Math.max(0, Math.ceil(crossings[index] - 0.5)); x + 0.5 <= end; x++)
                yield row * width + x;
        }
    }
}
