/** Dark or light colours: the system's setting, unless the user chooses. */

import { fill, icon, iconButton } from "../lib/dom.js";

const KEY = "masklet-theme";

function current() {
    const chosen = localStorage.getItem(KEY);
    if (chosen === "dark" || chosen === "light") return chosen;
    return matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark";
}

export function applyTheme() {
    document.documentElement.dataset.theme = current();
}

export function themeButton() {
    const button = iconButton("theme", "Dark or light", () => {
        localStorage.setItem(KEY, current() === "dark" ? "light" : "dark");
        applyTheme();
        fill(button, icon("theme"));
    });
    return button;
}
