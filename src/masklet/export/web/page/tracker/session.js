/** A session on an image or video: prompts, masks and undo. */

import { encode } from "../lib/rle.js";
import { MemoryBank } from "./bank.js";
import { enlarge, maskToSquare, tightBox, toMask } from "./pixels.js";
import { wholeOf, withBox } from "./windows.js";
import { View, countCandidates, pointsIn } from "./zoom.js";

/** @import { Network, Prediction, Selection } from "./network.js" */
/** @import { RgbaImage, Window } from "./pixels.js" */
/** @import { Candidate, Hint, Prompt } from "./zoom.js" */

/**
 * @typedef {object} Mask  for the page
 * @property {number} object
 * @property {Window | null} box  null if the object is not in the frame
 * @property {string} counts  COCO run lengths
 * @property {number} iou
 * @property {number} score
 *
 * @typedef {object} Answer
 * @property {Mask} mask
 * @property {Float32Array | null} logits  low-res; null if only a window of an image was segmented
 * @property {Float32Array | null} full  logits at the size of the image, if there are no low-res logits
 * @property {Window | null} window  the window of these logits
 * @property {Uint8Array | null} exact  the mask, if zoom made it finer than the logits
 * @property {boolean} isTracked  whether tracking reached this frame
 *
 * @typedef {object} TrackedObject
 * @property {number} id
 * @property {ReadonlyMap<number, Prompt>} prompts  by frame
 * @property {Map<number, Answer>} answers  by frame
 * @property {MemoryBank} bank
 *
 * @typedef {{frame: number, masks: Mask[]}} FrameMasks
 */

const KEPT = 256; // maximum number of an object's memories in a video, in which a user may go back to correct
const BATCH = 8; // objects per batch; larger batches need more memory and save no time
const UNDO = 100; // maximum number of steps

export class Session {
    /**
     * @param {Network} network
     * @param {"image" | "video" | "camera"} kind
     */
    constructor(network, kind) {
        this.network = network;
        this.kind = kind;
        this.capacity = kind === "camera" ? network.manifest.memory.capacity : KEPT;
        /** @type {ReadonlyMap<number, TrackedObject>} */
        this.objects = new Map();
        /** @type {ReadonlyMap<number, TrackedObject>[]} */
        this.past = [];
        /** @type {View | null} */
        this.view = null;
        this.frame = -1;
    }

    /**
     * Encode a frame, to which all calls until the next frame apply.
     *
     * @param {number} frame
     * @param {RgbaImage} image
     */
    async look(frame, image) {
        this.view = await View.encode(this.network, image, this.kind === "image" ? "still" : "frame");
        this.frame = frame;
    }

    /**
     * The mask that a click would give, computed without zoom.
     *
     * @param {[number, number]} point
     * @returns {Promise<Mask>}
     */
    async preview(point) {
        const view = this.#seen();
        const prompt = { positive: [point], negative: [], box: null };
        const [best] = await view.segment(null, prompt, null, 3);
        return this.#show(0, toMask(view.full(best)), best.prediction);
    }

    /**
     * Prompt an object on the current frame, or correct its mask. Clicks are added to earlier ones.
     *
     * @param {number} id
     * @param {Prompt} added
     */
    async prompt(id, added) {
        const { frame } = this;
        const before = this.objects.get(id);
        const earlier = before?.prompts.get(frame);
        const prompt = earlier ? merged(earlier, added) : added;
        const bank = before?.bank.copy() ?? new MemoryBank(this.network.manifest);
        const isPromptedElsewhere = [...(before?.prompts.keys() ?? [])].some((other) => other !== frame);
        const answer =
            this.kind === "image"
                ? await this.#answerInImage(id, prompt, before?.answers.get(frame))
                : await this.#answerInVideo(id, prompt, before?.answers.get(frame), bank, isPromptedElsewhere);
        this.#remember();
        this.objects = new Map(this.objects).set(id, {
            id,
            bank,
            prompts: new Map(before?.prompts).set(frame, prompt),
            answers: new Map(before?.answers).set(frame, answer),
        });
    }

    /**
     * @param {number} id
     * @param {Prompt} prompt
     * @param {Answer | undefined} before  the mask that is corrected
     * @returns {Promise<Answer>}
     */
    async #answerInImage(id, prompt, before) {
        const view = this.#seen();
        const hint = before
            ? { logits: before.full ?? this.#enlarged(before), lowRes: before.logits, window: before.window }
            : null;
        const [{ prediction, window }] = await this.#candidates(prompt, hint);
        const full = view.full({ prediction, window });
        return {
            mask: this.#show(id, toMask(full), prediction),
            logits: window ? null : prediction.logits,
            full: window ? full : null,
            window,
            exact: null,
            isTracked: false,
        };
    }

    /**
     * @param {number} id
     * @param {Prompt} given
     * @param {Answer | undefined} before  the mask that is corrected
     * @param {MemoryBank} bank  the memory of the answer is added to it
     * @param {boolean} isPromptedElsewhere  whether prompts on other frames exist, so that the mask was tracked
     * @returns {Promise<Answer>}
     */
    async #answerInVideo(id, given, before, bank, isPromptedElsewhere) {
        const { frame, network } = this;
        const view = this.#seen();
        const { width, height } = view.image;
        const isTracked = before?.isTracked ?? false;
        const tracked = isTracked && isPromptedElsewhere && network.manifest.zoom ? before?.mask.box : null;
        const prompt = tracked ? withBox(given, tracked) : given;
        /** @type {Candidate[]} */
        let zoomed = [];
        if (network.manifest.zoom) {
            zoomed = await this.#candidates(prompt, before?.mask.box ? this.#hint(before) : null);
        }
        const best = zoomed.some(({ window }) => window) ? toMask(view.full(zoomed[0])) : null;
        const exact = best?.includes(1) ? best : null;
        let prediction;
        if (exact) {
            const square = maskToSquare(exact, width, height, network.manifest.image_size);
            prediction = { ...(await network.adopt(view.features, square)), iou: zoomed[0].prediction.iou };
        } else {
            const selection = bank.select(frame);
            const context = isTracked ? await network.attend(view.features, [selection]) : view.features.context;
            const points = pointsIn(prompt, wholeOf(view.image), network.manifest);
            const decoded = await network.decode(view.features, context, points, before?.logits ?? null);
            prediction = this.#present(likeliest(points.labels.length > 1 ? decoded.slice(0, 1) : decoded.slice(1)));
        }
        const [tokens] = await network.memorize(view.features, [prediction], true);
        bank.keep({ frame, tokens, pointer: prediction.pointer, isPrompted: true }, this.capacity);
        const { logits } = prediction;
        const mask = this.#show(id, exact ?? toMask(enlarge(logits, width, height)), prediction);
        return { mask, logits, full: null, window: null, exact, isTracked };
    }

    /** Start tracking, as one step for undo. */
    beginTracking() {
        this.#remember();
        const copies = [...this.objects.values()].map((obj) => ({
            ...obj,
            bank: obj.bank.copy(),
            answers: new Map(obj.answers),
        }));
        this.objects = new Map(copies.map((obj) => [obj.id, obj]));
    }

    /**
     * Track all objects to the current frame. A prompted frame keeps its answer.
     *
     * @returns {Promise<FrameMasks>}
     */
    async track() {
        const { frame } = this;
        /** @type {Map<string, {obj: TrackedObject, selection: Selection}[]>} */
        const groups = new Map(); // objects with the same number of memories are tracked together
        for (const obj of this.objects.values()) {
            if (Math.min(...obj.prompts.keys()) > frame) continue;
            const answer = obj.answers.get(frame);
            if (obj.prompts.has(frame) && answer) {
                obj.answers.set(frame, { ...answer, isTracked: true });
                continue;
            }
            const selection = obj.bank.select(frame);
            const { tokens, pointers } = selection;
            const key = tokens.length ? `${tokens.length} ${pointers.length}` : `alone ${obj.id}`;
            groups.set(key, [...(groups.get(key) ?? []), { obj, selection }]);
        }
        for (const group of groups.values()) {
            for (let start = 0; start < group.length; start += BATCH) {
                await this.#trackTogether(group.slice(start, start + BATCH));
            }
        }
        return { frame, masks: this.masks(frame) };
    }

    /** @param {{obj: TrackedObject, selection: Selection}[]} group */
    async #trackTogether(group) {
        const { frame, network } = this;
        const { features, image } = this.#seen();
        const context = await network.attend(features, group.map(({ selection }) => selection));
        const decoded = await network.decodeTracked(features, context);
        const predictions = decoded.map((candidates) => this.#present(likeliest(candidates.slice(1))));
        const tokens = await network.memorize(features, predictions, false);
        for (const [row, { obj }] of group.entries()) {
            const { logits, pointer } = predictions[row];
            obj.bank.keep({ frame, tokens: tokens[row], pointer, isPrompted: false }, this.capacity);
            const pixels = toMask(enlarge(logits, image.width, image.height));
            const mask = this.#show(obj.id, pixels, predictions[row]);
            obj.answers.set(frame, { mask, logits, full: null, window: null, exact: null, isTracked: true });
            if (this.kind === "camera") obj.answers.delete(frame - 1);
        }
    }

    /**
     * Delete an object with all its masks.
     *
     * @param {number} id
     */
    remove(id) {
        this.#remember();
        this.objects = new Map([...this.objects].filter(([other]) => other !== id));
    }

    /** Undo the last step. Returns whether there was one. */
    undo() {
        const before = this.past.pop();
        if (before) this.objects = before;
        return before !== undefined;
    }

    /** @param {number} frame */
    masks(frame) {
        return [...this.objects.values()].flatMap(({ answers }) => answers.get(frame)?.mask ?? []);
    }

    /**
     * The masks of all frames.
     *
     * @returns {FrameMasks[]}
     */
    allMasks() {
        const frames = new Set([...this.objects.values()].flatMap(({ answers }) => [...answers.keys()]));
        return [...frames].sort((one, other) => one - other).map((frame) => ({ frame, masks: this.masks(frame) }));
    }

    /** The prompts of all objects, for the page. */
    allPrompts() {
        return [...this.objects.values()].flatMap(({ id, prompts }) =>
            [...prompts].map(([frame, prompt]) => ({ object: id, frame, prompt })),
        );
    }

    #seen() {
        if (!this.view) throw new Error("No frame is shown.");
        return this.view;
    }

    #remember() {
        this.past.push(this.objects);
        if (this.past.length > UNDO) this.past.shift();
    }

    /**
     * The candidates for a prompt, best first.
     *
     * @param {Prompt} prompt
     * @param {Hint | null} hint
     */
    #candidates(prompt, hint) {
        const view = this.#seen();
        if (this.network.manifest.zoom) return view.zoom(prompt, hint, this.kind === "image");
        return view.segment(null, prompt, hint, countCandidates(prompt));
    }

    /** @param {Answer} answer */
    #enlarged({ logits }) {
        const { width, height } = this.#seen().image;
        return enlarge(/** @type {Float32Array} */ (logits), width, height);
    }

    /**
     * The hint for a correction of an answer.
     *
     * @param {Answer} answer
     * @returns {Hint}
     */
    #hint(answer) {
        const { exact } = answer;
        const full = this.#enlarged(answer);
        if (exact) {
            for (let at = 0; at < full.length; at++) {
                if (full[at] > 0 !== exact[at] > 0) full[at] = exact[at] ? 0.1 : -0.1;
            }
        }
        return { logits: full, lowRes: answer.logits, window: null };
    }

    /**
     * Empty the mask of a prediction if the object is not in the frame.
     *
     * @param {Prediction} prediction
     */
    #present(prediction) {
        if (prediction.score > 0) return prediction;
        const logits = prediction.logits.map(() => this.network.manifest.absent_logit);
        return { ...prediction, logits };
    }

    /**
     * @param {number} object
     * @param {Uint8Array} pixels
     * @param {Prediction} prediction
     * @returns {Mask}
     */
    #show(object, pixels, { iou, score }) {
        const { width, height } = this.#seen().image;
        const { counts } = encode(pixels, [height, width]);
        return { object, box: tightBox(pixels, width), counts, iou, score };
    }
}

/** @param {Prediction[]} predictions */
function likeliest(predictions) {
    return predictions.reduce((one, other) => (other.iou > one.iou ? other : one));
}

/**
 * @param {Prompt} earlier
 * @param {Prompt} added
 * @returns {Prompt}
 */
function merged(earlier, added) {
    return {
        positive: [...earlier.positive, ...added.positive],
        negative: [...earlier.negative, ...added.negative],
        box: added.box ?? earlier.box,
    };
}
