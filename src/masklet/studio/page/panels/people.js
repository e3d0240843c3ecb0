/** The people who have the video open, and its assignee, reviewer and state. */

import * as api from "../lib/api.js";
import { fill, h } from "../lib/dom.js";
import { seek } from "../lib/propagation.js";
import { complain } from "../lib/toast.js";
import { menuButton } from "./menu.js";
import { formField, openForm } from "./sheet.js";

/** @import * as T from "../lib/types.js" */
/** @import { Studio } from "../lib/studio.js" */

/** The states that a user can set, with their labels. With `auto`, the server determines the state. */
const STATES = /** @type {const} */ ([
    ["auto", "automatic, by its frames"],
    ["working", "in work"],
    ["reviewed", "reviewed"],
]);
const NOW = { new: "new", working: "in work", reviewed: "reviewed" };

/** @param {Studio} studio */
export function peopleMenu(studio) {
    const here = h("ul", { class: "viewers", "aria-label": "Who is here" });
    const work = h("div", { class: "work-fields" });
    const anchor = menuButton("people", "People", () => {
        void showWork(studio, work);
        return [h("h3", {}, "Here now"), here, h("h3", {}, "Work"), work];
    });
    const button = /** @type {HTMLButtonElement} */ (anchor.querySelector("button"));
    studio.store.watch(["people"], () => {
        const { people } = studio.state;
        const others = people.filter((person) => person.id !== studio.about.person.id);
        button.dataset.count = others.length ? String(people.length) : "";
        const names = others.map((person) => person.name).join(", ");
        button.title = others.length ? `People: you and ${names}` : "People";
        button.setAttribute("aria-label", button.title);
        const isMe = (/** @type {T.Viewer} */ person) => person.id === studio.about.person.id;
        fill(here, ...people.map((person) => viewer(studio, person, isMe(person))));
    });
    return anchor;
}

/**
 * @param {Studio} studio
 * @param {T.Viewer} person
 * @param {boolean} isMe
 */
function viewer(studio, { name, frame }, isMe) {
    return h(
        "li",
        {},
        h("span", {}, isMe ? `${name} (you)` : name),
        !isMe && frame !== null
            ? h("button", { type: "button", class: "link", title: "Go to the frame", onclick: () => seek(studio, frame) }, `frame ${frame}`)
            : null,
    );
}

/**
 * @param {Studio} studio
 * @param {HTMLElement} root
 */
async function showWork(studio, root) {
    try {
        const { id } = studio.state.project;
        const [project, { names }] = await Promise.all([api.project(id), api.people(id)]);
        studio.store.set({ project });
        const video = project.videos.find((entry) => entry.id === studio.id);
        if (!video) return;
        const { fields, save } = workFields(
            video,
            [...names, ...studio.state.people.map((person) => person.name)],
            studio.about.person.name,
        );
        for (const field of fields) {
            field.addEventListener("change", async () => {
                try {
                    await save();
                } catch (error) {
                    complain(error);
                    void showWork(studio, root);
                }
            });
        }
        fill(root, ...fields);
    } catch (error) {
        complain(error);
    }
}

/**
 * Form fields for a video's state, assignee and reviewer.
 *
 * @param {T.VideoSummary} video
 * @param {string[]} known  names of people of the project
 * @param {string} me
 * @returns {{fields: HTMLElement[], save: () => Promise<void>}}  `save` sends the changed fields
 */
function workFields(video, known, me) {
    const names = h(
        "datalist",
        { id: "known-people" },
        ...[...new Set([me, ...known])].map((name) => h("option", { value: name }, name === me ? "you" : null)),
    );
    const state = h(
        "select",
        { class: "field" },
        h("option", { value: "" }, `now ${NOW[video.state]}`),
        ...STATES.map(([value, words]) => h("option", { value }, words)),
    );
    const person = (/** @type {string} */ value) =>
        h("input", { type: "text", class: "field", value, list: "known-people", maxlength: 100, placeholder: "nobody" });
    const seen = { assignee: video.assignee, reviewer: video.reviewer };
    const assignee = person(video.assignee);
    const reviewer = person(video.reviewer);
    return {
        fields: [formField("Assigned to", assignee), formField("Reviewer", reviewer), formField("State", state), names],
        save: async () => {
            const entries = Object.entries({ assignee: assignee.value.trim(), reviewer: reviewer.value.trim() });
            const changed = Object.fromEntries(
                entries.filter(([role, name]) => name !== seen[/** @type {keyof typeof seen} */ (role)]),
            );
            const chosen = state.value && { state: /** @type {"working" | "reviewed" | "auto"} */ (state.value) };
            if (!chosen && !Object.keys(changed).length) return;
            await api.changeVideo(video.id, { ...changed, ...chosen, seen: { ...seen } });
            Object.assign(seen, changed);
        },
    };
}

/**
 * Show a form for a video's state, assignee and reviewer.
 *
 * @param {T.VideoSummary} video
 * @param {string[]} known  names of people of the project
 * @param {string} me
 */
export function openWork(video, known, me) {
    const { fields, save } = workFields(video, known, me);
    return openForm({ label: `Work on ${video.name}`, yes: "Save", apply: save }, h("h2", {}, video.name), ...fields);
}
