/** The selected object on this frame: its three candidates, its prompts, and its mask. */

import { copyMask, pasteMask } from "../lib/clipboard.js";
import { afterPaint, fill, h, icon } from "../lib/dom.js";
import { choose, clearHere } from "../lib/prompting.js";
import { decode } from "../lib/rle.js";
import { nameOf, promptHere, selected } from "../lib/state.js";
import { painted } from "../stage/paint.js";
import { FRESH } from "../stage/tools.js";

/** @import * as T from "../lib/types.js" */
/** @import { Studio } from "../lib/studio.js" */

const WIDTH = 84; // of a candidate's picture, in CSS pixels
const HEIGHT = 56;

/**
 * @param {Studio} studio
 * @param {HTMLElement} root
 */
export function mountFrame(studio, root) {
    /** @type {Map<string, HTMLCanvasElement>} */
    const drawn = new Map(); // pictures of the candidates that are shown, by colour and mask
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
    const { frame, object, candidates } = studio.state;
    const prompt = object === null ? null : promptHere(studio.state, object);
    const mask = object === null ? undefined : studio.masks.at(frame).get(object);
    root.hidden = object === null;
    const offers = candidates?.frame === frame && candidates.object === object ? candidates.list : null;
    fill(
        root,
        h(
            "header",
            { class: "panel-head" },
            h("h2", {}, `${nameOf(selected(studio.state), object ?? 0)} on frame ${frame}`),
        ),
        offers &&
            h(
                "div",
                { class: "candidates", role: "radiogroup", "aria-label": "Candidates" },
                ...offers.map((candidate) => offer(studio, candidate, drawn)),
            ),
        h(
            "p",
            { class: "prompt-text" },
            prompt ? describe(prompt) : mask ? "Tracked to this frame; no prompt here." : "No prompt yet.",
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
                "Paste a mask here: one copied before, or a black and white picture (Ctrl+V)",
                () => void pasteMask(studio),
            ),
        ),
    );
}

/**
 * @param {string} picture
 * @param {string} text
 * @param {string} title
 * @param {() => void} press
 * @param {boolean} [disabled]
 */
function action(picture, text, title, press, disabled = false) {
    return h(
        "button",
        { type: "button", class: "quiet", title, onclick: press, disabled },
        icon(picture),
        text,
    );
}

/** @param {T.Prompt} prompt */
function describe(prompt) {
    const parts = [];
    if (prompt.mask) parts.push("a mask");
    if (prompt.box) parts.push("a box");
    if (prompt.positive.length) parts.push(`${prompt.positive.length} positive`);
    if (prompt.negative.length) parts.push(`${prompt.negative.length} negative`);
    return `Prompt: ${parts.join(", ") || "none"}.`;
}

/**
 * @param {Studio} studio
 * @param {T.Candidate} candidate
 * @param {Map<string, HTMLCanvasElement>} drawn
 */
function offer(studio, candidate, drawn) {
    const color = selected(studio.state)?.color ?? FRESH;
    const key = `${color} ${candidate.counts}`;
    let canvas = drawn.get(key);
    if (!canvas) {
        canvas = h("canvas", { width: 2 * WIDTH, height: 2 * HEIGHT, "aria-hidden": "true" });
        drawn.set(key, canvas);
        drawOffer(studio, canvas, candidate, color);
    }
    return h(
        "button",
        {
            type: "button",
            class: "candidate",
            role: "radio",
            "aria-checked": String(Boolean(candidate.chosen)),
            "aria-label": `Candidate ${candidate.rank + 1}, predicted IoU ${candidate.iou.toFixed(2)}`,
            title: "Take this one (C: the next)",
            onclick: () => choose(studio, candidate.rank),
        },
        canvas,
        h("span", {}, candidate.iou.toFixed(2)),
    );
}

/**
 * @param {Studio} studio
 * @param {HTMLCanvasElement} canvas
 * @param {T.Candidate} candidate
 * @param {string} color
 */
function drawOffer(studio, canvas, candidate, color) {
    const { video, frame } = studio.state;
    afterPaint(() => {
        const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
        const scale = Math.max(canvas.width / video.width, canvas.height / video.height);
        context.setTransform(
            scale,
            0,
            0,
            scale,
            (canvas.width - scale * video.width) / 2,
            (canvas.height - scale * video.height) / 2,
        );
        const picture = studio.frames.get(frame);
        if (picture) context.drawImage(picture, 0, 0, video.width, video.height);
        const pixels = decode({ size: [video.height, video.width], counts: candidate.counts });
        context.drawImage(painted(pixels, video.width, [0, 0, video.width, video.height], color), 0, 0);
    });
}
