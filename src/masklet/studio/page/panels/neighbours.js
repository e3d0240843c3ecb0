/** The buttons in the top bar that open the previous and the next video of the project, by name. */

import { h, iconButton } from "../lib/dom.js";
import { openNeighbour } from "../lib/propagation.js";
import { neighboursOf } from "../lib/state.js";

/** @import { Studio } from "../lib/studio.js" */

/** @param {Studio} studio */
export function neighbours(studio) {
    const { position, total, previous, next } = neighboursOf(studio.state);
    const label = (/** @type {string} */ words, /** @type {{name: string} | null} */ video) =>
        video ? `${words}: ${video.name}` : words;
    return h(
        "div",
        { class: "cluster neighbours", role: "group", "aria-label": "Videos", hidden: !position || total < 2 },
        iconButton("back", label("Previous video", previous), () => openNeighbour(studio, "previous"), {
            disabled: !previous,
        }),
        h("span", { class: "meta" }, `${position} / ${total}`),
        iconButton("next", label("Next video", next), () => openNeighbour(studio, "next"), { disabled: !next }),
    );
}
