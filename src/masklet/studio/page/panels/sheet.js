/** The sheet over the page: forms, questions for a name, and confirmations. */

import { byId, fill, h, iconButton } from "../lib/dom.js";

/** @import { Child } from "../lib/dom.js" */

const sheet = () => /** @type {HTMLDialogElement} */ (byId("sheet"));

/**
 * @param {string} title
 * @param {boolean} wide
 * @param {...Child} inside
 */
export function openSheet(title, wide, ...inside) {
    const close = iconButton("close", "Close (Esc)", () => sheet().close());
    fill(sheet(), h("header", {}, h("h2", {}, title), close), ...inside);
    show(title, wide);
}

/**
 * Show a form in the sheet and wait until it is submitted or closed.
 *
 * @param {object} form
 * @param {string} form.label
 * @param {string} form.yes  the label of the submit button
 * @param {string} [form.kind]  the CSS class of that button
 * @param {boolean} [form.wide]
 * @param {() => Promise<unknown>} [form.apply]  the action of the submit button; if it fails, the form stays open and shows the error
 * @param {...Child} inside
 * @returns {Promise<boolean>} whether the form was submitted
 */
export function openForm({ label, yes, kind = "primary", wide = false, apply }, ...inside) {
    const refusal = h("p", { class: "bad-words", role: "alert", hidden: true });
    const send = h("button", { type: "submit", class: kind }, yes);
    const cancel = h("button", { type: "button", class: "quiet", onclick: () => sheet().close() }, "Cancel");
    const form = h("form", {}, ...inside, refusal, h("div", { class: "button-row end" }, cancel, send));
    form.addEventListener("submit", async (event) => {
        event.preventDefault();
        send.disabled = true;
        try {
            await apply?.();
            sheet().close("yes");
        } catch (error) {
            refusal.hidden = false;
            fill(refusal, error instanceof Error ? error.message : String(error));
        }
        send.disabled = false;
    });
    fill(sheet(), form);
    show(label, wide);
    return new Promise((resolve) => {
        sheet().addEventListener("close", () => resolve(sheet().returnValue === "yes"), { once: true });
    });
}

/**
 * @param {string} question
 * @param {string} yes
 */
export function confirmed(question, yes) {
    return openForm({ label: question, yes, kind: "danger-button" }, h("p", {}, question));
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
        pattern: ".*\\S.*",
        required: true,
        autofocus: true,
    });
    const isSent = await openForm({ label, yes: "Save" }, formField(label, field));
    return isSent ? field.value.trim() : null;
}

/**
 * A control with its label above it.
 *
 * @param {string} label
 * @param {HTMLElement} control
 */
export function formField(label, control) {
    return h("label", { class: "form-field" }, h("span", {}, label), control);
}

/**
 * @param {string} label
 * @param {boolean} wide
 */
function show(label, wide) {
    const dialog = sheet();
    dialog.setAttribute("aria-label", label);
    dialog.className = wide ? "sheet wide" : "sheet";
    dialog.returnValue = "";
    dialog.showModal();
}
