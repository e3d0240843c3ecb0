/** The list of problems: objects that are lost, jump or overlap, and masks of low confidence. */

import * as api from "../lib/api.js";
import { fill, h } from "../lib/dom.js";
import { seek } from "../lib/propagation.js";
import { select } from "../lib/prompting.js";
import { menuButton, menuItem } from "./menu.js";
import { tone } from "./tone.js";

/** @import * as T from "../lib/types.js" */
/** @import { Studio } from "../lib/studio.js" */

const SHOWN = 100;

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
    try {
        const { problems } = await api.problems(studio.id);
        /** @type {HTMLElement[]} */
        const rows = problems.slice(0, SHOWN).map((problem) => row(studio, problem));
        if (problems.length > SHOWN) rows.push(h("p", { class: "hint" }, `and ${problems.length - SHOWN} more`));
        fill(list, h("h3", {}, rows.length ? "To check; not reviewed yet" : "No object is lost or doubtful, jumps, or overlaps another, except on reviewed frames."), ...rows);
    } catch (error) {
        fill(list, h("p", { class: "hint" }, error instanceof Error ? error.message : String(error)));
    }
}

/**
 * @param {Studio} studio
 * @param {T.Problem} problem
 */
function row(studio, { object, kind, start, value, message }) {
    const go = () => {
        select(studio, object);
        seek(studio, start);
    };
    const entry = menuItem(message, "", go, { "data-problem": kind });
    entry.style.setProperty("--tone", kind === "doubtful" ? tone(value) : kind === "lost" ? "var(--faint)" : "var(--bad)");
    return entry;
}
