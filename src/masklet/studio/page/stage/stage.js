/** The stage: a canvas with the current frame and its masks, below a second canvas with the prompts. */

import { h } from "../lib/dom.js";
import { whereabouts } from "../lib/state.js";
import { Hover } from "./hover.js";
import { Input } from "./input.js";
import { OutlineTool } from "./outline-tools.js";
import { drawOverlay } from "./overlay.js";
import { drawMask, OutlineCache } from "./paint.js";
import { Brush, Pointer } from "./tools.js";
import { View } from "./view.js";

/** @import * as T from "../lib/types.js" */
/** @import { Studio } from "../lib/studio.js" */

const WIDTHS = [480, 640, 960, 1280, 1920]; // possible widths of requested images
const OTHERS = 0.72; // opacity of objects that are not selected

export class Stage {
    /**
     * @param {Studio} studio
     * @param {HTMLElement} root
     * @param {AbortSignal} signal  fires when the page leaves the video
     */
    constructor(studio, root, signal) {
        const { video } = studio.state;
        this.studio = studio;
        this.root = root;
        this.view = new View(video.width, video.height);
        this.outlines = new OutlineCache(video.width, video.height);
        this.base = h("canvas", { class: "base", "aria-hidden": "true" });
        this.over = h("canvas", {
            class: "over",
            tabindex: 0,
            role: "application",
            "aria-describedby": "stage-help",
        });
        this.notice = h("p", { class: "stage-notice", role: "alert", hidden: true });
        root.replaceChildren(this.base, this.over, this.notice);
        this.pointer = new Pointer(studio, this.view);
        this.brush = new Brush(studio, this.view);
        this.outline = new OutlineTool(studio, this.view);
        this.hover = new Hover(studio, () => {
            this.over.toggleAttribute("data-hover", this.hover.shown !== null);
            this.redrawOver();
        });
        this.input = new Input(studio, this, signal);
        /** @type {ImageBitmap | null} */
        this.image = null;
        this.shown = -1; // the painted frame: the previous one while the current one loads
        this.scheduled = false;
        this.isSized = false; // whether the layout is complete, which determines the width of images
        this.stale = true; // whether frame and masks must be repainted, too, and not only the prompts
        const observer = new ResizeObserver(() => {
            this.#resize();
            if (this.isSized) return;
            this.isSized = true;
            this.#fetchFrames();
        });
        observer.observe(root);
        signal.addEventListener("abort", () => observer.disconnect());
        studio.store.watch(["frame", "playing"], () => this.#fetchFrames());
        studio.store.watch(["asking"], () => studio.state.asking || this.brush.settle());
        studio.store.watch(
            ["video", "frame", "object", "pending", "tool", "brush", "masksHidden", "masksVersion", "opacity"],
            () => this.redraw(),
        );
        studio.store.watch(["everything"], () => this.redraw());
        studio.store.watch(["view"], () => this.#resize());
        studio.store.watch(["tool", "frame"], () => this.outline.cancel());
        studio.store.watch(["video", "stack", "frame", "object", "isVariable", "seconds"], () => this.#label());
        studio.store.watch(["frame", "unreadable"], () => this.#showNotice());
    }

    /** The tool that a press starts; null for the hand. */
    get tool() {
        const { tool } = this.studio.state;
        if (tool === "hand") return null;
        if (tool === "lasso" || tool === "polygon") return this.outline;
        return tool === "brush" || tool === "erase" ? this.brush : this.pointer;
    }

    /** The number of views side by side, and the width of each. */
    get columns() {
        const count = this.studio.state.view === "side" ? 2 : 1;
        return { count, width: this.root.clientWidth / count };
    }

    redraw() {
        this.stale = true;
        this.redrawOver();
    }

    /** Repaint clicks, boxes and the brush's outline, but not video and masks. */
    redrawOver() {
        if (this.scheduled) return;
        this.scheduled = true;
        requestAnimationFrame(() => {
            this.scheduled = false;
            if (this.stale) this.#drawBase();
            this.#drawOver();
        });
    }

    /** @param {(view: View) => void} change */
    move(change) {
        change(this.view);
        this.#chooseWidth();
        this.redraw();
    }

    #resize() {
        const { width, height } = this.root.getBoundingClientRect();
        const ratio = window.devicePixelRatio;
        for (const canvas of [this.base, this.over]) {
            canvas.width = Math.max(1, Math.round(width * ratio));
            canvas.height = Math.max(1, Math.round(height * ratio));
        }
        this.move((view) => view.resize(width / this.columns.count, height));
    }

    #chooseWidth() {
        const { width } = this.studio.state.video;
        const seen = this.view.scale * width * window.devicePixelRatio;
        const enough = WIDTHS.find((width) => width >= seen / 1.25);
        this.studio.frames.resize(enough !== undefined && enough < width ? enough : null);
    }

    #fetchFrames() {
        if (!this.isSized) return;
        const { frame, playing, live } = this.studio.state;
        const ahead = live ? 0 : playing ? 12 : Math.sign(frame - this.shown) * 3 || 3;
        this.studio.frames.want(frame, ahead);
        this.studio.masks.want(frame + ahead);
    }

    #label() {
        const { video, frame, object } = this.studio.state;
        const item = video.objects.find((item) => item.id === object);
        const where = whereabouts(this.studio.state, frame);
        const of = item ? `, ${item.name} selected` : ", a click makes a new object";
        this.over.setAttribute(
            "aria-label",
            `${video.name}, frame ${frame}${where && ` at ${where}`}${of}`,
        );
    }

    /** Show the server's message if the current frame cannot be shown. */
    #showNotice() {
        const { frame, unreadable } = this.studio.state;
        this.notice.hidden = unreadable?.frame !== frame;
        this.notice.textContent = unreadable?.frame === frame ? unreadable.message : "";
        this.redraw();
    }

    #drawBase() {
        const { studio } = this;
        this.stale = false;
        const { frame, unreadable } = studio.state;
        const image = studio.frames.get(frame) ?? studio.frames.preview(frame);
        if (image) {
            this.image = image;
            this.shown = frame;
        } else if (unreadable?.frame === frame) {
            this.image = null;
            this.shown = frame;
        }
        this.root.classList.toggle("waiting", !studio.frames.get(frame) && unreadable?.frame !== frame);
        this.root.dataset.frame = String(this.shown);
        const context = cleared(this.base);
        const mode = studio.state.view;
        if (mode === "side") {
            this.#drawColumn(context, 0, { image: true, masks: false });
            this.#drawColumn(context, 1, { image: true, masks: true });
        } else {
            this.#drawColumn(context, 0, { image: mode === "overlay", masks: true });
        }
        if (image) studio.painted();
    }

    /**
     * @param {CanvasRenderingContext2D} context
     * @param {number} column
     * @param {{image: boolean, masks: boolean}} layers
     */
    #drawColumn(context, column, layers) {
        const { view } = this;
        context.save();
        this.#enterColumn(context, column);
        context.translate(view.left, view.top);
        context.scale(view.scale, view.scale);
        context.imageSmoothingEnabled = view.scale < 6;
        context.imageSmoothingQuality = "high";
        context.fillStyle = "#000";
        if (!layers.image) context.fillRect(0, 0, view.width, view.height);
        else if (this.image?.width) context.drawImage(this.image, 0, 0, view.width, view.height);
        const { masksHidden, everything, frame } = this.studio.state;
        if (layers.masks && !masksHidden && this.shown >= 0) this.#drawMasks(context, !layers.image);
        if (layers.masks && everything?.frame === frame) this.#drawEverything(context, everything.segments);
        context.restore();
    }

    /**
     * Set the context's unit to a CSS pixel, and clip it to one column.
     *
     * @param {CanvasRenderingContext2D} context
     * @param {number} column
     */
    #enterColumn(context, column) {
        const ratio = window.devicePixelRatio;
        const { width } = this.columns;
        context.setTransform(ratio, 0, 0, ratio, column * width * ratio, 0);
        context.beginPath();
        context.rect(0, 0, width, this.root.clientHeight);
        context.clip();
    }

    /**
     * @param {CanvasRenderingContext2D} context
     * @param {boolean} matte  whether to draw the masks white on black
     */
    #drawMasks(context, matte) {
        const { object, video, opacity } = this.studio.state;
        const masks = this.studio.masks.at(this.shown);
        const draft = this.brush.draft?.frame === this.shown ? this.brush.draft : null;
        for (const item of video.objects) {
            if (item.hidden || (draft && draft.object === item.id)) continue;
            const mask = masks.get(item.id);
            const outline = mask && this.outlines.get(mask);
            if (!outline) continue;
            if (matte) {
                context.fillStyle = "#fff";
                context.fill(outline, "evenodd");
                continue;
            }
            context.globalAlpha = object === null || item.id === object ? 1 : OTHERS;
            drawMask(context, outline, item.color, { opacity, scale: this.view.scale });
        }
        context.globalAlpha = 1;
        if (draft) context.drawImage(draft.canvas, 0, 0);
    }

    /**
     * @param {CanvasRenderingContext2D} context
     * @param {T.Segment[]} segments
     */
    #drawEverything(context, segments) {
        segments.forEach(({ counts, box }, index) => {
            const color = `hsl(${(index * 137) % 360} 80% 62%)`;
            drawMask(context, this.outlines.trace(counts, box), color, {
                opacity: 0.22,
                scale: this.view.scale,
            });
        });
    }

    #drawOver() {
        const context = cleared(this.over);
        for (let column = 0; column < this.columns.count; column++) {
            context.save();
            this.#enterColumn(context, column);
            this.#drawHover(context);
            drawOverlay(context, this.studio, this.view, {
                box: this.pointer.box,
                path: this.outline.path,
                pointer: this.input.at,
                cross: this.input.cross,
            });
            context.restore();
        }
    }

    /** @param {CanvasRenderingContext2D} context */
    #drawHover(context) {
        const { shown } = this.hover;
        const { view } = this;
        if (!shown || shown.frame !== this.studio.state.frame) return;
        context.save();
        context.translate(view.left, view.top);
        context.scale(view.scale, view.scale);
        context.setLineDash([5 / view.scale, 4 / view.scale]);
        drawMask(context, this.outlines.trace(shown.counts, shown.box), "#ffffff", {
            opacity: 0.2,
            scale: view.scale,
        });
        context.restore();
    }
}

/** @param {HTMLCanvasElement} canvas */
function cleared(canvas) {
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    return context;
}

/** Give the keyboard focus back to the stage after the use of a field. */
export function focusStage() {
    const over = document.querySelector(".stage .over");
    if (over instanceof HTMLElement) over.focus({ preventScroll: true });
}
