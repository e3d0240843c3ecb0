/** The log of a project: who did what, newest first. */

import * as api from "../lib/api.js";
import { fill, h, icon } from "../lib/dom.js";
import { dateAndTime } from "../lib/state.js";
import { complain } from "../lib/toast.js";
import { openSheet } from "./sheet.js";

/** @import * as T from "../lib/types.js" */

/** @param {T.Project} project */
export function auditButton(project) {
    return h(
        "button",
        { type: "button", class: "quiet", title: "Who did what in this project", onclick: () => void openAudit(project) },
        icon("history"),
        "History",
    );
}

/** @param {T.Project} project */
async function openAudit(project) {
    let entries;
    try {
        ({ entries } = await api.audit(project.id));
    } catch (error) {
        complain(error);
        return;
    }
    const body = h("tbody", {});
    const people = [...new Set(entries.map((entry) => entry.person))].sort();
    const person = h(
        "select",
        { class: "field", "aria-label": "Person", onchange: () => show() },
        h("option", { value: "" }, "everybody"),
        ...people.map((name) => h("option", { value: name }, name)),
    );
    const show = () => {
        const rows = entries.filter((entry) => !person.value || entry.person === person.value).map(row);
        fill(body, ...(rows.length ? rows : [h("tr", {}, h("td", { colspan: 4, class: "hint" }, "No changes yet."))]));
    };
    show();
    const heads = ["When", "Who", "What", "File"].map((title) => h("th", { scope: "col" }, title));
    openSheet(
        "History",
        true,
        h("div", { class: "list-head" }, person),
        h("div", { class: "audit", tabindex: 0, role: "region", "aria-label": "Who did what" }, h("table", {}, h("thead", {}, h("tr", {}, ...heads)), body)),
    );
}

/** @param {T.AuditEntry} entry */
function row({ at, person, title, video, file }) {
    return h(
        "tr",
        {},
        h("td", {}, dateAndTime(at)),
        h("td", {}, person),
        h("td", {}, title),
        h("td", {}, video ? h("a", { href: `#video/${video}` }, file) : file),
    );
}
