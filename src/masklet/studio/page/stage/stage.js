/** The stage: the frame in view with its masks, and over it a second canvas with the prompts. */

import { h } from "../lib/dom.js";
import { clock } from "../lib/state.js";
import { Input } from "./input.js";
import { drawOverlay } from "./overlay.js";
import { Paintings } from "./paint.js";
import { Brush, Pointer } from "./tools.js";
import { View } from "./view.js";

/** @import { Studio } from "../lib/studio.js" */

const WIDTHS = [480, 640, 960, 1280, 1920]; // of pictures that the server is asked for
const OTHERS = 0.72; // opacity of objects that are not selected

export class Stage {
    /**
     * @param {Studio} studio
     * @param {HTMLElement} root
     * @param {AbortSignal} left  fires when the page leaves the video
     */
    constructor(studio, root, left) {
        const { video } = studio.state;
        this.studio = studio;
        this.root = root;
        this.view = new View(video.width, video.height);
        this.paintings = new Paintings(video.width, video.height);
        this.base = h("canvas", { class: "base", "aria-hidden": "true" });
        this.over = h("canvas", {
            class: "over",
            tabindex: 0,
            role: "application",
            "aria-describedby": "stage-help",
        });
        root.replaceChildren(this.base, this.over);
        this.pointer = new Pointer(studio, this.view);
        this.brush = new Brush(studio, this.view);
        this.input = new Input(studio, this, left);
        /** @type {ImageBitmap | null} */
        this.picture = null;
        this.shown = -1; // the frame that is painted: that in view, or the one before while it loads
        this.scheduled = false;
        this.stale = true; // the base must be painted anew, not only what lies over it
        const observer = new ResizeObserver(() => this.#resize());
        observer.observe(root);
        left.addEventListener("abort", () => observer.disconnect());
        studio.store.watch(["frame", "playing"], () => this.#look());
        studio.store.watch(["asking"], () => studio.state.asking || this.brush.settle());
        studio.store.watch(
            ["video", "frame", "object", "pending", "tool", "brush", "bare", "masksVersion"],
            () => this.redraw(),
        );
        studio.store.watch(["video", "frame", "object"], () => this.#label());
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

    #look() {
        const { frame, playing, live } = this.studio.state;
        const ahead = live ? 0 : playing ? 12 : Math.sign(frame - this.shown) * 3 || 3;
        this.studio.frames.look(frame, ahead);
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

    #drawBase() {
        const { studio, view } = this;
        this.stale = false;
        const picture = studio.frames.get(studio.state.frame);
        if (picture) {
            this.picture = picture;
            this.shown = studio.state.frame;
        }
        this.root.classList.toggle("waiting", !picture);
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
        if (!studio.state.bare && this.shown >= 0) this.#drawMasks(context);
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
            const painting = mask && this.paintings.of(mask, item.color);
            if (!painting) continue;
            context.globalAlpha = object === null || item.id === object ? 1 : OTHERS;
            context.drawImage(painting.canvas, painting.x, painting.y);
        }
        context.globalAlpha = 1;
        if (draft) context.drawImage(draft.canvas, 0, 0);
    }

    #drawOver() {
        const context = cleared(this.over);
        const ratio = window.devicePixelRatio;
        context.setTransform(ratio, 0, 0, ratio, 0, 0);
        if (this.shown !== this.studio.state.frame) return;
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
