/**
 * Windows of an image: where they lie, and what they show.
 */

/** @import { RgbaImage, Window } from "./pixels.js" */
/** @import { Prompt } from "./zoom.js" */

const SHARED = 0.5; // candidates whose windows have a higher IoU share a window
const NARROWEST = 32; // minimum side of a window, in pixels
const FAR = 2; // clicks that enlarge a mask's box to more than this multiple of its area mean another object

/**
 * The window around a box in an image, with sides of `margin` times the box's.
 *
 * @param {Window} box
 * @param {{ width: number, height: number }} image
 * @param {number} margin
 * @returns {Window}
 */
export function windowAround(box, { width, height }, margin) {
    let wide = Math.max(margin * (box[2] - box[0]), NARROWEST);
    let high = Math.max(margin * (box[3] - box[1]), NARROWEST);
    // an object distorted more is not recognised
    [wide, high] = [Math.max(wide, high / 2), Math.max(high, wide / 2)];
    const [x0, x1] = centred(box[0] + box[2], wide, width);
    const [y0, y1] = centred(box[1] + box[3], high, height);
    return [x0, y0, x1, y1];
}

/**
 * @param {RgbaImage} image
 * @returns {Window}
 */
export function wholeOf({ width, height }) {
    return [0, 0, width, height];
}

/**
 * @param {Float32Array} plane
 * @param {number} width
 * @param {Window} window
 */
export function crop(plane, width, [x0, y0, x1, y1]) {
    const inside = new Float32Array((x1 - x0) * (y1 - y0));
    for (let y = y0; y < y1; y++) {
        inside.set(plane.subarray(y * width + x0, y * width + x1), (y - y0) * (x1 - x0));
    }
    return inside;
}

/**
 * Add a view's logits to sums over the cells of another window, by linear interpolation, and count them.
 *
 * @param {Float32Array} total
 * @param {Float32Array} count
 * @param {Float32Array} logits  of the view, cells x cells
 * @param {Window} window  of the view
 * @param {Window} seen  the window of `total` and `count`
 * @param {number} cells
 */
export function addView(total, count, logits, window, seen, cells) {
    const [columns, rows] = [0, 1].map((axis) =>
        Array.from({ length: cells }, (_, cell) => {
            const centre = ((cell + 0.5) / cells) * (seen[axis + 2] - seen[axis]) + seen[axis];
            const place = ((centre - window[axis]) / (window[axis + 2] - window[axis])) * cells - 0.5;
            if (place <= -0.5 || place >= cells - 0.5) return null; // outside the view
            const inside = Math.min(Math.max(place, 0), cells - 1);
            const first = Math.min(Math.floor(inside), cells - 2);
            return { first, share: inside - first }; // the weight of the next cell
        }),
    );
    for (const [y, row] of rows.entries()) {
        if (!row) continue;
        for (const [x, column] of columns.entries()) {
            if (!column) continue;
            const start = row.first * cells + column.first;
            const upper = logits[start] * (1 - column.share) + logits[start + 1] * column.share;
            const lower = logits[start + cells] * (1 - column.share) + logits[start + cells + 1] * column.share;
            total[y * cells + x] += upper * (1 - row.share) + lower * row.share;
            count[y * cells + x] += 1;
        }
    }
}

/**
 * @param {Window} box
 * @param {Prompt} prompt
 * @returns {Window}
 */
export function withClicks([x0, y0, x1, y1], { positive }) {
    for (const [x, y] of positive) {
        [x0, y0, x1, y1] = [Math.min(x0, x), Math.min(y0, y), Math.max(x1, x), Math.max(y1, y)];
    }
    return [x0, y0, x1, y1];
}

/**
 * Add a box around the tracked mask and its correcting clicks, because a window is segmented without memory, and the
 * box identifies the object.
 *
 * @param {Prompt} prompt
 * @param {Window} tracked  the box around the mask
 * @returns {Prompt}
 */
export function withBox(prompt, tracked) {
    const around = withClicks(tracked, prompt);
    return prompt.box || area(around) > FAR * area(tracked) ? prompt : { ...prompt, box: around };
}

/** @param {Window} box */
export function area([x0, y0, x1, y1]) {
    return Math.max(x1 - x0, 0) * Math.max(y1 - y0, 0);
}

/**
 * @param {Window} one
 * @param {Window} other
 */
export function iou(one, other) {
    const both = area(shared(one, other));
    return both > 0 ? both / (area(one) + area(other) - both) : 0;
}

/**
 * Whether another window shows the content of a box about as well as its own window.
 *
 * @param {Window} other
 * @param {Window} box
 * @param {Window} window
 */
export function serves(other, box, window) {
    return holds(other, box) && iou(other, window) >= SHARED;
}

/**
 * @param {Window} outer
 * @param {Window} inner
 */
function holds(outer, inner) {
    return shared(outer, inner).every((edge, index) => edge === inner[index]);
}

/**
 * @param {Window} one
 * @param {Window} other
 * @returns {Window}
 */
function shared(one, other) {
    return [
        Math.max(one[0], other[0]),
        Math.max(one[1], other[1]),
        Math.min(one[2], other[2]),
        Math.min(one[3], other[3]),
    ];
}

/**
 * An interval of a length around a centre, moved into 0 to `side`.
 *
 * @param {number} twiceMiddle
 * @param {number} length
 * @param {number} side
 * @returns {[number, number]}
 */
function centred(twiceMiddle, length, side) {
    const taken = Math.min(toEven(length), side);
    const start = Math.min(Math.max(toEven((twiceMiddle - taken) / 2), 0), side - taken);
    return [start, start + taken];
}

/**
 * Round to the nearest integer, and halves to the even one, like Python.
 *
 * @param {number} value
 */
function toEven(value) {
    const floor = Math.floor(value);
    if (value - floor !== 0.5) return Math.round(value);
    return floor % 2 === 0 ? floor : floor + 1;
}
