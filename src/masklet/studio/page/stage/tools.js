/** The tools for clicks, boxes and brush strokes: what a press, a drag and a release do. */

import { click, drawBox, maskHere, paint } from "../lib/prompting.js";
import { promptHere, selected } from "../lib/state.js";
import { toast } from "../lib/toast.js";
import { paintPixels } from "./paint.js";

/** @import * as T from "../lib/types.js" */
/** @import { Studio } from "../lib/studio.js" */
/** @import { View } from "./view.js" */

const DRAG = matchMedia("(pointer: coarse)").matches ? 14 : 6; // a press that moves farther, in screen pixels, is a drag
export const FRESH = "#8fb4ff"; // the colour of an object without a colour

/** @typedef {{object: number | null, frame: number, canvas: HTMLCanvasElement, pixels: Uint8Array}} Draft */

/**
 * @typedef {object} Tool
 * @property {(point: T.Point, keys: {minus: boolean, edit: boolean}) => void} down
 * @property {(point: T.Point) => void} move
 * @property {(point: T.Point) => void} up
 * @property {() => void} cancel
 * @property {T.Box | null} box  the unfinished box
 * @property {T.Point[]} [path]  the unfinished outline
 * @property {Draft | null} draft  the mask during painting
 */

/**
 * @param {T.Point} from
 * @param {T.Point} to
 * @returns {T.Box}
 */
function boxOf([x0, y0], [x1, y1]) {
    return [Math.min(x0, x1), Math.min(y0, y1), Math.max(x0, x1), Math.max(y0, y1)];
}

/** Positive and negative clicks; a drag draws a box. The box tool draws boxes only. @implements {Tool} */
export class Pointer {
    /**
     * @param {Studio} studio
     * @param {View} view
     */
    constructor(studio, view) {
        this.studio = studio;
        this.view = view;
        /** @type {T.Box | null} */
        this.box = null;
        /** @type {Tool["draft"]} */
        this.draft = null;
        /** @type {T.Point | null} */
        this.from = null;
        this.minus = false;
        this.edit = false;
    }

    /**
     * @param {T.Point} point
     * @param {{minus: boolean, edit: boolean}} keys
     */
    down(point, { minus, edit }) {
        const { tool } = this.studio.state;
        const from = tool === "box" ? this.view.clamp(point) : this.view.toClick(point);
        if (!from) return;
        this.edit = edit;
        this.minus = minus || tool === "remove";
        this.from = from;
    }

    /** @param {T.Point} point */
    move(point) {
        if (!this.from || this.minus) return;
        const box = boxOf(this.from, this.view.clamp(point));
        const far = Math.max(box[2] - box[0], box[3] - box[1]) * this.view.scale > DRAG;
        this.box = far || this.box ? box : null;
    }

    /** @param {T.Point} point */
    up(point) {
        const { from, box, minus } = this;
        this.move(point);
        this.cancel();
        if (!from) return;
        if (box && box[2] - box[0] >= 1 && box[3] - box[1] >= 1) drawBox(this.studio, box);
        else if (this.studio.state.tool !== "box") click(this.studio, from, !minus, this.edit);
        else toast("Drag from one corner of the object to the opposite one.");
    }

    cancel() {
        this.from = null;
        this.box = null;
    }
}

/** Paints or erases the mask of the selected object. Each stroke is sent when it ends. @implements {Tool} */
export class Brush {
    /**
     * @param {Studio} studio
     * @param {View} view
     */
    constructor(studio, view) {
        this.studio = studio;
        this.view = view;
        /** @type {Tool["box"]} */
        this.box = null;
        /** @type {Draft | null} */
        this.draft = null;
        /** @type {Uint8Array | null} */
        this.pixels = null;
        this.touched = new Uint8Array(0); // the pixels that this stroke has changed
        this.erase = false;
        this.color = FRESH;
        /** @type {T.Point} */
        this.last = [0, 0];
    }

    /**
     * @param {T.Point} point
     * @param {{minus: boolean}} keys
     */
    down(point, { minus }) {
        const { state } = this.studio;
        this.erase = minus || state.tool === "erase";
        if (!this.studio.masks.has(state.frame)) {
            toast("The masks of this frame are still loading. Try again in a moment.");
            return;
        }
        const unanswered = this.draft?.frame === state.frame && this.draft.object === state.object ? this.draft : null;
        const pixels = unanswered?.pixels ?? maskHere(this.studio);
        if (this.erase && !pixels.includes(1)) {
            toast("There is no mask to erase here.");
            return;
        }
        this.pixels = pixels;
        this.touched = new Uint8Array(pixels.length);
        this.color = selected(state)?.color ?? FRESH;
        this.last = point;
        this.#startDraft(pixels);
        this.#stroke(point);
    }

    /** @param {T.Point} point */
    move(point) {
        if (this.pixels) this.#stroke(point);
    }

    /** @param {T.Point} point */
    up(point) {
        if (!this.pixels) return;
        this.#stroke(point);
        paint(this.studio, this.touched, this.erase ? 0 : 1);
        if (this.draft) this.draft.object = this.studio.state.object; // a new object has its number now
        this.pixels = null; // the draft is shown until the answer has arrived
    }

    cancel() {
        this.pixels = null;
        this.draft = null;
    }

    /** Called after the answer, which contains the painted mask: remove the draft. */
    settle() {
        if (!this.pixels) this.draft = null;
    }

    /** @param {Uint8Array} pixels */
    #startDraft(pixels) {
        const { video, object, frame } = this.studio.state;
        const canvas = document.createElement("canvas");
        canvas.width = video.width;
        canvas.height = video.height;
        this.draft = { object, frame, canvas, pixels };
        this.#paint(pixels, [0, 0, video.width, video.height]);
    }

    /**
     * @param {Uint8Array} pixels
     * @param {T.Box} box
     */
    #paint(pixels, box) {
        const context = this.draft?.canvas.getContext("2d");
        if (context) paintPixels(context, pixels, this.studio.state.video.width, box, this.color);
    }

    /** @param {T.Point} to */
    #stroke(to) {
        const { video, brush } = this.studio.state;
        const radius = brush / 2;
        const [dx, dy] = [to[0] - this.last[0], to[1] - this.last[1]];
        const dabs = Math.max(1, Math.ceil(Math.hypot(dx, dy) / Math.max(1, radius / 3)));
        for (let dab = 1; dab <= dabs; dab++) {
            const [x, y] = [this.last[0] + (dx * dab) / dabs, this.last[1] + (dy * dab) / dabs];
            this.#dab(x, y, radius, video.width, video.height);
        }
        const [left, top, right, bottom] = boxOf(this.last, to);
        this.#paint(/** @type {Uint8Array} */ (this.pixels), [
            Math.max(0, Math.floor(left - radius - 1)),
            Math.max(0, Math.floor(top - radius - 1)),
            Math.min(video.width, Math.ceil(right + radius + 1)),
            Math.min(video.height, Math.ceil(bottom + radius + 1)),
        ]);
        this.last = to;
    }

    /**
     * @param {number} x
     * @param {number} y
     * @param {number} radius
     * @param {number} width
     * @param {number} height
     */
    #dab(x, y, radius, width, height) {
        const pixels = /** @type {Uint8Array} */ (this.pixels);
        const value = this.erase ? 0 : 1;
        for (
            let row = Math.max(0, Math.ceil(y - radius - 0.5));
            row < Math.min(height, y + radius - 0.5);
            row++
        ) {
            const half = Math.sqrt(Math.max(0, radius ** 2 - (row + 0.5 - y) ** 2));
            const first = Math.max(0, Math.round(x - half));
            const end = Math.min(width, Math.round(x + half));
            if (end <= first) continue;
            pixels.fill(value, row * width + first, row * width + end);
            this.touched.fill(1, row * width + first, row * width + end);
        }
    }
}

/**
 * The prompts on this frame, which the stage draws.
 *
 * @param {Studio} studio
 * @returns {{object: number, color: string, prompt: T.Prompt, active: boolean}[]}
 */
export function marks(studio) {
    const { state } = studio;
    return state.video.objects
        .filter((item) => !item.hidden)
        .flatMap((item) => {
            const prompt = promptHere(state, item.id);
            return prompt
                ? [{ object: item.id, color: item.color, prompt, active: item.id === state.object }]
                : [];
        });
}
