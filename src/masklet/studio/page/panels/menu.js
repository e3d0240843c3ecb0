/** A button that opens a menu above or below it. Escape or a click elsewhere closes the menu. */

import { fill, h, iconButton } from "../lib/dom.js";

/** @import { Child } from "../lib/dom.js" */

const GAP = 6; // pixels between button and menu

/**
 * @param {string} iconName
 * @param {string} label
 * @param {() => Child[]} contents  called each time the menu opens
 * @param {string} [name]  a class of the button
 */
export function menuButton(iconName, label, contents, name = "") {
    const menu = h("div", { class: "menu", popover: "auto", role: "group", "aria-label": label });
    const button = iconButton(iconName, label, () => {}, {
        class: `icon-button menu-button ${name}`.trim(),
        "aria-expanded": "false",
    });
    button.popoverTargetElement = menu;
    menu.addEventListener("beforetoggle", (event) => {
        if (event.newState === "open") fill(menu, ...contents());
    });
    const observer = new ResizeObserver(() => placeMenu(menu, button)); // contents may come after it has opened
    menu.addEventListener("toggle", (event) => {
        button.setAttribute("aria-expanded", String(event.newState === "open"));
        if (event.newState === "open") observer.observe(menu);
        else observer.disconnect();
    });
    return h("span", { class: "menu-anchor" }, button, menu);
}

/**
 * @param {string} text
 * @param {string} keys  with the same action
 * @param {() => void} press
 * @param {Record<string, unknown>} [props]
 */
export function menuItem(text, keys, press, props = {}) {
    const item = h(
        "button",
        { type: "button", class: "menu-item", ...props },
        h("span", {}, text),
        keys && h("kbd", {}, keys),
    );
    item.addEventListener("click", () => {
        const menu = item.closest("[popover]");
        if (menu instanceof HTMLElement) menu.hidePopover();
        press();
    });
    return item;
}

/**
 * @param {HTMLElement} menu
 * @param {HTMLElement} button
 */
function placeMenu(menu, button) {
    const { left, top, bottom } = button.getBoundingClientRect();
    menu.style.left = "0"; // near the right edge its texts would be wrapped
    const { width, height } = menu.getBoundingClientRect();
    const isAbove = top - GAP - height >= GAP;
    menu.style.left = `${Math.max(GAP, Math.min(innerWidth - width - GAP, left))}px`;
    menu.style.top = isAbove ? "auto" : `${Math.max(GAP, Math.min(bottom + GAP, innerHeight - height - GAP))}px`;
    menu.style.bottom = isAbove ? `${innerHeight - top + GAP}px` : "auto";
}
