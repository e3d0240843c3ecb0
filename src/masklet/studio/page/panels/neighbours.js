/** The videos before and after this one in the project, by name: links in the top bar. */

import * as api from "../lib/api.js";
import { fill, h, iconButton } from "../lib/dom.js";
import { byName } from "../lib/state.js";

/** @import { Studio } from "../lib/studio.js" */

/**
 * The videos before and after this one in the project, by name.
 *
 * @param {Studio} studio
 */
export function neighbours(studio) {
    const root = h("div", { class: "cluster neighbours", role: "group", "aria-label": "Videos", hidden: true });
    const show = async () => {
        const { projects } = await api.projects();
        const project = projects.find((entry) => entry.id === studio.state.video.project);
        const videos = project?.videos.toSorted((one, other) => byName.compare(one.name, other.name)) ?? [];
        const at = videos.findIndex((video) => video.id === studio.id);
        if (at < 0 || videos.length < 2) return;
        const link = (/** @type {string} */ picture, /** @type {string} */ label, /** @type {number} */ to) => {
            const open = () => (location.hash = `#video/${videos[to].id}`);
            const words = videos[to] ? `${label}: ${videos[to].name}` : label;
            return iconButton(picture, words, open, { disabled: !videos[to], "data-video": label });
        };
        fill(
            root,
            link("back", "Previous video", at - 1),
            h("span", { class: "meta" }, `${at + 1} / ${videos.length}`),
            link("next", "Next video", at + 1),
        );
        root.hidden = false;
    };
    show().catch(() => {}); // without it there is still the way over the project's page
    return root;
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
