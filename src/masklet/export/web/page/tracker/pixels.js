/** Resizes images, masks and logits exactly like masklet in Python, because masks depend on it. */

/**
 * @typedef {[number, number, number, number]} Window  x0, y0, x1, y1 in pixels; x1 and y1 exclusive
 *
 * @typedef {object} RgbaImage
 * @property {number} width
 * @property {number} height
 * @property {Uint8ClampedArray} rgba  row after row
 *
 * @typedef {object} Taps  the source pixels of each target pixel, and their weights
 * @property {Int32Array} first
 * @property {Int32Array} count
 * @property {Float64Array} weights  `most` for each target pixel
 * @property {number} most
 */

const FIXED = 1 << 22; // scale of integer weights in the bicubic filter of 8-bit images

/** @param {number} x */
function triangle(x) {
    const distance = Math.abs(x);
    return distance < 1 ? 1 - distance : 0;
}

/** @param {number} x */
function cubic(x) {
    const a = -0.5;
    const distance = Math.abs(x);
    if (distance < 1) return ((a + 2) * distance - (a + 3)) * distance * distance + 1;
    if (distance < 2) return (((distance - 5) * distance + 8) * distance - 4) * a;
    return 0;
}

/**
 * The taps of an antialiased filter, which becomes wider as the image is reduced.
 *
 * @param {number} from  length of the source
 * @param {number} to  length of the target
 * @param {(x: number) => number} filter
 * @param {number} reach  distance beyond which the filter is 0
 * @returns {Taps}
 */
function makeTaps(from, to, filter, reach) {
    const scale = from / to;
    const stretch = Math.max(scale, 1);
    const support = reach * stretch;
    const most = Math.ceil(support) * 2 + 1;
    const first = new Int32Array(to);
    const count = new Int32Array(to);
    const weights = new Float64Array(to * most);
    for (let target = 0; target < to; target++) {
        const center = (target + 0.5) * scale;
        const start = Math.max(0, Math.trunc(center - support + 0.5));
        const stop = Math.min(from, Math.trunc(center + support + 0.5));
        let sum = 0;
        for (let at = start; at < stop; at++) {
            const weight = filter((at - center + 0.5) / stretch);
            weights[target * most + at - start] = weight;
            sum += weight;
        }
        for (let tap = 0; tap < stop - start; tap++) weights[target * most + tap] /= sum;
        first[target] = start;
        count[target] = stop - start;
    }
    return { first, count, weights, most };
}

/**
 * Resize a part of an image to the network's square: planes of red, green and blue from 0 to 255.
 *
 * @param {RgbaImage} image
 * @param {Window} window
 * @param {number} side
 * @param {"frame" | "still"} kind  "frame": bicubic, in integers; "still": bilinear, in floats
 * @returns {Float32Array}
 */
export function toSquare(image, [x0, y0, x1, y1], side, kind) {
    const width = x1 - x0;
    const height = y1 - y0;
    const isWhole = kind === "frame";
    const [filter, reach] = isWhole ? [cubic, 2] : [triangle, 1];
    const across = makeTaps(width, side, filter, reach);
    const down = makeTaps(height, side, filter, reach);
    if (isWhole) for (const { weights } of [across, down]) toFixed(weights);
    const finish = isWhole ? fromFixed : null;
    const plane = new Float64Array(width);
    const narrow = new Float64Array(height * side);
    const square = new Float32Array(3 * side * side);
    for (let channel = 0; channel < 3; channel++) {
        for (let y = 0; y < height; y++) {
            let at = 4 * ((y0 + y) * image.width + x0) + channel;
            for (let x = 0; x < width; x++, at += 4) plane[x] = image.rgba[at];
            for (let x = 0; x < side; x++) {
                const sum = weighted(plane, across, x, 0, 1);
                narrow[y * side + x] = finish ? finish(sum) : sum;
            }
        }
        const place = channel * side * side;
        for (let y = 0; y < side; y++) {
            for (let x = 0; x < side; x++) {
                const sum = weighted(narrow, down, y, x, side);
                square[place + y * side + x] = finish ? finish(sum) : sum;
            }
        }
    }
    return square;
}

/**
 * @param {Float64Array | Float32Array | Uint8Array} values
 * @param {Taps} taps
 * @param {number} target
 * @param {number} offset
 * @param {number} stride
 */
function weighted(values, taps, target, offset, stride) {
    const start = target * taps.most;
    const stop = start + taps.count[target];
    let at = offset + taps.first[target] * stride;
    let sum = 0;
    for (let tap = start; tap < stop; tap++, at += stride) sum += values[at] * taps.weights[tap];
    return sum;
}

/** @param {Float64Array} weights */
function toFixed(weights) {
    for (let tap = 0; tap < weights.length; tap++) {
        const scaled = weights[tap] * FIXED;
        weights[tap] = Math.trunc(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
    }
}

/** @param {number} sum */
function fromFixed(sum) {
    return Math.max(0, Math.min(255, Math.floor((sum + FIXED / 2) / FIXED)));
}

/**
 * Resize one plane, bilinearly and antialiased.
 *
 * @param {Float32Array | Uint8Array} plane
 * @param {number} width
 * @param {number} height
 * @param {number} toWidth
 * @param {number} toHeight
 * @returns {Float32Array}
 */
export function resizePlane(plane, width, height, toWidth, toHeight) {
    const across = makeTaps(width, toWidth, triangle, 1);
    const down = makeTaps(height, toHeight, triangle, 1);
    const narrow = new Float64Array(height * toWidth);
    for (let y = 0; y < height; y++) {
        for (let x = 0; x < toWidth; x++) {
            narrow[y * toWidth + x] = weighted(plane, across, x, y * width, 1);
        }
    }
    const resized = new Float32Array(toWidth * toHeight);
    for (let y = 0; y < toHeight; y++) {
        for (let x = 0; x < toWidth; x++) resized[y * toWidth + x] = weighted(narrow, down, y, x, toWidth);
    }
    return resized;
}

/**
 * Enlarge low-res logits to the size of the image or of a window, bilinearly between the centres of cells.
 *
 * @param {Float32Array} logits  a square
 * @param {number} width
 * @param {number} height
 * @returns {Float32Array}
 */
export function enlarge(logits, width, height) {
    const side = Math.sqrt(logits.length);
    const columns = neighbours(side, width);
    const rows = neighbours(side, height);
    const full = new Float32Array(width * height);
    const row = new Float32Array(side);
    for (let y = 0; y < height; y++) {
        const upper = rows.before[y] * side;
        const lower = rows.after[y] * side;
        const share = rows.share[y];
        for (let x = 0; x < side; x++) {
            row[x] = logits[upper + x] * (1 - share) + logits[lower + x] * share;
        }
        const start = y * width;
        for (let x = 0; x < width; x++) {
            const part = columns.share[x];
            full[start + x] = row[columns.before[x]] * (1 - part) + row[columns.after[x]] * part;
        }
    }
    return full;
}

/**
 * @param {number} from
 * @param {number} to
 */
function neighbours(from, to) {
    const before = new Int32Array(to);
    const after = new Int32Array(to);
    const share = new Float32Array(to);
    for (let target = 0; target < to; target++) {
        const at = Math.max(0, ((target + 0.5) * from) / to - 0.5);
        before[target] = Math.floor(at);
        after[target] = Math.min(before[target] + 1, from - 1);
        share[target] = at - before[target];
    }
    return { before, after, share };
}

/**
 * Resize a mask of the image to the network's square: 0 or 1.
 *
 * @param {Uint8Array} mask
 * @param {number} width
 * @param {number} height
 * @param {number} side
 */
export function maskToSquare(mask, width, height, side) {
    return resizePlane(mask, width, height, side, side).map((value) => (value >= 0.5 ? 1 : 0));
}

/**
 * The pixels with logits above 0, as one byte per pixel.
 *
 * @param {Float32Array} logits
 */
export function toMask(logits) {
    const mask = new Uint8Array(logits.length);
    for (let at = 0; at < mask.length; at++) mask[at] = logits[at] > 0 ? 1 : 0;
    return mask;
}

/**
 * The box around a mask; null if it is empty.
 *
 * @param {Uint8Array} mask
 * @param {number} width
 * @returns {Window | null}
 */
export function tightBox(mask, width) {
    let [x0, y0, x1, y1] = [width, -1, 0, 0];
    for (let start = 0, y = 0; start < mask.length; start += width, y++) {
        const row = mask.subarray(start, start + width);
        const left = row.indexOf(1);
        if (left < 0) continue;
        if (y0 < 0) y0 = y;
        y1 = y + 1;
        x0 = Math.min(x0, left);
        x1 = Math.max(x1, row.lastIndexOf(1) + 1);
    }
    return y0 < 0 ? null : [x0, y0, x1, y1];
}
