/** The first page: opens clips, and explains the first steps. */

import { h, icon } from "../lib/dom.js";
import { complain } from "../lib/toast.js";

/** @import { Page } from "../main.js" */

/**
 * @param {Page} page
 * @param {string | null} example  address of a clip to try
 */
export function home(page, example) {
    const picker = h("input", {
        type: "file",
        id: "file-picker",
        class: "visually-hidden",
        accept: "image/*,video/*",
        onchange: () => {
            const file = picker.files?.[0];
            picker.value = ""; // so that the same file can be selected again
            if (file) void page.openFile(file);
        },
    });
    const drop = h(
        "label",
        { class: "drop", for: "file-picker" },
        icon("upload"),
        h("strong", {}, "Drop an image or a video here"),
        h("span", {}, "or choose a file. It stays on this device."),
    );
    const main = h(
        "main",
        { class: "welcome" },
        h("h1", {}, "Segment and track objects"),
        h(
            "p",
            { class: "lead" },
            "Masks of objects in images and videos, made by masklet in your browser. Nothing is uploaded.",
        ),
        picker,
        drop,
        h(
            "div",
            { class: "button-row" },
            h("button", { type: "button", class: "quiet", onclick: () => void page.openCamera() }, icon("film"), "Open the camera"),
            example &&
                h(
                    "button",
                    { type: "button", class: "quiet", onclick: () => void openExample(page, example) },
                    icon("play"),
                    "Try an example",
                ),
        ),
        h("p", { class: "loading-line", role: "status" }, ""),
        steps(),
    );
    const line = /** @type {HTMLElement} */ (main.querySelector(".loading-line"));
    const bar = h("span", { class: "progress" }, h("i", {}));
    const words = h("span", {}, "");
    line.append(bar, words);
    page.store.watch(["progress", "loaded", "isOpening"], () => {
        const { progress, loaded, isOpening } = page.store.state;
        bar.hidden = loaded !== null;
        bar.style.setProperty("--share", String(progress));
        const percent = `${Math.round(100 * progress)} %`;
        words.textContent = loaded ? (isOpening ? "Opening …" : "") : `Loading the model: ${percent}`;
    });
    for (const kind of ["dragenter", "dragover"]) {
        drop.addEventListener(kind, () => drop.classList.add("over"));
    }
    for (const kind of ["dragleave", "drop"]) {
        drop.addEventListener(kind, () => drop.classList.remove("over"));
    }
    return main;
}

/**
 * @param {Page} page
 * @param {string} address
 */
async function openExample(page, address) {
    const answer = await fetch(address).catch(() => null);
    const content = answer?.ok ? await answer.blob().catch(() => null) : null;
    if (content) await page.openFile(new File([content], address));
    else complain(new Error("The example could not be loaded. Check the connection, and try again."));
}

function steps() {
    const step = (/** @type {string} */ iconName, /** @type {string} */ title, /** @type {string} */ words) =>
        h("li", {}, icon(iconName), h("strong", {}, title), h("span", {}, words));
    return h(
        "ol",
        { class: "how", "aria-label": "How it works" },
        step("point-plus", "Select", "Click on an object. More clicks correct its mask."),
        step("track", "Track", "The masks appear frame by frame."),
        step("download", "Save", "PNG label maps and masklets.json."),
    );
}
