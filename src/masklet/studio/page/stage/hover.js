/** Shows the mask under the cursor before a click, and the masks that "everything" offers. */

import * as api from "../lib/api.js";
import { objectAt, promptsNewObject } from "../lib/prompting.js";
import { contains } from "../lib/rle.js";

/** @import * as T from "../lib/types.js" */
/** @import { Studio } from "../lib/studio.js" */

const NEAR = 2; // pixels of the video: smaller moves of the cursor need no new preview
const SOON = 16; // milliseconds before a preview is requested, so that a quick click does not wait for it
const REST = 80; // milliseconds without a move, after which a click is likely

/**
 * @typedef {{frame: number, counts: string, box: T.Box, iou: number}} Shown
 */

export class Hover {
    /**
     * @param {Studio} studio
     * @param {() => void} changed
     */
    constructor(studio, changed) {
        this.studio = studio;
        this.changed = changed;
        /** @type {Shown | null} */
        this.shown = null;
        /** @type {T.Point | null} */
        this.point = null; // where the cursor is
        /** @type {T.Point | null} */
        this.asked = null; // the point of the newest preview
        this.isAsking = false;
        this.resting = 0; // the timer
        this.soon = 0; // the timer
        studio.store.watch(["frame", "object", "tool", "asking", "ready", "everything", "preview"], () =>
            this.#update(),
        ); // nothing is shown yet, so the first call has no effect
    }

    /** @param {T.Point | null} point */
    move(point) {
        this.point = point;
        this.#update();
    }

    #update() {
        const { frame, everything, object } = this.studio.state;
        clearTimeout(this.resting);
        if (!this.point || !this.#isWanted()) this.#askNothing();
        if (!this.point || this.shown?.frame !== frame) this.#show(null);
        if (!this.point) return;
        if (everything?.frame === frame) {
            this.#show(this.#smallestUnder(everything, this.point));
            return;
        }
        const other = object === null ? null : objectAt(this.studio, this.point);
        const mask = other && this.studio.masks.at(frame).get(other.id);
        if (mask?.box) {
            this.#show({ frame, counts: mask.counts, box: mask.box, iou: mask.iou });
        } else if (this.#isWanted()) {
            if (this.shown && !this.#covers(this.shown, this.point)) this.#show(null);
            this.#askSoon();
            // The server prepares a click only for the exact point of a preview.
            this.resting = window.setTimeout(() => this.#isWanted() && void this.#ask(0), REST);
        } else {
            this.#show(null);
        }
    }

    #isWanted() {
        const { state } = this.studio;
        const encoded = state.ready === state.frame && !state.asking;
        return state.preview && encoded && state.tool === "add" && promptsNewObject(this.studio);
    }

    #askSoon() {
        if (this.soon) return;
        const movedAt = performance.now();
        this.soon = window.setTimeout(() => {
            this.soon = 0;
            if (this.#isWanted()) void this.#ask(NEAR, movedAt);
        }, SOON);
    }

    #askNothing() {
        clearTimeout(this.soon);
        this.soon = 0;
    }

    /**
     * Request one preview at a time; the next one is for the newest position of the cursor.
     *
     * @param {number} near  distance from the last requested point within which no request is needed
     * @param {number} movedAt  the time of the cursor's last move
     */
    async #ask(near, movedAt = performance.now()) {
        const { point } = this;
        const { frame } = this.studio.state;
        if (!point || this.isAsking) return;
        const { shown, asked } = this;
        if (shown && asked && Math.hypot(point[0] - asked[0], point[1] - asked[1]) <= near) return;
        this.isAsking = true;
        this.asked = point;
        try {
            const answer = await api.preview(this.studio.id, frame, point);
            const isCurrent = this.point && this.studio.state.frame === frame && this.#isWanted();
            if (isCurrent && answer.box) {
                this.#show({ frame, counts: answer.counts, box: answer.box, iou: answer.iou });
                this.studio.store.set({ previewLatency: Math.round(performance.now() - movedAt) });
            }
        } catch {
            this.shown = null; // a click reports the error
        }
        this.isAsking = false;
        if (this.point !== point) this.#update();
    }

    /**
     * @param {{frame: number, segments: T.Segment[]}} everything
     * @param {T.Point} point
     * @returns {Shown | null}
     */
    #smallestUnder({ frame, segments }, point) {
        const { height } = this.studio.state.video;
        const area = (/** @type {T.Box} */ box) => (box[2] - box[0]) * (box[3] - box[1]);
        const [smallest] = segments
            .filter((segment) => contains(segment.counts, height, segment.box, point))
            .sort((one, other) => area(one.box) - area(other.box));
        return smallest ? { frame, ...smallest } : null;
    }

    /**
     * @param {Shown} shown
     * @param {T.Point} point
     */
    #covers(shown, point) {
        return contains(shown.counts, this.studio.state.video.height, shown.box, point);
    }

    /** @param {Shown | null} shown */
    #show(shown) {
        if (this.shown?.counts === shown?.counts && this.shown?.frame === shown?.frame) return;
        this.shown = shown;
        this.changed();
    }
}
