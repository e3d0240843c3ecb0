/** Runs the actions of keys, and shows the sheet of keys. */

import { pasteMask } from "../lib/clipboard.js";
import { byId, h } from "../lib/dom.js";
import { focusStage } from "../stage/stage.js";
import { bindings } from "./bindings.js";
import { openSheet } from "./sheet.js";

/** @import { Studio } from "../lib/studio.js" */
/** @import { Stage } from "../stage/stage.js" */

/**
 * @param {Studio} studio
 * @param {Stage} stage
 * @param {AbortSignal} signal
 */
export function mountKeyboard(studio, stage, signal) {
    /** @type {Map<string, () => void>} */
    const actions = new Map();
    studio.store.watch(["project"], () => {
        actions.clear();
        for (const group of bindings(studio, stage, () => openHelp(studio, stage))) {
            for (const { keys, runs } of group.keys) {
                keys.forEach((key, index) => actions.set(key, runs[index] ?? runs[0]));
            }
        }
    });
    window.addEventListener(
        "keydown",
        (event) => {
            stage.input.wasMiddlePressed = false; // a paste after a key is intended
            pressed(event, stage, actions);
        },
        { signal },
    );
    window.addEventListener(
        "paste",
        (event) => {
            if (typing(event.target)) return;
            if (stage.input.wasMiddlePressed) return; // on Linux the middle button pastes, but here it pans
            const files = [...(event.clipboardData?.files ?? [])];
            void pasteMask(
                studio,
                files.find((file) => file.type.startsWith("image/")),
            );
        },
        { signal },
    );
}

/**
 * @param {KeyboardEvent} event
 * @param {Stage} stage
 * @param {Map<string, () => void>} actions
 */
function pressed(event, stage, actions) {
    if (document.querySelector("dialog[open], .menu:popover-open") || typing(event.target)) return;
    const name = event.key.toLowerCase();
    if (isForControl(event.target, name)) return;
    if (stage.input.cross && moveCross(event, name, stage)) {
        event.preventDefault();
        return;
    }
    if (event.altKey) return;
    const letter = /^[a-z]$/.test(name) || name.length > 1;
    const full = `${event.ctrlKey || event.metaKey ? "mod+" : ""}${event.shiftKey && letter ? "shift+" : ""}${name}`;
    const action = actions.get(full);
    if (!action) return;
    event.preventDefault();
    action();
    // After tracking, the Track button still has the focus, but Enter should accept the frame.
    if (event.target instanceof HTMLButtonElement && event.target.closest(".tracking")) focusStage();
}

/**
 * @param {KeyboardEvent} event
 * @param {string} name
 * @param {Stage} stage
 */
function moveCross(event, name, stage) {
    const far = event.shiftKey ? 1 : 12;
    if (name === "arrowleft") stage.input.moveCross(-far, 0);
    else if (name === "arrowright") stage.input.moveCross(far, 0);
    else if (name === "arrowup") stage.input.moveCross(0, -far);
    else if (name === "arrowdown") stage.input.moveCross(0, far);
    else if (name === "enter") stage.input.pressCross(event.altKey, event.shiftKey);
    else return false;
    return true;
}

/**
 * Whether a key does something to the control that has the focus.
 *
 * @param {EventTarget | null} target
 * @param {string} name
 */
function isForControl(target, name) {
    const presses = name === "enter" || name === " ";
    if (target instanceof HTMLButtonElement || target instanceof HTMLAnchorElement) return presses;
    if (!(target instanceof HTMLInputElement) || target.readOnly) return false;
    return presses || (target.type === "range" && name.startsWith("arrow"));
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
    const parts = bindings(studio, stage, () => sheet.close()).map(({ title, keys }) =>
        h(
            "section",
            {},
            h("h3", {}, title),
            h(
                "dl",
                {},
                ...keys
                    .filter((entry) => entry.shown)
                    .flatMap(({ shown, does }) => [h("dt", {}, ...caps(shown)), h("dd", {}, does)]),
            ),
        ),
    );
    openSheet(
        "Keys",
        true,
        h("div", { class: "keys" }, ...parts),
        h(
            "footer",
            {},
            h(
                "p",
                {},
                "Click on an object, track it, check the frames where its strip turns orange or red, correct them, and track again.",
            ),
        ),
    );
}

/** @param {string} shown */
function caps(shown) {
    return shown.split(" ").map((cap) => (cap === "–" ? cap : h("kbd", {}, cap)));
}
