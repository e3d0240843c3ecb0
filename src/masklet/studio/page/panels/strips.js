/** A strip for each object under the timeline, with its confidence on each frame. */

import * as api from "../lib/api.js";
import { obstacleOf } from "../lib/delivery.js";
import { arrange, h } from "../lib/dom.js";
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
    const lanes = new Lanes(studio, root);
    const cache = new StripCache(
        studio,
        (strips) => lanes.show(strips),
        (bin, objects) => lanes.showBin(bin, objects),
    );
    const observer = new ResizeObserver(([entry]) => {
        const { width } = entry.contentRect;
        if (Math.abs(width - lanes.width) < 1) return;
        lanes.resize(width);
        cache.resize(width);
    });
    observer.observe(scrubber);
    signal.addEventListener("abort", () => observer.disconnect());
    studio.listeners.push((message) => message.type === "frame" && cache.add(message.frame, message.masks));
    studio.store.watch(["video", "span"], () => void cache.fetch());
    studio.store.watch(["video", "object"], () => lanes.draw());
}

/** Fetches the strips, one request at a time, and adds masks that are tracked during a request. */
class StripCache {
    /**
     * @param {Studio} studio
     * @param {(strips: T.Strips) => void} fetched
     * @param {(bin: number, objects: number[]) => void} added  called with a bin that has changed, and its objects
     */
    constructor(studio, fetched, added) {
        this.studio = studio;
        this.fetched = fetched;
        this.added = added;
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
        this.width = width;
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
            this.fetched(this.strips);
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
        const bin = this.#apply(frame, masks);
        const objects = masks.map((mask) => mask.object);
        if (bin !== null) this.added(bin, objects);
    }

    /**
     * @param {number} frame
     * @param {T.Mask[]} masks
     * @returns {number | null} the frame's bin; null if it is not in view
     */
    #apply(frame, masks) {
        const { strips } = this;
        if (!strips || frame < strips.start || frame >= strips.stop) return null;
        const frames = strips.stop - strips.start;
        const bin = Math.min(
            strips.bins - 1,
            Math.floor(((frame - strips.start + 1) * strips.bins - 1) / frames),
        );
        const byObject = new Map(masks.map((mask) => [mask.object, mask]));
        for (const strip of strips.objects) {
            const mask = byObject.get(strip.object);
            if (!mask) continue;
            strip.confidence[bin] = mask.confidence;
            strip.absent[bin] = mask.score > 0 ? 0 : 1;
        }
        return bin;
    }
}

/** The lanes, one for each object. Each is made once, and only what has changed is drawn again. */
class Lanes {
    /**
     * @param {Studio} studio
     * @param {HTMLElement} root
     */
    constructor(studio, root) {
        this.studio = studio;
        this.root = root;
        this.width = 0;
        /** @type {T.Strips | null} */
        this.strips = null;
        /** @type {Map<number, Lane>} */
        this.lanes = new Map();
        this.reviewed = h("canvas", {
            class: "strip reviewed-strip",
            role: "img",
            "aria-label": "Reviewed frames",
        });
        this.top = h(
            "div",
            { class: "lane reviewed-lane", title: "Reviewed frames" },
            h("span", { class: "lane-name quiet-name" }, "reviewed"),
            this.reviewed,
        );
        this.empty = emptyLane();
    }

    /** @param {number} width */
    resize(width) {
        this.width = width;
        this.draw();
    }

    /** @param {T.Strips} strips */
    show(strips) {
        this.strips = strips;
        this.draw();
    }

    draw() {
        const { video, object } = this.studio.state;
        const strips = new Map(this.strips?.objects.map((strip) => [strip.object, strip]));
        const before = this.lanes;
        this.lanes = new Map(
            video.objects.map(({ id }) => [id, before.get(id) ?? new Lane(() => select(this.studio, id))]),
        );
        for (const item of video.objects) {
            const lane = /** @type {Lane} */ (this.lanes.get(item.id));
            lane.name(item, item.id === object);
            lane.show(this.strips, strips.get(item.id), this.width);
        }
        if (this.strips) paintReviewed(sized(this.reviewed, this.width, REVIEWED), this.strips);
        const rows = [...this.lanes.values()].map((lane) => lane.root);
        arrange(this.root, this.top, ...(rows.length ? rows : [this.empty]));
    }

    /**
     * @param {number} bin
     * @param {number[]} objects  whose strips have changed there
     */
    showBin(bin, objects) {
        for (const id of objects) this.lanes.get(id)?.showBin(bin);
    }
}

/** An object's name and strip. */
class Lane {
    /** @param {() => void} press  selects the object */
    constructor(press) {
        this.label = h("span", {});
        this.button = h(
            "button",
            { type: "button", class: "lane-name", onclick: press },
            h("i", { class: "dot" }),
            this.label,
        );
        this.canvas = h("canvas", { class: "strip", role: "img" });
        this.root = h("div", { class: "lane" }, this.button, this.canvas);
        this.shownName = "";
        /** @type {{strips: T.Strips, strip: T.ObjectStrip} | null} */
        this.painted = null; // null if the canvas must be painted anew
    }

    /**
     * @param {T.Object} item
     * @param {boolean} isSelected
     */
    name(item, isSelected) {
        this.root.classList.toggle("selected", isSelected);
        this.button.style.setProperty("--color", item.color);
        const name = nameOf(item);
        if (name === this.shownName) return;
        this.shownName = name;
        this.label.textContent = name;
        this.button.title = name;
        this.#describe();
    }

    /**
     * @param {T.Strips | null} strips
     * @param {T.ObjectStrip | undefined} strip  undefined: the object is newer than the strips
     * @param {number} width
     */
    show(strips, strip, width) {
        const { painted } = this;
        if (!strips || !strip) {
            if (painted) sized(this.canvas, width, HEIGHT);
            this.painted = null;
        } else {
            this.painted = { strips, strip };
            const fits = this.canvas.width === pixels(width);
            if (painted && fits && isAlike(painted, this.painted)) return;
            paint(sized(this.canvas, width, HEIGHT), strips, strip, 0, strips.bins);
        }
        this.#describe();
    }

    /** @param {number} bin */
    showBin(bin) {
        if (!this.painted) return;
        const { strips, strip } = this.painted;
        const context = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d"));
        paint(context, strips, strip, bin, bin + 1);
        this.#describe();
    }

    /** Say what the strip shows to people who do not see it. */
    #describe() {
        const words = this.painted ? summary(this.painted.strips, this.painted.strip) : "not tracked yet";
        this.canvas.setAttribute("aria-label", `${this.shownName}: ${words}`);
    }
}

/**
 * Whether two strips look the same.
 *
 * @param {{strips: T.Strips, strip: T.ObjectStrip}} one
 * @param {{strips: T.Strips, strip: T.ObjectStrip}} other
 */
function isAlike(one, other) {
    const equal = (/** @type {unknown[]} */ values, /** @type {unknown[]} */ others) =>
        values.length === others.length && values.every((value, index) => value === others[index]);
    return (
        one.strips.start === other.strips.start &&
        one.strips.stop === other.strips.stop &&
        one.strips.bins === other.strips.bins &&
        equal(one.strip.confidence, other.strip.confidence) &&
        equal(one.strip.absent, other.strip.absent) &&
        equal(one.strip.prompted, other.strip.prompted)
    );
}

/** A strip without an object. It reserves the height of the first strip, so that the image does not move. */
function emptyLane() {
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
    let tracked = 0;
    let lowest = Infinity;
    for (const value of strip.confidence) {
        if (value === null) continue;
        tracked += 1;
        lowest = Math.min(lowest, value);
    }
    if (!tracked) return "not tracked yet";
    const share = Math.round((100 * tracked) / strips.bins);
    return `tracked on ${share} percent of the shown frames, lowest confidence ${lowest.toFixed(2)}`;
}

/** @param {number} length  in CSS pixels */
function pixels(length) {
    return Math.max(1, Math.round(length * window.devicePixelRatio));
}

/**
 * The context of an empty canvas of this size, in CSS pixels.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {number} width
 * @param {number} height
 */
function sized(canvas, width, height) {
    canvas.width = pixels(width);
    canvas.height = pixels(height);
    return /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
}

/**
 * Paint some bins of a strip. The result is the same as if all were painted.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {T.Strips} strips
 * @param {T.ObjectStrip} strip
 * @param {number} first  the first bin
 * @param {number} end  the bin after the last
 */
function paint(context, strips, strip, first, end) {
    const { width, height } = context.canvas;
    const edge = (/** @type {number} */ bin) => Math.round((bin * width) / strips.bins);
    const [start, stop] = [edge(first), edge(end)];
    context.save();
    context.beginPath();
    context.rect(start, 0, stop - start, height);
    context.clip();
    context.clearRect(start, 0, stop - start, height);
    for (let bin = first; bin < end; bin++) {
        const confidence = strip.confidence[bin];
        if (confidence === null) continue;
        const left = edge(bin);
        const wide = edge(bin + 1) - left;
        if (strip.absent[bin] >= 0.5) {
            drawHatching(context, left, wide, height);
            continue;
        }
        const tall = Math.max(3, Math.round(height * Math.min(1, confidence)));
        context.fillStyle = tone(confidence);
        context.globalAlpha = 0.28;
        context.fillRect(left, 0, wide, height - tall);
        context.globalAlpha = 1;
        context.fillRect(left, height - tall, wide, tall);
    }
    for (const frame of strip.prompted) {
        if (frame < strips.start || frame >= strips.stop) continue;
        const x = ((frame + 0.5 - strips.start) * width) / (strips.stop - strips.start);
        if (x + height > start && x - height < stop) drawPrompt(context, x, height);
    }
    context.restore();
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
