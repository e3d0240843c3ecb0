/** The export sheet: a format, all objects or one, progress, and the file. */

import * as api from "../lib/api.js";
import { byId, fill, h, icon, iconButton } from "../lib/dom.js";
import { nameOf, selected } from "../lib/state.js";
import { complain } from "../lib/toast.js";

/** @import * as T from "../lib/types.js" */
/** @import { Studio } from "../lib/studio.js" */

/** Names and descriptions of formats, in the order of the sheet; formats that only the server lists come last. */
const GROUPS = [
    {
        title: "For training",
        formats: {
            coco: ["COCO", "One JSON with every mask as RLE"],
            "youtube-vis": ["YouTube-VIS", "One JSON, a masklet for each object"],
            "sa-v": ["SA-V", "One JSON, as SAM 2's own data set"],
            yolo: ["YOLO segmentation", "Polygons, one text file a frame"],
            polygons: ["Polygons", "With holes, one JSON"],
        },
    },
    {
        title: "For labelling tools",
        formats: {
            cvat: ["CVAT, tracks", "Polygons that CVAT imports as tracks"],
            "cvat-images": ["CVAT, masks", "Exact masks, frame by frame"],
            "label-studio": ["Label Studio, brushes", "Exact masks of the frames"],
            "label-studio-video": ["Label Studio, video", "Boxes over time"],
        },
    },
    {
        title: "Pictures",
        formats: {
            palette: ["Label maps", "Palette PNG, as in DAVIS"],
            objects: ["PNG for each object", "Black and white"],
            tiff: ["TIFF for ImageJ", "A label map on each page"],
            "ome-tiff": ["OME-TIFF", "The same, with OME's axes"],
            "cutout-png": ["Cut-outs", "PNG with transparency"],
            frames: ["Frames", "The video's own pictures"],
        },
    },
    {
        title: "Video",
        formats: {
            overlay: ["Overlay", "MP4 with the masks painted in"],
            "cutout-webm": ["Cut-out", "WebM with transparency"],
            "cutout-prores": ["Cut-out, film", "ProRes 4444 with transparency"],
            composite: ["Blurred background", "MP4, the objects sharp before it"],
        },
    },
    {
        title: "For masklet",
        formats: {
            script: ["Script", "All prompts; makes the same masks again"],
            masklets: ["Masklets", "Masks with IoU, score and box"],
        },
    },
];

/** @param {Studio} studio */
export function openExport(studio) {
    const sheet = /** @type {HTMLDialogElement} */ (byId("sheet"));
    const item = selected(studio.state);
    const alone = h("input", { type: "checkbox", disabled: !item || studio.state.video.objects.length < 2 });
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
                  "No object has a prompt yet, so there is little to export.",
              ),
        list,
        h(
            "footer",
            {},
            h("label", { class: "check" }, alone, `only ${item ? nameOf(item) : "the selected object"}`),
        ),
    );
    const objects = () => (alone.checked && item ? [item.id] : null);
    const offered = new Set(studio.about.formats.map((format) => format.id));
    for (const { title, formats } of [...GROUPS, others(studio.about.formats)]) {
        const rows = Object.entries(formats)
            .filter(([id]) => offered.has(id))
            .map(([id, [name, about]]) => row(studio, id, name, about, objects));
        if (rows.length) list.append(h("section", {}, h("h3", {}, title), ...rows));
    }
    sheet.setAttribute("aria-label", "Export");
    sheet.className = "sheet wide";
    sheet.showModal();
}

/** @param {T.ExportFormat[]} formats */
function others(formats) {
    const described = GROUPS.flatMap((group) => Object.keys(group.formats));
    const rest = formats.filter((format) => !described.includes(format.id));
    return {
        title: "More",
        formats: Object.fromEntries(rest.map(({ id, title, file }) => [id, [title, file]])),
    };
}

/**
 * @param {Studio} studio
 * @param {string} format
 * @param {string} name
 * @param {string} about
 * @param {() => number[] | null} objects
 */
function row(studio, format, name, about, objects) {
    const state = h("span", { class: "export-state", role: "status" });
    const button = h(
        "button",
        { type: "button", class: "format", "data-format": format, onclick: () => void run() },
        h("span", { class: "format-title" }, name),
        h("span", { class: "format-about" }, about),
        state,
        icon("download"),
    );
    const run = async () => {
        button.disabled = true;
        try {
            await made(studio, await api.newExport(studio.id, format, objects()), state);
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
