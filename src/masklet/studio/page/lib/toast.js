/** Short messages at the edge of the page, read out by screen readers. */

import { byId, fill, h, iconButton } from "./dom.js";

const GAP = 12; // pixels above the lower edge of the stage
const STAYS = 6000; // milliseconds; errors stay twice as long

/**
 * @param {string} message
 * @param {{kind?: "note" | "error", action?: {label: string, press: () => void}}} [how]
 */
export function toast(message, { kind = "note", action } = {}) {
    const shelf = byId("toasts");
    for (const old of shelf.children) if (old.getAttribute("data-message") === message) old.remove();
    const close = () => card.remove();
    const card = h(
        "div",
        { class: `toast ${kind}`, role: kind === "error" ? "alert" : "status", "data-message": message },
        h("span", {}, message),
        action &&
            h(
                "button",
                {
                    type: "button",
                    class: "link",
                    onclick: () => {
                        close();
                        action.press();
                    },
                },
                action.label,
            ),
        iconButton("close", "Dismiss", close),
    );
    shelf.append(card);
    const stage = document.querySelector(".stage"); // what is below it are controls, not to be covered
    shelf.style.bottom = stage ? `${innerHeight - stage.getBoundingClientRect().bottom + GAP}px` : "";
    shelf.hidePopover();
    shelf.showPopover(); // above a sheet, too
    while (shelf.children.length > 3) shelf.firstElementChild?.remove();
    setTimeout(close, kind === "error" || action ? 2 * STAYS : STAYS);
}

/** Remove notes and errors that ask for nothing: what they were about is past. */
export function clearNotes() {
    for (const card of byId("toasts").querySelectorAll(".toast:not(:has(.link))")) card.remove();
}

/** An error of which the person was told already. */
export class ToldError extends Error {}

/** @param {unknown} error */
export function complain(error) {
    if (error instanceof ToldError) return;
    toast(error instanceof Error ? error.message : String(error), { kind: "error" });
}

/**
 * Tell screen readers, without showing.
 *
 * @param {string} message
 */
export function announce(message) {
    fill(byId("announcer"), message);
}
