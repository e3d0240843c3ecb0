/** The first page: projects, their videos, and ways to add one. */

import * as api from "../lib/api.js";
import { fill, h, icon, iconButton } from "../lib/dom.js";
import { complain } from "../lib/toast.js";
import { adding } from "./adding.js";
import { auditButton } from "./audit.js";
import { classesButton } from "./classes.js";
import { openWork } from "./people.js";
import { modelChoice } from "./model.js";
import { policyChoice } from "./policy.js";
import { projectExportButton } from "./project-export.js";
import { projectImportButton } from "./project-import.js";
import { confirmed, named } from "./sheet.js";
import { themeButton } from "./theme.js";
import { videoList } from "./videos.js";

/** @import * as T from "../lib/types.js" */

/**
 * @param {T.About} about
 * @param {HTMLElement} root
 * @param {string | null} wanted  the project to show; by default the newest
 * @param {AbortSignal} signal  fires when another address is shown
 */
export async function mountHome(about, root, wanted, signal) {
    fill(root, h("p", { class: "loading", role: "status" }, "Loading"));
    let projects;
    try {
        ({ projects } = await api.projects());
        if (!projects.length) projects = [await api.newProject("My videos")];
    } catch (error) {
        if (signal.aborted) return;
        fill(
            root,
            failure(error, () => void mountHome(about, root, wanted, signal)),
        );
        return;
    }
    if (signal.aborted) return;
    const found = projects.find((project) => project.id === wanted);
    if (wanted && !found) complain(new Error("This project was deleted, or its address is wrong. This is another project."));
    const project = found ?? projects[0];
    const content = main(about, project);
    fill(root, bar(about, project), h("div", { class: "home" }, sidebar(projects, project), content));
    keepPlace(content, project);
}

/**
 * Restore the scroll position of the list, for example after a video.
 *
 * @param {HTMLElement} content
 * @param {T.Project} project
 */
function keepPlace(content, project) {
    const key = `masklet-scroll-${project.id}`;
    content.scrollTop = Number(sessionStorage.getItem(key) ?? 0);
    content.addEventListener("scroll", () => sessionStorage.setItem(key, String(content.scrollTop)));
}

/**
 * @param {unknown} error
 * @param {() => void} again
 */
export function failure(error, again) {
    const isGone = error instanceof api.ApiError && error.status === 404;
    if (isGone) error = new Error("Not found: it was deleted, or the address is wrong.");
    return h(
        "div",
        { class: "failure", role: "alert" },
        icon("warning"),
        h("p", {}, error instanceof Error ? error.message : String(error)),
        h("button", { type: "button", class: "primary", onclick: again }, "Try again"),
        h("a", { href: "#" }, "All videos"),
    );
}

/**
 * @param {T.About} about
 * @param {T.Project} project
 */
function bar(about, project) {
    return h(
        "header",
        { class: "topbar" },
        h("span", { class: "brand" }, h("span", {}, "masklet"), h("small", {}, "studio")),
        h("span", { class: "gap" }),
        h("span", { class: "status" }, h("i", { class: "dot good" }), h("span", {}, `${project.model ?? about.model} on ${about.device}`)),
        person(about),
        themeButton(),
    );
}

/** @param {T.About} about */
function person(about) {
    const button = h(
        "button",
        { type: "button", class: "quiet", title: "Your name, as others see it" },
        icon("people"),
        about.person.name,
    );
    button.addEventListener("click", async () => {
        const name = await named("Your name", about.person.name);
        if (!name) return;
        try {
            about.person = await api.rename(name);
            window.dispatchEvent(new HashChangeEvent("hashchange")); // what belongs to this user depends on the name
        } catch (error) {
            complain(error);
        }
    });
    return button;
}

/** @param {string | null} project */
function go(project) {
    const hash = project ? `#project/${project}` : "#";
    if (location.hash === hash) window.dispatchEvent(new HashChangeEvent("hashchange"));
    else location.hash = hash;
}

/**
 * @param {T.Project[]} projects
 * @param {T.Project} open
 */
function sidebar(projects, open) {
    const rows = projects.map((project) =>
        h(
            "li",
            {},
            h(
                "a",
                { href: `#project/${project.id}`, "aria-current": project.id === open.id ? "page" : null },
                icon("folder"),
                h("span", {}, project.name),
                h("small", {}, String(project.videos.length)),
            ),
        ),
    );
    const make = async () => {
        const name = await named("Name of the new project", "");
        if (!name) return;
        try {
            go((await api.newProject(name)).id);
        } catch (error) {
            complain(error);
        }
    };
    return h(
        "nav",
        { class: "projects", "aria-label": "Projects" },
        h("h2", {}, "Projects"),
        h("ul", {}, ...rows),
        h(
            "button",
            { type: "button", class: "quiet wide", onclick: () => void make() },
            icon("plus"),
            "New project",
        ),
    );
}

/**
 * @param {T.About} about
 * @param {T.Project} project
 */
function main(about, project) {
    return h(
        "main",
        {},
        h(
            "header",
            { class: "project-head" },
            h("h1", {}, project.name),
            iconButton("pencil", "Rename the project", () => void renameProject(project)),
            iconButton("trash", "Delete the project", () => void deleteProject(project), {
                class: "icon-button danger",
            }),
            h("span", { class: "gap" }),
            h(
                "div",
                { class: "button-row" },
                classesButton(
                    () => project,
                    (changed) => (project = changed),
                ),
                auditButton(project),
                projectImportButton(project, () => go(project.id)),
                projectExportButton(project),
            ),
        ),
        adding(about, project),
        project.videos.length
            ? videoList(
                  project,
                  {
                      remove: (video) => void deleteVideo(project, video),
                      edit: (video) => void editWork(project, video, about.person.name),
                  },
                  about.person.name,
              )
            : steps(),
        h("footer", { class: "project-settings" }, modelChoice(about, project), policyChoice(about, project)),
    );
}

/** The first steps, for new users. */
function steps() {
    const step = (/** @type {string} */ iconName, /** @type {string} */ title, /** @type {string} */ words) =>
        h("li", {}, icon(iconName), h("strong", {}, title), h("span", {}, words));
    return h(
        "ol",
        { class: "steps", "aria-label": "How it works" },
        step("upload", "Add a video", "Of any length, or a single image."),
        step("point-plus", "Select an object", "Click on it or draw a box to get its mask."),
        step("track", "Track it", "Masks appear frame by frame. You can stop at any time."),
        step("doubt", "Check and correct", "Strips show where the model is uncertain."),
        step("download", "Export", "COCO, PNG, video and more."),
    );
}

/** @param {T.Project} project */
async function renameProject(project) {
    const name = await named("Name of the project", project.name);
    if (!name) return;
    try {
        await api.changeProject(project.id, { name });
        go(project.id);
    } catch (error) {
        complain(error);
    }
}

/** @param {T.Project} project */
async function deleteProject(project) {
    const many = project.videos.length === 1 ? "its video" : `its ${project.videos.length} videos`;
    if (
        !(await confirmed(
            `Delete “${project.name}” with ${many}, their masks and uploads? This cannot be undone.`,
            "Delete",
        ))
    )
        return;
    try {
        await api.deleteProject(project.id);
        go(null);
    } catch (error) {
        complain(error);
    }
}

/**
 * @param {T.Project} project
 * @param {T.VideoSummary} video
 * @param {string} me
 */
async function editWork(project, video, me) {
    try {
        const { names } = await api.people(project.id);
        if (await openWork(video, names, me)) go(project.id);
    } catch (error) {
        complain(error);
    }
}

/**
 * @param {T.Project} project
 * @param {T.VideoSummary} video
 */
async function deleteVideo(project, video) {
    if (!(await confirmed(`Delete “${video.name}” and its masks? This cannot be undone.`, "Delete"))) return;
    try {
        await api.deleteVideo(video.id);
        go(project.id);
    } catch (error) {
        complain(error);
    }
}
