/** The export sheet: a format, all objects or one, progress, and the file. */

import * as api from "../lib/api.js";
import { fill, h, icon, whileBusy } from "../lib/dom.js";
import { nameOf, selected } from "../lib/state.js";
import { complain } from "../lib/toast.js";
import { openSheet } from "./sheet.js";

/** @import * as T from "../lib/types.js" */
/** @import { Studio } from "../lib/studio.js" */

const OFFLINE_PAUSE = 1000; // milliseconds between requests while the server cannot be reached
const KEPT = 4; // number of earlier exports that the sheet shows

/** Names and descriptions of formats, in the order of the sheet. Other formats of the server come last. */
const GROUPS = [
    {
        title: "For training",
        formats: {
            coco: ["COCO", "One JSON with every mask as RLE"],
            "youtube-vis": ["YouTube-VIS", "One JSON, one masklet per object"],
            "sa-v": ["SA-V", "One JSON, as SAM 2's own data set"],
            yolo: ["YOLO segmentation", "Polygons, one text file per frame"],
            polygons: ["Polygons", "With holes, one JSON"],
            measures: ["Measurements", "CSV of areas, centres and boxes"],
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
        title: "Images",
        formats: {
            palette: ["Label maps", "Palette PNG, as in DAVIS"],
            objects: ["PNG for each object", "Black and white"],
            tiff: ["TIFF for ImageJ", "One label map per page"],
            "ome-tiff": ["OME-TIFF", "The same, with OME axes"],
            "cutout-png": ["Cut-outs", "PNG with transparency"],
            "matte-exr": ["Mattes", "EXR with soft alpha for each object"],
            frames: ["Frames", "The unchanged images of the video"],
        },
    },
    {
        title: "Video",
        formats: {
            overlay: ["Overlay", "MP4 with the masks drawn on it"],
            "cutout-webm": ["Cut-out", "WebM with transparency"],
            "cutout-prores": ["Cut-out, film", "ProRes 4444 with transparency"],
            composite: ["Other background", "MP4 of the objects on a blur, a colour or an image"],
        },
    },
    {
        title: "For masklet",
        formats: {
            script: ["Script", "All prompts, which reproduce the masks"],
            masklets: ["Masklets", "Masks with IoU, score and box"],
        },
    },
];

/** @param {Studio} studio */
export function openExport(studio) {
    const { options, choices } = exportOptions(studio);
    const list = h("div", { class: "formats" });
    const notes = h("div", { class: "export-notes", role: "status" });
    const earlier = h("div", { class: "export-notes earlier", "aria-label": "Earlier exports", role: "group" });
    openSheet(
        "Export",
        true,
        studio.state.video.prompts.length
            ? null
            : h(
                  "p",
                  { class: "notice" },
                  "There is nothing to export: no object has a prompt yet.",
              ),
        options,
        notes,
        earlier,
        list,
    );
    for (const id of keptExports(studio.id)) void showEarlier(studio.id, id, earlier);
    const offered = new Set(studio.about.formats.map((format) => format.id));
    for (const { title, formats } of [...GROUPS, others(studio.about.formats)]) {
        const rows = Object.entries(formats)
            .filter(([id]) => offered.has(id))
            .map(([id, [name, about]]) => row(studio, { format: id, name, about }, choices, notes));
        if (rows.length) list.append(h("section", {}, h("h3", {}, title), ...rows));
    }
}

/**
 * The options of an export: objects, frames and sound.
 *
 * @param {Studio} studio
 * @returns {{options: HTMLElement, choices: () => Omit<T.NewExport, "format">}}
 */
function exportOptions(studio) {
    const { video, range } = studio.state;
    const item = selected(studio.state);
    const hiddenCount = video.objects.filter((entry) => entry.hidden).length;
    const shown = `all ${hiddenCount ? "shown " : ""}objects`;
    const objects = h(
        "select",
        { class: "field" },
        h("option", { value: "shown" }, shown),
        hiddenCount && h("option", { value: "all" }, `all objects, with ${hiddenCount} hidden`),
        item && video.objects.length > 1 && h("option", { value: "selected" }, `only ${nameOf(item)}`),
    );
    const frames = h(
        "select",
        { class: "field" },
        h("option", { value: "all" }, `all ${video.frames} frames`),
        h("option", { value: "tracked" }, "from the first mask to the last"),
        range && h("option", { value: "range" }, `the range, ${range[0]}–${range[1] - 1}`),
    );
    if (range) frames.value = "range";
    const audio = h("input", { type: "checkbox", checked: true });
    const soft = h("input", { type: "number", class: "frame-number", min: 0, max: 100, value: 0 });
    const pixelSize = pixelSizeField(studio);
    const unsaid = h("p", { class: "hint" }, "The formats for YOLO, CVAT and Label Studio cannot store a pixel size.");
    const showUnsaid = () => (unsaid.hidden = !pixelSize.value.trim() && !studio.state.stack?.pixelSize);
    pixelSize.addEventListener("input", showUnsaid);
    showUnsaid();
    const background = h(
        "select",
        { class: "field" },
        ...["blur", "green", "black", "white"].map((value) => h("option", { value }, value === "blur" ? "blurred" : value)),
    );
    const field = (/** @type {string} */ label, /** @type {HTMLElement} */ control) =>
        h("label", { class: "option" }, h("span", {}, label), control);
    return {
        options: h(
            "div",
            { class: "export-options", role: "group", "aria-label": "What to export" },
            field("Objects", objects),
            video.frames > 1 && field("Frames", frames),
            field("Soft edges of cut-outs and mattes, in pixels", soft),
            video.frames > 1 && field("Background, for “Other background”", background),
            field("Pixel size, for measurements and label TIFFs", pixelSize),
            unsaid,
            video.kind === "video" && h("label", { class: "check" }, audio, "keep the sound in videos"),
        ),
        choices: () => ({
            objects: objects.value === "selected" && item ? [item.id] : null,
            hidden: objects.value === "all",
            frames: frames.value === "tracked" ? "tracked" : "all",
            start: frames.value === "range" && range ? range[0] : 0,
            stop: frames.value === "range" && range ? range[1] : null,
            audio: audio.checked,
            soft: Math.max(0, Math.min(100, Number(soft.value) || 0)),
            background: background.value,
        }),
    };
}

/**
 * The size of a pixel in the sample. The server stores it with the video.
 *
 * @param {Studio} studio
 */
function pixelSizeField(studio) {
    const { video, stack } = studio.state;
    const input = h("input", {
        class: "field",
        maxlength: 100,
        value: video.pixel_size ?? "",
        placeholder: stack?.pixelSize ?? "such as 0.65um",
        title: "A length with its unit, or width x height x depth, such as 0.2x0.2x1um; empty for the value in the file",
    });
    input.addEventListener("change", async () => {
        try {
            const body = { pixel_size: input.value.trim() };
            studio.take(await studio.inOrder(() => api.changeVideo(studio.id, body)));
        } catch (error) {
            complain(error);
            input.value = studio.state.video.pixel_size ?? "";
        }
    });
    return input;
}

/**
 * The ids of a video's last exports from this browser. Exports continue when the page is closed.
 *
 * @param {string} video
 * @returns {string[]}
 */
function keptExports(video) {
    return JSON.parse(localStorage.getItem(`masklet-exports-${video}`) ?? "[]");
}

/**
 * @param {string} video
 * @param {string[]} ids
 */
function keepExports(video, ids) {
    localStorage.setItem(`masklet-exports-${video}`, JSON.stringify(ids.slice(-KEPT)));
}

/**
 * Show the progress of an earlier export, then a link to its file.
 *
 * @param {string} video
 * @param {string} id
 * @param {HTMLElement} root
 */
async function showEarlier(video, id, root) {
    const line = h("p", {});
    try {
        let work = await api.exportState(id);
        root.append(line);
        while (root.isConnected && (work.state === "waiting" || work.state === "running")) {
            fill(line, `${work.format}: ${work.total ? `${work.done} / ${work.total}` : "waiting"}`);
            await new Promise((resolve) => setTimeout(resolve, OFFLINE_PAUSE));
            work = await stateOf(work, line);
        }
        if (work.state === "finished") fill(line, icon("download"), fileLink(work));
        if (work.state !== "failed") return;
        fill(line, icon("warning"), `${work.format}: ${work.message}`);
    } catch {
        line.remove(); // the server has deleted it, after a day
    }
    keepExports(video, keptExports(video).filter((kept) => kept !== id));
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
 * @param {{format: string, name: string, about: string}} described
 * @param {() => Omit<T.NewExport, "format">} choices
 * @param {HTMLElement} notes  shows the notes on what the file contains
 */
function row(studio, { format, name, about }, choices, notes) {
    const state = h("span", { class: "export-state", role: "status" });
    const button = h(
        "button",
        { type: "button", class: "format", "data-format": format, onclick: () => void whileBusy(button, run) },
        h("span", { class: "format-title" }, name),
        h("span", { class: "format-about" }, about),
        state,
        icon("download"),
    );
    const run = async () => {
        fill(notes);
        try {
            const body = { format, ...choices() };
            const work = await studio.inOrder(() => api.newExport(studio.id, body));
            keepExports(studio.id, [...keptExports(studio.id), work.id]);
            const finished = await takeFile(work, state, () => studio.state.exports[work.id]);
            fill(notes, ...exportNotes(finished));
        } catch (error) {
            fill(state, "failed");
            complain(error);
        }
    };
    return button;
}

/**
 * Wait for an export and download the file. A restarted server continues the export.
 *
 * @param {T.Export} work
 * @param {HTMLElement} state  shows the progress
 * @param {() => T.Export | undefined} [latest]  returns the newest state from the server's events
 */
export async function takeFile(work, state, latest) {
    while (work.state === "waiting" || work.state === "running") {
        fill(state, work.total ? `${work.done} / ${work.total}` : "waiting");
        await new Promise((resolve) => setTimeout(resolve, 250));
        work = latest?.() ?? work;
        if (work.state === "waiting" || work.state === "running") work = await stateOf(work, state);
    }
    if (work.state === "failed") throw new Error(work.message ?? "The export failed.");
    fill(state, size(work.bytes));
    const link = fileLink(work);
    document.body.append(link);
    link.click();
    link.remove();
    return work;
}

/**
 * The state of an export; the previous state while the server cannot be reached.
 *
 * @param {T.Export} work
 * @param {HTMLElement} state
 */
async function stateOf(work, state) {
    try {
        return await api.exportState(work.id);
    } catch (error) {
        if (!(error instanceof api.ApiError) || error.kind !== "offline") throw error;
        fill(state, "waiting for the server");
        await new Promise((resolve) => setTimeout(resolve, OFFLINE_PAUSE));
        return work;
    }
}

/**
 * A link to a finished export, because browsers may block a second download.
 *
 * @param {T.Export} work
 */
function fileLink({ id, file, bytes }) {
    return h("a", { href: api.exportAddress(id), download: file }, `Save ${file} again (${size(bytes)})`);
}

/**
 * The notes of a finished export.
 *
 * @param {T.Export} work
 */
export function exportNotes(work) {
    const lines = work.notes.map((note) => h("p", {}, icon("check"), note));
    return [...lines, h("p", {}, icon("download"), fileLink(work))];
}

/** @param {number | null} bytes */
export function size(bytes) {
    if (bytes === null) return "";
    if (bytes < 1000) return `${bytes} B`;
    if (bytes < 1e6) return `${Math.round(bytes / 1000)} kB`;
    return bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}
