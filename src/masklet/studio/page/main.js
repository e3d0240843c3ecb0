/** The entry point: shows the view that belongs to the address. */

import * as api from "./lib/api.js";
import { byId, fill, h, loadIcons } from "./lib/dom.js";
import { Studio } from "./lib/studio.js";
import { FrameTimes } from "./lib/times.js";
import { askBeforeLeaving } from "./lib/unsent.js";
import { mountFrame } from "./panels/frame.js";
import { failure, mountHome } from "./panels/home.js";
import { mountHints } from "./panels/hints.js";
import { mountKeyboard } from "./panels/keyboard.js";
import { mountObjectClass } from "./panels/object-class.js";
import { mountObjects } from "./panels/objects.js";
import { play } from "./panels/play.js";
import { applyTheme } from "./panels/theme.js";
import { mountTimeline } from "./panels/timeline.js";
import { mountTools } from "./panels/tools.js";
import { mountTopbar } from "./panels/topbar.js";
import { mountTransport } from "./panels/transport.js";
import { Stage } from "./stage/stage.js";

/** @import * as T from "./lib/types.js" */

/**
 * @param {T.About} about
 * @param {HTMLElement} root
 * @param {string} id
 * @param {AbortSignal} signal  fires when another address is shown
 */
async function showVideo(about, root, id, signal) {
    fill(root, h("p", { class: "loading", role: "status" }, "Loading"));
    let video, project;
    try {
        video = await api.video(id);
        project = await api.project(video.project);
    } catch (error) {
        if (signal.aborted) return;
        fill(
            root,
            failure(error, () => location.reload()),
        );
        return;
    }
    if (signal.aborted) return;
    document.title = `${video.name} · masklet studio`;
    const part = (
        /** @type {"header" | "div" | "aside" | "section" | "nav"} */ tag,
        /** @type {string} */ name,
        /** @type {string} */ label,
    ) => h(tag, { class: name, "aria-label": label });
    const top = part("header", "topbar", "masklet studio");
    const tools = part("nav", "rail", "Tools");
    const stageRoot = part("section", "stage", "Video");
    const objects = part("section", "panel", "Objects");
    const hints = part("section", "hints", "Hints");
    const objectClass = part("section", "panel", "Class");
    const frame = part("section", "panel", "This frame");
    const transport = part("section", "transport", "Playback and tracking");
    const timeline = part("section", "timeline", "Timeline");
    const side = h("aside", { class: "side", "aria-label": "Objects and frame" }, objects, objectClass, frame);
    fill(root, h("div", { class: "studio" }, top, tools, stageRoot, side, hints, transport, timeline));

    const studio = new Studio(about, video, project);
    const stage = new Stage(studio, stageRoot, signal);
    mountTopbar(studio, stage, top);
    mountTools(studio, stage, tools);
    mountObjects(studio, objects);
    mountHints(studio, hints);
    mountObjectClass(studio, objectClass);
    mountFrame(studio, frame);
    mountTransport(studio, transport);
    mountTimeline(studio, timeline, signal);
    mountKeyboard(studio, stage, signal);
    play(studio, new FrameTimes(studio), signal);
    signal.addEventListener("abort", () => studio.close());
}

async function start() {
    applyTheme();
    const root = byId("page");
    let shown = new AbortController();
    let about;
    try {
        [about] = await Promise.all([api.about(), loadIcons()]);
    } catch (error) {
        fill(
            root,
            failure(error, () => location.reload()),
        );
        return;
    }
    const server = about;
    const route = () => {
        shown.abort();
        shown = new AbortController();
        /** @type {HTMLDialogElement} */ (byId("sheet")).close();
        document.title = "masklet studio";
        const [kind, id] = location.hash.slice(1).split("/");
        if (kind === "video" && id) void showVideo(server, root, id, shown.signal);
        else void mountHome(server, root, kind === "project" ? id : null, shown.signal);
    };
    window.addEventListener("hashchange", route);
    askBeforeLeaving();
    // a file dropped beside the drop zone must not navigate the browser away
    for (const kind of ["dragover", "drop"]) window.addEventListener(kind, (event) => event.preventDefault());
    route();
}

void start();
