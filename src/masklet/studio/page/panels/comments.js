/** Comments on frames: a menu in the top bar that lists them and adds one to the current frame. */

import * as api from "../lib/api.js";
import { fill, h, icon } from "../lib/dom.js";
import { seek } from "../lib/propagation.js";
import { select } from "../lib/prompting.js";
import { dateAndTime, nameOf, selected } from "../lib/state.js";
import { complain } from "../lib/toast.js";
import { menuButton } from "./menu.js";

/** @import * as T from "../lib/types.js" */
/** @import { Studio } from "../lib/studio.js" */

/** @param {Studio} studio */
export function commentsMenu(studio) {
    const list = h("ul", { class: "comments", "aria-label": "Comments" });
    const contents = [form(studio), list];
    const anchor = menuButton("comment", "Comments (Y)", () => contents);
    const button = /** @type {HTMLButtonElement} */ (anchor.querySelector("button"));
    button.classList.add("comments-button");
    studio.store.watch(["comments", "video"], () => {
        const { comments } = studio.state;
        const open = comments.filter((comment) => !comment.resolved);
        button.dataset.count = open.length ? String(open.length) : "";
        button.setAttribute("aria-label", open.length ? `Comments (Y): ${open.length} open` : "Comments (Y)");
        const ordered = comments.toSorted(
            (one, other) => Number(one.resolved) - Number(other.resolved) || one.frame - other.frame,
        );
        const rows = ordered.map((comment) => row(studio, comment));
        fill(list, ...(rows.length ? rows : [h("li", { class: "hint" }, "No comments yet.")]));
    });
    return anchor;
}

/** @param {Studio} studio */
function form(studio) {
    const text = h("textarea", { class: "field", rows: 2, maxlength: 4000, required: true, placeholder: "Write a comment" });
    const about = h("input", { type: "checkbox" });
    const aboutLabel = h("label", { class: "check" }, about, h("span", {}));
    const frameLabel = h("span", {});
    const root = h(
        "form",
        { class: "comment-form" },
        h("label", { class: "form-field" }, frameLabel, text),
        h("div", { class: "button-row" }, aboutLabel, h("span", { class: "gap" }), h("button", { type: "submit", class: "primary" }, "Comment")),
    );
    studio.store.watch(["frame", "object", "video"], () => {
        const item = selected(studio.state);
        fill(frameLabel, studio.state.video.frames > 1 ? `On frame ${studio.state.frame}` : "On this image");
        aboutLabel.hidden = !item;
        if (item) fill(/** @type {Element} */ (aboutLabel.lastElementChild), `about ${nameOf(item)}`);
    });
    text.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" || event.shiftKey) return;
        event.preventDefault();
        root.requestSubmit();
    });
    root.addEventListener("submit", async (event) => {
        event.preventDefault();
        const { frame, object } = studio.state;
        try {
            const comment = { frame, text: text.value.trim(), object: about.checked ? object : null };
            await api.addComment(studio.id, comment);
            text.value = "";
            await studio.fetchComments();
        } catch (error) {
            complain(error);
        }
    });
    return root;
}

/**
 * @param {Studio} studio
 * @param {T.Comment} comment
 */
function row(studio, { id, frame, object, text, resolved, person, at }) {
    const item = studio.state.video.objects.find((entry) => entry.id === object) ?? null;
    const show = () => {
        seek(studio, frame);
        if (item) select(studio, item.id);
    };
    const resolve = async () => {
        try {
            await api.resolveComment(studio.id, id, !resolved);
            await studio.fetchComments();
        } catch (error) {
            complain(error);
        }
    };
    const where = `frame ${frame}${item ? `, ${nameOf(item)}` : ""}`;
    return h(
        "li",
        { class: "comment", "data-resolved": String(resolved) },
        h("p", {}, text),
        h("small", {}, `${person} · ${dateAndTime(at)}`),
        h(
            "div",
            { class: "button-row" },
            h("button", { type: "button", class: "link", title: "Go to the frame", onclick: show }, where),
            h("span", { class: "gap" }),
            h(
                "button",
                { type: "button", class: "link", onclick: () => void resolve() },
                icon(resolved ? "again" : "check"),
                resolved ? "Reopen" : "Resolve",
            ),
        ),
    );
}

/** Open the comments by a key, with the focus in the text field. */
export function openComments() {
    const button = document.querySelector(".comments-button");
    if (button instanceof HTMLButtonElement) button.click();
    const field = document.querySelector(".comment-form textarea");
    if (field instanceof HTMLTextAreaElement) field.focus();
}
