/** The list of a project's videos and images, with thumbnails, state, people, search and order. */

import * as api from "../lib/api.js";
import { fill, h, iconButton } from "../lib/dom.js";
import { byName, clock } from "../lib/state.js";

/** @import * as T from "../lib/types.js" */

/** @type {[T.VideoSummary["state"], string][]} */
const STATES = [
    ["new", "new"],
    ["working", "in work"],
    ["reviewed", "reviewed"],
];
const ORDER_KEY = "masklet-video-order";
const POLL = 2000; // milliseconds between requests for the progress of tracking

/**
 * @typedef {object} CardActions
 * @property {(video: T.VideoSummary) => void} remove
 * @property {(video: T.VideoSummary) => void} edit  opens the form of state and people
 *
 * @typedef {{search: string, state: T.VideoSummary["state"] | null, person: string}} Choice  the filters of the list
 */

/**
 * @param {T.Project} project
 * @param {CardActions} actions
 * @param {string} me
 */
export function videoList(project, actions, me) {
    const cards = project.videos.map((video) => ({ video, ...card(video, actions) }));
    const list = h("ul", { class: "cards", "aria-label": "Videos" });
    const kept = `masklet-list-${project.id}`; // the key of the filters in the session storage
    /** @type {Partial<Choice>} */
    const before = JSON.parse(sessionStorage.getItem(kept) ?? "{}");
    const search = h("input", {
        type: "search",
        class: "field",
        placeholder: "Search videos",
        "aria-label": "Search videos",
        value: before.search ?? "",
        oninput: () => show(),
    });
    const order = h(
        "select",
        {
            class: "field",
            "aria-label": "Order of videos",
            onchange: () => {
                localStorage.setItem(ORDER_KEY, order.value);
                show();
            },
        },
        h("option", { value: "name" }, "by name"),
        h("option", { value: "newest" }, "newest first"),
    );
    order.value = localStorage.getItem(ORDER_KEY) ?? "name";
    const person = personChoice(project, me, () => show());
    if (before.person) person.value = before.person;
    if (person.selectedIndex < 0) person.value = "";
    let wanted = before.state ?? null;
    /** @type {[T.VideoSummary["state"] | null, string][]} */
    const choices = [[null, "all"], ...STATES];
    const filters = choices.map(([state, words]) => {
        const count = h("small", {});
        const press = () => {
            wanted = state;
            show();
        };
        const button = h("button", { type: "button", class: "filter", onclick: press }, `${words} `, count);
        return { state, button, count };
    });
    const show = () => {
        const words = search.value.toLocaleLowerCase().split(/\s+/);
        const shown = cards.filter(
            ({ video }) =>
                (!wanted || video.state === wanted) &&
                (!person.value || [video.assignee, video.reviewer].includes(person.value)) &&
                words.every((word) => video.name.toLocaleLowerCase().includes(word)),
        );
        if (order.value === "name") shown.sort((one, other) => byName.compare(one.video.name, other.video.name));
        else shown.sort((one, other) => other.video.created.localeCompare(one.video.created));
        fill(list, ...shown.map((entry) => entry.root));
        if (!shown.length) fill(list, h("li", { class: "hint" }, "No video matches."));
        for (const { state, button, count } of filters) {
            button.setAttribute("aria-pressed", String(state === wanted));
            fill(count, cards.filter(({ video }) => !state || video.state === state).length);
        }
        const choice = /** @type {Choice} */ ({ search: search.value, state: wanted, person: person.value });
        sessionStorage.setItem(kept, JSON.stringify(choice));
    };
    show();
    void watchTracking(project, cards, list);
    return h(
        "section",
        { "aria-label": "Videos of the project" },
        cards.length > 1 &&
            h(
                "div",
                { class: "list-head" },
                search,
                h(
                    "div",
                    { class: "cluster", role: "group", "aria-label": "State" },
                    ...filters.map((filter) => filter.button),
                ),
                h("span", { class: "gap" }),
                person.options.length > 1 && person,
                order,
            ),
        list,
    );
}

/**
 * The filter by person: the assignees and reviewers of the project's files.
 *
 * @param {T.Project} project
 * @param {string} me
 * @param {() => void} changed
 */
function personChoice(project, me, changed) {
    const people = new Set(project.videos.flatMap((video) => [video.assignee, video.reviewer]));
    people.delete("");
    const others = [...people].filter((name) => name !== me).sort(byName.compare);
    return h(
        "select",
        { class: "field", "aria-label": "Person", onchange: changed },
        h("option", { value: "" }, "everybody's"),
        people.size > 0 && h("option", { value: me }, "mine"),
        ...others.map((name) => h("option", { value: name }, `${name}'s`)),
    );
}

/**
 * Update the progress of tracking while something is tracked and the list is shown.
 *
 * @param {T.Project} project
 * @param {{video: T.VideoSummary, update: (video: T.VideoSummary) => void}[]} cards
 * @param {HTMLElement} list
 */
async function watchTracking(project, cards, list) {
    while (cards.some(({ video }) => video.tracking !== null)) {
        await new Promise((done) => setTimeout(done, POLL));
        if (!list.isConnected) return;
        try {
            const { videos } = await api.project(project.id);
            for (const entry of cards) {
                const now = videos.find(({ id }) => id === entry.video.id);
                if (!now) continue;
                entry.video = now;
                entry.update(now);
            }
        } catch {
            return; // the server cannot be reached: the user's next action shows it
        }
    }
}

/**
 * @param {T.VideoSummary} video
 * @param {CardActions} actions
 */
function card(video, { remove, edit }) {
    const image = h("img", { src: api.frameAddress(video.id, 0, 480, video.channel), alt: "", loading: "lazy" });
    image.addEventListener("error", () => image.classList.add("broken"));
    const seconds = video.kind === "video" ? ` · ${clock(video.frames, video.fps)}` : "";
    const length = video.frames > 1 ? `${video.frames} frames${seconds}` : "image";
    const done = h("i", { class: "done" });
    const work = h("small", {});
    const people = h("small", {});
    const root = h(
        "li",
        { class: "card" },
        h(
            "a",
            { href: `#video/${video.id}` },
            h("span", { class: "card-image" }, image),
            done,
            h("strong", { title: video.name }, video.name),
            h("small", {}, `${video.width} × ${video.height} · ${length}`),
            work,
            people,
        ),
        h(
            "span",
            { class: "card-actions" },
            iconButton("people", `State and people of ${video.name}`, () => edit(video)),
            iconButton("trash", `Delete ${video.name}`, () => remove(video), { class: "icon-button danger" }),
        ),
    );
    const update = (/** @type {T.VideoSummary} */ now) => {
        root.dataset.state = now.state;
        done.style.setProperty("--share", String(now.frames ? now.reviewed / now.frames : 0));
        fill(work, ...workWords(now));
        const { assignee, reviewer, comments } = now;
        const written = comments ? `${comments} ${comments === 1 ? "comment" : "comments"}` : "";
        const words = [assignee, reviewer && `reviewer ${reviewer}`, written].filter(Boolean).join(" · ");
        people.hidden = !words;
        fill(people, words);
    };
    update(video);
    return { root, update };
}

/** @param {T.VideoSummary} video */
function workWords({ state, tracking, objects, reviewed, frames }) {
    const words = STATES.find(([name]) => name === state)?.[1] ?? state;
    const parts = [`${objects || "no"} ${objects === 1 ? "object" : "objects"}`];
    if (frames > 1) parts.push(`${reviewed} reviewed`);
    return [
        h("b", { class: "state" }, words),
        ...(tracking === null ? [] : [" · ", h("b", { class: "tracks" }, `tracking, ${Math.round(100 * tracking)} %`)]),
        ` · ${parts.join(" · ")}`,
    ];
}
