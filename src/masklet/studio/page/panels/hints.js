/** What a click or a key does now: one line under the stage, for those who do not know it yet. */

import { fill, h, iconButton } from "../lib/dom.js";
import { isPropagating, nameOf, promptHere, selected } from "../lib/state.js";

/** @import { Studio } from "../lib/studio.js" */
/** @import { State } from "../lib/state.js" */

/** @typedef {[string, string]} Hint  what to press, and what it does */

const HIDDEN_KEY = "masklet-hints-hidden";

/**
 * @param {Studio} studio
 * @param {HTMLElement} root
 */
export function mountHints(studio, root) {
    const list = h("ul", { "aria-label": "What a click or a key does now" });
    const hide = () => {
        localStorage.setItem(HIDDEN_KEY, "yes");
        root.hidden = true;
    };
    fill(root, list, iconButton("close", "Hide these hints; ? shows all keys", hide));
    root.hidden = localStorage.getItem(HIDDEN_KEY) === "yes";
    const isTouch = matchMedia("(pointer: coarse)").matches;
    let shown = "";
    studio.store.watch(
        ["video", "object", "frame", "tool", "candidates", "masksVersion", "everything", "propagation"],
        () => {
            const hints = hintsOf(studio, isTouch);
            if (JSON.stringify(hints) === shown) return;
            shown = JSON.stringify(hints);
            fill(list, ...hints.map(([key, words]) => h("li", {}, h("kbd", {}, key), words)));
        },
    );
}

/**
 * @param {Studio} studio
 * @param {boolean} isTouch
 * @returns {Hint[]}
 */
function hintsOf(studio, isTouch) {
    const { state } = studio;
    const { tool, everything, frame, object } = state;
    const onwards = object === null ? [] : goingOn(state);
    const name = nameOf(selected(state), object ?? 0);
    if (everything?.frame === frame) return [["Click", "keeps a mask as an object"], ["Esc", "ends"]];
    if (tool === "hand") return [["Drag", "moves the picture"], ["P", "back to pointing"]];
    if (tool === "brush" || tool === "erase" || tool === "lasso") {
        const verb = tool === "erase" ? "takes away from" : "adds to";
        return [["Drag", `${verb} ${object === null ? "a new object" : name}`], ["P", "back to pointing"], ...onwards];
    }
    if (tool === "polygon") return [["Click", "sets a corner"], ["Enter", "closes the outline"], ["P", "back to pointing"]];
    if (object === null) {
        const all = /** @type {Hint} */ (["X", "finds everything, to choose from"]);
        return [["Click", "makes a mask of what is there"], ["Drag", "a box around it"], ...(isTouch ? [] : [all])];
    }
    return [...correcting(studio, name, isTouch), ...onwards];
}

/**
 * @param {Studio} studio
 * @param {string} name
 * @param {boolean} isTouch
 * @returns {Hint[]}
 */
function correcting({ state, masks }, name, isTouch) {
    const { frame, object, candidates } = state;
    const hasMask = Boolean(masks.at(frame).get(object ?? 0)?.box);
    if (!hasMask && !promptHere(state, object ?? 0)) return [["Click", `where ${name} is on this frame`], ["A", "another object"]];
    const minus = isTouch ? "Minus tool" : "Right click";
    return [
        ["Click", `adds to ${name}`],
        [minus, "takes away"],
        ...(candidates ? [/** @type {Hint} */ (["C", "another candidate"])] : []),
        ["A", "another object"],
    ];
}

/**
 * @param {State} state
 * @returns {Hint[]}
 */
function goingOn(state) {
    const { video } = state;
    if (video.frames < 2) return [["Enter", "it is right: next file"]];
    if (isPropagating(state)) return [["S", "stops tracking"]];
    const isTracked = Object.values(video.tracked).flat().some(([start, stop]) => stop - start > 1);
    if (!isTracked) return [["F", "tracks it through the video"]];
    if (video.affected) return [["T", "tracks what was corrected"]];
    return [["J", "most doubtful frame"], ["Enter", "it is right: next doubtful"]];
}
