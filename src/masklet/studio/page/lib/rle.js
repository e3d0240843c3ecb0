/** Masks as COCO run lengths: down the columns, starting with the background; the string form of pycocotools. */

/**
 * @typedef {object} Rle
 * @property {[number, number]} size  height, width
 * @property {string} counts
 */

/**
 * @param {string} counts
 * @returns {number[]} lengths of runs, background and object in turn
 */
export function runs(counts) {
    /** @type {number[]} */
    const lengths = [];
    let at = 0;
    while (at < counts.length) {
        let value = 0;
        let shift = 0;
        let more = true;
        while (more) {
            const part = counts.charCodeAt(at++) - 48;
            value |= (part & 31) << shift;
            shift += 5;
            more = (part & 32) !== 0;
            if (!more && part & 16) value |= -1 << shift;
        }
        if (lengths.length > 2) value += lengths[lengths.length - 2];
        lengths.push(value);
    }
    return lengths;
}

/**
 * @param {number[]} lengths
 * @returns {string}
 */
export function packed(lengths) {
    let counts = "";
    for (let index = 0; index < lengths.length; index++) {
        let value = lengths[index] - (index > 2 ? lengths[index - 2] : 0);
        let more = true;
        while (more) {
            let part = value & 31;
            value >>= 5;
            more = part & 16 ? value !== -1 : value !== 0;
            if (more) part |= 32;
            counts += String.fromCharCode(part + 48);
        }
    }
    return counts;
}

/**
 * A mask as one byte a pixel, row after row: 1 is the object.
 *
 * @param {Rle} rle
 * @returns {Uint8Array}
 */
export function decode(rle) {
    const [height, width] = rle.size;
    const pixels = new Uint8Array(height * width);
    let at = 0; // position down the columns
    let inside = false;
    for (const length of runs(rle.counts)) {
        if (inside) {
            let y = at % height;
            let place = y * width + (at - y) / height;
            for (let left = length; left > 0; left--) {
                pixels[place] = 1;
                place += width;
                if (++y === height) {
                    y = 0;
                    place += 1 - height * width;
                }
            }
        }
        at += length;
        inside = !inside;
    }
    return pixels;
}

/**
 * Whether a mask covers a point, without decoding all of it.
 *
 * @param {string} counts
 * @param {number} height
 * @param {import("./types.js").Box} box
 * @param {import("./types.js").Point} point
 */
export function contains(counts, height, [left, top, right, bottom], [pointX, pointY]) {
    const [x, y] = [Math.floor(pointX), Math.floor(pointY)];
    if (x < left || y < top || x >= right || y >= bottom) return false;
    const place = x * height + y;
    let end = 0;
    let inside = true;
    for (const length of runs(counts)) {
        inside = !inside;
        end += length;
        if (end > place) return inside;
    }
    return false;
}

/**
 * @param {Uint8Array} pixels  as `decode` gives them
 * @param {[number, number]} size  height, width
 * @returns {Rle}
 */
export function encode(pixels, size) {
    const [height, width] = size;
    /** @type {number[]} */
    const lengths = [];
    let current = 0;
    let length = 0;
    for (let x = 0; x < width; x++) {
        for (let place = x; place < pixels.length; place += width) {
            if (pixels[place] === current) {
                length++;
            } else {
                lengths.push(length);
                current = pixels[place];
                length = 1;
            }
        }
    }
    lengths.push(length);
    return { size: [height, width], counts: packed(lengths) };
}
