/** The selected object on this frame: its three candidates, its prompts, and its mask. */

import { copyMask, pasteMask } from "../lib/clipboard.js";
import { afterPaint, fill, h, icon } from "../lib/dom.js";
import { choose, clearHere } from "../lib/prompting.js";
import { nameOf, promptHere, selected, within } from "../lib/state.js";
import { drawMask, OutlineCache } from "../stage/paint.js";
import { FRESH } from "../stage/tools.js";

/** @import * as T from "../lib/types.js" */
/** @import { Studio } from "../lib/studio.js" */

const WIDTH = 84; // width of a candidate's image, in CSS pixels
const HEIGHT = 56;
const FILL = 0.45; // opacity of a candidate's mask
const MARGIN = 1.3; // shown area around the masks, relative to their box

/**
 * @param {Studio} studio
 * @param {HTMLElement} root
 */
export function mountFrame(studio, root) {
    /** @type {Map<string, HTMLCanvasElement>} */
    const drawn = new Map(); // drawn images of the shown candidates, by colour and mask
    studio.store.watch(["candidates"], () => studio.state.candidates ?? drawn.clear());
    studio.store.watch(["video", "object", "frame", "candidates", "masksVersion"], () =>
        draw(studio, root, drawn),
    );
}

/**
 * @param {Studio} studio
 * @param {HTMLElement} root
 * @param {Map<string, HTMLCanvasElement>} drawn
 */
function draw(studio, root, drawn) {
    const { frame, object, candidates, video } = studio.state;
    const prompt = object === null ? null : promptHere(studio.state, object);
    const mask = object === null ? undefined : studio.masks.at(frame).get(object);
    const name = nameOf(selected(studio.state), object ?? 0);
    root.hidden = object === null;
    const offers = candidates?.frame === frame && candidates.object === object ? candidates.list : null;
    fill(
        root,
        h(
            "header",
            { class: "panel-head" },
            h("h2", {}, video.frames > 1 ? `${name} on frame ${frame}` : name),
        ),
        offers &&
            h(
                "div",
                { class: "candidates", role: "radiogroup", "aria-label": "Candidates" },
                ...offers.map((candidate) => candidateButton(studio, candidate, cropOf(studio, offers), drawn)),
            ),
        h(
            "p",
            { class: "prompt-text" },
            prompt ? describe(prompt) : mask ? "Tracked to this frame; no prompt here." : "No prompt yet.",
        ),
        within(video.reviewed, frame) &&
            h(
                "p",
                { class: "reviewed-note" },
                icon("check"),
                "Reviewed: tracking does not change this mask.",
            ),
        h(
            "div",
            { class: "button-row" },
            action(
                "clear",
                "Clear",
                "Clear the prompts on this frame (Backspace)",
                () => clearHere(studio),
                !prompt,
            ),
            action("copy", "Copy", "Copy this mask (Ctrl+C)", () => void copyMask(studio), !mask?.box),
            action(
                "paste",
                "Paste",
                "Paste a copied mask or a black and white image here (Ctrl+V)",
                () => void pasteMask(studio),
            ),
        ),
    );
}

/**
 * @param {string} iconName
 * @param {string} text
 * @param {string} title
 * @param {() => void} press
 * @param {boolean} [disabled]
 */
function action(iconName, text, title, press, disabled = false) {
    return h(
        "button",
        { type: "button", class: "quiet", title, onclick: press, disabled },
        icon(iconName),
        text,
    );
}

/** @param {T.Prompt} prompt */
function describe(prompt) {
    const parts = [];
    if (prompt.mask && prompt.rank === null) parts.push("a mask");
    if (prompt.box) parts.push("a box");
    if (prompt.positive.length) parts.push(`${prompt.positive.length} positive`);
    if (prompt.negative.length) parts.push(`${prompt.negative.length} negative`);
    if (prompt.rank !== null) parts.push(`candidate ${prompt.rank + 1}`);
    return `Prompt: ${parts.join(", ") || "none"}.`;
}

/**
 * @param {Studio} studio
 * @param {T.Candidate} candidate
 * @param {T.Box} crop
 * @param {Map<string, HTMLCanvasElement>} drawn
 */
function candidateButton(studio, candidate, crop, drawn) {
    const color = selected(studio.state)?.color ?? FRESH;
    const key = `${color} ${candidate.counts}`;
    let canvas = drawn.get(key);
    if (!canvas) {
        canvas = h("canvas", { width: 2 * WIDTH, height: 2 * HEIGHT, "aria-hidden": "true" });
        drawn.set(key, canvas);
        drawCandidate(studio, canvas, candidate, color, crop);
    }
    return h(
        "button",
        {
            type: "button",
            class: "candidate",
            role: "radio",
            "aria-checked": String(Boolean(candidate.chosen)),
            "aria-label": `Candidate ${candidate.rank + 1}, predicted IoU ${candidate.iou.toFixed(2)}`,
            title: "Use this one (C: the next)",
            onclick: () => choose(studio, candidate.rank),
        },
        canvas,
        h("span", {}, candidate.iou.toFixed(2)),
    );
}

/**
 * The part of the frame that thumbnails show: all candidates with a margin, so that they can be compared.
 *
 * @param {Studio} studio
 * @param {T.Candidate[]} list
 * @returns {T.Box}
 */
function cropOf({ state: { video } }, list) {
    const boxes = list.map(({ box }) => box).filter((box) => box !== null);
    if (!boxes.length) return [0, 0, video.width, video.height];
    const left = Math.min(...boxes.map((box) => box[0]));
    const top = Math.min(...boxes.map((box) => box[1]));
    const right = Math.max(...boxes.map((box) => box[2]));
    const bottom = Math.max(...boxes.map((box) => box[3]));
    const shape = WIDTH / HEIGHT;
    const width = Math.max(24, MARGIN * Math.max(right - left, shape * (bottom - top)));
    const [x, y] = [(left + right) / 2, (top + bottom) / 2];
    return [x - width / 2, y - width / shape / 2, x + width / 2, y + width / shape / 2];
}

/**
 * @param {Studio} studio
 * @param {HTMLCanvasElement} canvas
 * @param {T.Candidate} candidate
 * @param {string} color
 * @param {T.Box} crop
 */
function drawCandidate(studio, canvas, candidate, color, [left, top, right, bottom]) {
    const { video, frame } = studio.state;
    afterPaint(() => {
        const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
        const scale = Math.min(canvas.width / (right - left), canvas.height / (bottom - top));
        context.setTransform(scale, 0, 0, scale, -left * scale, -top * scale);
        const image = studio.frames.get(frame) ?? studio.frames.preview(frame);
        if (image) context.drawImage(image, 0, 0, video.width, video.height);
        const { box } = candidate;
        if (!box) return;
        const outlines = new OutlineCache(video.width, video.height);
        drawMask(context, outlines.trace(candidate.counts, box), color, { opacity: FILL, scale: scale / 2 });
    });
}
