/**
 * An image in the network, and zoom: an object that fills little of it is answered again in a window around it, one
 * that is too large for a window in the mirrored image too.
 */

import { removeSpecks } from "./components.js";
import { enlarge, resizePlane, tightBox, toMask, toSquare } from "./pixels.js";

/** @import { Features, Network, Points, Prediction } from "./network.js" */
/** @import { RgbaImage, Window } from "./pixels.js" */

/**
 * @typedef {object} Prompt  what a person points at, in pixels of the image
 * @property {[number, number][]} positive
 * @property {[number, number][]} negative
 * @property {Window | null} box
 *
 * @typedef {object} Candidate  one mask that a prompt may mean
 * @property {Prediction} prediction
 * @property {Window | null} window  in which it was made; null for the whole image
 *
 * @typedef {object} Hint  the mask that is corrected
 * @property {Float32Array} logits  at the size of the image
 * @property {Float32Array | null} lowRes  null where only a window of the image was looked at
 * @property {Window | null} window  in which the mask was made; null for others, and for masks of frames
 */

const CERTAIN = 10; // less this is the logit of what lies outside a window
const SHARED = 0.5; // IoU of windows above which one serves for both
const TEMPER = 0.45; // chosen on validation images: the predicted IoU of a first click is then not biased
const MOVED = 0.5; // IoU of windows below which the best answer is looked at again
const MARGIN = 2; // sides of a window, in those of the object
const NARROWEST = 32; // the shortest side of a window, in pixels
const LARGEST = 0.3; // the largest window, as a part of the image
const FAR = 2; // times the area of a mask's box: clicks that stretch it further mean another thing
const ROUNDS = 2; // windows for the best answer to a first click; the others have one

/** An image, encoded once; windows of it are encoded when they are first looked at. */
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
     * The masks that a prompt may mean, best first: in a window where the object is small.
     *
     * @param {Prompt} prompt
     * @param {Hint | null} hint
     * @param {boolean} mirrored  see a larger object in the mirrored image too
     * @returns {Promise<Candidate[]>}
     */
    async zoom(prompt, hint, mirrored) {
        return this.#withoutSpecks(await this.#zoom(prompt, hint, mirrored), prompt);
    }

    /**
     * @param {Prompt} prompt
     * @param {Hint | null} hint
     * @param {boolean} mirrored
     * @returns {Promise<Candidate[]>}
     */
    async #zoom(prompt, hint, mirrored) {
        const count = countCandidates(prompt);
        const box = prompt.box ?? (hint && tightBox(toMask(hint.logits), this.image.width));
        if (box) {
            const around = withClicks(box, prompt);
            const window = this.window(around);
            if (!window && mirrored) return this.#segmentBothWays(prompt, hint, count);
            // so that the hint is what the network drew there
            const before = window && hint?.window && serves(hint.window, around, window) ? hint.window : null;
            return this.segment(before ?? window, prompt, hint, count);
        }
        let candidates = await this.segment(null, prompt, hint, count);
        const tight = tightBox(toMask(this.full(candidates[0])), this.image.width);
        if (mirrored && !(tight && this.window(withClicks(tight, prompt)))) {
            candidates = await this.#segmentBothWays(prompt, hint, count);
        }
        for (let round = 0; round < ROUNDS; round++) candidates = await this.#refine(candidates, prompt);
        return candidates;
    }

    /**
     * The masks that a prompt may mean, as seen in a window; null for the whole image.
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
     * The masks that a prompt may mean in the whole image: the mean with those of its mirror image.
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
     * The low-res logits of a hint as seen in a part of the image.
     *
     * @param {Window} seen
     * @param {Hint | null} hint
     * @param {boolean} isWhole  whether that part is the image
     */
    #hintIn(seen, hint, isWhole) {
        if (!hint || (isWhole && hint.lowRes)) return hint && hint.lowRes;
        const side = this.network.manifest.mask_size;
        const cropped = crop(hint.logits, this.image.width, seen);
        return resizePlane(cropped, seen[2] - seen[0], seen[3] - seen[1], side, side);
    }

    /**
     * The candidates without specks and pinholes, but for those that are clicked.
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
     * A candidate's logits at the size of the image.
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
     * The window around a box; null where it would not be worth it.
     *
     * @param {Window} box
     * @returns {Window | null}
     */
    window(box) {
        const { width, height } = this.image;
        let wide = Math.max(MARGIN * (box[2] - box[0]), NARROWEST);
        let high = Math.max(MARGIN * (box[3] - box[1]), NARROWEST);
        // an object squeezed more is not recognised
        [wide, high] = [Math.max(wide, high / 2), Math.max(high, wide / 2)];
        const [x0, x1] = centred(box[0] + box[2], wide, width);
        const [y0, y1] = centred(box[1] + box[3], high, height);
        return area([x0, y0, x1, y1]) <= LARGEST * width * height ? [x0, y0, x1, y1] : null;
    }

    /**
     * Each small candidate that was not yet seen in a window, from its window; and the best one again, where that shows
     * it elsewhere. What is refined in a window has a predicted IoU that is too high: the one before, of the best
     * candidate, tempers all of them.
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
 * Three for a single click, which may mean the part or the whole.
 *
 * @param {Prompt} prompt
 */
export function countCandidates({ positive, negative, box }) {
    return positive.length + negative.length === 1 && !box ? 3 : 1;
}

/**
 * The decoder's rows for so many masks: its single one, or the three for a click.
 *
 * @param {number} count
 * @returns {[number, number]}
 */
function rowsOf(count) {
    return count === 3 ? [1, 4] : [0, 1];
}

/**
 * A prompt in the pixels of the mirrored image.
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
 * Planes with each row from right to left.
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
 * Clicks and box as labelled points of the square; a box is its two corners, before the clicks.
 *
 * @param {Prompt} prompt
 * @param {Window} window  the part of the image that the square shows; clicks beyond it are left out
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
 * Clicks that correct a tracked mask, with the box around both: a window is looked at without memory, and the box says
 * which object they correct.
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
 * Whether another window shows what lies in the box about as well as the window itself.
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
 * A stretch of a length about a middle, moved so that it lies within 0 to `side`.
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
 * To the nearest whole number; from the middle between two to the even one, as Python rounds.
 *
 * @param {number} value
 */
function toEven(value) {
    const floor = Math.floor(value);
    if (value - floor !== 0.5) return Math.round(value);
    return floor % 2 === 0 ? floor : floor + 1;
}
