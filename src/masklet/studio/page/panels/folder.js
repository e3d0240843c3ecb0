/** Browses the server's folder: opens a file, or adds all shown files. */

import * as api from "../lib/api.js";
import { fill, h, icon, whileBusy } from "../lib/dom.js";
import { byName } from "../lib/state.js";
import { complain, toast } from "../lib/toast.js";
import { sendingFiles } from "../lib/unsent.js";
import { size } from "./export.js";

/** @import * as T from "../lib/types.js" */

const AT_ONCE = 5; // files per request; the shown count increases after each request

/** @param {T.Project} project */
export function folderBrowser(project) {
    const list = h("ul", { class: "entries", "aria-label": "Files" }, h("li", { class: "hint" }, "Loading"));
    const crumbs = h("div", { class: "crumbs" });
    const search = h("input", {
        type: "search",
        class: "field",
        placeholder: "Search",
        "aria-label": "Search in this folder",
    });
    const all = h("button", { type: "button", class: "quiet add-all" }, "Add all");
    /** @type {T.FolderEntry[]} */
    let entries = [];
    const place = `masklet-folder-${project.id}`; // the key of the current folder in the session storage

    const shown = () => {
        const words = search.value.toLocaleLowerCase().split(/\s+/);
        return entries.filter(({ name }) => words.every((word) => name.toLocaleLowerCase().includes(word)));
    };
    const missing = () => shown().filter(({ kind, video }) => !video && (kind === "video" || kind === "picture"));
    const show = () => {
        const rows = shown().map((entry) => row(project, entry, enter));
        fill(list, ...(rows.length ? rows : [h("li", { class: "hint" }, "No videos or images here.")]));
        const count = missing().length;
        all.hidden = !entries.some(({ kind }) => kind === "video" || kind === "picture");
        all.disabled = !count;
        fill(all, count ? `Add all ${count}` : "All added");
    };
    const enter = async (/** @type {string} */ path) => {
        try {
            ({ entries } = await api.folder(path, project.id));
        } catch (error) {
            if (path) return void enter("");
            const again = h("button", { type: "button", class: "link", onclick: () => void enter("") }, "Try again");
            const words = error instanceof Error ? error.message : String(error);
            fill(list, h("li", { class: "hint", role: "alert" }, `${words} `, again));
            return;
        }
        entries.sort(inOrder);
        sessionStorage.setItem(place, path);
        search.value = "";
        fill(crumbs, icon("folder"), ...steps(path, enter));
        show();
    };
    search.addEventListener("input", show);
    all.addEventListener("click", () => void sendingFiles(addAll(project, missing(), all)));
    void enter(sessionStorage.getItem(place) ?? "");
    return h("div", { class: "browser" }, h("div", { class: "browser-head" }, crumbs, search, all), list);
}

/**
 * Links to a folder and to those that contain it.
 *
 * @param {string} path
 * @param {(path: string) => unknown} enter
 */
function steps(path, enter) {
    const link = (/** @type {string} */ name, /** @type {string} */ to) =>
        h("button", { type: "button", class: "link", onclick: () => void enter(to) }, name);
    const parts = path ? path.split("/") : [];
    const below = parts.flatMap((part, index) => [" / ", link(part, parts.slice(0, index + 1).join("/"))]);
    return [link("Folder", ""), ...below];
}

/**
 * @param {T.Project} project
 * @param {T.FolderEntry} entry
 * @param {(path: string) => unknown} enter
 */
function row(project, entry, enter) {
    const { kind, name, path, video, bytes } = entry;
    const isFolder = kind === "folder" || kind === "pictures";
    const detail = video ? "added" : isFolder ? "" : size(bytes);
    const button = h(
        "button",
        {
            type: "button",
            class: "entry",
            "data-path": path,
            onclick: () => void (isFolder ? enter(path) : open(project, path, button)),
        },
        icon(isFolder ? "folder" : kind === "video" ? "film" : "image"),
        h("span", {}, name),
        h("small", {}, detail),
    );
    return h(
        "li",
        {},
        button,
        kind === "pictures" &&
            h(
                "button",
                {
                    type: "button",
                    class: "link",
                    title: "Use the images as frames, in the order of their names",
                    onclick: () => void open(project, path, button),
                },
                "open as a video",
            ),
    );
}

/**
 * Sort folders first, then by name: 2 before 10.
 *
 * @param {T.FolderEntry} one
 * @param {T.FolderEntry} other
 */
function inOrder(one, other) {
    const isFolder = (/** @type {T.FolderEntry} */ entry) => Number(entry.kind === "folder" || entry.kind === "pictures");
    return isFolder(other) - isFolder(one) || byName.compare(one.name, other.name);
}

/**
 * @param {T.Project} project
 * @param {string} path
 * @param {HTMLButtonElement} button  busy until the file is open; if the user has left the page, the file is not shown
 */
async function open(project, path, button) {
    await whileBusy(button, async () => {
        try {
            const { id } = await api.openFromFolder(project.id, path);
            if (button.isConnected) location.hash = `#video/${id}`;
        } catch (error) {
            complain(error);
        }
    });
}

/**
 * Add files to the project and show the project again. Files that cannot be opened are listed.
 *
 * @param {T.Project} project
 * @param {T.FolderEntry[]} entries
 * @param {HTMLButtonElement} button  shows the progress
 */
async function addAll(project, entries, button) {
    button.disabled = true;
    /** @type {T.FailedFile[]} */
    const failed = [];
    try {
        for (let done = 0; done < entries.length; done += AT_ONCE) {
            fill(button, `Adding ${done} of ${entries.length}`);
            const paths = entries.slice(done, done + AT_ONCE).map(({ path }) => path);
            failed.push(...(await api.openAllFromFolder(project.id, paths)).failed);
        }
        const added = entries.length - failed.length;
        toast(`Added ${added} ${added === 1 ? "file" : "files"}.`);
        for (const { path, message } of failed.slice(0, 2)) complain(new Error(`${path}: ${message}`));
    } catch (error) {
        complain(error);
    }
    if (button.isConnected) window.dispatchEvent(new HashChangeEvent("hashchange"));
}
