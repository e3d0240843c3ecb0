/** Adds videos to a project: by drag and drop, from a file dialog, or from the server's folder. */

import * as api from "../lib/api.js";
import { fill, h, icon } from "../lib/dom.js";
import { complain, toast } from "../lib/toast.js";
import { sendingFiles } from "../lib/unsent.js";
import { size } from "./export.js";
import { folderBrowser } from "./folder.js";

/** @import * as T from "../lib/types.js" */

/**
 * @param {T.About} about
 * @param {T.Project} project
 */
export function adding(about, project) {
    const picker = h("input", {
        type: "file",
        accept: "video/*,image/*,.mkv,.avi,.mov,.webm",
        multiple: true,
        class: "visually-hidden",
        id: "file-picker",
    });
    const progress = h("div", { class: "uploads", "aria-live": "polite" });
    const limit = about.limits.upload_bytes ? `, up to ${size(about.limits.upload_bytes)} each` : "";
    const drop = h(
        "label",
        { class: "drop", for: "file-picker" },
        icon("upload"),
        h("strong", {}, "Drop videos or images here"),
        h("span", {}, `or choose files${limit}. They stay on this server.`),
    );
    const zone = h(
        "section",
        { class: project.videos.length ? "adding compact" : "adding" },
        h("div", { class: "drop-zone" }, picker, drop, progress),
        about.folder ? folderBrowser(project) : null,
    );
    picker.addEventListener("change", () => void sendingFiles(send(project, [...(picker.files ?? [])], progress)));
    for (const kind of ["dragenter", "dragover"]) {
        zone.addEventListener(kind, (event) => {
            event.preventDefault();
            drop.classList.add("over");
        });
    }
    zone.addEventListener("dragleave", () => drop.classList.remove("over"));
    zone.addEventListener("drop", (event) => {
        event.preventDefault();
        drop.classList.remove("over");
        void sendingFiles(send(project, [...(event.dataTransfer?.files ?? [])], progress));
    });
    return zone;
}

/**
 * Upload files one after the other. Afterwards, open a single file, or show the project's list of several; unless the
 * user has left the page.
 *
 * @param {T.Project} project
 * @param {File[]} files
 * @param {HTMLElement} progress
 */
async function send(project, files, progress) {
    let added = 0;
    for (const file of files) {
        const bar = h(
            "div",
            { class: "progress", role: "progressbar", "aria-label": `Upload of ${file.name}` },
            h("i", {}),
        );
        const words = h("span", {}, `${file.name} · ${size(file.size)}`);
        const row = h("div", { class: "upload" }, words, bar);
        progress.append(row);
        try {
            const video = await api.upload(project.id, file, (share) => {
                bar.style.setProperty("--share", String(share));
                if (share >= 1) fill(words, `${file.name} · reading`);
            });
            row.remove();
            added++;
            if (files.length > 1) continue;
            const open = () => (location.hash = `#video/${video.id}`);
            if (progress.isConnected) open();
            else toast(`Added ${video.name}.`, { action: { label: "Open", press: open } });
        } catch (error) {
            const words = `${file.name}: ${error instanceof Error ? error.message : error}`;
            row.replaceChildren(h("span", { class: "bad-words" }, words));
            row.classList.add("failed");
            if (!progress.isConnected) complain(new Error(words));
        }
    }
    if (files.length === 1 || !added) return;
    const isHere = progress.isConnected;
    const show = () => {
        if (isHere) window.dispatchEvent(new HashChangeEvent("hashchange"));
        else location.hash = `#project/${project.id}`;
    };
    const isShown = isHere && added === files.length;
    if (isShown) show();
    toast(`Added ${added} of ${files.length} files.`, isShown ? {} : { action: { label: "Show", press: show } });
}
