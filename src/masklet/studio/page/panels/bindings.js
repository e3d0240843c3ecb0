/** The keys and their actions. */

import { copyMask, pasteMask } from "../lib/clipboard.js";
import { copyToNextFrame } from "../lib/edits.js";
import * as go from "../lib/propagation.js";
import * as prompting from "../lib/prompting.js";
import { openComments } from "./comments.js";
import { openExport } from "./export.js";
import { chooseClass } from "./object-class.js";
import { renameSelected } from "./objects.js";
import { zoom } from "./timeline.js";

/** @import { Studio } from "../lib/studio.js" */
/** @import { ToolName } from "../lib/state.js" */
/** @import { Stage } from "../stage/stage.js" */

/** @typedef {{keys: string[], shown: string, does: string, runs: (() => void)[]}} Binding */

/**
 * @param {Studio} studio
 * @param {Stage} stage
 * @param {() => void} help  shows the sheet of keys
 * @returns {{title: string, keys: Binding[]}[]}
 */
export function bindings(studio, stage, help) {
    const { store } = studio;
    const tool = (/** @type {ToolName} */ name) => () => store.set({ tool: name });
    const brush = (/** @type {number} */ factor) => () =>
        store.set({ brush: Math.max(1, Math.min(300, Math.round(studio.state.brush * factor))) });
    const timeline = (/** @type {number} */ factor) => () => zoom(studio, factor, studio.state.frame);
    const ofSelected = (/** @type {(object: number) => void} */ run) => () => {
        if (studio.state.object !== null) run(studio.state.object);
    };
    const hide = (/** @type {number} */ object) => {
        const item = studio.state.video.objects.find((item) => item.id === object);
        if (item) void prompting.change(studio, object, { hidden: !item.hidden });
    };
    return [
        {
            title: "Point",
            keys: [
                key("p", "P", "plus: click, or drag a box; Shift edits the selected object inside other masks", tool("add")),
                key("n", "N", "minus: click (or right button, or Alt)", tool("remove")),
                key("b", "B", "box", tool("box")),
                key("d", "D", "brush", tool("brush")),
                key("e", "E", "eraser", tool("erase")),
                key("q", "Q", "lasso: draw around a part", tool("lasso")),
                key("w", "W", "polygon: click corners, Enter closes", tool("polygon")),
                key("x", "X", "everything: show all masks, click to keep one", () =>
                    void prompting.toggleEverything(studio),
                ),
                key("h", "H", "hand: move the image", tool("hand")),
                key(["[", "]"], "[ ]", "smaller, larger brush", brush(1 / 1.25), brush(1.25)),
                key("c", "C", "next of the three candidates", () => prompting.chooseNext(studio)),
                key("z", "Z", "edit masks: fill, drop, grow, shrink, smooth, merge, split", () => press(".edits-button")),
                key("shift+c", "Shift C", "copy the mask to the next frame", () => void copyToNextFrame(studio)),
                key("backspace", "Backspace", "clear the prompts on this frame", () => {
                    if (stage.outline.points.length) stage.outline.removeCorner();
                    else prompting.clearHere(studio);
                    stage.redrawOver();
                }),
                key("mod+c", "Ctrl C", "copy the mask", () => void copyMask(studio)),
                key("", "Ctrl V", "paste a mask, or a black and white image", () => void pasteMask(studio)),
                key("k", "K", "a cursor moved by arrow keys; Enter clicks, Alt Enter is a minus click", () =>
                    stage.input.toggleCross(),
                ),
            ],
        },
        {
            title: "Move",
            keys: [
                key(
                    ["arrowleft", "arrowright"],
                    "← →",
                    "one frame",
                    () => go.step(studio, -1),
                    () => go.step(studio, 1),
                ),
                key(
                    ["shift+arrowleft", "shift+arrowright"],
                    "Shift ← →",
                    "ten frames",
                    () => go.step(studio, -10),
                    () => go.step(studio, 10),
                ),
                key(
                    ["home", "end"],
                    "Home End",
                    "first, last frame",
                    () => go.seek(studio, 0),
                    () => go.seek(studio, studio.state.video.frames),
                ),
                key(
                    ["pageup", "pagedown"],
                    "Page ↑ ↓",
                    "previous, next prompted frame",
                    () => go.toPrompted(studio, -1),
                    () => go.toPrompted(studio, 1),
                ),
                key(
                    ["shift+pageup", "shift+pagedown"],
                    "Shift Page ↑ ↓",
                    "previous, next video of the project",
                    () => go.openNeighbour(studio, "previous"),
                    () => go.openNeighbour(studio, "next"),
                ),
                key(" ", "Space", "play, pause", () => go.togglePlay(studio)),
                key(
                    ["+", "-"],
                    "+ −",
                    "zoom (or the wheel)",
                    () => stage.move((view) => view.zoomBy(1.5)),
                    () => stage.move((view) => view.zoomBy(1 / 1.5)),
                ),
                key("=", "", "", () => stage.move((view) => view.zoomBy(1.5))),
                key("0", "0", "show the whole frame", () => stage.move((view) => view.fit())),
                key(
                    [",", "."],
                    ", .",
                    "zoom the timeline in, out",
                    timeline(0.5),
                    timeline(2),
                ),
                key(
                    ["i", "o"],
                    "I O",
                    "start, end of a range",
                    () => go.rangeFrom(studio),
                    () => go.rangeTo(studio),
                ),
                key("m", "M", "show or hide all masks", () => store.set({ masksHidden: !studio.state.masksHidden })),
            ],
        },
        {
            title: "Objects",
            keys: [
                key("a", "A", "new object", () => prompting.newObject(studio)),
                ...Array.from({ length: 9 }, (_, index) =>
                    key(String(index + 1), index ? "" : "1 – 9", "select an object", () => {
                        const item = studio.state.video.objects[index];
                        if (item) prompting.select(studio, item.id);
                    }),
                ),
                key("f2", "F2", "rename", () => renameSelected(studio)),
                key("v", "V", "hide or show", ofSelected(hide)),
                key(
                    "delete",
                    "Delete",
                    "delete the object",
                    ofSelected((object) => void prompting.remove(studio, object)),
                ),
                key("mod+z", "Ctrl Z", "undo", () => void prompting.undoOrRedo(studio, "undo")),
                key(["mod+shift+z", "mod+y"], "Ctrl Shift Z", "redo", () => void prompting.undoOrRedo(studio, "redo")),
            ],
        },
        {
            title: "Track and review",
            keys: [
                key("f", "F", "track forwards", () => go.propagate(studio, "forward")),
                key("shift+f", "Shift F", "track backwards", () => go.propagate(studio, "backward")),
                key("g", "G", "track both ways", () => go.propagate(studio, "both")),
                key(
                    ["l", "shift+l"],
                    "L Shift L",
                    "track from here to the end, or some frames",
                    () => go.propagateFromHere(studio, null),
                    () => go.propagateFromHere(studio, studio.state.stretch),
                ),
                key("u", "U", "track frames without a mask", () => go.propagateMissing(studio)),
                key("t", "T", "track changed and new objects", () => go.propagateAffected(studio)),
                key("s", "S", "stop, resume", () => void go.stopOrResume(studio)),
                key("r", "R", "mark the frame or range as reviewed", () => void go.toggleReviewed(studio)),
                key("j", "J", "next doubtful frame", () => void go.nextDoubtful(studio)),
                key(
                    "enter",
                    "Enter",
                    "accept, and go to the next doubtful frame (for an image: the next file)",
                    () => {
                        if (stage.outline.points.length) stage.outline.finish();
                        else void go.accept(studio);
                        stage.redrawOver();
                    },
                ),
                key("y", "Y", "comments", openComments),
                key("mod+e", "Ctrl E", "export", () => openExport(studio)),
                key("escape", "Esc", "clear the range; leave the cursor, everything, playback", () => escape(studio, stage)),
                key("?", "?", "this sheet", help),
            ],
        },
        ...(studio.state.project.classes.some((entry) => entry.key) ? [classKeys(studio)] : []),
    ];
}

/** @param {string} selector  of a button */
function press(selector) {
    const button = document.querySelector(selector);
    if (button instanceof HTMLButtonElement) button.click();
}

/**
 * The keys of the project's classes, which have priority over the studio's own keys.
 *
 * @param {Studio} studio
 */
function classKeys(studio) {
    const classes = studio.state.project.classes.filter((entry) => entry.key);
    return {
        title: "Classes of this project (they override other uses of a key)",
        keys: classes.map(({ key: letter, name }) =>
            key((letter ?? "").toLowerCase(), (letter ?? "").toUpperCase(), name, () => chooseClass(studio, name)),
        ),
    };
}

/**
 * One line of the sheet of keys. Each of several keys may have its own action.
 *
 * @param {string | string[]} keys
 * @param {string} shown
 * @param {string} does
 * @param {...(() => void)} runs
 * @returns {Binding}
 */
function key(keys, shown, does, ...runs) {
    return { keys: [keys].flat(), shown, does, runs };
}

/**
 * @param {Studio} studio
 * @param {Stage} stage
 */
function escape(studio, stage) {
    if (stage.input.cross) stage.input.toggleCross();
    stage.tool?.cancel();
    stage.redraw();
    studio.store.set({ range: null, playing: false, everything: null });
}
