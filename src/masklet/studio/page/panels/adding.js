/** Adding videos to a project: dropped, picked, or chosen from the server's folder. */

import * as api from "../lib/api.js";
import { fill, h, icon } from "../lib/dom.js";
import { complain, toast } from "../lib/toast.js";
import { byName } from "../lib/state.js";
import { size } from "./export.js";

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
    const limit = about.limits.upload_bytes ? `, up to ${size(about.limits.upload_bytes)}` : "";
    const drop = h(
        "label",
        { class: "drop", for: "file-picker" },
        icon("upload"),
        h("strong", {}, "Drop a video or a picture here"),
        h("span", {}, `or choose a file${limit}. It stays on this server.`),
    );
    const zone = h(
        "section",
        { class: "adding" },
        h("div", { class: "drop-zone" }, picker, drop, progress),
        about.folder ? browser(project) : null,
    );
    picker.addEventListener("change", () => void send(project, [...(picker.files ?? [])], progress));
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
        void send(project, [...(event.dataTransfer?.files ?? [])], progress);
    });
    return zone;
}

/**
 * One file after the other; the only one, or the last, is opened.
 *
 * @param {T.Project} project
 * @param {File[]} files
 * @param {HTMLElement} progress
 */
async function send(project, files, progress) {
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
                if (share >= 1) fill(words, `${file.name} · reading it`);
            });
            row.remove();
            if (file === files.at(-1)) location.hash = `#video/${video.id}`;
        } catch (error) {
            row.replaceChildren(
                h(
                    "span",
                    { class: "bad-words" },
                    `${file.name}: ${error instanceof Error ? error.message : error}`,
                ),
            );
            row.classList.add("failed");
        }
    }
}

/**
 * The server's folder, level by level.
 *
 * @param {T.Project} project
 */
function browser(project) {
    const list = h("ul", { class: "entries", "aria-label": "Files" }, h("li", { class: "hint" }, "Loading"));
    const crumbs = h("div", { class: "crumbs" });
    const search = h("input", {
        type: "search",
        class: "field",
        placeholder: "Search",
        "aria-label": "Search in this folder",
        oninput: () => filter(list, search.value),
    });
    const all = h("button", { type: "button", class: "quiet", onclick: () => void openAll(project, list) }, "Add all");
    const head = h("div", { class: "browser-head" }, crumbs, search, all);
    const root = h("div", { class: "browser" }, head, list);
    const refilter = new MutationObserver(() => filter(list, search.value));
    refilter.observe(list, { childList: true });
    void enter(project, "", crumbs, list);
    return root;
}

/**
 * Show only what has these words in its name.
 *
 * @param {HTMLElement} list
 * @param {string} words
 */
function filter(list, words) {
    const wanted = words.toLocaleLowerCase().split(/\s+/);
    for (const row of list.children) {
        const name = row.querySelector(".entry")?.getAttribute("data-path")?.toLocaleLowerCase();
        if (name !== undefined) row.toggleAttribute("hidden", !wanted.every((word) => name.includes(word)));
    }
}

/**
 * @param {T.Project} project
 * @param {string} path
 * @param {HTMLElement} crumbs
 * @param {HTMLElement} list
 */
async function enter(project, path, crumbs, list) {
    let entries;
    try {
        ({ entries } = await api.folder(path));
    } catch (error) {
        complain(error);
        return;
    }
    const parts = path ? path.split("/") : [];
    const step = (/** @type {string} */ name, /** @type {string} */ to) =>
        h(
            "button",
            { type: "button", class: "link", onclick: () => void enter(project, to, crumbs, list) },
            name,
        );
    fill(
        crumbs,
        icon("folder"),
        step("Folder", ""),
        ...parts.flatMap((part, index) => [" / ", step(part, parts.slice(0, index + 1).join("/"))]),
    );
    const rows = entries.toSorted(inOrder).map((entry) => {
        const opens = entry.kind !== "folder";
        const press = () => void (opens ? open(project, entry) : enter(project, entry.path, crumbs, list));
        const inside =
            entry.kind === "pictures"
                ? h(
                      "button",
                      {
                          type: "button",
                          class: "link",
                          onclick: () => void enter(project, entry.path, crumbs, list),
                      },
                      "look inside",
                  )
                : null;
        return h(
            "li",
            {},
            h(
                "button",
                {
                    type: "button",
                    class: "entry",
                    "data-path": entry.path,
                    "data-opens": opens && entry.kind !== "pictures",
                    onclick: press,
                },
                icon(
                    entry.kind === "video" || entry.kind === "pictures"
                        ? "film"
                        : entry.kind === "picture"
                          ? "picture"
                          : "folder",
                ),
                h("span", {}, entry.name),
                h(
                    "small",
                    {},
                    entry.kind === "pictures"
                        ? "pictures"
                        : entry.bytes === undefined
                          ? ""
                          : size(entry.bytes),
                ),
            ),
            inside,
        );
    });
    fill(list, ...(rows.length ? rows : [h("li", { class: "hint" }, "No videos or pictures here.")]));
}

/**
 * Add all files that the list shows, one after the other, as far as the project has none of their name.
 *
 * @param {T.Project} project
 * @param {HTMLElement} list
 */
async function openAll(project, list) {
    const names = new Set(project.videos.map((video) => video.name));
    const rows = [...list.querySelectorAll("li:not([hidden]) .entry[data-opens]")];
    const paths = rows.map((row) => row.getAttribute("data-path") ?? "");
    const missing = paths.filter((path) => !names.has(path.split("/").at(-1) ?? path));
    if (!missing.length) {
        toast("All files that are shown are in the project already.");
        return;
    }
    let added = 0;
    for (const path of missing) {
        toast(`Adding ${path} (${added + 1} of ${missing.length})`);
        try {
            await api.openFromFolder(project.id, path);
            added++;
        } catch (error) {
            complain(error);
        }
    }
    toast(`Added ${added} ${added === 1 ? "file" : "files"}.`);
    window.dispatchEvent(new HashChangeEvent("hashchange"));
}

/**
 * Folders first, then by name: 2 before 10.
 *
 * @param {T.FolderEntry} one
 * @param {T.FolderEntry} other
 */
function inOrder(one, other) {
    const isFolder = (/** @type {T.FolderEntry} */ entry) => Number(entry.kind === "folder");
    return isFolder(other) - isFolder(one) || byName.compare(one.name, other.name);
}

/**
 * @param {T.Project} project
 * @param {T.FolderEntry} entry
 */
async function open(project, entry) {
    try {
        location.hash = `#video/${(await api.openFromFolder(project.id, entry.path)).id}`;
    } catch (error) {
        complain(error);
    }
}
