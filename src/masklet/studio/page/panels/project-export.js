/** The sheet that exports a project as one data set: images, classes and masks, split into train and val. */

import * as api from "../lib/api.js";
import { fill, h, icon, whileBusy } from "../lib/dom.js";
import { changesSent } from "../lib/unsent.js";
import { exportNotes, takeFile } from "./export.js";
import { formField, openSheet } from "./sheet.js";

/** @import * as T from "../lib/types.js" */

/** @type {[T.NewProjectExport["format"], string][]} */
const FORMATS = [
    ["coco", "COCO: exact masks, for training"],
    ["yolo", "YOLO: outlines, for training"],
    ["cvat-images", "CVAT: exact masks, for further work there"],
    ["measures", "Measurements: one table of all masks"],
];

/** @param {T.Project} project */
export function projectExportButton(project) {
    return h(
        "button",
        {
            type: "button",
            class: "primary",
            title: "All files as one data set",
            disabled: !project.videos.some((video) => video.objects),
            onclick: () => openProjectExport(project),
        },
        icon("download"),
        "Export all",
    );
}

/** @param {T.Project} project */
function openProjectExport(project) {
    const format = h("select", { class: "field" }, ...FORMATS.map(([value, words]) => h("option", { value }, words)));
    const validation = h("input", { type: "number", class: "field", min: 0, max: 100, value: 20, required: true });
    const check = (/** @type {boolean} */ checked) => h("input", { type: "checkbox", checked });
    const [images, reviewed, hidden] = [check(true), check(false), check(false)];
    const state = h("span", { class: "export-state", role: "status" });
    const notes = h("div", { class: "export-notes", role: "status" });
    const busy = h("p", { class: "notice", role: "status", hidden: true });
    void warnOfTracking(project, busy);
    const share = formField("Approximate percentage of files for validation", validation);
    const withImages = h("label", { class: "check" }, images, "with the images");
    format.addEventListener("change", () => {
        share.hidden = withImages.hidden = format.value === "measures"; // a table has no images and no split
    });
    const send = h("button", { type: "submit", class: "primary" }, icon("download"), "Export");
    const form = h(
        "form",
        {},
        busy,
        formField("Format", format),
        share,
        h(
            "div",
            { class: "checks" },
            withImages,
            h("label", { class: "check" }, reviewed, "reviewed frames only"),
            h("label", { class: "check" }, hidden, "hidden objects too"),
        ),
        h("div", { class: "button-row end" }, state, send),
        notes,
    );
    form.addEventListener("submit", (event) => {
        event.preventDefault();
        void whileBusy(send, run);
    });
    const run = async () => {
        fill(notes);
        try {
            await changesSent();
            const work = await api.exportProject(project.id, {
                format: /** @type {T.NewProjectExport["format"]} */ (format.value),
                validation: Number(validation.value) / 100,
                images: images.checked,
                reviewed_only: reviewed.checked,
                hidden: hidden.checked,
            });
            const finished = await takeFile(work, state);
            fill(notes, ...exportNotes(finished));
        } catch (error) {
            fill(state, "failed");
            fill(notes, h("p", { class: "bad-words" }, error instanceof Error ? error.message : String(error)));
        }
    };
    openSheet("Export all", false, form);
}

/**
 * Name the files that are being tracked, because only their masks so far are exported.
 *
 * @param {T.Project} project
 * @param {HTMLElement} notice
 */
async function warnOfTracking(project, notice) {
    try {
        const { videos } = await api.project(project.id);
        const names = videos.filter(({ tracking }) => tracking !== null).map(({ name }) => name);
        notice.hidden = !names.length;
        const more = names.length > 2 ? ` and ${names.length - 2} more` : "";
        fill(notice, `Still being tracked: ${names.slice(0, 2).join(", ")}${more}. An export now contains the masks so far.`);
    } catch {
        // the export reports the error
    }
}
