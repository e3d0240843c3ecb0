/** The view of an open clip: the stage, the objects and the actions. */

import { fill, h, icon, iconButton } from "../lib/dom.js";
import { complain } from "../lib/toast.js";
import { Stage, colorOf } from "./stage.js";

/** @import { Workspace } from "../workspace.js" */

/**
 * @param {Workspace} workspace
 */
export function work(workspace) {
    const stage = new Stage(workspace);
    const spinner = h("span", { class: "working", role: "status" });
    stage.root.append(spinner);
    workspace.store.watch(["busy"], () => {
        spinner.hidden = !workspace.state.busy;
        fill(spinner, workspace.state.busy ? h("span", { class: "visually-hidden" }, "Working") : null);
    });
    return h("div", { class: "work" }, stage.root, side(workspace), transport(workspace));
}

/**
 * @param {Workspace} workspace
 */
function side(workspace) {
    const list = h("ul", { class: "objects", "aria-label": "Objects" });
    const add = h(
        "button",
        { type: "button", class: "quiet", onclick: () => workspace.set({ object: null, isPositive: true }) },
        icon("plus"),
        "New object",
    );
    workspace.store.watch(["objects", "object", "masks", "frame"], () => {
        const { objects, object, masks, frame } = workspace.state;
        const here = masks.get(frame) ?? [];
        const rows = objects.map((id) => row(workspace, id, id === object, here.find((mask) => mask.object === id)));
        if (object === null) {
            rows.push(h("li", { class: "object selected fresh" }, h("span", { class: "hint" }, "Click on an object")));
        }
        fill(list, ...rows);
        list.querySelector(".selected")?.scrollIntoView({ block: "nearest", inline: "nearest" });
        add.disabled = object === null;
    });
    return h("aside", { class: "side", "aria-label": "Objects" }, signs(workspace), list, add, saving(workspace));
}

/**
 * @param {Workspace} workspace
 * @param {number} id
 * @param {boolean} isSelected
 * @param {{box: unknown} | undefined} mask  on the current frame
 */
function row(workspace, id, isSelected, mask) {
    const swatch = h("i", { class: "swatch" });
    swatch.style.background = colorOf(id);
    const words = mask ? (mask.box ? "" : "not in the frame") : "no mask here";
    return h(
        "li",
        { class: isSelected ? "object selected" : "object" },
        h(
            "button",
            { type: "button", class: "object-name", "aria-pressed": String(isSelected), onclick: () => workspace.set({ object: id }) },
            swatch,
            `Object ${id}`,
            h("small", {}, words),
        ),
        iconButton("trash", `Delete object ${id}`, () => void workspace.remove(id), { class: "icon-button danger" }),
    );
}

/**
 * Buttons that set whether clicks are positive or negative. With a mouse, the right button is the other kind.
 *
 * @param {Workspace} workspace
 */
function signs(workspace) {
    const button = (/** @type {boolean} */ isPositive, /** @type {string} */ iconName, /** @type {string} */ label, /** @type {string} */ title) => {
        const made = h(
            "button",
            { type: "button", class: "toggle", title, onclick: () => workspace.set({ isPositive }) },
            icon(iconName),
            label,
        );
        workspace.store.watch(["isPositive"], () =>
            made.setAttribute("aria-pressed", String(workspace.state.isPositive === isPositive)),
        );
        return made;
    };
    const undo = iconButton("undo", "Undo (Ctrl+Z)", () => void workspace.undo(), { class: "icon-button undo" });
    workspace.store.watch(["canUndo", "activity"], () => {
        const { canUndo, activity } = workspace.state;
        undo.disabled = !canUndo || (activity !== "nothing" && workspace.clip.kind === "video");
    });
    return h(
        "div",
        { class: "signs", role: "group", "aria-label": "What a click means" },
        button(true, "point-plus", "Plus", "A click on the object"),
        button(false, "point-minus", "Minus", "A click on what is not the object: right button, or Alt"),
        undo,
    );
}

/**
 * @param {Workspace} workspace
 */
function saving(workspace) {
    const { clip } = workspace;
    const still = h(
        "button",
        { type: "button", class: "quiet", title: "A PNG in which each pixel has the number of its object", onclick: () => void workspace.saveFrame() },
        icon("image"),
        clip.kind === "image" ? "Save the masks" : "Save this frame",
    );
    const all = h(
        "button",
        { type: "button", class: "quiet", title: "A zip with a PNG for each frame, and masklets.json", onclick: () => void workspace.saveVideo() },
        icon("download"),
        "Save all masks",
    );
    all.hidden = clip.kind !== "video";
    workspace.store.watch(["masks", "frame", "activity"], () => {
        const { masks, frame, activity } = workspace.state;
        still.disabled = !masks.get(frame)?.length;
        all.disabled = !masks.size || activity !== "nothing";
    });
    return h("div", { class: "saving" }, still, all);
}

/**
 * @param {Workspace} workspace
 */
function transport(workspace) {
    const { clip } = workspace;
    const rate = h("span", { class: "rate", role: "status" });
    workspace.store.watch(["rate", "activity"], () => {
        const { rate: frames, activity } = workspace.state;
        const words = frames === null ? "" : `${frames.toFixed(1)} frames per second`;
        rate.textContent = activity === "tracking" && frames === null ? "Tracking" : words;
    });
    if (clip.kind !== "video") return h("div", { class: "transport" }, rate);
    const last = clip.frames - 1;
    const slider = h("input", {
        type: "range",
        min: 0,
        max: last,
        step: 1,
        value: 0,
        "aria-label": "Frame",
        oninput: () => void seek(workspace, slider.valueAsNumber),
    });
    const place = h("span", { class: "time" });
    const done = h("i", { class: "done", "aria-hidden": "true" });
    const play = iconButton("play", "Play", () => (workspace.state.activity === "playing" ? workspace.stop() : void workspace.play()));
    const track = h("button", { type: "button", class: "primary track" });
    track.addEventListener("click", () => (workspace.state.activity === "tracking" ? workspace.stop() : void workspace.track()));
    workspace.store.watch(["frame"], () => {
        const { frame } = workspace.state;
        slider.value = String(frame);
        place.textContent = `${frame} of ${last} · ${clip.times[frame]?.toFixed(2)} s`;
    });
    workspace.store.watch(["masks"], () => {
        const share = workspace.state.masks.size / clip.frames;
        done.style.setProperty("--share", String(share));
    });
    workspace.store.watch(["activity", "objects", "busy"], () => {
        const { activity, objects, busy } = workspace.state;
        const isTracking = activity === "tracking";
        fill(track, icon(isTracking ? "stop" : "track"), isTracking ? "Stop" : "Track");
        track.disabled = !isTracking && (activity !== "nothing" || !objects.length || busy > 0);
        fill(play, icon(activity === "playing" ? "pause" : "play"));
        play.setAttribute("aria-label", activity === "playing" ? "Pause" : "Play");
        play.disabled = isTracking;
        slider.disabled = activity !== "nothing";
    });
    return h(
        "div",
        { class: "transport" },
        iconButton("step-back", "One frame back", () => void seek(workspace, workspace.state.frame - 1)),
        play,
        iconButton("step-forward", "One frame forward", () => void seek(workspace, workspace.state.frame + 1)),
        h("div", { class: "line" }, slider, done),
        place,
        track,
        rate,
    );
}

/** @type {{frame: number | null, isRunning: boolean}} */
const pending = { frame: null, isRunning: false };

/**
 * Show a frame; of many successive calls, only the last one.
 *
 * @param {Workspace} workspace
 * @param {number} frame
 */
export async function seek(workspace, frame) {
    const { clip } = workspace;
    if (workspace.state.activity !== "nothing" || frame < 0 || frame >= clip.frames) return;
    pending.frame = frame;
    if (pending.isRunning) return;
    pending.isRunning = true;
    while (pending.frame !== null) {
        const next = pending.frame;
        pending.frame = null;
        await workspace.show(next).catch(complain);
    }
    pending.isRunning = false;
}
