/** The export sheet: a format, all objects or one, progress, and the file. */

import * as api from "../lib/api.js";
import { byId, fill, h, icon, iconButton } from "../lib/dom.js";
import { nameOf, selected } from "../lib/state.js";
import { complain } from "../lib/toast.js";

/** @import * as T from "../lib/types.js" */
/** @import { Studio } from "../lib/studio.js" */

const GROUPS = [
    {
        title: "For training and labelling",
        formats: ["coco", "youtube-vis", "sa-v", "yolo", "cvat", "label-studio"],
    },
    { title: "Pictures", formats: ["palette", "objects", "cutout-png"] },
    { title: "Video", formats: ["overlay", "cutout-webm"] },
    { title: "For masklet", formats: ["script", "masklets"] },
];

/** @type {Record<string, string>} */
const ABOUT = {
    coco: "One JSON with every mask as RLE",
    "youtube-vis": "One JSON, a masklet an object",
    "sa-v": "One JSON, as SAM 2's own data set",
    yolo: "Polygons, one text file a frame",
    cvat: "XML, as CVAT imports it",
    "label-studio": "JSON, as Label Studio imports it",
    palette: "Label maps, as in DAVIS",
    objects: "Black and white, one for each object",
    "cutout-png": "Objects with transparency",
    overlay: "The video with masks painted in",
    "cutout-webm": "Objects with transparency",
    script: "What was said; makes the same masks again",
    masklets: "Masks with IoU, score and box",
};

/** @param {Studio} studio */
export function openExport(studio) {
    const sheet = /** @type {HTMLDialogElement} */ (byId("sheet"));
    const thing = selected(studio.state);
    const alone = h("input", { type: "checkbox", disabled: !thing || studio.state.video.objects.length < 2 });
    const list = h("div", { class: "formats" });
    fill(
        sheet,
        h(
            "header",
            {},
            h("h2", {}, "Export"),
            iconButton("close", "Close (Esc)", () => sheet.close()),
        ),
        studio.state.video.prompts.length
            ? null
            : h(
                  "p",
                  { class: "notice" },
                  "Nothing was said of any object yet, so there is little to export.",
              ),
        list,
        h(
            "footer",
            {},
            h("label", { class: "check" }, alone, `only ${thing ? nameOf(thing) : "the selected object"}`),
        ),
    );
    const known = new Map(studio.about.formats.map((format) => [format.id, format]));
    const rest = [...known.keys()].filter((id) => !GROUPS.some((group) => group.formats.includes(id)));
    const groups = rest.length ? [...GROUPS, { title: "More", formats: rest }] : GROUPS;
    for (const { title, formats } of groups) {
        const rows = formats.flatMap((id) => {
            const format = known.get(id);
            return format ? [row(studio, format, () => (alone.checked && thing ? [thing.id] : null))] : [];
        });
        if (rows.length) list.append(h("section", {}, h("h3", {}, title), ...rows));
    }
    sheet.setAttribute("aria-label", "Export");
    sheet.className = "sheet wide";
    sheet.showModal();
}

/**
 * @param {Studio} studio
 * @param {T.Format} format
 * @param {() => number[] | null} objects
 */
function row(studio, format, objects) {
    const state = h("span", { class: "export-state", role: "status" });
    const button = h(
        "button",
        { type: "button", class: "format", "data-format": format.id, onclick: () => void run() },
        h("span", { class: "format-title" }, format.title),
        h("span", { class: "format-about" }, ABOUT[format.id] ?? format.file),
        state,
        icon("download"),
    );
    const run = async () => {
        button.disabled = true;
        try {
            await made(studio, await api.newExport(studio.id, format.id, objects()), state);
        } catch (error) {
            fill(state, "failed");
            complain(error);
        }
        button.disabled = false;
    };
    return button;
}

/**
 * Wait for an export and take the file.
 *
 * @param {Studio} studio
 * @param {T.Export} work
 * @param {HTMLElement} state
 */
async function made(studio, work, state) {
    while (work.state === "waiting" || work.state === "running") {
        fill(state, work.total ? `${work.done} / ${work.total}` : "waiting");
        await new Promise((resolve) => setTimeout(resolve, 250));
        work = studio.state.exports[work.id] ?? work;
        if (work.state === "waiting" || work.state === "running") work = await api.exportState(work.id);
    }
    if (work.state === "failed") throw new Error(work.message ?? "The export failed.");
    fill(state, size(work.bytes));
    const link = h("a", { href: api.exportAddress(work.id), download: work.file });
    document.body.append(link);
    link.click();
    link.remove();
}

/** @param {number | null} bytes */
export function size(bytes) {
    if (bytes === null) return "";
    if (bytes < 1000) return `${bytes} B`;
    if (bytes < 1e6) return `${Math.round(bytes / 1000)} kB`;
    return bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}
