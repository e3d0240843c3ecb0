/** The keyboard: what each key does, and the sheet that says so. */

import { copyMask, pasteMask, pastePicture } from "../lib/clipboard.js";
import { byId, fill, h, iconButton } from "../lib/dom.js";
import * as go from "../lib/following.js";
import * as say from "../lib/prompting.js";
import { openExport } from "./export.js";
import { renameSelected } from "./objects.js";

/** @import { Studio } from "../lib/studio.js" */
/** @import { ToolName } from "../lib/state.js" */
/** @import { Stage } from "../stage/stage.js" */

/** @typedef {{keys: string[], shown: string, does: string, runs: (() => void)[]}} Binding */

/**
 * @param {Studio} studio
 * @param {Stage} stage
 * @returns {{title: string, bindings: Binding[]}[]}
 */
function groups(studio, stage) {
    const { store } = studio;
    const tool = (/** @type {ToolName} */ name) => () => store.set({ tool: name });
    const brush = (/** @type {number} */ factor) => () =>
        store.set({ brush: Math.max(1, Math.min(300, Math.round(studio.state.brush * factor))) });
    const ofSelected = (/** @type {(object: number) => void} */ run) => () => {
        if (studio.state.object !== null) run(studio.state.object);
    };
    const hide = (/** @type {number} */ object) => {
        const thing = studio.state.video.objects.find((each) => each.id === object);
        if (thing) void say.change(studio, object, { hidden: !thing.hidden });
    };
    return [
        {
            title: "Point",
            bindings: [
                key("p", "P", "plus clicks; a drag is a box", tool("add")),
                key("n", "N", "minus clicks (or right button, or Alt)", tool("remove")),
                key("b", "B", "box", tool("box")),
                key("d", "D", "brush", tool("brush")),
                key("e", "E", "eraser", tool("erase")),
                key("h", "H", "hand: move the picture", tool("hand")),
                key(["[", "]"], "[ ]", "smaller, larger brush", brush(1 / 1.25), brush(1.25)),
                key("c", "C", "next of the three candidates", () => say.chooseNext(studio)),
                key("backspace", "Backspace", "take back what was said here", () => say.clearHere(studio)),
                key("mod+c", "Ctrl C", "copy the mask", () => void copyMask(studio)),
                key("", "Ctrl V", "paste a mask, or a black and white picture", () => void pasteMask(studio)),
                key("k", "K", "a cross moved by arrow keys; Enter presses, Alt Enter is a minus", () =>
                    stage.input.toggleCross(),
                ),
            ],
        },
        {
            title: "Move",
            bindings: [
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
                key("m", "M", "show or hide all masks", () => store.set({ bare: !studio.state.bare })),
            ],
        },
        {
            title: "Objects",
            bindings: [
                key("a", "A", "new object", () => say.newObject(studio)),
                ...Array.from({ length: 9 }, (_, index) =>
                    key(String(index + 1), index ? "" : "1 – 9", "select an object", () => {
                        const thing = studio.state.video.objects[index];
                        if (thing) say.select(studio, thing.id);
                    }),
                ),
                key("f2", "F2", "rename", renameSelected),
                key("v", "V", "hide or show", ofSelected(hide)),
                key(
                    "delete",
                    "Delete",
                    "delete the object",
                    ofSelected((object) => void say.remove(studio, object)),
                ),
                key("mod+z", "Ctrl Z", "undo", () => void say.goBack(studio, "undo")),
                key(["mod+shift+z", "mod+y"], "Ctrl Shift Z", "redo", () => void say.goBack(studio, "redo")),
            ],
        },
        {
            title: "Follow and review",
            bindings: [
                key("f", "F", "follow forwards", () => go.follow(studio, "forward")),
                key("shift+f", "Shift F", "follow backwards", () => go.follow(studio, "backward")),
                key("g", "G", "follow both ways", () => go.follow(studio, "both")),
                key("t", "T", "follow again what was corrected", () => go.followAffected(studio)),
                key("s", "S", "stop, go on", () => void go.stopOrGoOn(studio)),
                key("r", "R", "mark the frame or range as reviewed", () => void go.toggleReviewed(studio)),
                key("j", "J", "next doubtful frame", () => void go.nextDoubtful(studio)),
                key(
                    "enter",
                    "Enter",
                    "accept, and go to the next doubtful frame",
                    () => void go.accept(studio),
                ),
                key("mod+e", "Ctrl E", "export", () => openExport(studio)),
                key("escape", "Esc", "leave a range, a cross, a play", () => escape(studio, stage)),
                key("?", "?", "this sheet", () => openHelp(studio, stage)),
            ],
        },
    ];
}

/**
 * One line of the sheet; several keys may have a deed each.
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
    studio.store.set({ range: null, playing: false });
}

/**
 * @param {Studio} studio
 * @param {Stage} stage
 * @param {AbortSignal} signal
 */
export function mountKeyboard(studio, stage, signal) {
    /** @type {Map<string, () => void>} */
    const deeds = new Map();
    for (const { bindings } of groups(studio, stage)) {
        for (const { keys, runs } of bindings) {
            keys.forEach((each, index) => deeds.set(each, runs[index] ?? runs[0]));
        }
    }
    window.addEventListener("keydown", (event) => pressed(event, stage, deeds), { signal });
    window.addEventListener(
        "paste",
        (event) => {
            if (typing(event.target)) return;
            const picture = [...(event.clipboardData?.files ?? [])].find((file) =>
                file.type.startsWith("image/"),
            );
            if (picture && !studio.copied) void pastePicture(studio, picture);
            else void pasteMask(studio);
        },
        { signal },
    );
}

/**
 * @param {KeyboardEvent} event
 * @param {Stage} stage
 * @param {Map<string, () => void>} deeds
 */
function pressed(event, stage, deeds) {
    if (document.querySelector("dialog[open]") || typing(event.target)) return;
    const name = event.key.toLowerCase();
    const onButton = event.target instanceof HTMLButtonElement || event.target instanceof HTMLAnchorElement;
    if (onButton && (name === "enter" || name === " ")) return;
    if (stage.input.cross && crossed(event, name, stage)) {
        event.preventDefault();
        return;
    }
    if (event.altKey) return;
    const letter = /^[a-z]$/.test(name) || name.length > 1;
    const full = `${event.ctrlKey || event.metaKey ? "mod+" : ""}${event.shiftKey && letter ? "shift+" : ""}${name}`;
    const deed = deeds.get(full);
    if (!deed) return;
    event.preventDefault();
    deed();
}

/**
 * @param {KeyboardEvent} event
 * @param {string} name
 * @param {Stage} stage
 */
function crossed(event, name, stage) {
    const far = event.shiftKey ? 1 : 12;
    if (name === "arrowleft") stage.input.moveCross(-far, 0);
    else if (name === "arrowright") stage.input.moveCross(far, 0);
    else if (name === "arrowup") stage.input.moveCross(0, -far);
    else if (name === "arrowdown") stage.input.moveCross(0, far);
    else if (name === "enter") stage.input.pressCross(event.altKey);
    else return false;
    return true;
}

/** @param {EventTarget | null} target */
function typing(target) {
    if (target instanceof HTMLInputElement)
        return !target.readOnly && !["checkbox", "range", "color", "button"].includes(target.type);
    return target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement;
}

/**
 * @param {Studio} studio
 * @param {Stage} stage
 */
export function openHelp(studio, stage) {
    const sheet = /** @type {HTMLDialogElement} */ (byId("sheet"));
    const parts = groups(studio, stage).map(({ title, bindings }) =>
        h(
            "section",
            {},
            h("h3", {}, title),
            h(
                "dl",
                {},
                ...bindings
                    .filter((each) => each.shown)
                    .flatMap(({ shown, does }) => [h("dt", {}, ...caps(shown)), h("dd", {}, does)]),
            ),
        ),
    );
    fill(
        sheet,
        h(
            "header",
            {},
            h("h2", {}, "Keys"),
            iconButton("close", "Close (Esc)", () => sheet.close()),
        ),
        h("div", { class: "keys" }, ...parts),
        h(
            "footer",
            {},
            h(
                "p",
                {},
                "Propose, check, correct, accept: click on an object, follow it, look where its strip turns warm, correct there, follow again.",
            ),
        ),
    );
    sheet.setAttribute("aria-label", "Keys");
    sheet.className = "sheet wide";
    sheet.showModal();
}

/** @param {string} shown */
function caps(shown) {
    return shown.split(" ").map((cap) => (cap === "–" ? cap : h("kbd", {}, cap)));
}
