/** The bar under the stage: frame number, playback, tracking with its progress, and review. */

import { fill, h, icon, iconButton } from "../lib/dom.js";
import {
    accept,
    propagate,
    propagateAffected,
    propagateFromHere,
    propagateMissing,
    nextDoubtful,
    seek,
    step,
    stopOrResume,
    togglePlay,
    toggleReviewed,
} from "../lib/propagation.js";
import { changedSpan, frameList, isPropagating, timecode, whereabouts, within } from "../lib/state.js";
import { focusStage } from "../stage/stage.js";
import { menuButton, menuItem } from "./menu.js";
import { problemsMenu } from "./problems.js";

/** @import * as T from "../lib/types.js" */
/** @import { Studio } from "../lib/studio.js" */

/**
 * @param {Studio} studio
 * @param {HTMLElement} root
 */
export function mountTransport(studio, root) {
    const single = studio.state.video.frames < 2;
    fill(
        root,
        h(
            "div",
            { class: "cluster", role: "group", "aria-label": "Frame" },
            ...(single ? [] : [...moving(studio), position(studio)]),
        ),
        single ? null : trackingControls(studio),
        reviewing(studio, single),
    );
}

/** @param {Studio} studio */
function moving(studio) {
    const play = iconButton("play", "Play (Space)", () => togglePlay(studio));
    studio.store.watch(["playing"], () => {
        const { playing } = studio.state;
        fill(play, icon(playing ? "pause" : "play"));
        play.setAttribute("aria-label", playing ? "Pause (Space)" : "Play (Space)");
    });
    return [
        iconButton("step-back", "One frame back (←)", () => step(studio, -1)),
        play,
        iconButton("step-forward", "One frame forward (→)", () => step(studio, 1)),
    ];
}

/** @param {Studio} studio */
function position(studio) {
    const { video } = studio.state;
    const field = h("input", {
        class: "frame-number",
        type: "number",
        min: 0,
        max: video.frames - 1,
        "aria-label": "Frame",
        title: "Frame; Enter goes there",
    });
    const show = () => (field.value = String(studio.state.frame));
    field.addEventListener("focus", () => field.select());
    field.addEventListener("change", () => {
        if (field.value !== "") seek(studio, Number(field.value));
        show();
    });
    field.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== "Escape") return;
        event.stopPropagation();
        if (event.key === "Escape") show();
        focusStage(); // so that keys control the studio again; losing the focus applies the number
    });
    const isVideo = video.kind === "video";
    const time = h("span", {
        class: "time",
        title: isVideo ? "Timecode: hours, minutes, seconds, frames" : "Slice and point in time, from 0",
    });
    studio.store.watch(["frame", "stack", "isVariable", "seconds"], () => {
        const { frame, isVariable } = studio.state;
        if (document.activeElement !== field) show();
        if (isVariable) time.title = "Time in the file: its frame rate is not constant";
        fill(time, isVideo && !isVariable ? timecode(frame, video.fps) : whereabouts(studio.state, frame));
    });
    return h(
        "label",
        { class: "position" },
        field,
        h("span", { class: "of" }, `/ ${video.frames - 1}`),
        time,
    );
}

/** @param {Studio} studio */
function trackingControls(studio) {
    const root = h("div", { class: "cluster tracking", role: "group", "aria-label": "Track" });
    let mode = ""; // the shown mode; buttons are redrawn only if it changes
    const bar = h(
        "div",
        {
            class: "progress",
            role: "progressbar",
            "aria-label": "Tracking",
            "aria-valuemin": 0,
            "aria-valuemax": 100,
        },
        h("i", {}),
    );
    const words = h("span", { class: "progress-words" });
    studio.store.watch(["propagation", "video", "range"], () => {
        const now = isPropagating(studio.state) ? "running" : JSON.stringify(idleState(studio));
        if (now !== mode) {
            // Restore the focus only for keyboard users: for others, Space should play, not press the button.
            const hadFocus = root.querySelector(":focus-visible") !== null;
            fill(root, ...(now === "running" ? running(studio, bar, words) : idle(studio)));
            if (hadFocus) root.querySelector("button")?.focus();
        }
        mode = now;
        const { propagation } = studio.state;
        if (now === "running" && propagation) progress(propagation, bar, words);
    });
    return root;
}

/** @param {Studio} studio */
function idleState(studio) {
    const { video, range } = studio.state;
    return [changedSpan(studio.state), video.unfinished, range];
}

/**
 * @param {Studio} studio
 * @param {HTMLElement} bar
 * @param {HTMLElement} words
 */
function running(studio, bar, words) {
    const stop = h(
        "button",
        { type: "button", class: "stop", onclick: () => void stopOrResume(studio), title: "Stop (S)" },
        icon("stop"),
        "Stop",
    );
    return [bar, words, stop];
}

/**
 * @param {T.Propagation} propagation
 * @param {HTMLElement} bar
 * @param {HTMLElement} words
 */
function progress(propagation, bar, words) {
    const share = propagation.total ? propagation.done / propagation.total : 0;
    bar.style.setProperty("--share", String(share));
    bar.setAttribute("aria-valuenow", String(Math.round(100 * share)));
    if (propagation.state === "waiting") {
        fill(words, "Waiting for other jobs");
        return;
    }
    const left = propagation.seconds_left === null ? "" : ` · ${duration(propagation.seconds_left)} left`;
    fill(words, `${propagation.done} of ${propagation.total}${left}`);
    words.title = propagation.fps ? `${propagation.fps.toFixed(1)} frames per second` : "";
}

/** @param {number} seconds */
function duration(seconds) {
    if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s`;
    if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
    return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
}

/** @param {Studio} studio */
function idle(studio) {
    const { video, range } = studio.state;
    const changed = changedSpan(studio.state);
    const { unfinished } = video;
    const where = range ? `in frames ${range[0]}–${range[1] - 1}` : "from the first prompt to the end";
    return [
        changed &&
            button(
                "again",
                "Track changes",
                `Track changed and new objects, ${frameList([changed])} (T)`,
                () => propagateAffected(studio),
                "primary",
            ),
        unfinished &&
            button(
                "go-on",
                `Resume from ${unfinished.frame}`,
                `${unfinished.done} of ${unfinished.total} frames are done (S)`,
                () => void stopOrResume(studio),
                changed ? "quiet" : "primary",
            ),
        button(
            "track",
            "Track",
            `Track forwards, ${where} (F)`,
            () => propagate(studio, "forward"),
            changed || unfinished ? "quiet brief" : "primary",
        ),
        button(
            "from-here",
            "From here",
            "Track from this frame to the end (L)",
            () => propagateFromHere(studio, null),
            changed || unfinished ? "quiet brief" : "quiet",
        ),
        menuButton("more", "More ways to track", () => moreWays(studio)),
        range &&
            h(
                "button",
                {
                    type: "button",
                    class: "chip",
                    title: "Clear the range (Esc)",
                    onclick: () => studio.store.set({ range: null }),
                },
                `${range[0]}–${range[1] - 1}`,
                icon("close"),
            ),
    ];
}

/** @param {Studio} studio */
function moreWays(studio) {
    const { video, onlySelected, range, stretch } = studio.state;
    const inRange = range ? " in the range" : "";
    const count = h("input", {
        type: "number",
        class: "frame-number",
        min: 1,
        max: video.frames,
        value: stretch,
        "aria-label": "Number of frames",
        onchange: () => setStretch(),
    });
    const setStretch = () => studio.store.set({ stretch: Math.max(1, Math.round(Number(count.value)) || 1) });
    const some = menuItem("Track frames from here:", "Shift L", () =>
        propagateFromHere(studio, studio.state.stretch),
    );
    count.addEventListener("keydown", (event) => {
        if (event.key !== "Enter") return;
        setStretch();
        some.click();
    });
    const only = h("input", {
        type: "checkbox",
        checked: onlySelected,
        onchange: () => studio.store.set({ onlySelected: only.checked }),
    });
    const doubtful = h("input", {
        type: "checkbox",
        checked: studio.state.stopWhenDoubtful,
        onchange: () => studio.store.set({ stopWhenDoubtful: doubtful.checked }),
    });
    return [
        menuItem("Track from here to the end", "L", () => propagateFromHere(studio, null)),
        h("div", { class: "menu-row" }, some, count),
        menuItem(`Track backwards${inRange}`, "Shift F", () => propagate(studio, "backward")),
        menuItem(`Track both ways${inRange}`, "G", () => propagate(studio, "both")),
        menuItem(`Track frames without a mask${inRange}`, "U", () => propagateMissing(studio)),
        h("label", { class: "check", title: "Stops where confidence falls below 0.5" }, doubtful, "stop when doubtful"),
        video.objects.length > 1 &&
            h(
                "label",
                { class: "check", title: "The other objects keep their masks" },
                only,
                "only the selected object",
            ),
    ];
}

/**
 * @param {string} iconName
 * @param {string} text
 * @param {string} title
 * @param {() => void} press
 * @param {string} kind
 */
function button(iconName, text, title, press, kind) {
    return h(
        "button",
        { type: "button", class: kind, title, "aria-label": text, onclick: press },
        icon(iconName),
        h("span", {}, text),
    );
}

/**
 * @param {Studio} studio
 * @param {boolean} single
 */
function reviewing(studio, single) {
    const mark = button(
        "check",
        "Reviewed",
        "Mark this frame, or the selected range, as reviewed (R)",
        () => void toggleReviewed(studio),
        "quiet toggle",
    );
    studio.store.watch(["video", "frame", "range"], () => {
        const { video, frame, range } = studio.state;
        mark.setAttribute("aria-pressed", String(within(video.reviewed, range ? range[0] : frame)));
    });
    const acceptButton = button(
        "next",
        "Accept, next",
        "Mark as reviewed, and open the next file that is not reviewed (Enter)",
        () => void accept(studio),
        "primary",
    );
    const doubts = [
        button(
            "doubt",
            "Next doubtful",
            "Go to the least certain frame that is not reviewed (J); Enter accepts this frame first",
            () => void nextDoubtful(studio),
            "quiet",
        ),
        problemsMenu(studio),
        h(
            "button",
            { type: "button", class: "visually-hidden", onclick: () => void accept(studio) },
            "Accept this frame and go to the next doubtful one",
        ),
    ];
    return h(
        "div",
        { class: "cluster end", role: "group", "aria-label": "Review" },
        mark,
        ...(single ? [acceptButton] : doubts),
    );
}
