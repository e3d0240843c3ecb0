/**
 * An encoded image, and zoom: a small object is segmented again in a window around it, an object that is too large for a
 * window also in the mirrored image. The best mask of a still image is the mean over windows of several sizes.
 */

import { removeSpecks } from "./components.js";
import { enlarge, resizePlane, tightBox, toMask, toSquare } from "./pixels.js";

/** @import { Features, Network, Points, Prediction } from "./network.js" */
/** @import { RgbaImage, Window } from "./pixels.js" */

/**
 * @typedef {object} Prompt  in pixels of the image
 * @property {[number, number][]} positive
 * @property {[number, number][]} negative
 * @property {Window | null} box
 *
 * @typedef {object} Candidate  a candidate mask for a prompt
 * @property {Prediction} prediction
 * @property {Window | null} window  the window in which it was segmented; null for the whole image
 *
 * @typedef {object} Hint  the mask to correct
 * @property {Float32Array} logits  at the size of the image
 * @property {Float32Array | null} lowRes  null if only a window of the image was segmented
 * @property {Window | null} window  the window in which the mask was segmented; null for the whole image, and for masks of frames
 */

const CERTAIN = 10; // the logit outside a window is minus this
const SHARED = 0.5; // candidates whose windows have a higher IoU share a window
const TEMPER = 0.45; // chosen on validation images, so that the predicted IoU of a first click has no bias
const MOVED = 0.5; // if the windows of two rounds have a lower IoU, the best candidate is refined again
const MARGIN = 2; // side of a window, relative to that of the object
const NARROWEST = 32; // minimum side of a window, in pixels
const LARGEST = 0.3; // area of the largest window, relative to the image
const VIEWS = [1.5, 3]; // sides of further windows, over which the best mask is averaged
const BROADEST = 0.8; // area of the largest of these, relative to the image
const FAR = 2; // clicks that enlarge a mask's box to more than this multiple of its area mean another object
const ROUNDS = 2; // maximum rounds for the best candidate of a first click; others have one

/** An encoded image. Its windows are encoded when they are first used. */
export class View {
    /**
     * @param {Network} network
     * @param {RgbaImage} image
     * @param {Features} features  of the whole image
     */
    constructor(network, image, features) {
        this.network = network;
        this.image = image;
        this.features = features;
        /** @type {Map<string, Features>} */
        this.windows = new Map();
        /** @type {Features | null} of the mirrored image */
        this.mirrored = null;
    }

    /**
     * @param {Network} network
     * @param {RgbaImage} image
     * @param {"frame" | "still"} kind
     */
    static async encode(network, image, kind) {
        const square = toSquare(image, wholeOf(image), network.manifest.image_size, kind);
        return new View(network, image, await network.encode(square));
    }

    /**
     * The candidates for a prompt, best first, with zoom.
     *
     * @param {Prompt} prompt
     * @param {Hint | null} hint
     * @param {boolean} still  an image, not a frame: use the mirrored image and the mean over windows
     * @returns {Promise<Candidate[]>}
     */
    async zoom(prompt, hint, still) {
        return this.#withoutSpecks(await this.#zoom(prompt, hint, still), prompt);
    }

    /**
     * @param {Prompt} prompt
     * @param {Hint | null} hint
     * @param {boolean} still
     * @returns {Promise<Candidate[]>}
     */
    async #zoom(prompt, hint, still) {
        const count = countCandidates(prompt);
        const box = prompt.box ?? (hint && tightBox(toMask(hint.logits), this.image.width));
        if (box) {
            const around = withClicks(box, prompt);
            const window = this.window(around);
            // so that the hint is the network's own answer in the window
            const before = window && hint?.window && serves(hint.window, around, window) ? hint.window : null;
            const answers = window || !still
                ? await this.segment(before ?? window, prompt, hint, count)
                : await this.#segmentBothWays(prompt, hint, count);
            return still ? this.#average(answers, around, prompt, hint) : answers;
        }
        let candidates = await this.segment(null, prompt, hint, count);
        const first = tightBox(toMask(this.full(candidates[0])), this.image.width);
        if (still && !(first && this.window(withClicks(first, prompt)))) {
            candidates = await this.#segmentBothWays(prompt, hint, count);
        }
        for (let round = 0; round < ROUNDS; round++) candidates = await this.#refine(candidates, prompt);
        const logits = this.full(candidates[0]);
        const tight = tightBox(toMask(logits), this.image.width);
        if (!still || !tight) return candidates;
        const { prediction, window } = candidates[0];
        const best = { logits, lowRes: window ? null : prediction.logits, window };
        return this.#average(candidates, withClicks(tight, prompt), prompt, best);
    }

    /**
     * The candidates for a prompt in a window; null for the whole image.
     *
     * @param {Window | null} window
     * @param {Prompt} prompt
     * @param {Hint | null} hint
     * @param {number} count  3 or 1
     * @returns {Promise<Candidate[]>}
     */
    async segment(window, prompt, hint, count) {
        const { network, image } = this;
        const features = window ? await this.#featuresIn(window) : this.features;
        const seen = window ?? wholeOf(image);
        const points = pointsIn(prompt, seen, network.manifest);
        const decoded = await network.decode(features, features.context, points, this.#hintIn(seen, hint, !window));
        return ranked(decoded.slice(...rowsOf(count)).map((prediction) => ({ prediction, window })));
    }

    /**
     * The candidates for a prompt in the whole image: the mean of those in the image and in its mirror image.
     *
     * @param {Prompt} prompt
     * @param {Hint | null} hint
     * @param {number} count  3 or 1
     * @returns {Promise<Candidate[]>}
     */
    async #segmentBothWays(prompt, hint, count) {
        const { network, image, features } = this;
        const { image_size: side, mask_size: maskSide } = network.manifest;
        const whole = wholeOf(image);
        this.mirrored ??= await network.encode(flipped(toSquare(image, whole, side, "still"), side));
        const lowRes = this.#hintIn(whole, hint, true);
        const seen = await network.decode(
            features, features.context, pointsIn(prompt, whole, network.manifest), lowRes,
        );
        const mirrored = await network.decode(
            this.mirrored,
            this.mirrored.context,
            pointsIn(mirroredPrompt(prompt, image.width), whole, network.manifest),
            lowRes && flipped(lowRes, maskSide),
        );
        const means = seen.map((prediction, row) => {
            const other = flipped(mirrored[row].logits, maskSide);
            const logits = prediction.logits.map((logit, cell) => (logit + other[cell]) / 2);
            return { ...prediction, logits, iou: (prediction.iou + mirrored[row].iou) / 2 };
        });
        return ranked(means.slice(...rowsOf(count)).map((prediction) => ({ prediction, window: null })));
    }

    /**
     * The candidates, of which the best is the mean of its logits and of those in windows of other sizes.
     *
     * @param {Candidate[]} candidates
     * @param {Window} box  around the object
     * @param {Prompt} prompt
     * @param {Hint | null} hint
     * @returns {Promise<Candidate[]>}
     */
    async #average([best, ...others], box, prompt, hint) {
        const { width, height } = this.image;
        const cells = this.network.manifest.mask_size;
        const seen = best.window ?? wholeOf(this.image);
        const total = best.prediction.logits.slice();
        const count = new Float32Array(total.length).fill(1);
        for (const margin of VIEWS) {
            const window = this.#around(box, margin);
            if (window.join() === seen.join() || area(window) > BROADEST * width * height) continue;
            const [view] = await this.segment(window, prompt, hint, 1);
            addView(total, count, view.prediction.logits, window, seen, cells);
        }
        const logits = total.map((sum, cell) => sum / count[cell]);
        return ranked([{ ...best, prediction: { ...best.prediction, logits } }, ...others]);
    }

    /**
     * The low-res logits of a hint in a part of the image.
     *
     * @param {Window} seen
     * @param {Hint | null} hint
     * @param {boolean} isWhole  whether this part is the whole image
     */
    #hintIn(seen, hint, isWhole) {
        if (!hint || (isWhole && hint.lowRes)) return hint && hint.lowRes;
        const side = this.network.manifest.mask_size;
        const cropped = crop(hint.logits, this.image.width, seen);
        return resizePlane(cropped, seen[2] - seen[0], seen[3] - seen[1], side, side);
    }

    /**
     * Remove specks and pinholes from candidates, except clicked ones.
     *
     * @param {Candidate[]} candidates
     * @param {Prompt} prompt
     * @returns {Candidate[]}
     */
    #withoutSpecks(candidates, prompt) {
        const side = this.network.manifest.mask_size;
        return candidates.map((candidate) => {
            const { prediction, window } = candidate;
            const [x0, y0, x1, y1] = window ?? wholeOf(this.image);
            const cells = (/** @type {[number, number][]} */ clicks) =>
                clicks
                    .filter(([x, y]) => x0 <= x && x < x1 && y0 <= y && y < y1)
                    .map(([x, y]) => /** @type {[number, number]} */ ([
                        Math.floor((x - x0) * (side / (x1 - x0))),
                        Math.floor((y - y0) * (side / (y1 - y0))),
                    ]));
            const logits = removeSpecks(prediction.logits, side, cells(prompt.positive), cells(prompt.negative));
            return { ...candidate, prediction: { ...prediction, logits } };
        });
    }

    /**
     * Compute a candidate's logits at the size of the image.
     *
     * @param {Candidate} candidate
     */
    full({ prediction, window }) {
        const { width, height } = this.image;
        if (!window) return enlarge(prediction.logits, width, height);
        const [x0, y0, x1, y1] = window;
        const inside = enlarge(prediction.logits, x1 - x0, y1 - y0);
        const full = new Float32Array(width * height).fill(-CERTAIN);
        for (let y = y0; y < y1; y++) {
            const start = (y - y0) * (x1 - x0);
            full.set(inside.subarray(start, start + x1 - x0), y * width + x0);
        }
        return full;
    }

    /**
     * The window around a box; null if zoom would not help.
     *
     * @param {Window} box
     * @returns {Window | null}
     */
    window(box) {
        const window = this.#around(box, MARGIN);
        return area(window) <= LARGEST * this.image.width * this.image.height ? window : null;
    }

    /**
     * The window around a box, with sides of `margin` times the box's.
     *
     * @param {Window} box
     * @param {number} margin
     * @returns {Window}
     */
    #around(box, margin) {
        const { width, height } = this.image;
        let wide = Math.max(margin * (box[2] - box[0]), NARROWEST);
        let high = Math.max(margin * (box[3] - box[1]), NARROWEST);
        // objects are not recognised with a stronger distortion
        [wide, high] = [Math.max(wide, high / 2), Math.max(high, wide / 2)];
        const [x0, x1] = centred(box[0] + box[2], wide, width);
        const [y0, y1] = centred(box[1] + box[3], high, height);
        return [x0, y0, x1, y1];
    }

    /**
     * Segment each small candidate again in its window, and the best one once more if it has moved. The predicted IoU of a
     * refined mask is too high, so the best candidate's earlier predicted IoU tempers all of them.
     *
     * @param {Candidate[]} candidates
     * @param {Prompt} prompt
     */
    async #refine(candidates, prompt) {
        /** @type {Candidate[]} */
        const refined = [];
        /** @type {Window[]} */
        const windows = [];
        for (const [rank, candidate] of candidates.entries()) {
            if (rank > 0 && candidate.window) {
                refined.push(candidate);
                continue;
            }
            const logits = this.full(candidate);
            const tight = tightBox(toMask(logits), this.image.width);
            const box = tight && withClicks(tight, prompt);
            const window = box && this.window(box);
            if (!box || !window || (candidate.window && iou(candidate.window, window) >= MOVED)) {
                refined.push(candidate);
                continue;
            }
            const shared = windows.find((other) => serves(other, box, window));
            windows.push(shared ?? window);
            const hint = { logits, lowRes: candidate.window ? null : candidate.prediction.logits, window: null };
            refined.push(...(await this.segment(shared ?? window, prompt, hint, 1)));
        }
        const qualities = refined.map(({ prediction }) => prediction.iou);
        const after = Math.max(...qualities);
        const before = candidates[qualities.indexOf(after)].prediction.iou;
        const tempered = before > 0 && after > 0 ? (before / after) ** TEMPER : 1;
        return ranked(
            refined.map((candidate) => ({
                ...candidate,
                prediction: { ...candidate.prediction, iou: candidate.prediction.iou * tempered },
            })),
        );
    }

    /** @param {Window} window */
    async #featuresIn(window) {
        const key = window.join();
        let features = this.windows.get(key);
        if (!features) {
            const side = this.network.manifest.image_size;
            features = await this.network.encode(toSquare(this.image, window, side, "still"));
            this.windows.set(key, features);
        }
        return features;
    }
}

/**
 * The number of candidates: three for a single click, which may mean a part or the whole, otherwise one.
 *
 * @param {Prompt} prompt
 */
export function countCandidates({ positive, negative, box }) {
    return positive.length + negative.length === 1 && !box ? 3 : 1;
}

/**
 * The decoder's rows for this number of masks: its single mask, or the three for a click.
 *
 * @param {number} count
 * @returns {[number, number]}
 */
function rowsOf(count) {
    return count === 3 ? [1, 4] : [0, 1];
}

/**
 * Convert a prompt to pixels of the mirrored image.
 *
 * @param {Prompt} prompt
 * @param {number} width  of the image
 * @returns {Prompt}
 */
function mirroredPrompt({ positive, negative, box }, width) {
    const mirrored = (/** @type {[number, number][]} */ points) =>
        points.map(([x, y]) => /** @type {[number, number]} */ ([width - x, y]));
    return {
        positive: mirrored(positive),
        negative: mirrored(negative),
        box: box && [width - box[2], box[1], width - box[0], box[3]],
    };
}

/**
 * Mirror planes horizontally.
 *
 * @param {Float32Array} planes
 * @param {number} width
 */
function flipped(planes, width) {
    const turned = new Float32Array(planes.length);
    for (let row = 0; row < planes.length; row += width) {
        turned.set(planes.slice(row, row + width).reverse(), row);
    }
    return turned;
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
function addView(total, count, logits, window, seen, cells) {
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
 * Convert clicks and box to labelled points of the square. The box's two corners come before the clicks.
 *
 * @param {Prompt} prompt
 * @param {Window} window  the part of the image in the square; clicks outside are left out
 * @param {Network["manifest"]} manifest
 * @returns {Points}
 */
export function pointsIn({ positive, negative, box }, window, { image_size, labels }) {
    const [x0, y0, x1, y1] = window;
    const [across, down] = [image_size / (x1 - x0), image_size / (y1 - y0)];
    /** @type {Points} */
    const points = { points: [], labels: [] };
    const add = (/** @type {number} */ x, /** @type {number} */ y, /** @type {number} */ label) => {
        points.points.push([(x - x0) * across, (y - y0) * down]);
        points.labels.push(label);
    };
    if (box) {
        add(box[0], box[1], labels.box_start);
        add(box[2], box[3], labels.box_end);
    }
    for (const [clicks, label] of /** @type {[[number, number][], number][]} */ ([
        [positive, labels.positive],
        [negative, labels.negative],
    ])) {
        for (const [x, y] of clicks) if (x0 <= x && x < x1 && y0 <= y && y < y1) add(x, y, label);
    }
    return points;
}

/**
 * @param {RgbaImage} image
 * @returns {Window}
 */
export function wholeOf({ width, height }) {
    return [0, 0, width, height];
}

/** @param {Candidate[]} candidates */
function ranked(candidates) {
    return candidates.toSorted((one, other) => other.prediction.iou - one.prediction.iou);
}

/**
 * @param {Float32Array} plane
 * @param {number} width
 * @param {Window} window
 */
function crop(plane, width, [x0, y0, x1, y1]) {
    const inside = new Float32Array((x1 - x0) * (y1 - y0));
    for (let y = y0; y < y1; y++) {
        inside.set(plane.subarray(y * width + x0, y * width + x1), (y - y0) * (x1 - x0));
    }
    return inside;
}

/**
 * @param {Window} box
 * @param {Prompt} prompt
 * @returns {Window}
 */
function withClicks([x0, y0, x1, y1], { positive }) {
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
function area([x0, y0, x1, y1]) {
    return Math.max(x1 - x0, 0) * Math.max(y1 - y0, 0);
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
 * @param {Window} one
 * @param {Window} other
 */
function iou(one, other) {
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
function serves(other, box, window) {
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
