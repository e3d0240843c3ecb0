/** A project's videos as a list of work: thumbnails, state, search and order. */

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

/**
 * @typedef {object} CardActions
 * @property {(video: T.VideoSummary) => void} remove
 * @property {(video: T.VideoSummary) => void} edit  its state and people
 */

/**
 * @param {T.Project} project
 * @param {CardActions} actions
 */
export function videoList(project, actions) {
    const cards = project.videos.map((video) => ({ video, card: card(video, actions) }));
    const list = h("ul", { class: "cards", "aria-label": "Videos" });
    const search = h("input", {
        type: "search",
        class: "field",
        placeholder: "Search videos",
        "aria-label": "Search videos",
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
    const people = new Set(project.videos.flatMap((video) => [video.assignee, video.reviewer]));
    people.delete("");
    const person = h(
        "select",
        { class: "field", "aria-label": "Person", onchange: () => show() },
        h("option", { value: "" }, "everybody's"),
        ...[...people].sort(byName.compare).map((name) => h("option", { value: name }, `${name}'s`)),
    );
    /** @type {T.VideoSummary["state"] | null} */
    let wanted = null;
    /** @type {[T.VideoSummary["state"] | null, string][]} */
    const choices = [[null, "all"], ...STATES];
    const filters = choices.map(([state, words]) => {
        const count = cards.filter(({ video }) => !state || video.state === state).length;
        const press = () => {
            wanted = state;
            show();
        };
        const button = h(
            "button",
            { type: "button", class: "filter", onclick: press },
            `${words} `,
            h("small", {}, count),
        );
        return { state, button };
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
        fill(list, ...shown.map((entry) => entry.card));
        if (!shown.length) fill(list, h("li", { class: "hint" }, "No video is like that."));
        for (const { state, button } of filters) button.setAttribute("aria-pressed", String(state === wanted));
    };
    show();
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
                people.size > 0 && person,
                order,
            ),
        list,
    );
}

/**
 * @param {T.VideoSummary} video
 * @param {CardActions} actions
 */
function card(video, { remove, edit }) {
    const picture = h("img", { src: api.frameAddress(video.id, 0, 480), alt: "", loading: "lazy" });
    picture.addEventListener("error", () => picture.classList.add("broken"));
    const length =
        video.frames > 1 ? `${video.frames} frames · ${clock(video.frames, video.fps)}` : "picture";
    const objects = `${video.objects || "no"} ${video.objects === 1 ? "object" : "objects"}`;
    const done = h("i", { class: "done" });
    done.style.setProperty("--share", String(video.frames ? video.reviewed / video.frames : 0));
    const words = STATES.find(([state]) => state === video.state)?.[1] ?? video.state;
    const people = [video.assignee, video.reviewer && `reviewed by ${video.reviewer}`].filter(Boolean).join(" · ");
    const comments = video.comments ? `${video.comments} ${video.comments === 1 ? "comment" : "comments"}` : "";
    return h(
        "li",
        { class: "card", "data-state": video.state },
        h(
            "a",
            { href: `#video/${video.id}` },
            h("span", { class: "card-picture" }, picture),
            done,
            h("strong", { title: video.name }, video.name),
            h("small", {}, `${video.width} × ${video.height} · ${length}`),
            h("small", {}, h("b", { class: "state" }, words), ` · ${objects} · ${video.reviewed} reviewed`),
            people || comments ? h("small", {}, [people, comments].filter(Boolean).join(" · ")) : null,
        ),
        h(
            "span",
            { class: "card-actions" },
            iconButton("people", `State and people of ${video.name}`, () => edit(video)),
            iconButton("trash", `Delete ${video.name}`, () => remove(video), { class: "icon-button danger" }),
        ),
    );
}
