/** The sheet that adds annotations of another tool to a project's videos. */

import * as api from "../lib/api.js";
import { byId, fill, h, icon } from "../lib/dom.js";
import { formField, openSheet } from "./sheet.js";

/** @import * as T from "../lib/types.js" */

const ASK_AGAIN = 400; // milliseconds
const SHOWN = 100; // entries that were not taken

/**
 * @param {T.Project} project
 * @param {() => void} changed  called after the sheet is closed, if something was imported
 */
export function projectImportButton(project, changed) {
    return h(
        "button",
        {
            type: "button",
            class: "quiet",
            title: "Annotations from COCO, CVAT, YOLO or Label Studio",
            onclick: () => openProjectImport(project, changed),
        },
        icon("upload"),
        "Import",
    );
}

/**
 * @param {T.Project} project
 * @param {() => void} changed  called after the sheet is closed, if something was imported
 */
function openProjectImport(project, changed) {
    const file = h("input", { type: "file", class: "field file-field", accept: ".json,.xml,.zip,.txt", required: true });
    const video = h(
        "select",
        { class: "field" },
        h("option", { value: "" }, "the one that fits, if any"),
        ...project.videos.map((entry) => h("option", { value: entry.id }, entry.name)),
    );
    const outcome = h("div", { class: "export-notes", role: "status" });
    const send = h("button", { type: "submit", class: "primary" }, icon("upload"), "Import");
    const form = h(
        "form",
        {},
        h(
            "p",
            { class: "hint" },
            "Annotations of COCO, YouTube-VIS, CVAT, YOLO and Label Studio, or masklet's script; also several in a zip. Add the videos and pictures first.",
        ),
        formField("File", file),
        formField("Where annotations go whose file is not in the project", video),
        h("div", { class: "button-row end" }, send),
        outcome,
    );
    let isChanged = false;
    form.addEventListener("submit", async (event) => {
        event.preventDefault();
        const [chosen] = file.files ?? [];
        if (!chosen) return;
        send.disabled = true;
        try {
            let work = await api.importFile(project.id, chosen, video.value || null);
            while (work.state === "waiting" || work.state === "running") {
                fill(outcome, h("p", {}, work.total ? `${work.done} of ${work.total}` : "Reading the file"));
                await new Promise((resolve) => setTimeout(resolve, ASK_AGAIN));
                work = await api.importState(project.id, work.id);
            }
            fill(outcome, ...summary(work));
            isChanged = true;
        } catch (error) {
            fill(outcome, h("p", { class: "bad-words" }, error instanceof Error ? error.message : String(error)));
        }
        send.disabled = false;
    });
    openSheet("Import", false, form);
    byId("sheet").addEventListener("close", () => isChanged && changed(), { once: true });
}

/** @param {T.Import} work */
function summary(work) {
    if (work.state === "failed") return [h("p", { class: "bad-words" }, work.message ?? "The import failed.")];
    const count = (/** @type {number} */ number, /** @type {string} */ thing, plural = `${thing}s`) =>
        `${number} ${number === 1 ? thing : plural}`;
    const lines = [
        `${work.format}: ${count(work.masks, "mask")} and ${count(work.boxes, "box", "boxes")} in ${count(work.videos.length, "video")}.`,
        work.classes.length ? `New classes: ${work.classes.join(", ")}.` : "",
        ...work.notes,
    ];
    const rest = work.skipped_count - SHOWN;
    return [
        ...lines.filter(Boolean).map((line) => h("p", {}, icon("check"), h("span", {}, line))),
        work.skipped_count > 0 &&
            h(
                "details",
                { class: "skipped" },
                h("summary", {}, `${count(work.skipped_count, "entry", "entries")} not taken`),
                h(
                    "ul",
                    {},
                    ...work.skipped.slice(0, SHOWN).map(({ file, entry, reason }) => h("li", {}, `${file}, ${entry}: ${reason}`)),
                    rest > 0 && h("li", {}, `and ${rest} more`),
                ),
            ),
    ];
}
