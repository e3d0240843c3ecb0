/** The stage: shows the current frame with masks and clicks, and handles the pointer. */

import { h } from "../lib/dom.js";
import { drawClick, drawCross } from "../stage/marks.js";
import { drawMask, OutlineCache } from "../stage/paint.js";
import { View } from "../stage/view.js";

/** @import { Workspace } from "../workspace.js" */
/** @import { Mask } from "../tracker/session.js" */

const COLORS = ["#4f9dff", "#ff7a59", "#3ecf8e", "#f5b83d", "#b98cff", "#ff6fae", "#35c9d6", "#a3c644"];
const STEP = 8; // screen pixels by which an arrow key moves the cross

/** @param {number} id */
export function colorOf(id) {
    return COLORS[(id - 1) % COLORS.length];
}

export class Stage {
    /** @param {Workspace} workspace */
    constructor(workspace) {
        const { clip } = workspace;
        this.workspace = workspace;
        this.clip = clip;
        this.view = new View(clip.width, clip.height);
        this.outlines = new OutlineCache(clip.width, clip.height);
        this.canvas = h("canvas", {
            class: "canvas",
            tabindex: 0,
            role: "application",
            "aria-label": `${clip.name}: click on an object`,
            "aria-describedby": "stage-help",
        });
        this.root = h("section", { class: "stage", "aria-label": "Image" }, this.canvas);
        /** @type {[number, number] | null} */
        this.cross = null;
        this.scheduled = false;
        new ResizeObserver(() => this.#resize()).observe(this.root);
        workspace.store.watch(["frame", "image", "masks", "prompts", "preview", "object"], () => this.redraw());
        this.#listen();
    }

    redraw() {
        if (this.scheduled) return;
        this.scheduled = true;
        requestAnimationFrame(() => {
            this.scheduled = false;
            this.#draw();
        });
    }

    #listen() {
        const { canvas, workspace } = this;
        canvas.addEventListener("contextmenu", (event) => event.preventDefault());
        canvas.addEventListener("pointerdown", (event) => {
            if (event.button !== 0 && event.button !== 2) return;
            this.cross = null;
            const isPositive = event.button === 2 || event.altKey ? false : workspace.state.isPositive;
            this.#press(this.#pointOf(event), isPositive);
        });
        canvas.addEventListener("pointermove", (event) => {
            if (event.pointerType === "mouse") this.#aim(this.#pointOf(event));
        });
        canvas.addEventListener("pointerleave", () => void workspace.hover(null));
        canvas.addEventListener("keydown", (event) => {
            const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
            const move = moves[/** @type {keyof typeof moves} */ (event.key)];
            const { width, height } = this.clip;
            if (move) {
                const [x, y] = this.cross ?? [width / 2, height / 2];
                const step = STEP / this.view.scale;
                this.cross = this.view.clamp([x + move[0] * step, y + move[1] * step]);
                this.#aim(this.cross);
                this.redraw();
            } else if (event.key === "Enter" && this.cross) {
                this.#press(this.cross, event.altKey ? false : workspace.state.isPositive);
            } else return;
            event.preventDefault();
            event.stopPropagation();
        });
    }

    /**
     * @param {[number, number]} point
     * @param {boolean} isPositive
     */
    #press(point, isPositive) {
        const place = this.view.toClick(point);
        if (place) void this.workspace.click(place, isPositive);
    }

    /** @param {[number, number]} point */
    #aim(point) {
        void this.workspace.hover(this.view.toClick(point));
    }

    /**
     * @param {PointerEvent} event
     * @returns {[number, number]}
     */
    #pointOf(event) {
        const { left, top } = this.canvas.getBoundingClientRect();
        return this.view.toVideo(event.clientX - left, event.clientY - top);
    }

    #resize() {
        const { width, height } = this.root.getBoundingClientRect();
        this.canvas.width = Math.max(1, Math.round(width * devicePixelRatio));
        this.canvas.height = Math.max(1, Math.round(height * devicePixelRatio));
        this.view.resize(width, height);
        this.redraw();
    }

    #draw() {
        const { image, masks, frame, preview, object } = this.workspace.state;
        if (!image?.width) return;
        const { view } = this;
        const context = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d"));
        context.setTransform(1, 0, 0, 1, 0, 0);
        context.clearRect(0, 0, this.canvas.width, this.canvas.height);
        const scale = view.scale * devicePixelRatio;
        context.setTransform(scale, 0, 0, scale, view.left * devicePixelRatio, view.top * devicePixelRatio);
        context.imageSmoothingQuality = "high";
        context.drawImage(image, 0, 0, view.width, view.height);
        for (const mask of masks.get(frame) ?? []) {
            context.globalAlpha = object === null || object === mask.object ? 1 : 0.72;
            this.#drawMask(context, mask, colorOf(mask.object));
        }
        context.globalAlpha = 0.55;
        if (preview) this.#drawMask(context, preview, colorOf(object ?? Math.max(0, ...this.workspace.state.objects) + 1));
        context.globalAlpha = 1;
        context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
        this.#drawClicks(context);
        if (this.cross) drawCross(context, view.toStage(this.cross));
        this.root.dataset.frame = String(frame);
        this.root.toggleAttribute("data-preview", preview !== null);
    }

    /**
     * @param {CanvasRenderingContext2D} context
     * @param {Mask} mask
     * @param {string} color
     */
    #drawMask(context, mask, color) {
        if (!mask.box) return;
        const box = /** @type {[number, number, number, number]} */ (mask.box);
        drawMask(context, this.outlines.trace(mask.counts, box), color, {
            opacity: 0.36,
            scale: this.view.scale,
        });
    }

    /** @param {CanvasRenderingContext2D} context */
    #drawClicks(context) {
        const { prompts, frame, object } = this.workspace.state;
        for (const given of prompts.filter((given) => given.frame === frame)) {
            const color = colorOf(given.object);
            context.globalAlpha = given.object === object ? 1 : 0.5;
            for (const point of given.prompt.positive) drawClick(context, this.view.toStage(point), true, color);
            for (const point of given.prompt.negative) drawClick(context, this.view.toStage(point), false, color);
        }
        context.globalAlpha = 1;
    }
}
