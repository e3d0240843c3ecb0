/** The list of objects: select, name, colour, hide, delete; and how sure the model is of each on this frame. */

import { fill, h, icon, iconButton } from "../lib/dom.js";
import { change, newObject, remove, select } from "../lib/prompting.js";
import { nameOf } from "../lib/state.js";
import { tone } from "./tone.js";

/** @import * as T from "../lib/types.js" */
/** @import { Studio } from "../lib/studio.js" */

/**
 * @param {Studio} studio
 * @param {HTMLElement} root
 */
export function mountObjects(studio, root) {
    const list = h("ul", { class: "objects", "aria-label": "Objects" });
    const add = h(
        "button",
        { type: "button", class: "quiet wide", onclick: () => newObject(studio), title: "New object (A)" },
        icon("plus"),
        "New object",
    );
    fill(root, h("header", { class: "panel-head" }, h("h2", {}, "Objects")), list, add);
    studio.store.watch(["video", "object", "frame", "masksVersion"], () => {
        if (
            list.contains(document.activeElement) &&
            document.activeElement?.matches("input.name:not(:read-only)")
        )
            return;
        draw(studio, list);
        add.classList.toggle("active", studio.state.object === null && studio.state.video.objects.length > 0);
    });
}

/**
 * @param {Studio} studio
 * @param {HTMLElement} list
 */
function draw(studio, list) {
    const { video, frame, object } = studio.state;
    const focused = /** @type {HTMLElement | null} */ (document.activeElement)?.dataset.key;
    const masks = studio.masks.at(frame);
    const rows = video.objects.map((thing) => row(studio, thing, masks.get(thing.id), thing.id === object));
    if (object === null || !video.objects.length) rows.push(fresh());
    fill(list, ...rows);
    const again = focused && list.querySelector(`[data-key="${CSS.escape(focused)}"]`);
    if (again instanceof HTMLElement) again.focus();
}

function fresh() {
    return h(
        "li",
        { class: "object selected fresh" },
        h("span", { class: "swatch" }),
        h("span", { class: "hint" }, "Click on something, or draw a box around it"),
    );
}

/**
 * @param {Studio} studio
 * @param {T.Object} thing
 * @param {T.Mask | undefined} mask
 * @param {boolean} isSelected
 */
function row(studio, thing, mask, isSelected) {
    const name = nameOf(thing);
    const color = h("input", {
        type: "color",
        class: "swatch",
        value: thing.color,
        "aria-label": `Colour of ${name}`,
        title: "Colour",
        "data-key": `color ${thing.id}`,
        onchange: (/** @type {Event} */ event) => {
            void change(studio, thing.id, { color: /** @type {HTMLInputElement} */ (event.target).value });
        },
    });
    return h(
        "li",
        {
            class: `object${isSelected ? " selected" : ""}${thing.hidden ? " hidden-object" : ""}`,
            "data-object": thing.id,
        },
        color,
        nameField(studio, thing, isSelected),
        sureness(mask),
        iconButton(
            thing.hidden ? "eye-off" : "eye",
            thing.hidden ? `Show ${name}` : `Hide ${name}`,
            () => void change(studio, thing.id, { hidden: !thing.hidden }),
            { "aria-pressed": String(thing.hidden), "data-key": `eye ${thing.id}` },
        ),
        iconButton("trash", `Delete ${name}`, () => void remove(studio, thing.id), {
            class: "icon-button danger",
        }),
    );
}

/**
 * Selects by a click; renames by a second one, or F2.
 *
 * @param {Studio} studio
 * @param {T.Object} thing
 * @param {boolean} isSelected
 */
function nameField(studio, thing, isSelected) {
    const field = h("input", {
        class: "name",
        value: nameOf(thing),
        readonly: true,
        maxlength: 100,
        spellcheck: "false",
        "aria-label": `Object ${thing.id}: ${nameOf(thing)}${isSelected ? ", selected" : ""}`,
        title: `Select (${thing.id}); double-click to rename`,
        "data-key": `name ${thing.id}`,
    });
    const done = (/** @type {boolean} */ keep) => {
        if (field.readOnly) return;
        field.readOnly = true;
        const name = field.value.trim();
        if (keep && name && name !== thing.name) void change(studio, thing.id, { name });
        else field.value = nameOf(thing);
    };
    field.addEventListener("click", () => field.readOnly && select(studio, thing.id));
    field.addEventListener("dblclick", () => edit(field));
    field.addEventListener("blur", () => done(true));
    field.addEventListener("keydown", (event) => {
        if (field.readOnly) {
            if (event.key === "Enter" || event.key === " ") {
                event.preventDefault();
                event.stopPropagation();
                select(studio, thing.id);
            }
            return;
        }
        event.stopPropagation();
        if (event.key === "Enter" || event.key === "Escape") {
            done(event.key === "Enter");
            field.blur();
        }
    });
    return field;
}

/** @param {HTMLInputElement} field */
function edit(field) {
    field.readOnly = false;
    field.focus();
    field.select();
}

/** Begin to rename the selected object. */
export function renameSelected() {
    const field = document.querySelector(".object.selected input.name");
    if (field instanceof HTMLInputElement) edit(field);
}

/** @param {T.Mask | undefined} mask */
function sureness(mask) {
    if (!mask) return h("span", { class: "sure none", title: "Not followed to this frame" }, "–");
    if (!mask.box || mask.score <= 0) {
        return h("span", { class: "sure absent", title: "Not in this frame, says the model" }, "absent");
    }
    const title = `Confidence: predicted IoU ${mask.iou.toFixed(2)}, object score ${mask.score.toFixed(1)}`;
    const value = h("span", { class: "sure", title }, mask.confidence.toFixed(2));
    value.style.setProperty("--tone", tone(mask.confidence));
    return value;
}
