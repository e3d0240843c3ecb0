/** A list of what to look at: where objects are lost, and where the model doubts. */

import * as api from "../lib/api.js";
import { fill, h } from "../lib/dom.js";
import { seek } from "../lib/propagation.js";
import { select } from "../lib/prompting.js";
import { nameOf } from "../lib/state.js";
import { menuButton, menuItem } from "./menu.js";
import { tone } from "./tone.js";

/** @import * as T from "../lib/types.js" */
/** @import { Studio } from "../lib/studio.js" */

const BINS = 4000; // the server counts no more
const DOUBT = 0.5; // confidence below it is doubtful
const SHOWN = 100;

/**
 * @typedef {object} Problem
 * @property {number} object
 * @property {"lost" | "doubtful"} kind
 * @property {number} start  first frame
 * @property {number} stop  just behind the last one
 * @property {number} confidence  the lowest
 */

/**
 * Stretches of frames that nobody has reviewed yet, in the order of the video.
 *
 * @param {T.Strips} strips
 * @returns {Problem[]}
 */
export function findProblems(strips) {
    const frameOf = (/** @type {number} */ bin) =>
        strips.start + Math.floor((bin * (strips.stop - strips.start)) / strips.bins);
    /** @type {Problem[]} */
    const problems = [];
    for (const { object, confidence, absent } of strips.objects) {
        /** @type {Problem | null} */
        let open = null;
        confidence.forEach((value, bin) => {
            const kind = value === null ? null : absent[bin] >= 0.5 ? "lost" : value < DOUBT ? "doubtful" : null;
            if (value === null || kind === null || strips.reviewed[bin] >= 1) {
                open = null;
            } else if (open?.kind === kind) {
                open.stop = frameOf(bin + 1);
                open.confidence = Math.min(open.confidence, value);
            } else {
                open = { object, kind, start: frameOf(bin), stop: frameOf(bin + 1), confidence: value };
                problems.push(open);
            }
        });
    }
    return problems.sort((one, other) => one.start - other.start || one.object - other.object);
}

/** @param {Studio} studio */
export function problemsMenu(studio) {
    return menuButton("list", "Problems", () => {
        const list = h("div", { class: "problems" }, h("p", { class: "hint" }, "Looking"));
        void load(studio, list);
        return [list];
    });
}

/**
 * @param {Studio} studio
 * @param {HTMLElement} list
 */
async function load(studio, list) {
    const { video } = studio.state;
    try {
        const strips = await api.strips(studio.id, [0, video.frames], Math.min(BINS, video.frames));
        const problems = findProblems(strips);
        /** @type {HTMLElement[]} */
        const rows = problems.slice(0, SHOWN).map((problem) => row(studio, problem));
        if (problems.length > SHOWN) rows.push(h("p", { class: "hint" }, `and ${problems.length - SHOWN} more`));
        fill(
            list,
            h("h3", {}, rows.length ? "Lost or doubtful, and not reviewed" : "Nothing is lost or doubtful."),
            ...rows,
        );
    } catch (error) {
        fill(list, h("p", { class: "hint" }, error instanceof Error ? error.message : String(error)));
    }
}

/**
 * @param {Studio} studio
 * @param {Problem} problem
 */
function row(studio, { object, kind, start, stop, confidence }) {
    const item = studio.state.video.objects.find((entry) => entry.id === object) ?? null;
    const frames = stop - start > 1 ? `${start}–${stop - 1}` : String(start);
    const words = kind === "lost" ? "lost" : `doubtful, ${confidence.toFixed(2)}`;
    const go = () => {
        select(studio, object);
        seek(studio, start);
    };
    const entry = menuItem(`${nameOf(item, object)}: ${words}`, "", go, { "data-problem": kind });
    entry.append(h("small", {}, frames));
    entry.style.setProperty("--tone", kind === "lost" ? "var(--faint)" : tone(confidence));
    return entry;
}
