/** The bar at the top of a video: project and video names, undo and redo, people, export. */

import * as api from "../lib/api.js";
import { fill, h, icon, iconButton } from "../lib/dom.js";
import { undoOrRedo } from "../lib/prompting.js";
import { extent } from "../lib/state.js";
import { complain } from "../lib/toast.js";
import { named } from "./sheet.js";
import { channelChoice } from "./channels.js";
import { commentsMenu } from "./comments.js";
import { openExport } from "./export.js";
import { openHelp } from "./keyboard.js";
import { neighbours } from "./neighbours.js";
import { peopleMenu } from "./people.js";
import { themeButton } from "./theme.js";

/** @import { Studio } from "../lib/studio.js" */
/** @import { Stage } from "../stage/stage.js" */

/** The texts of the bar while changes cannot be sent. */
const OBSTACLES = {
    offline: "No connection: not saved yet",
    "signed-out": "Signed out: not saved yet",
    "disk-full": "Disk full: not saved yet",
};

/**
 * @param {Studio} studio
 * @param {Stage} stage
 * @param {HTMLElement} root
 */
export function mountTopbar(studio, stage, root) {
    const { video } = studio.state;
    const undo = iconButton("undo", "Undo (Ctrl+Z)", () => void undoOrRedo(studio, "undo"));
    const redo = iconButton("redo", "Redo (Ctrl+Shift+Z)", () => void undoOrRedo(studio, "redo"));
    const status = h("span", { class: "status", role: "status" });
    const meta = h("span", { class: "meta" });
    fill(
        root,
        h(
            "a",
            { class: "brand", href: `#project/${video.project}`, title: "All videos" },
            icon("back"),
            h("span", {}, "masklet"),
        ),
        title(studio),
        neighbours(studio),
        meta,
        channelChoice(studio),
        h("div", { class: "cluster", role: "group", "aria-label": "History" }, undo, redo),
        h("span", { class: "gap" }),
        status,
        commentsMenu(studio),
        peopleMenu(studio),
        h(
            "button",
            {
                type: "button",
                class: "primary export-button",
                "aria-label": "Export",
                title: "Export (Ctrl+E)",
                onclick: () => openExport(studio),
            },
            icon("download"),
            h("span", {}, "Export"),
        ),
        iconButton("help", "Keys (?)", () => openHelp(studio, stage)),
        themeButton(),
    );
    studio.store.watch(["stack", "isVariable"], () => fill(meta, measures(studio)));
    studio.store.watch(["video"], () => {
        const { video: now } = studio.state;
        describe(undo, now.can_undo, `Undo${now.undo ? `: ${now.undo}` : ""} (Ctrl+Z)`);
        describe(redo, now.can_redo, `Redo${now.redo ? `: ${now.redo}` : ""} (Ctrl+Shift+Z)`);
    });
    studio.store.watch(["online", "signedOut", "obstacle", "asking", "finding", "latency", "previewLatency", "ready", "frame", "project"], () =>
        fill(status, ...statusParts(studio)),
    );
}

/**
 * The video's name. A press opens a form to change it.
 *
 * @param {Studio} studio
 */
function title(studio) {
    const button = h("button", { type: "button", class: "title", title: "Rename the video" });
    button.addEventListener("click", async () => {
        const before = studio.state.video.name;
        const name = await named("Name of the video", before);
        if (!name || name === before) return;
        try {
            studio.take(await api.changeVideo(studio.id, { name, seen: { name: before } }));
        } catch (error) {
            complain(error);
            void studio.refresh();
        }
    });
    studio.store.watch(["video"], () => fill(button, studio.state.video.name));
    return h("h1", {}, button);
}

/** @param {Studio} studio */
function measures(studio) {
    const { width, height, frames } = studio.state.video;
    return `${width} × ${height}${frames < 2 ? "" : ` · ${extent(studio.state)}`}`;
}

/**
 * @param {HTMLElement} button
 * @param {boolean} can
 * @param {string} label
 */
function describe(button, can, label) {
    button.toggleAttribute("disabled", !can);
    button.setAttribute("aria-label", label);
    button.title = label;
}

/**
 * The model's state: a dot and a word.
 *
 * @param {Studio} studio
 */
function statusParts(studio) {
    const { online, signedOut, obstacle, asking, finding, latency, previewLatency, ready, frame } = studio.state;
    const model = studio.state.project.model ?? studio.about.model;
    const { device } = studio.about;
    if (obstacle) return [h("i", { class: "dot bad" }), h("span", {}, OBSTACLES[obstacle])];
    if (signedOut) return [h("i", { class: "dot bad" }), h("span", {}, "Signed out")];
    if (!online) return [h("i", { class: "dot bad" }), h("span", {}, "Connection lost; reconnecting")];
    if (asking) return [h("i", { class: "dot busy" }), h("span", {}, "Thinking")];
    if (finding) return [h("i", { class: "dot busy" }), h("span", {}, "Finding everything")];
    const preview = previewLatency === null ? "" : `; mask under the cursor: ${previewLatency} ms`;
    const took = latency === null ? "" : ` · ${latency} ms`;
    const dot = h("i", {
        class: `dot ${ready === frame ? "good" : "idle"}`,
        title: ready === frame ? "This frame is encoded" : "",
    });
    return [
        dot,
        h("span", { title: `Model, device, and time from click to mask${preview}` }, `${model} on ${device}${took}`),
    ];
}
