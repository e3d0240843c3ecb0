/** The tool bar at the left, with the brush size and the zoom. */

import { fill, h, icon, iconButton } from "../lib/dom.js";
import { toggleEverything } from "../lib/prompting.js";
import { editsMenu } from "./edits.js";
import { menuButton, menuItem } from "./menu.js";

/** @import { Studio } from "../lib/studio.js" */
/** @import { ToolName } from "../lib/state.js" */
/** @import { Stage } from "../stage/stage.js" */

/** @type {[ToolName, string, string][]} */
const TOOLS = [
    ["add", "point-plus", "Plus: click on the object; drag for a box (P)"],
    ["remove", "point-minus", "Minus: click on what is not the object (N, or the right button)"],
    ["box", "box", "Box: drag around the object (B)"],
    ["brush", "brush", "Brush: paint the mask (D)"],
    ["erase", "eraser", "Eraser: erase the mask (E)"],
    ["lasso", "lasso", "Lasso: draw around a part to add it; with Alt to remove it (Q)"],
    ["polygon", "polygon", "Polygon: click corners, Enter closes; with Alt to remove (W)"],
    ["hand", "hand", "Hand: move the image (H, or the middle button)"],
];

/**
 * @param {Studio} studio
 * @param {Stage} stage
 * @param {HTMLElement} root
 */
export function mountTools(studio, stage, root) {
    const buttons = TOOLS.map(([tool, iconName, label]) =>
        iconButton(iconName, label, () => studio.store.set({ tool }), { "data-tool": tool }),
    );
    const size = h("input", {
        type: "range",
        min: 1,
        max: 300,
        "aria-label": "Size of the brush in pixels",
        title: "Size of the brush ([ and ])",
        oninput: () => studio.store.set({ brush: Number(size.value) }),
    });
    const label = h("output", {});
    const sizes = h("div", { class: "brush-size" }, size, label);
    fill(
        root,
        h("div", { class: "rail-group", role: "group", "aria-label": "Tools" }, ...buttons),
        h("div", { class: "rail-group" }, everythingButton(studio), editsMenu(studio)),
        sizes,
        h(
            "div",
            { class: "rail-group end", role: "group", "aria-label": "View" },
            iconButton("zoom-in", "Zoom in (+)", () => stage.move((view) => view.zoomBy(1.5))),
            iconButton("zoom-out", "Zoom out (−)", () => stage.move((view) => view.zoomBy(1 / 1.5))),
            iconButton("fit", "Show the whole frame (0)", () => stage.move((view) => view.fit())),
            masksButton(studio),
            viewMenu(studio),
        ),
    );
    studio.store.watch(["tool", "brush"], () => {
        const { tool, brush } = studio.state;
        for (const button of buttons)
            button.setAttribute("aria-pressed", String(button.dataset.tool === tool));
        sizes.hidden = tool !== "brush" && tool !== "erase";
        size.value = String(brush);
        label.value = `${brush} px`;
    });
}

/** @param {Studio} studio */
function everythingButton(studio) {
    const button = iconButton("everything", "Everything: find all masks, click to keep one (X)", () =>
        void toggleEverything(studio),
    );
    studio.store.watch(["everything", "finding"], () => {
        const { everything, finding } = studio.state;
        button.setAttribute("aria-pressed", String(Boolean(everything)));
        button.setAttribute("aria-busy", String(finding));
    });
    return button;
}

/** @param {Studio} studio */
function viewMenu(studio) {
    const contents = () => {
        const { view, opacity, preview } = studio.state;
        /** @type {[typeof view, string, string][]} */
        const ways = [
            ["overlay", "Masks on the image", ""],
            ["side", "Image and masks side by side", ""],
            ["matte", "Matte: white on black", ""],
        ];
        const slider = h("input", {
            type: "range",
            min: 0,
            max: 100,
            value: Math.round(100 * opacity),
            "aria-label": "Opacity of masks",
            oninput: () => studio.store.set({ opacity: Number(slider.value) / 100 }),
        });
        const hovering = h("input", {
            type: "checkbox",
            checked: preview,
            onchange: () => studio.store.set({ preview: hovering.checked }),
        });
        return [
            ...ways.map(([way, text, keys]) =>
                menuItem(text, keys, () => studio.store.set({ view: way }), {
                    "aria-pressed": String(way === view),
                }),
            ),
            h("label", { class: "check" }, "opacity", slider),
            h("label", { class: "check" }, hovering, "show the mask under the cursor"),
        ];
    };
    return menuButton("view", "View", contents, "view-button");
}

/** @param {Studio} studio */
function masksButton(studio) {
    const button = iconButton("masks", "Show or hide all masks (M)", () =>
        studio.store.set({ masksHidden: !studio.state.masksHidden }),
    );
    studio.store.watch(["masksHidden"], () => {
        button.setAttribute("aria-pressed", String(studio.state.masksHidden));
        fill(button, icon(studio.state.masksHidden ? "eye-off" : "masks"));
    });
    return button;
}
