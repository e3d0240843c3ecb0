/** The videos before and after this one in the project, by name: links in the top bar. */

import { h, iconButton } from "../lib/dom.js";
import { byName } from "../lib/state.js";

/** @import { Studio } from "../lib/studio.js" */

/**
 * Links to the videos before and after this one.
 *
 * @param {Studio} studio
 */
export function neighbours(studio) {
    const videos = studio.state.project.videos.toSorted((one, other) => byName.compare(one.name, other.name));
    const at = videos.findIndex((video) => video.id === studio.id);
    const link = (/** @type {string} */ picture, /** @type {string} */ label, /** @type {number} */ to) => {
        const open = () => (location.hash = `#video/${videos[to].id}`);
        const words = videos[to] ? `${label}: ${videos[to].name}` : label;
        return iconButton(picture, words, open, { disabled: !videos[to], "data-video": label });
    };
    return h(
        "div",
        { class: "cluster neighbours", role: "group", "aria-label": "Videos", hidden: at < 0 || videos.length < 2 },
        link("back", "Previous video", at - 1),
        h("span", { class: "meta" }, `${at + 1} / ${videos.length}`),
        link("next", "Next video", at + 1),
    );
}

/**
 * Open the video before or after this one.
 *
 * @param {"Previous video" | "Next video"} label
 */
export function openNeighbour(label) {
    const button = document.querySelector(`[data-video="${label}"]`);
    if (button instanceof HTMLButtonElement) button.click();
}
