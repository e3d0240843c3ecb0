/**
 * An encoded image, and zoom: a small object is segmented again in a window around it, an object that is too large for a
 * window also in the mirrored image. The best mask of a still image is the mean over windows of several sizes.
 */

import { removeSpecks } from "./components.js";
import { enlarge, resizePlane, tightBox, toMask, toSquare } from "./pixels.js";
import { addView, area, crop, iou, serves, windowAround, wholeOf, withClicks } from "./windows.js";

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
const TEMPER = 0.45; // chosen on validation images, so that the predicted IoU of a first click has no bias
const MOVED = 0.5; // if the windows of two rounds have a lower IoU, the best candidate is refined again
const MARGIN = 2; // side of a window, relative to that of the object
const LARGEST = 0.3; // area of the largest window, relative to the image
const VIEWS = [1.5, 3]; // sides of further windows, over which the best mask is averaged
const BROADEST = 0.8; // area of the largest of these, relative to the image
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
        const around = VIEWS.map((margin) => windowAround(box, this.image, margin));
        for (const window of new Map(around.map((one) => [one.join(), one])).values()) {
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
        const window = windowAround(box, this.image, MARGIN);
        return area(window) <= LARGEST * this.image.width * this.image.height ? window : null;
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

/** @param {Candidate[]} candidates */
function ranked(candidates) {
    return candidates.toSorted((one, other) => other.prediction.iou - one.prediction.iou);
}
