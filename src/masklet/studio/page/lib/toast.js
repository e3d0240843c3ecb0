/** Short messages at the edge of the page, also for screen readers. */

import { byId, fill, h, iconButton } from "./dom.js";

const GAP = 12; // pixels above the lower edge of the stage
const STAYS = 6000; // milliseconds; errors stay twice as long

/**
 * @param {string} message
 * @param {{kind?: "note" | "error", action?: {label: string, press: () => void}, step?: string | null}} [how]  step: the
 *     step that the action undoes
 */
export function toast(message, { kind = "note", action, step } = {}) {
    const shelf = byId("toasts");
    for (const old of shelf.children) if (old.getAttribute("data-message") === message) old.remove();
    const close = () => card.remove();
    const card = h(
        "div",
        { class: `toast ${kind}`, role: kind === "error" ? "alert" : "status", "data-message": message, "data-step": step },
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
    const stage = document.querySelector(".stage"); // messages must not cover the controls below the stage
    shelf.style.bottom = stage ? `${innerHeight - stage.getBoundingClientRect().bottom + GAP}px` : "";
    shelf.hidePopover();
    shelf.showPopover(); // moves the messages above an open sheet
    while (shelf.children.length > 3) shelf.firstElementChild?.remove();
    setTimeout(close, kind === "error" || action ? 2 * STAYS : STAYS);
}

/** Remove messages without an action, because a new action makes them outdated. */
export function clearNotes() {
    for (const card of byId("toasts").querySelectorAll(".toast:not(:has(.link))")) card.remove();
}

/**
 * Remove messages that offer to undo another step than the newest.
 *
 * @param {string | null} newest
 */
export function clearOldOffers(newest) {
    for (const card of byId("toasts").querySelectorAll("[data-step]")) {
        if (card.getAttribute("data-step") !== newest) card.remove();
    }
}

/** An error that the page has already shown. `complain` ignores it. */
export class ToldError extends Error {}

/** @param {unknown} error */
export function complain(error) {
    if (error instanceof ToldError) return;
    toast(error instanceof Error ? error.message : String(error), { kind: "error" });
}

/**
 * Announce a message to screen readers, without showing it.
 *
 * @param {string} message
 */
export function announce(message) {
    fill(byId("announcer"), message);
}
