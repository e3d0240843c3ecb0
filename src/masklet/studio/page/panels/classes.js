/** The sheet of a project's classes: names, colours, keys and attributes. */

import * as api from "../lib/api.js";
import { fill, h, icon, iconButton } from "../lib/dom.js";
import { openForm } from "./sheet.js";

/** @import * as T from "../lib/types.js" */

const COLORS = ["#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#42d4f4", "#f032e6", "#bfef45", "#469990"];
const EXAMPLE = "pose: standing, lying; note";

/**
 * Edit the classes of a project.
 *
 * @param {T.Project} project
 * @returns {Promise<T.Project>} the project with its new classes
 */
export async function openClasses(project) {
    const rows = h("ul", { class: "class-rows", "aria-label": "Classes" });
    rows.append(...project.classes.map(row));
    const addNew = () => {
        const count = rows.children.length;
        const key = count < 9 ? String(count + 1) : null;
        const added = row({ name: "", color: COLORS[count % COLORS.length], key });
        rows.append(added);
        /** @type {HTMLInputElement} */ (added.querySelector("[name=name]")).focus();
    };
    if (!project.classes.length) addNew();
    let changed = project;
    await openForm(
        {
            label: "Classes",
            yes: "Save classes",
            wide: true,
            apply: async () => {
                const classes = rowsOf(rows).map(readRow);
                try {
                    changed = await api.changeProject(project.id, { classes, seen: project.classes });
                } catch (error) {
                    changed = await api.project(project.id); // somebody else may have changed them
                    throw error;
                }
            },
        },
        h("h2", {}, "Classes"),
        h(
            "p",
            { class: "hint" },
            `A key assigns its class to the selected object, or to the next new one. Attributes describe an object further, for example “${EXAMPLE}”. Renaming a class renames it on its objects; removing a class does not change them.`,
        ),
        h(
            "div",
            { class: "class-row class-head", "aria-hidden": "true" },
            ...["", "Name", "Key", "Attributes, if any"].map((words) => h("span", {}, words)),
        ),
        rows,
        h(
            "button",
            { type: "button", class: "quiet", onclick: addNew },
            icon("plus"),
            "Add class",
        ),
    );
    return changed;
}

/** @param {HTMLElement} list */
function rowsOf(list) {
    return /** @type {HTMLElement[]} */ ([...list.children]);
}

/** @param {T.Class} entry */
function row(entry) {
    const item = h(
        "li",
        {
            class: "class-row",
            "data-was": entry.name || null,
            "data-attributes": JSON.stringify(entry.attributes ?? []),
        },
        h("input", { type: "color", class: "swatch", name: "color", value: entry.color, "aria-label": "Colour" }),
        h("input", {
            type: "text",
            class: "field",
            name: "name",
            value: entry.name,
            placeholder: "Name",
            "aria-label": "Name of the class",
            autofocus: true,
            maxlength: 100,
            pattern: ".*\\S.*",
            required: true,
        }),
        h("input", {
            type: "text",
            class: "field key-field",
            name: "key",
            value: entry.key ?? "",
            placeholder: "Key",
            "aria-label": "Key, a letter or digit",
            maxlength: 1,
            pattern: "[a-zA-Z0-9]",
        }),
        h("input", {
            type: "text",
            class: "field",
            name: "attributes",
            value: writeAttributes(entry.attributes ?? []),
            placeholder: "Attributes, if any",
            "aria-label": `Attributes, such as: ${EXAMPLE}`,
        }),
        iconButton("trash", "Remove this class", () => item.remove(), { class: "icon-button danger" }),
    );
    return item;
}

/**
 * @param {HTMLElement} row
 * @returns {T.ClassChange}
 */
function readRow(row) {
    const value = (/** @type {string} */ name) =>
        /** @type {HTMLInputElement} */ (row.querySelector(`[name=${name}]`)).value.trim();
    /** @type {T.ClassAttribute[]} */
    const before = JSON.parse(row.dataset.attributes ?? "[]");
    const isChanged = value("attributes") !== writeAttributes(before).trim();
    return {
        name: value("name"),
        color: value("color"),
        key: value("key").toLowerCase() || null,
        attributes: isChanged ? readAttributes(value("attributes")) : before, // splitting at commas would change values with commas
        was: row.dataset.was ?? null,
    };
}

/** @param {T.ClassAttribute[]} attributes */
function writeAttributes(attributes) {
    return attributes
        .map(({ name, values }) => (values?.length ? `${name}: ${values.join(", ")}` : name))
        .join("; ");
}

/**
 * @param {string} text
 * @returns {T.ClassAttribute[]}
 */
function readAttributes(text) {
    return text
        .split(";")
        .map((part) => {
            const [name, ...values] = part.split(":"); // a value may contain a colon
            return { name: name.trim(), values: values.join(":").split(",").map((value) => value.trim()).filter(Boolean) };
        })
        .filter(({ name }) => name);
}

/**
 * A button that opens the sheet of classes.
 *
 * @param {() => T.Project} project
 * @param {(project: T.Project) => void} changed
 */
export function classesButton(project, changed) {
    const words = () => (project().classes.length ? `Classes (${project().classes.length})` : "Classes");
    const text = h("span", {}, words());
    const press = async () => {
        changed(await openClasses(project()));
        fill(text, words());
    };
    return h(
        "button",
        { type: "button", class: "quiet", title: "Classes of objects", onclick: () => void press() },
        icon("tag"),
        text,
    );
}
