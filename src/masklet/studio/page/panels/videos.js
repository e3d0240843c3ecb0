/** A project's videos as a list of work: thumbnails, state, search and order. */

import * as api from "../lib/api.js";
import { fill, h, iconButton } from "../lib/dom.js";
import { byName, clock } from "../lib/state.js";

/** @import * as T from "../lib/types.js" */

/** @typedef {"new" | "in work" | "reviewed"} WorkState */

/** @type {WorkState[]} */
const STATES = ["new", "in work", "reviewed"];
const ORDER_KEY = "masklet-video-order";

/**
 * @param {T.VideoSummary} video
 * @returns {WorkState}
 */
function workState(video) {
    if (video.reviewed >= video.frames) return "reviewed";
    return video.objects || video.reviewed ? "in work" : "new";
}

/**
 * @param {T.Project} project
 * @param {(video: T.VideoSummary) => void} remove
 */
export function videoList(project, remove) {
    const cards = project.videos.map((video) => ({ video, state: workState(video), card: card(video, remove) }));
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
        { class: "field", "aria-label": "Order of videos", onchange: () => show() },
        h("option", { value: "newest" }, "newest first"),
        h("option", { value: "name" }, "by name"),
    );
    order.value = localStorage.getItem(ORDER_KEY) ?? "newest";
    /** @type {WorkState | null} */
    let wanted = null;
    const filters = [null, ...STATES].map((state) => {
        const count = cards.filter((entry) => !state || entry.state === state).length;
        const press = () => {
            wanted = state;
            show();
        };
        const button = h(
            "button",
            { type: "button", class: "filter", onclick: press },
            `${state ?? "all"} `,
            h("small", {}, count),
        );
        return { state, button };
    });
    const show = () => {
        localStorage.setItem(ORDER_KEY, order.value);
        const words = search.value.toLocaleLowerCase().split(/\s+/);
        const shown = cards.filter(
            ({ video, state }) =>
                (!wanted || state === wanted) &&
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
                order,
            ),
        list,
    );
}

/**
 * @param {T.VideoSummary} video
 * @param {(video: T.VideoSummary) => void} remove
 */
function card(video, remove) {
    const picture = h("img", { src: api.frameAddress(video.id, 0, 480), alt: "", loading: "lazy" });
    picture.addEventListener("error", () => picture.classList.add("broken"));
    const length =
        video.frames > 1 ? `${video.frames} frames · ${clock(video.frames, video.fps)}` : "picture";
    const objects = `${video.objects || "no"} ${video.objects === 1 ? "object" : "objects"}`;
    const done = h("i", { class: "done" });
    done.style.setProperty("--share", String(video.frames ? video.reviewed / video.frames : 0));
    const state = workState(video);
    return h(
        "li",
        { class: "card", "data-state": state },
        h(
            "a",
            { href: `#video/${video.id}` },
            h("span", { class: "card-picture" }, picture),
            done,
            h("strong", { title: video.name }, video.name),
            h("small", {}, `${video.width} × ${video.height} · ${length}`),
            h("small", {}, h("b", { class: "state" }, state), ` · ${objects} · ${video.reviewed} reviewed`),
        ),
        iconButton("trash", `Delete ${video.name}`, () => remove(video), { class: "icon-button danger" }),
    );
}
