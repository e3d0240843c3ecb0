/** Paints masks over a frame: a translucent fill and an opaque outline. */

import { decode } from "../lib/rle.js";
import { outlinePath } from "./contour.js";

/** @import * as T from "../lib/types.js" */

const FILL = 92; // opacity of a mask during painting, of 255
const LINE = 1.6; // width of the outline, in screen pixels
const BYTES = 64 * 2 ** 20; // maximum size of the cached outlines, estimated from the length of their masks

/**
 * @param {string} color  #rrggbb
 * @returns {[number, number, number]}
 */
export function channels(color) {
    const value = Number.parseInt(color.slice(1), 16);
    return [(value >> 16) & 255, (value >> 8) & 255, value & 255];
}

/**
 * Fill a mask's outline and draw a line of constant width around it.
 *
 * @param {CanvasRenderingContext2D} context  in pixels of the video
 * @param {Path2D} path
 * @param {string} color
 * @param {{opacity: number, scale: number}} look  opacity of the fill, 0 to 1; screen pixels per pixel of the video
 */
export function drawMask(context, path, color, { opacity, scale }) {
    const alpha = context.globalAlpha;
    context.fillStyle = color;
    context.strokeStyle = color;
    context.lineJoin = "round";
    context.lineWidth = LINE / scale;
    context.globalAlpha = alpha * opacity;
    context.fill(path, "evenodd");
    context.globalAlpha = alpha;
    context.stroke(path);
}

/**
 * Paint a part of a mask pixel by pixel, while the brush changes it.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {Uint8Array} pixels  of the whole frame
 * @param {number} width  of the frame
 * @param {T.Box} box  the part to paint
 * @param {string} color
 */
export function paintPixels(context, pixels, width, [left, top, right, bottom], color) {
    if (right <= left || bottom <= top) return;
    const image = context.createImageData(right - left, bottom - top);
    const words = new Uint32Array(image.data.buffer);
    const [red, green, blue] = channels(color);
    const fill = ((FILL << 24) | (blue << 16) | (green << 8) | red) >>> 0;
    let at = 0;
    for (let y = top; y < bottom; y++) {
        for (let place = y * width + left; place < y * width + right; place++, at++) {
            if (pixels[place]) words[at] = fill;
        }
    }
    context.putImageData(image, left, top);
}

/** A cache of the outlines of masks, which drops the least recently used. */
export class OutlineCache {
    /**
     * @param {number} width  of the video
     * @param {number} height
     */
    constructor(width, height) {
        this.width = width;
        this.height = height;
        /** @type {Map<string, {path: Path2D, bytes: number}>} */
        this.outlines = new Map();
        this.bytes = 0;
    }

    /**
     * @param {T.Mask} mask
     * @returns {Path2D | null} null if the mask is empty
     */
    get(mask) {
        return mask.box && this.trace(mask.counts, mask.box);
    }

    /**
     * @param {string} counts
     * @param {T.Box} box
     * @returns {Path2D}
     */
    trace(counts, box) {
        let outline = this.outlines.get(counts);
        if (outline) {
            this.outlines.delete(counts); // added again below, as the most recently used
        } else {
            const pixels = decode({ size: [this.height, this.width], counts });
            outline = { path: outlinePath(pixels, this.width, box), bytes: 64 * counts.length };
            this.bytes += outline.bytes;
        }
        this.outlines.set(counts, outline);
        for (const [key, { bytes }] of this.outlines) {
            if (this.bytes <= BYTES || key === counts) break;
            this.outlines.delete(key);
            this.bytes -= bytes;
        }
        return outline.path;
    }
}
