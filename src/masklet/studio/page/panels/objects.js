/** The list of objects, with their confidence on this frame: select, rename, colour, hide, delete. */

import { arrange, fill, h, icon, iconButton } from "../lib/dom.js";
import { change, newObject, pick, remove, select } from "../lib/prompting.js";
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
    /** @type {Rows} */
    const rows = new Map();
    const next = nextRow();
    studio.store.watch(["video", "object", "frame", "masksVersion", "changedBy", "picked"], () => {
        if (
            list.contains(document.activeElement) &&
            document.activeElement?.matches("input.name:not(:read-only)")
        )
            return;
        draw(studio, list, rows, next);
        add.classList.toggle("active", studio.state.object === null && studio.state.video.objects.length > 0);
    });
}

/** @typedef {Map<number, {key: string, mask: T.Mask | undefined, element: HTMLElement}>} Rows  by object */

/**
 * Draw the rows that differ from those of before.
 *
 * @param {Studio} studio
 * @param {HTMLElement} list
 * @param {Rows} rows  the rows of before, which are replaced
 * @param {HTMLElement} next
 */
function draw(studio, list, rows, next) {
    const { video, frame, object, picked, changedBy } = studio.state;
    const focused = /** @type {HTMLElement | null} */ (document.activeElement)?.dataset.key;
    const masks = studio.masks.at(frame);
    const there = new Set(video.objects.map(({ id }) => id));
    for (const id of rows.keys()) if (!there.has(id)) rows.delete(id);
    const elements = video.objects.map((item) => {
        const isSelected = item.id === object;
        const mask = masks.get(item.id);
        const key = JSON.stringify([item, isSelected, picked.includes(item.id), changedBy[item.id]]);
        const before = rows.get(item.id);
        if (before?.key === key) {
            if (before.mask !== mask) before.element.querySelector(".sure")?.replaceWith(sureness(mask));
            before.mask = mask;
            return before.element;
        }
        const element = row(studio, item, mask, isSelected);
        rows.set(item.id, { key, mask, element });
        return element;
    });
    if (object === null || !video.objects.length) elements.push(next);
    arrange(list, ...elements);
    const again = focused && list.querySelector(`[data-key="${CSS.escape(focused)}"]`);
    if (again instanceof HTMLElement && again !== document.activeElement) again.focus();
}

/** The row of the next object, before its first prompt. */
function nextRow() {
    return h(
        "li",
        { class: "object selected fresh" },
        h("span", { class: "swatch" }),
        h("span", { class: "hint" }, "Click on an object, or draw a box around it"),
    );
}

/**
 * @param {Studio} studio
 * @param {T.Object} item
 * @param {T.Mask | undefined} mask
 * @param {boolean} isSelected
 */
function row(studio, item, mask, isSelected) {
    const name = nameOf(item);
    const isPicked = studio.state.picked.includes(item.id);
    const color = h("input", {
        type: "color",
        class: "swatch",
        value: item.color,
        "aria-label": `Colour of ${name}`,
        title: "Colour",
        "data-key": `color ${item.id}`,
        onchange: (/** @type {Event} */ event) => {
            void change(studio, item.id, { color: /** @type {HTMLInputElement} */ (event.target).value });
        },
    });
    return h(
        "li",
        {
            class: `object${isSelected ? " selected" : ""}${isPicked ? " picked" : ""}${item.hidden ? " hidden-object" : ""}`,
            "data-object": item.id,
        },
        color,
        nameField(studio, item, isSelected),
        studio.state.changedBy[item.id]
            ? h("span", { class: "changed-by", title: "changed this object just now" }, studio.state.changedBy[item.id])
            : null,
        sureness(mask),
        iconButton(
            item.hidden ? "eye-off" : "eye",
            item.hidden ? `Show ${name}` : `Hide ${name}`,
            () => void change(studio, item.id, { hidden: !item.hidden }),
            { "aria-pressed": String(item.hidden), "data-key": `eye ${item.id}` },
        ),
        iconButton("trash", `Delete ${name}`, () => void remove(studio, item.id), {
            class: "icon-button danger",
        }),
    );
}

/**
 * A field with an object's name: a click selects the object; a double click or F2 renames it.
 *
 * @param {Studio} studio
 * @param {T.Object} item
 * @param {boolean} isSelected
 */
function nameField(studio, item, isSelected) {
    const isPicked = studio.state.picked.includes(item.id);
    const field = h("input", {
        class: "name",
        value: nameOf(item),
        readonly: true,
        maxlength: 100,
        spellcheck: "false",
        "aria-label": `Object ${item.id}: ${nameOf(item)}${isSelected ? ", selected" : ""}${isPicked ? ", picked" : ""}`,
        title: `Select (${item.id}); Ctrl+click selects several for edits; double-click to rename`,
        "data-key": `name ${item.id}`,
    });
    const done = (/** @type {boolean} */ keep) => {
        if (field.readOnly) return;
        field.readOnly = true;
        const name = field.value.trim();
        const now = studio.state.video.objects.find(({ id }) => id === item.id) ?? item;
        if (keep && name && name !== item.name) void change(studio, item.id, { name }, Number(field.dataset.head));
        else field.value = nameOf(now);
    };
    const choose = (/** @type {MouseEvent | KeyboardEvent} */ event) =>
        event.ctrlKey || event.metaKey ? pick(studio, item.id) : select(studio, item.id);
    field.addEventListener("click", (event) => {
        if (!field.readOnly) return;
        // The first click redraws the row, so a dblclick event never arrives: use the click count.
        if (event.detail > 1 && !event.ctrlKey && !event.metaKey) edit(studio, field);
        else choose(event);
    });
    field.addEventListener("blur", () => done(true));
    field.addEventListener("keydown", (event) => {
        if (field.readOnly) {
            if (event.key === "Enter" || event.key === " ") {
                event.preventDefault();
                event.stopPropagation();
                choose(event);
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

/**
 * @param {Studio} studio
 * @param {HTMLInputElement} field
 */
function edit(studio, field) {
    field.dataset.head = String(studio.state.video.head); // somebody else may change the name during the edit
    field.readOnly = false;
    field.focus();
    field.select();
}

/**
 * Start renaming the selected object.
 *
 * @param {Studio} studio
 */
export function renameSelected(studio) {
    const field = document.querySelector(".object.selected input.name");
    if (field instanceof HTMLInputElement) edit(studio, field);
}

/** @param {T.Mask | undefined} mask */
function sureness(mask) {
    if (!mask) return h("span", { class: "sure none", title: "Not tracked to this frame" }, "–");
    if (!mask.box || mask.score <= 0) {
        return h("span", { class: "sure absent", title: "The model finds it absent on this frame" }, "absent");
    }
    const title = `Confidence: predicted IoU ${mask.iou.toFixed(2)}, object score ${mask.score.toFixed(1)}`;
    const value = h("span", { class: "sure", title }, mask.confidence.toFixed(2));
    value.style.setProperty("--tone", tone(mask.confidence));
    return value;
}
