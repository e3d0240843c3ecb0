/** Hints: a line under the stage that shows what clicks and keys do now. */

import { fill, h, icon, iconButton } from "../lib/dom.js";
import { isPropagating, nameOf, promptHere, selected } from "../lib/state.js";

/** @import { Studio } from "../lib/studio.js" */
/** @import { State } from "../lib/state.js" */

/** @typedef {[string, string]} Hint  what to press, and what it does */

const HIDDEN_KEY = "masklet-hints-hidden";
const LONGEST_NAME = 20; // maximum length of an object's name in a hint

/** Icons of the buttons that replace keys on touch screens. @type {Record<string, string>} */
const BUTTONS = {
    P: "point-plus",
    A: "plus",
    F: "track",
    T: "again",
    J: "doubt",
    S: "stop",
    X: "everything",
    Minus: "point-minus",
    Next: "next",
};

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
            fill(list, ...hints.map(([key, words]) => h("li", {}, pressed(key, isTouch), h("span", {}, words))));
        },
    );
}

/**
 * A key, or on a touch screen the button with the same action.
 *
 * @param {string} key
 * @param {boolean} isTouch
 */
function pressed(key, isTouch) {
    if (isTouch && BUTTONS[key]) return h("kbd", {}, icon(BUTTONS[key]));
    return h("kbd", {}, isTouch && key === "Click" ? "Tap" : key);
}

/**
 * @param {Studio} studio
 * @param {boolean} isTouch
 * @returns {Hint[]}
 */
function hintsOf(studio, isTouch) {
    const { state } = studio;
    const { tool, everything, frame, object } = state;
    const onwards = object === null ? [] : goingOn(state, isTouch);
    const name = shortName(nameOf(selected(state), object ?? 0));
    if (everything?.frame === frame) return [["Click", "keeps a mask as an object"], [isTouch ? "X" : "Esc", "ends"]];
    if (tool === "hand") return [["Drag", "moves the image"], ["P", "back to pointing"]];
    if (tool === "brush" || tool === "erase" || tool === "lasso") {
        const verb = tool === "erase" ? "removes from" : "adds to";
        return [["Drag", `${verb} ${object === null ? "a new object" : name}`], ["P", "back to pointing"], ...onwards];
    }
    if (tool === "polygon") {
        const close = /** @type {Hint} */ (isTouch ? ["Tap", "on the first corner closes the outline"] : ["Enter", "closes the outline"]);
        return [["Click", "sets a corner"], close, ["P", "back to pointing"]];
    }
    if (object === null) {
        const makes = isTouch ? "makes a mask" : "makes a mask of the object"; // short, because a phone has only two lines
        return [["Click", makes], ["Drag", "a box around it"], ["X", "finds everything, to choose from"]];
    }
    return [...correcting(studio, name, isTouch), ...onwards];
}

/** @param {string} name */
function shortName(name) {
    return name.length > LONGEST_NAME ? `${name.slice(0, LONGEST_NAME - 1)}…` : name;
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
    const next = candidates && !isTouch ? [/** @type {Hint} */ (["C", "another candidate"])] : [];
    return [
        ["Click", `adds to ${name}`],
        [isTouch ? "Minus" : "Right click", "takes away"],
        ...next,
        ["A", "another object"],
    ];
}

/**
 * @param {State} state
 * @param {boolean} isTouch
 * @returns {Hint[]}
 */
function goingOn(state, isTouch) {
    const { video } = state;
    if (video.frames < 2) return [[isTouch ? "Next" : "Enter", "accept: next file"]];
    if (isPropagating(state)) return [["S", "stops tracking"]];
    const isTracked = Object.values(video.tracked).flat().some(([start, stop]) => stop - start > 1);
    if (!isTracked) return [["F", "tracks it through the video"]];
    if (video.affected) return [["T", "tracks the changes"]];
    return [["J", "most doubtful frame"], ...(isTouch ? [] : [/** @type {Hint} */ (["Enter", "accept: next doubtful"])])];
}
