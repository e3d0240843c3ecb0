/** The stage: the frame in view with its masks, and over it a second canvas with the prompts. */

import { h } from "../lib/dom.js";
import { clock } from "../lib/state.js";
import { Input } from "./input.js";
import { drawOverlay } from "./overlay.js";
import { drawMask, OutlineCache } from "./paint.js";
import { Brush, Pointer } from "./tools.js";
import { View } from "./view.js";

/** @import { Studio } from "../lib/studio.js" */

const WIDTHS = [480, 640, 960, 1280, 1920]; // of pictures that the server is asked for
const OTHERS = 0.72; // opacity of objects that are not selected
const FILL = 0.36; // opacity of a mask's fill

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
        this.input = new Input(studio, this, signal);
        /** @type {ImageBitmap | null} */
        this.picture = null;
        this.shown = -1; // the frame that is painted: that in view, or the one before while it loads
        this.scheduled = false;
        this.stale = true; // the base must be painted anew, not only what lies over it
        const observer = new ResizeObserver(() => this.#resize());
        observer.observe(root);
        signal.addEventListener("abort", () => observer.disconnect());
        studio.store.watch(["frame", "playing"], () => this.#fetchFrames());
        studio.store.watch(["asking"], () => studio.state.asking || this.brush.settle());
        studio.store.watch(
            ["video", "frame", "object", "pending", "tool", "brush", "masksHidden", "masksVersion"],
            () => this.redraw(),
        );
        studio.store.watch(["video", "frame", "object"], () => this.#label());
        studio.store.watch(["frame", "unreadable"], () => this.#showNotice());
    }

    /** The tool that a press starts now; null for the hand. */
    get tool() {
        const { tool } = this.studio.state;
        if (tool === "hand") return null;
        return tool === "brush" || tool === "erase" ? this.brush : this.pointer;
    }

    redraw() {
        this.stale = true;
        this.redrawOver();
    }

    /** Clicks, boxes and the brush's outline have moved; video and masks have not. */
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
        this.move((view) => view.resize(width, height));
    }

    #chooseWidth() {
        const { width } = this.studio.state.video;
        const seen = this.view.scale * width * window.devicePixelRatio;
        const enough = WIDTHS.find((width) => width >= seen / 1.25);
        this.studio.frames.resize(enough !== undefined && enough < width ? enough : null);
    }

    #fetchFrames() {
        const { frame, playing, live } = this.studio.state;
        const ahead = live ? 0 : playing ? 12 : Math.sign(frame - this.shown) * 3 || 3;
        this.studio.frames.want(frame, ahead);
        this.studio.masks.want(frame + ahead);
    }

    #label() {
        const { video, frame, object } = this.studio.state;
        const item = video.objects.find((item) => item.id === object);
        const of = item ? `, ${item.name} selected` : ", a click makes a new object";
        this.over.setAttribute(
            "aria-label",
            `${video.name}, frame ${frame} at ${clock(frame, video.fps)}${of}`,
        );
    }

    /** Why the frame in view cannot be shown, in the server's words. */
    #showNotice() {
        const { frame, unreadable } = this.studio.state;
        this.notice.hidden = unreadable?.frame !== frame;
        this.notice.textContent = unreadable?.frame === frame ? unreadable.message : "";
        this.redraw();
    }

    #drawBase() {
        const { studio, view } = this;
        this.stale = false;
        const { frame, unreadable } = studio.state;
        const picture = studio.frames.get(frame) ?? studio.frames.preview(frame);
        if (picture) {
            this.picture = picture;
            this.shown = frame;
        } else if (unreadable?.frame === frame) {
            this.picture = null;
            this.shown = frame;
        }
        this.root.classList.toggle("waiting", !studio.frames.get(frame) && unreadable?.frame !== frame);
        this.root.dataset.frame = String(this.shown);
        const context = cleared(this.base);
        context.setTransform(1, 0, 0, 1, 0, 0);
        const ratio = window.devicePixelRatio;
        context.setTransform(
            view.scale * ratio,
            0,
            0,
            view.scale * ratio,
            view.left * ratio,
            view.top * ratio,
        );
        context.imageSmoothingEnabled = view.scale < 6;
        context.imageSmoothingQuality = "high";
        if (this.picture?.width) context.drawImage(this.picture, 0, 0, view.width, view.height);
        if (!studio.state.masksHidden && this.shown >= 0) this.#drawMasks(context);
        if (picture) studio.painted();
    }

    /** @param {CanvasRenderingContext2D} context */
    #drawMasks(context) {
        const { object, video } = this.studio.state;
        const masks = this.studio.masks.at(this.shown);
        const { draft } = this.brush;
        for (const item of video.objects) {
            if (item.hidden || (draft && draft.object === item.id)) continue;
            const mask = masks.get(item.id);
            const outline = mask && this.outlines.get(mask);
            if (!outline) continue;
            context.globalAlpha = object === null || item.id === object ? 1 : OTHERS;
            drawMask(context, outline, item.color, { opacity: FILL, scale: this.view.scale });
        }
        context.globalAlpha = 1;
        if (draft) context.drawImage(draft.canvas, 0, 0);
    }

    #drawOver() {
        const context = cleared(this.over);
        const ratio = window.devicePixelRatio;
        context.setTransform(ratio, 0, 0, ratio, 0, 0);
        drawOverlay(context, this.studio, this.view, {
            box: this.pointer.box,
            pointer: this.input.at,
            cross: this.input.cross,
        });
    }
}

/** @param {HTMLCanvasElement} canvas */
function cleared(canvas) {
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    return context;
}

/** Give the keys back to the studio, after a field was used. */
export function focusStage() {
    const over = document.querySelector(".stage .over");
    if (over instanceof HTMLElement) over.focus({ preventScroll: true });
}
