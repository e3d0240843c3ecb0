/** The menu of edits of the selected objects: holes, islands, edges, smoothing over time, pieces. */

import { fill, h } from "../lib/dom.js";
import { copyToNextFrame, edit, editedObjects, merge } from "../lib/edits.js";
import { nameOf } from "../lib/state.js";
import { menuButton, menuItem } from "./menu.js";

/** @import * as T from "../lib/types.js" */
/** @import { Studio } from "../lib/studio.js" */
/** @import { EditScope } from "../lib/edits.js" */

/** Edits with a number: name, default, maximum and unit. If the default is missing, the studio chooses the number. */
const WITH_AMOUNT = /** @type {const} */ ([
    ["fill", "Fill holes", null, 1e9, "pixels at most"],
    ["drop", "Remove islands", null, 1e9, "pixels at most"],
    ["grow", "Grow", 2, 100, "pixels"],
    ["shrink", "Shrink", 2, 100, "pixels"],
    ["smooth", "Smooth over time", 2, 10, "frames on each side"],
]);

/** @param {Studio} studio */
export function editsMenu(studio) {
    return menuButton("edits", "Edit masks (Z)", () => contents(studio), "edits-button");
}

/** @param {Studio} studio */
function contents(studio) {
    const { state } = studio;
    const { video, range, object } = state;
    const objects = editedObjects(state);
    if (object === null || !objects.length) return [h("p", { class: "menu-hint" }, "Select an object first.")];
    const names = objects.map((id) => nameOf(video.objects.find((item) => item.id === id) ?? null, id));
    const scope = h(
        "select",
        { class: "field" },
        h("option", { value: "frame" }, "this frame"),
        range && h("option", { value: "range" }, `the range, ${range[0]}–${range[1] - 1}`),
        video.frames > 1 && h("option", { value: "all" }, "all frames"),
    );
    scope.value = range ? "range" : "frame";
    const run = (/** @type {T.NewEdit["operation"]} */ operation, /** @type {number | null} */ amount = null) =>
        void edit(studio, operation, /** @type {EditScope} */ (scope.value), amount);
    return [
        h("h3", {}, names.join(", ")),
        h("label", { class: "check" }, "on", scope),
        ...WITH_AMOUNT.map(([operation, name, first, most, unit]) => {
            const number = h("input", {
                type: "number",
                class: "frame-number",
                min: 1,
                max: most,
                value: first ?? "",
                placeholder: first === null ? "small" : "",
                title: first === null ? "The largest size, in pixels; by default 1 % of the mask" : "",
                "aria-label": `${name}: ${unit}`,
            });
            const amount = () => {
                const typed = Math.round(Number(number.value)) || first;
                return typed === null ? null : Math.max(1, Math.min(most, typed));
            };
            const short = unit.startsWith("pixels") ? "px" : "frames";
            return h("div", { class: "menu-row" }, menuItem(name, "", () => run(operation, amount())), number, h("small", {}, short));
        }),
        menuItem("Split pieces into objects", "", () => run("split")),
        video.frames > 1 && menuItem("Copy to the next frame", "Shift C", () => void copyToNextFrame(studio)),
        video.objects.length > 1 && mergeRow(studio, object, objects),
        h("p", { class: "menu-hint of-keys" }, "Ctrl+click on names selects several objects."),
    ];
}

/**
 * @param {Studio} studio
 * @param {number} object
 * @param {number[]} objects
 */
function mergeRow(studio, object, objects) {
    const { video } = studio.state;
    if (objects.length > 1) return menuItem("Merge them, on all frames", "", () => void merge(studio, objects.slice(1)));
    const others = video.objects.filter((item) => item.id !== object);
    const other = h("select", { class: "field", "aria-label": "Object to merge into this one" });
    fill(other, ...others.map((item) => h("option", { value: item.id }, nameOf(item))));
    return h("div", { class: "menu-row" }, menuItem("Merge, on all frames, with", "", () => void merge(studio, [Number(other.value)])), other);
}
