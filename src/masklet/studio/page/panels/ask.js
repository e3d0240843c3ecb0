/** Small questions: a name, a yes or a no. */

import { byId, fill, h } from "../lib/dom.js";

/**
 * Show a form in the sheet and wait until it is sent or closed.
 *
 * @param {string} label
 * @param {string} yes
 * @param {string} kind  class of the button that confirms
 * @param {...import("../lib/dom.js").Child} inside
 * @returns {Promise<boolean>}
 */
function showForm(label, yes, kind, ...inside) {
    const sheet = /** @type {HTMLDialogElement} */ (byId("sheet"));
    const form = h(
        "form",
        { method: "dialog" },
        ...inside,
        h(
            "div",
            { class: "button-row end" },
            h("button", { type: "submit", value: "", class: "quiet", formnovalidate: true }, "Cancel"),
            h("button", { type: "submit", value: "yes", class: kind }, yes),
        ),
    );
    fill(sheet, form);
    sheet.setAttribute("aria-label", label);
    sheet.className = "sheet";
    sheet.returnValue = "";
    sheet.showModal();
    return new Promise((resolve) => {
        sheet.addEventListener("close", () => resolve(sheet.returnValue === "yes"), { once: true });
    });
}

/**
 * @param {string} question
 * @param {string} yes
 */
export function confirmed(question, yes) {
    return showForm(question, yes, "danger-button", h("p", {}, question));
}

/**
 * @param {string} label
 * @param {string} before
 * @returns {Promise<string | null>}
 */
export async function named(label, before) {
    const field = h("input", {
        type: "text",
        class: "field",
        value: before,
        maxlength: 100,
        required: true,
        autofocus: true,
    });
    // Enter presses a form's first button, which is Cancel: here it confirms
    field.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" || !field.value.trim()) return;
        event.preventDefault();
        /** @type {HTMLDialogElement} */ (byId("sheet")).close("yes");
    });
    const yes = await showForm(
        label,
        "Save",
        "primary",
        h("label", { class: "form-field" }, h("span", {}, label), field),
    );
    return yes && field.value.trim() ? field.value.trim() : null;
}
