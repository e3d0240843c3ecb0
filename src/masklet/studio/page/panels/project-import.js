/** The sheet that imports annotations of other tools for a project's videos. */

import * as api from "../lib/api.js";
import { byId, fill, h, icon, whileBusy } from "../lib/dom.js";
import { toast } from "../lib/toast.js";
import { formField, openSheet } from "./sheet.js";

/** @import * as T from "../lib/types.js" */

const ASK_AGAIN = 400; // milliseconds between requests for the state

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
        h("option", { value: "" }, "the matching one, if any"),
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
            "Annotations from COCO, YouTube-VIS, CVAT, YOLO or Label Studio, or a masklet script; several files in a zip. Add the videos and images first.",
        ),
        formField("File", file),
        formField("The video for annotations whose file is not in the project", video),
        h("div", { class: "button-row end" }, send),
        outcome,
    );
    let isChanged = false;
    form.addEventListener("submit", (event) => {
        event.preventDefault();
        void whileBusy(send, run);
    });
    const run = async () => {
        const [chosen] = file.files ?? [];
        if (!chosen) return;
        try {
            let work = await api.importFile(project.id, chosen, video.value || null);
            while (work.state === "waiting" || work.state === "running") {
                fill(outcome, h("p", {}, work.total ? `${work.done} of ${work.total}` : "Reading the file"));
                await new Promise((resolve) => setTimeout(resolve, ASK_AGAIN));
                work = await api.importState(project.id, work.id);
            }
            const lines = summary(work);
            fill(outcome, ...lines);
            isChanged = true;
            if (!form.isConnected) toast(outcome.innerText || "Imported.", { action: { label: "Show", press: changed } });
        } catch (error) {
            fill(outcome, h("p", { class: "bad-words" }, error instanceof Error ? error.message : String(error)));
        }
    };
    openSheet("Import", false, form);
    byId("sheet").addEventListener("close", () => isChanged && changed(), { once: true });
}

/**
 * A line for all entries that were skipped for the same reason.
 *
 * @param {T.Import["skipped"]} skipped
 */
function byReason(skipped) {
    /** @type {Map<string, T.Import["skipped"]>} */
    const groups = new Map();
    for (const entry of skipped) {
        const key = `${entry.file}: ${entry.reason}`;
        groups.set(key, [...(groups.get(key) ?? []), entry]);
    }
    return [...groups.values()].map((entries) => {
        const [{ file, entry, reason }] = entries;
        const more = entries.length > 1 ? ` and ${entries.length - 1} more` : "";
        const where = entry.startsWith(file) ? entry : `${file}, ${entry}`; // a text file is one entry
        return `${where}${more}: ${reason}`;
    });
}

/** @param {T.Import} work */
function summary(work) {
    if (work.state === "failed") return [h("p", { class: "bad-words" }, work.message ?? "The import failed.")];
    const count = (/** @type {number} */ number, /** @type {string} */ thing, plural = `${thing}s`) =>
        `${number} ${number === 1 ? thing : plural}`;
    const isEmpty = !work.masks && !work.boxes;
    const lines = [
        isEmpty
            ? ""
            : `${work.format}: ${count(work.masks, "mask")} and ${count(work.boxes, "box or click", "boxes or clicks")} in ${count(work.videos.length, "file")}.`,
        work.classes.length ? `New classes: ${work.classes.join(", ")}.` : "",
        ...work.notes,
    ];
    const rest = work.skipped_count - work.skipped.length;
    const nothing = work.skipped_count
        ? `${work.format}: nothing was imported.`
        : `${work.format}: there are no annotations in the file. Nothing was imported.`;
    return [
        isEmpty && h("p", { class: "bad-words" }, nothing),
        ...lines.filter(Boolean).map((line) => h("p", {}, icon("check"), h("span", {}, line))),
        work.skipped_count > 0 &&
            h(
                "details",
                { class: "skipped", open: isEmpty },
                h("summary", {}, `${count(work.skipped_count, "entry", "entries")} skipped`),
                h(
                    "ul",
                    {},
                    ...byReason(work.skipped).map((line) => h("li", {}, line)),
                    rest > 0 && h("li", {}, `and ${rest} more`),
                ),
            ),
    ];
}
