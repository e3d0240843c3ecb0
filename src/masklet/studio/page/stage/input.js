/** Input on the stage: pointers, wheel, touch, and the cross that keys move. */

import { keepSegment } from "../lib/prompting.js";

/** @import * as T from "../lib/types.js" */
/** @import { Studio } from "../lib/studio.js" */
/** @import { Stage } from "./stage.js" */

const WHEEL = 0.0016; // zoom per pixel of the wheel

export class Input {
    /**
     * @param {Studio} studio
     * @param {Stage} stage
     * @param {AbortSignal} signal
     */
    constructor(studio, stage, signal) {
        this.studio = studio;
        this.stage = stage;
        /** @type {T.Point | null} */
        this.at = null; // the pointer's position in the video
        /** @type {T.Point | null} */
        this.cross = null;
        this.crossDown = false; // whether a box was started by a key
        /** @type {Map<number, {x: number, y: number}>} */
        this.fingers = new Map();
        this.panning = false;
        this.wasMiddlePressed = false;
        const { over } = stage;
        over.addEventListener("pointerdown", (event) => this.#down(event), { signal });
        over.addEventListener("pointermove", (event) => this.#move(event), { signal });
        over.addEventListener("pointerup", (event) => this.#up(event), { signal });
        over.addEventListener("pointercancel", (event) => this.#cancel(event), { signal });
        over.addEventListener("pointerleave", () => this.#leave(), { signal });
        over.addEventListener("blur", () => delete over.dataset.pointed, { signal });
        over.addEventListener("contextmenu", (event) => event.preventDefault(), { signal });
        for (const kind of /** @type {const} */ (["mousedown", "mouseup", "auxclick"])) {
            over.addEventListener(kind, (event) => event.button === 1 && event.preventDefault(), { signal });
        }
        over.addEventListener("wheel", (event) => this.#wheel(event), { signal, passive: false });
        studio.store.watch(["tool"], () => {
            over.dataset.tool = studio.state.tool;
        });
    }

    /** Show or hide the cross that the arrow keys move. */
    toggleCross() {
        const { view } = this.stage;
        this.cross = this.cross ? null : view.clamp([view.centerX, view.centerY]);
        this.crossDown = false;
        this.stage.tool?.cancel();
        if (this.cross) this.stage.over.focus();
        this.stage.redraw();
    }

    /**
     * @param {number} dx  screen pixels
     * @param {number} dy
     */
    moveCross(dx, dy) {
        if (!this.cross) return;
        const { view } = this.stage;
        const [x, y] = view.clamp([this.cross[0] + dx / view.scale, this.cross[1] + dy / view.scale]);
        this.cross = [Math.min(x, view.width - 0.5), Math.min(y, view.height - 0.5)];
        if (this.crossDown) this.stage.tool?.move(this.cross);
        this.stage.redraw();
    }

    /**
     * Press at the cross. A click or a dot of the brush needs one press, a box one press for each of two corners.
     *
     * @param {boolean} minus
     * @param {boolean} edit
     */
    pressCross(minus, edit) {
        const { tool } = this.stage;
        if (!this.cross || !tool) return;
        if (!this.crossDown) tool.down(this.cross, { minus, edit });
        this.crossDown = this.studio.state.tool === "box" && !this.crossDown;
        if (!this.crossDown) tool.up(this.cross);
        this.stage.redraw();
    }

    /**
     * @param {MouseEvent} event
     * @returns {[number, number]} on the stage
     */
    #place(event) {
        const { left, top } = this.stage.over.getBoundingClientRect();
        return [(event.clientX - left) % this.stage.columns.width, event.clientY - top];
    }

    /** @param {PointerEvent} event */
    #down(event) {
        const [x, y] = this.#place(event);
        this.stage.over.dataset.pointed = ""; // the focus ring is only for keyboard users
        this.stage.over.focus({ preventScroll: true });
        this.stage.over.setPointerCapture(event.pointerId);
        this.fingers.set(event.pointerId, { x, y });
        this.cross = null;
        if (this.fingers.size > 1) {
            this.stage.tool?.cancel();
            this.panning = true;
            return;
        }
        this.wasMiddlePressed = event.button === 1;
        this.panning = event.button === 1 || this.stage.tool === null;
        this.stage.over.classList.toggle("grabbing", this.panning);
        if (this.panning) return;
        this.studio.store.set({ playing: false, live: false });
        const { everything } = this.studio.state;
        if (everything) {
            this.stage.hover.move(this.stage.view.toClick(this.stage.view.toVideo(x, y))); // a finger has no move event before it touches
            const { shown } = this.stage.hover;
            if (shown && event.button === 0) keepSegment(this.studio, shown.counts);
            return;
        }
        this.stage.hover.move(null);
        this.stage.tool?.down(this.stage.view.toVideo(x, y), {
            minus: event.button === 2 || event.altKey,
            edit: event.shiftKey,
        });
        this.stage.redraw();
    }

    /** @param {PointerEvent} event */
    #move(event) {
        const [x, y] = this.#place(event);
        const before = this.fingers.get(event.pointerId);
        this.at = this.stage.view.toVideo(x, y);
        if (!before) {
            if (event.pointerType === "mouse") this.stage.hover.move(this.stage.view.toClick(this.at));
            if (this.stage.tool === this.stage.outline) this.stage.outline.move(this.at);
            if (this.stage.tool !== this.stage.pointer) this.stage.redrawOver();
            return;
        }
        if (this.fingers.size === 2) this.#pinch(event.pointerId, x, y);
        this.fingers.set(event.pointerId, { x, y });
        if (this.panning && this.fingers.size === 1) {
            this.stage.move((view) => view.panBy(x - before.x, y - before.y));
        } else if (!this.panning) {
            this.stage.tool?.move(this.at);
            if (this.stage.tool?.draft) this.stage.redraw();
            else this.stage.redrawOver();
        }
    }

    /**
     * @param {number} id
     * @param {number} x
     * @param {number} y
     */
    #pinch(id, x, y) {
        const before = this.fingers.get(id);
        const other = [...this.fingers].find(([pointer]) => pointer !== id)?.[1];
        if (!before || !other) return;
        const spread =
            Math.hypot(x - other.x, y - other.y) /
            Math.max(1, Math.hypot(before.x - other.x, before.y - other.y));
        this.stage.move((view) => {
            view.zoomBy(spread, (x + other.x) / 2, (y + other.y) / 2);
            view.panBy((x - before.x) / 2, (y - before.y) / 2);
        });
    }

    /** @param {PointerEvent} event */
    #up(event) {
        if (!this.fingers.delete(event.pointerId)) return;
        this.stage.over.classList.remove("grabbing");
        if (this.panning) {
            this.panning = this.fingers.size > 0;
            return;
        }
        this.stage.tool?.up(this.stage.view.toVideo(...this.#place(event)));
        this.stage.redraw();
    }

    /** @param {PointerEvent} event */
    #cancel(event) {
        this.fingers.delete(event.pointerId);
        this.panning = false;
        this.stage.tool?.cancel();
        this.stage.redraw();
    }

    #leave() {
        this.at = null;
        this.stage.hover.move(null);
        this.stage.redrawOver();
    }

    /** @param {WheelEvent} event */
    #wheel(event) {
        event.preventDefault();
        const [x, y] = this.#place(event);
        const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
        const factor = Math.exp(-event.deltaY * lines * WHEEL * (event.ctrlKey ? 4 : 1));
        this.stage.move((view) => view.zoomBy(factor, x, y));
    }
}
