/** The timeline: thumbnails, a ruler, the playhead and the selected range. The wheel zooms it. */

import { h } from "../lib/dom.js";
import { seek } from "../lib/propagation.js";
import { clock, whereabouts } from "../lib/state.js";
import { mountStrips } from "./strips.js";
import { mountThumbnails } from "./thumbnails.js";

/** @import { Studio } from "../lib/studio.js" */

const LEAST = 12; // minimum number of shown frames
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600]; // possible seconds between marks of the ruler
const COUNTS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000]; // possible frames between marks, if the file has no times

/**
 * @param {Studio} studio
 * @param {HTMLElement} root
 * @param {AbortSignal} signal
 */
export function mountTimeline(studio, root, signal) {
    if (studio.state.video.frames < 2) {
        root.hidden = true;
        return;
    }
    root.hidden = false;
    const thumbs = h("div", { class: "thumbs", "aria-hidden": "true" });
    const ruler = h("div", { class: "ruler", "aria-hidden": "true" });
    const strips = h("div", { class: "strips" });
    const range = h("div", { class: "range-mark", hidden: true });
    const comments = h("div", { class: "comment-marks", "aria-hidden": "true" });
    const head = h("div", { class: "playhead", "aria-hidden": "true" }, h("i", {}));
    const slider = h("div", {
        class: "scrubber",
        role: "slider",
        tabindex: 0,
        "aria-label": "Frame",
        "aria-valuemin": 0,
        "aria-valuemax": studio.state.video.frames - 1,
        title: "Drag to move; Shift+drag selects a range; the wheel zooms",
    });
    slider.append(thumbs, ruler, comments);
    const lanes = h("div", { class: "lanes" }, slider, strips, range, head);
    root.replaceChildren(lanes);
    listen(studio, lanes, signal);
    mountThumbnails(studio, thumbs, signal);
    mountStrips(studio, strips, slider, signal);
    studio.store.watch(["span", "isVariable"], () => drawRuler(studio, ruler));
    studio.store.watch(["frame", "span", "stack", "isVariable", "seconds"], () => {
        const { frame, span } = studio.state;
        const where = whereabouts(studio.state, frame);
        lanes.style.setProperty("--head", String((frame + 0.5 - span[0]) / (span[1] - span[0])));
        head.hidden = frame < span[0] || frame >= span[1];
        slider.setAttribute("aria-valuenow", String(frame));
        slider.setAttribute("aria-valuetext", where ? `frame ${frame}, ${where}` : `frame ${frame}`);
    });
    studio.store.watch(["frame"], () => keepInView(studio));
    studio.store.watch(["range", "span"], () => drawRange(studio, range));
    studio.store.watch(["comments", "span"], () => drawComments(studio, comments));
}

/**
 * @param {Studio} studio
 * @param {HTMLElement} lanes
 * @param {AbortSignal} signal
 */
function listen(studio, lanes, signal) {
    /** @type {number | null} */
    let from = null; // first frame of a range while it is dragged
    let dragging = false;
    const frameAt = (/** @type {MouseEvent} */ event) => {
        const { left, width } = /** @type {HTMLElement} */ (
            lanes.querySelector(".scrubber")
        ).getBoundingClientRect();
        const [start, stop] = studio.state.span;
        const share = Math.max(0, Math.min(1, (event.clientX - left) / width));
        return Math.min(stop - 1, start + Math.floor(share * (stop - start)));
    };
    const drag = (/** @type {PointerEvent} */ event) => {
        const frame = frameAt(event);
        if (from !== null) studio.store.set({ range: [Math.min(from, frame), Math.max(from, frame) + 1] });
        seek(studio, frame);
    };
    lanes.addEventListener(
        "pointerdown",
        (event) => {
            if (event.button !== 0 || /** @type {Element} */ (event.target).closest("button, .lane-name"))
                return;
            lanes.setPointerCapture(event.pointerId);
            dragging = true;
            from = event.shiftKey ? frameAt(event) : null;
            studio.store.set({ playing: false, range: null });
            drag(event);
        },
        { signal },
    );
    lanes.addEventListener("pointermove", (event) => dragging && drag(event), { signal });
    for (const end of /** @type {const} */ (["pointerup", "pointercancel"])) {
        lanes.addEventListener(end, () => (dragging = false), { signal });
    }
    lanes.addEventListener(
        "wheel",
        (event) => {
            const sideways = Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey;
            const inStrips = /** @type {Element} */ (event.target).closest(".strips");
            if (inStrips && inStrips.scrollHeight > inStrips.clientHeight && !event.ctrlKey && !sideways)
                return;
            event.preventDefault();
            if (sideways) shift(studio, (event.deltaX || event.deltaY) / 800);
            else zoom(studio, Math.exp(event.deltaY * 0.002), frameAt(event));
        },
        { signal, passive: false },
    );
}

/**
 * @param {Studio} studio
 * @param {number} factor  below 1 shows fewer frames
 * @param {number} about  the frame that keeps its position
 */
export function zoom(studio, factor, about) {
    const { span, video } = studio.state;
    const shown = span[1] - span[0];
    const wanted = Math.round(
        Math.max(Math.min(LEAST, video.frames), Math.min(video.frames, shown * factor)),
    );
    const share = (about - span[0]) / shown;
    place(studio, Math.round(about - share * wanted), wanted);
}

/**
 * @param {Studio} studio
 * @param {number} share  fraction of the shown frames
 */
function shift(studio, share) {
    const [start, stop] = studio.state.span;
    place(studio, start + Math.round(share * (stop - start)), stop - start);
}

/**
 * @param {Studio} studio
 * @param {number} start
 * @param {number} shown
 */
function place(studio, start, shown) {
    const from = Math.max(0, Math.min(studio.state.video.frames - shown, start));
    const [before, end] = studio.state.span;
    if (before !== from || end !== from + shown) studio.store.set({ span: [from, from + shown] });
}

/** @param {Studio} studio */
function keepInView(studio) {
    const { frame, span } = studio.state;
    const shown = span[1] - span[0];
    if (frame < span[0]) place(studio, frame - Math.floor(shown / 10), shown);
    else if (frame >= span[1]) place(studio, frame - Math.floor((9 * shown) / 10), shown);
}

/**
 * @param {Studio} studio
 * @param {HTMLElement} ruler
 */
function drawRuler(studio, ruler) {
    const { span, video, isVariable } = studio.state;
    const isTimed = video.kind === "video" && !isVariable;
    const fps = (isTimed && video.fps) || 1; // without a constant frame rate, the ruler counts frames
    const seconds = (span[1] - span[0]) / fps;
    const steps = isTimed ? STEPS : COUNTS;
    const every = steps.find((step) => seconds / step <= 12) ?? steps[steps.length - 1];
    const marks = [];
    for (let second = Math.ceil(span[0] / fps / every) * every; second * fps < span[1]; second += every) {
        const mark = h("span", {}, isTimed ? clock(second, 1).replace(/\.\d+$/, "") : String(second));
        mark.style.setProperty("--at", String((second * fps - span[0]) / (span[1] - span[0])));
        marks.push(mark);
    }
    ruler.replaceChildren(...marks);
}

/**
 * A mark over each frame with an unresolved comment.
 *
 * @param {Studio} studio
 * @param {HTMLElement} root
 */
function drawComments(studio, root) {
    const { comments, span } = studio.state;
    const inView = comments.filter(({ resolved, frame }) => !resolved && frame >= span[0] && frame < span[1]);
    const marks = inView.map(({ frame, person, text }) => {
        const mark = h("i", { class: "comment-mark", "data-frame": frame, title: `${person}: ${text}` });
        mark.style.setProperty("--at", String((frame + 0.5 - span[0]) / (span[1] - span[0])));
        return mark;
    });
    root.replaceChildren(...marks);
}

/**
 * @param {Studio} studio
 * @param {HTMLElement} mark
 */
function drawRange(studio, mark) {
    const { range, span } = studio.state;
    mark.hidden = !range;
    if (!range) return;
    const shown = span[1] - span[0];
    mark.style.setProperty("--from", String(Math.max(0, (range[0] - span[0]) / shown)));
    mark.style.setProperty("--to", String(Math.min(1, (range[1] - span[0]) / shown)));
}
