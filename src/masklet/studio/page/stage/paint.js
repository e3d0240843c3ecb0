/** Masks as pictures that can be laid over a frame: a clear fill and a firm outline. */

import { decode } from "../lib/rle.js";

/** @import * as T from "../lib/types.js" */

const FILL = 92; // opacity of 255
const PIXELS = 24e6; // of pictures that are kept

/**
 * @typedef {{canvas: HTMLCanvasElement, x: number, y: number, color: string}} Painted
 */

/**
 * @param {string} color  #rrggbb
 * @returns {[number, number, number]}
 */
export function channels(color) {
    const value = Number.parseInt(color.slice(1), 16);
    return [(value >> 16) & 255, (value >> 8) & 255, value & 255];
}

/**
 * @param {Uint8Array} pixels  of the whole frame
 * @param {number} width  of the frame
 * @param {[number, number, number, number]} box  what to paint of it: x0, y0, x1, y1
 * @param {string} color
 */
export function painted(pixels, width, [x0, y0, x1, y1], color) {
    const canvas = document.createElement("canvas");
    canvas.width = x1 - x0;
    canvas.height = y1 - y0;
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    const picture = context.createImageData(canvas.width, canvas.height);
    const height = pixels.length / width;
    const reach = Math.max(1, Math.round(Math.min(width, height) / 480)); // thickness of the outline
    const words = new Uint32Array(picture.data.buffer);
    const [red, green, blue] = channels(color);
    const paint = (blue << 16) | (green << 8) | red;
    const fill = ((FILL << 24) | paint) >>> 0;
    const line = ((255 << 24) | paint) >>> 0;
    let at = 0;
    for (let y = y0; y < y1; y++) {
        for (let x = x0; x < x1; x++, at++) {
            const place = y * width + x;
            if (!pixels[place]) continue;
            const inner =
                (x < reach || pixels[place - reach]) &&
                (x >= width - reach || pixels[place + reach]) &&
                (y < reach || pixels[place - reach * width]) &&
                (y >= height - reach || pixels[place + reach * width]);
            words[at] = inner ? fill : line;
        }
    }
    context.putImageData(picture, 0, 0);
    return canvas;
}

/** Painted masks, the least used ones forgotten. */
export class Paintings {
    /**
     * @param {number} width  of the video
     * @param {number} height
     */
    constructor(width, height) {
        this.width = width;
        this.height = height;
        /** @type {Map<T.Mask, Painted>} */
        this.kept = new Map();
        this.pixels = 0;
    }

    /**
     * @param {T.Mask} mask
     * @param {string} color
     * @returns {Painted | null} null where the mask is empty
     */
    of(mask, color) {
        if (!mask.box) return null;
        let painting = this.kept.get(mask);
        if (painting) this.#drop(mask, painting);
        if (painting?.color !== color) painting = this.#make(mask, mask.box, color);
        this.kept.set(mask, painting);
        this.pixels += painting.canvas.width * painting.canvas.height;
        for (const [old, entry] of this.kept) {
            if (this.pixels <= PIXELS || old === mask) break;
            this.#drop(old, entry);
        }
        return painting;
    }

    /**
     * @param {T.Mask} mask
     * @param {T.Box} box
     * @param {string} color
     * @returns {Painted}
     */
    #make(mask, box, color) {
        const pixels = decode({ size: [this.height, this.width], counts: mask.counts });
        return { canvas: painted(pixels, this.width, box, color), x: box[0], y: box[1], color };
    }

    /**
     * @param {T.Mask} mask
     * @param {Painted} painting
     */
    #drop(mask, painting) {
        this.kept.delete(mask);
        this.pixels -= painting.canvas.width * painting.canvas.height;
    }
}
