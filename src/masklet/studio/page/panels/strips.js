/** A strip for each object under the timeline, with its confidence on each frame. */

import * as api from "../lib/api.js";
import { obstacleOf } from "../lib/delivery.js";
import { fill, h } from "../lib/dom.js";
import { select } from "../lib/prompting.js";
import { nameOf } from "../lib/state.js";
import { complain } from "../lib/toast.js";
import { tone } from "./tone.js";

/** @import * as T from "../lib/types.js" */
/** @import { Studio } from "../lib/studio.js" */

const HEIGHT = 18; // height of a strip, in CSS pixels
const REVIEWED = 4; // height of the line of reviewed frames, in CSS pixels
const MAX_BINS = 4000;

/**
 * @param {Studio} studio
 * @param {HTMLElement} root
 * @param {HTMLElement} scrubber  an element as wide as a strip
 * @param {AbortSignal} signal
 */
export function mountStrips(studio, root, scrubber, signal) {
    const cache = new StripCache(studio, () => draw(studio, root, cache));
    const observer = new ResizeObserver(([entry]) => cache.resize(entry.contentRect.width));
    observer.observe(scrubber);
    signal.addEventListener("abort", () => observer.disconnect());
    studio.listeners.push((message) => message.type === "frame" && cache.add(message.frame, message.masks));
    studio.store.watch(["video", "span"], () => void cache.fetch());
    studio.store.watch(["video", "object"], () => draw(studio, root, cache));
}

/** Fetches the strips, one request at a time, and adds masks that are tracked during a request. */
class StripCache {
    /**
     * @param {Studio} studio
     * @param {() => void} changed
     */
    constructor(studio, changed) {
        this.studio = studio;
        this.changed = changed;
        this.width = 0;
        /** @type {T.Strips | null} */
        this.strips = null;
        this.fetching = false;
        this.again = false;
        /** @type {[number, T.Mask[]][]} */
        this.meanwhile = []; // masks tracked during a request, which the response may lack
    }

    /** @param {number} width */
    resize(width) {
        if (Math.abs(width - this.width) < 1) return;
        this.width = width;
        this.changed();
        void this.fetch();
    }

    async fetch() {
        this.again = this.fetching;
        if (this.fetching || !this.width) return;
        this.fetching = true;
        try {
            const { span } = this.studio.state;
            const bins = Math.max(1, Math.min(MAX_BINS, Math.round(this.width), span[1] - span[0]));
            this.meanwhile = [];
            this.strips = await api.strips(this.studio.id, span, bins);
            for (const [frame, masks] of this.meanwhile) this.#apply(frame, masks);
            this.changed();
        } catch (error) {
            obstacleOf(error) ?? complain(error); // a lost connection is shown elsewhere
        }
        this.fetching = false;
        if (this.again) void this.fetch();
    }

    /**
     * @param {number} frame
     * @param {T.Mask[]} masks
     */
    add(frame, masks) {
        if (this.fetching) this.meanwhile.push([frame, masks]);
        this.#apply(frame, masks);
        this.changed();
    }

    /**
     * @param {number} frame
     * @param {T.Mask[]} masks
     */
    #apply(frame, masks) {
        const { strips } = this;
        if (!strips || frame < strips.start || frame >= strips.stop) return;
        const frames = strips.stop - strips.start;
        const bin = Math.min(
            strips.bins - 1,
            Math.floor(((frame - strips.start + 1) * strips.bins - 1) / frames),
        );
        for (const mask of masks) {
            const strip = strips.objects.find((strip) => strip.object === mask.object);
            if (!strip) continue;
            strip.confidence[bin] = mask.confidence;
            strip.absent[bin] = mask.score > 0 ? 0 : 1;
        }
    }
}

/**
 * @param {Studio} studio
 * @param {HTMLElement} root
 * @param {StripCache} cache
 */
function draw(studio, root, { strips, width }) {
    const { video, object } = studio.state;
    const lanes = video.objects.map((item) => {
        const name = h(
            "button",
            {
                type: "button",
                class: "lane-name",
                title: nameOf(item),
                onclick: () => select(studio, item.id),
            },
            h("i", { class: "dot" }),
            h("span", {}, nameOf(item)),
        );
        name.style.setProperty("--color", item.color);
        const strip = strips?.objects.find((strip) => strip.object === item.id);
        const canvas = h("canvas", {
            class: "strip",
            role: "img",
            "aria-label": `${nameOf(item)}: ${strips && strip ? summary(strips, strip) : "not tracked yet"}`,
        });
        if (strips && strip) paint(sized(canvas, width, HEIGHT), strips, strip);
        return h("div", { class: `lane${item.id === object ? " selected" : ""}` }, name, canvas);
    });
    const reviewed = h("canvas", {
        class: "strip reviewed-strip",
        role: "img",
        "aria-label": "Reviewed frames",
    });
    if (strips) paintReviewed(sized(reviewed, width, REVIEWED), strips);
    const label = h("span", { class: "lane-name quiet-name" }, "reviewed");
    const last = h(
        "div",
        { class: "lane reviewed-lane", title: "Reviewed frames" },
        label,
        reviewed,
    );
    fill(root, last, ...(lanes.length ? lanes : [empty()]));
}

/** A strip without an object. It reserves the height of the first strip, so that the image does not move. */
function empty() {
    return h(
        "div",
        { class: "lane" },
        h("span", { class: "lane-name quiet-name" }, "confidence"),
        h("div", { class: "strip empty-strip" }, "Track an object to see the model's confidence, frame by frame"),
    );
}

/**
 * @param {T.Strips} strips
 * @param {T.ObjectStrip} strip
 */
function summary(strips, strip) {
    const values = strip.confidence.filter((value) => value !== null);
    if (!values.length) return "not tracked yet";
    const share = Math.round((100 * values.length) / strips.bins);
    return `tracked on ${share} percent of the shown frames, lowest confidence ${Math.min(...values).toFixed(2)}`;
}

/**
 * A canvas context whose unit is a CSS pixel.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {number} width
 * @param {number} height
 */
function sized(canvas, width, height) {
    const ratio = window.devicePixelRatio;
    canvas.width = Math.max(1, Math.round(width * ratio));
    canvas.height = Math.max(1, Math.round(height * ratio));
    return /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {T.Strips} strips
 * @param {T.ObjectStrip} strip
 */
function paint(context, strips, strip) {
    const { width, height } = context.canvas;
    const edge = (/** @type {number} */ bin) => Math.round((bin * width) / strips.bins);
    strip.confidence.forEach((confidence, bin) => {
        if (confidence === null) return;
        const left = edge(bin);
        const wide = edge(bin + 1) - left;
        if (strip.absent[bin] >= 0.5) {
            drawHatching(context, left, wide, height);
            return;
        }
        const tall = Math.max(3, Math.round(height * Math.min(1, confidence)));
        context.fillStyle = tone(confidence);
        context.globalAlpha = 0.28;
        context.fillRect(left, 0, wide, height - tall);
        context.globalAlpha = 1;
        context.fillRect(left, height - tall, wide, tall);
    });
    for (const frame of strip.prompted) {
        if (frame < strips.start || frame >= strips.stop) continue;
        drawPrompt(context, ((frame + 0.5 - strips.start) * width) / (strips.stop - strips.start), height);
    }
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {number} left
 * @param {number} wide
 * @param {number} height
 */
function drawHatching(context, left, wide, height) {
    const gap = Math.round(height / 3);
    context.save();
    context.beginPath();
    context.rect(left, 0, wide, height);
    context.clip();
    context.strokeStyle = "rgb(128 138 152 / 80%)";
    context.lineWidth = height / 14;
    context.beginPath();
    for (let x = Math.floor((left - height) / gap) * gap; x < left + wide + height; x += gap) {
        context.moveTo(x, height);
        context.lineTo(x + height, 0);
    }
    context.stroke();
    context.restore();
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {number} x
 * @param {number} height
 */
function drawPrompt(context, x, height) {
    const reach = height * 0.3;
    context.fillStyle = "#fff";
    context.strokeStyle = "#15181d";
    context.lineWidth = height / 12;
    context.beginPath();
    context.moveTo(x, height / 2 - reach);
    context.lineTo(x + reach, height / 2);
    context.lineTo(x, height / 2 + reach);
    context.lineTo(x - reach, height / 2);
    context.closePath();
    context.fill();
    context.stroke();
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {T.Strips} strips
 */
function paintReviewed(context, strips) {
    const { width, height } = context.canvas;
    context.fillStyle = "#5b9dff";
    strips.reviewed.forEach((share, bin) => {
        if (!share) return;
        const left = Math.round((bin * width) / strips.bins);
        context.globalAlpha = 0.3 + 0.7 * share;
        context.fillRect(left, 0, Math.round(((bin + 1) * width) / strips.bins) - left, height);
    });
}
