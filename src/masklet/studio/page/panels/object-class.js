/** The class and the attributes of the selected object, or the class of the next new object. */

import { fill, h, iconButton } from "../lib/dom.js";
import { change } from "../lib/prompting.js";
import { nameOf, selected } from "../lib/state.js";
import { focusStage } from "../stage/stage.js";
import { openClasses } from "./classes.js";

/** @import * as T from "../lib/types.js" */
/** @import { Studio } from "../lib/studio.js" */

const MANY = 8; // number of classes from which the list has a search field

/**
 * @param {Studio} studio
 * @param {HTMLElement} root
 */
export function mountObjectClass(studio, root) {
    studio.store.watch(["project", "video", "object", "label"], () => {
        if (root.contains(document.activeElement) && document.activeElement?.matches("input")) return;
        draw(studio, root);
    });
}

/**
 * Set the class of the selected object and of the next new one.
 *
 * @param {Studio} studio
 * @param {string} label  the name of the class; empty for none
 */
export function chooseClass(studio, label) {
    const { object } = studio.state;
    const item = selected(studio.state);
    const isBegun = object !== null && studio.begun.has(object); // its first prompt is unanswered
    if (object !== null && (item ? item.label !== label : isBegun)) void change(studio, object, { label });
    studio.store.set({ label });
}

/**
 * @param {Studio} studio
 * @param {HTMLElement} root
 */
function draw(studio, root) {
    const { project, label } = studio.state;
    const item = selected(studio.state);
    const current = (item ? item.label : label) ?? "";
    const focused = /** @type {HTMLElement | null} */ (document.activeElement)?.dataset.class;
    const chosen = project.classes.find((entry) => entry.name === current);
    fill(
        root,
        h(
            "header",
            { class: "panel-head" },
            h("h2", {}, item ? `Class of ${nameOf(item)}` : "Class of the next object"),
            project.classes.length
                ? iconButton("tag", "Edit classes", () => void edit(studio))
                : h("button", { type: "button", class: "link", onclick: () => void edit(studio) }, "Add classes"),
        ),
        ...(project.classes.length ? chips(studio, current) : []),
        item && chosen?.attributes?.length
            ? h("div", { class: "attributes" }, ...chosen.attributes.map((entry) => attribute(studio, item, entry)))
            : null,
    );
    const again = focused && root.querySelector(`[data-class="${CSS.escape(focused)}"]`);
    if (again instanceof HTMLElement) again.focus();
}

/**
 * The list of classes, with a search field if there are many.
 *
 * @param {Studio} studio
 * @param {string} current
 */
function chips(studio, current) {
    const { classes } = studio.state.project;
    const buttons = classes.map((entry) => chip(studio, entry, entry.name === current));
    const group = h("div", { class: "class-chips", role: "group", "aria-label": "Class" }, ...buttons);
    if (classes.length < MANY) return [group];
    const search = h("input", {
        type: "search",
        class: "field class-search",
        placeholder: "Search classes; Enter selects the first",
        "aria-label": "Search classes",
    });
    search.addEventListener("input", () => {
        const words = search.value.toLocaleLowerCase();
        classes.forEach(({ name }, at) => (buttons[at].hidden = !name.toLocaleLowerCase().includes(words)));
    });
    search.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== "Escape") return;
        event.stopPropagation();
        focusStage(); // the panel is not redrawn while the search field has the focus
        if (event.key === "Enter") buttons.find((button) => !button.hidden)?.click();
        else draw(studio, /** @type {HTMLElement} */ (group.parentElement));
    });
    return [search, group];
}

/** @param {Studio} studio */
async function edit(studio) {
    studio.store.set({ project: await openClasses(studio.state.project) });
}

/**
 * @param {Studio} studio
 * @param {T.Class} entry
 * @param {boolean} isChosen
 */
function chip(studio, entry, isChosen) {
    const button = h(
        "button",
        {
            type: "button",
            class: "class-chip",
            "data-class": entry.name,
            "aria-pressed": String(isChosen),
            title: isChosen ? "Remove the class" : "",
            onclick: () => chooseClass(studio, isChosen ? "" : entry.name),
        },
        h("i", { class: "dot" }),
        h("span", {}, entry.name),
        entry.key && h("kbd", {}, entry.key.toUpperCase()),
    );
    button.style.setProperty("--color", entry.color);
    return button;
}

/**
 * @param {Studio} studio
 * @param {T.Object} item
 * @param {T.ClassAttribute} entry
 */
function attribute(studio, item, { name, values }) {
    const value = item.attributes[name] ?? "";
    let { head } = studio.state.video; // the step at which the value was shown
    const set = (/** @type {string} */ chosen) => {
        // The panel is not redrawn while a field has the focus, so the value may have changed.
        const now = studio.state.video.objects.find(({ id }) => id === item.id)?.attributes[name] ?? "";
        if (chosen !== now) void change(studio, item.id, { attributes: { [name]: chosen } }, head);
        head = studio.state.video.head;
    };
    const options = values?.includes(value) || !value ? (values ?? []) : [value, ...(values ?? [])];
    const control = values?.length
        ? h(
              "select",
              { class: "field", onchange: () => set(/** @type {HTMLSelectElement} */ (control).value) },
              h("option", { value: "" }, "–"),
              ...options.map((option) => h("option", { value: option, selected: option === value }, option)),
          )
        : h("input", {
              type: "text",
              class: "field",
              value,
              maxlength: 200,
              onchange: () => set(/** @type {HTMLInputElement} */ (control).value.trim()),
          });
    return h("label", { class: "attribute" }, h("span", {}, name), control);
}
