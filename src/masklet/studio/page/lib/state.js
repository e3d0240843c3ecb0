/** The page's state of a video, and functions that read it. */

/** @import * as T from "./types.js" */
/** @import { Obstacle } from "./delivery.js" */

/**
 * @typedef {"add" | "remove" | "box" | "brush" | "erase" | "lasso" | "polygon" | "hand"} ToolName
 * @typedef {{frame: number, object: number, point: T.Point, positive: boolean}} Pending
 *
 * @typedef {object} State
 * @property {T.Video} video
 * @property {{depth: number, time: number, seconds: number[], pixelSize: string | null} | null} stack  of a TIFF: the numbers
 *     of slices and time points, and the time of each
 * @property {T.Project} project  the video's project
 * @property {number} frame  the current frame
 * @property {boolean} isVariable  whether the frame rate varies
 * @property {number | null} seconds  the current frame's time in the file; null until it has loaded
 * @property {number | null} object  the selected object; null: the next prompt creates one
 * @property {number[]} picked  objects that edits change, beside the selected one
 * @property {ToolName} tool
 * @property {number} brush  diameter in pixels of the video
 * @property {T.Propagation | null} propagation
 * @property {T.Viewer[]} people  who has the video open
 * @property {T.Comment[]} comments
 * @property {Record<number, string>} changedBy  who else has just changed an object, by object
 * @property {string} label  the class of the next new object; empty for none
 * @property {boolean} online
 * @property {boolean} signedOut  whether the server no longer accepts this browser's token
 * @property {Obstacle | null} obstacle  why changes cannot be sent now
 * @property {{frame: number, object: number, list: T.Candidate[]} | null} candidates
 * @property {number} newest  the highest number of an object whose first prompt is being answered
 * @property {Pending[]} pending  unanswered clicks
 * @property {number} asking  number of unanswered prompts and edits
 * @property {number | null} ready  the encoded frame
 * @property {{frame: number, message: string} | null} unreadable  why the current frame cannot be shown
 * @property {T.Span} span  the frames that the timeline shows
 * @property {T.Span | null} range  the frames selected on the timeline
 * @property {boolean} playing
 * @property {boolean} live  whether the view follows tracking
 * @property {"overlay" | "side" | "matte"} view  masks over the image, beside it, or alone
 * @property {number} opacity  of a mask's fill, 0 to 1
 * @property {boolean} preview  whether the mask under the cursor is shown before a click
 * @property {number | null} previewLatency  milliseconds from the last move of the cursor to its preview
 * @property {boolean} finding  whether masks of everything are being computed
 * @property {T.Segments | null} everything  masks to select from by a click
 * @property {boolean} masksHidden  whether masks are hidden
 * @property {number} stretch  the N of "track N frames"
 * @property {boolean} stopWhenDoubtful  whether tracking stops at the first doubtful mask
 * @property {boolean} onlySelected  whether only the selected object is tracked
 * @property {number} masksVersion  increases with each change of a mask or image
 * @property {number[]} visitedFrames  doubtful frames that were already shown
 * @property {number | null} latency  milliseconds from the last click to its painted mask
 * @property {Record<string, T.Export>} exports
 */

/**
 * @param {T.Video} video
 * @param {T.Project} project
 * @returns {State}
 */
export function initial(video, project) {
    return {
        video,
        stack: null,
        project,
        frame: video.prompts.length ? Math.min(...video.prompts.map((prompt) => prompt.frame)) : 0,
        object: video.objects.length ? video.objects[0].id : null,
        isVariable: false,
        seconds: null,
        picked: [],
        tool: "add",
        brush: Math.max(6, Math.round(Math.min(video.width, video.height) / 14)),
        propagation: video.propagation,
        people: [],
        comments: [],
        changedBy: {},
        label: "",
        online: true,
        signedOut: false,
        obstacle: null,
        candidates: null,
        newest: 0,
        pending: [],
        asking: 0,
        ready: null,
        unreadable: null,
        span: [0, video.frames],
        range: null,
        playing: false,
        live: false,
        view: "overlay",
        opacity: 0.36,
        preview: true,
        previewLatency: null,
        finding: false,
        everything: null,
        masksHidden: false,
        stretch: 24,
        stopWhenDoubtful: false,
        onlySelected: false,
        masksVersion: 0,
        visitedFrames: [],
        latency: null,
        exports: {},
        ...keptChoices(project),
    };
}

/** Settings that the project's next video starts with. */
export const CHOICES = /** @type {const} */ (["label", "opacity", "view", "preview", "stretch"]);

/** @param {T.Project} project */
const choicesKey = (project) => `masklet-choices-${project.id}`;

/** @param {State} state */
export function keepChoices(state) {
    const kept = Object.fromEntries(CHOICES.map((name) => [name, state[name]]));
    sessionStorage.setItem(choicesKey(state.project), JSON.stringify(kept));
}

/**
 * @param {T.Project} project
 * @returns {Partial<Pick<State, typeof CHOICES[number]>>}
 */
function keptChoices(project) {
    const kept = JSON.parse(sessionStorage.getItem(choicesKey(project)) ?? "{}");
    const isClass = project.classes.some((entry) => entry.name === kept.label);
    return { ...kept, label: isClass ? kept.label : "" };
}

/** Natural order of names: 2 before 10, ignoring case. */
export const byName = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

/**
 * The previous and next video of the project, by name.
 *
 * @param {State} state
 */
export function neighboursOf({ project, video }) {
    const videos = project.videos.toSorted((one, other) => byName.compare(one.name, other.name));
    const at = videos.findIndex(({ id }) => id === video.id);
    return {
        position: at + 1,
        total: videos.length,
        previous: at > 0 ? videos[at - 1] : null,
        next: at >= 0 ? (videos[at + 1] ?? null) : null,
    };
}

/**
 * The next file by name that is not reviewed. After the last file, the search continues with the first.
 *
 * @param {State} state
 */
export function nextOpen({ project, video }) {
    const videos = project.videos.toSorted((one, other) => byName.compare(one.name, other.name));
    const at = videos.findIndex(({ id }) => id === video.id);
    return [...videos.slice(at + 1), ...videos.slice(0, Math.max(at, 0))].find(({ state }) => state !== "reviewed") ?? null;
}

/** @param {State} state */
export function selected(state) {
    return state.video.objects.find((item) => item.id === state.object) ?? null;
}

/**
 * @param {State} state
 * @param {number} object
 */
export function promptHere(state, object) {
    return (
        state.video.prompts.find((prompt) => prompt.frame === state.frame && prompt.object === object)?.prompt ??
        null
    );
}

/**
 * The number of the next new object, counting those whose first prompt is unanswered.
 *
 * @param {State} state
 */
export function nextNumber(state) {
    return 1 + Math.max(state.newest, ...state.video.objects.map((item) => item.id));
}

/**
 * @param {T.Object | null} item
 * @param {number} [number]
 */
export function nameOf(item, number) {
    return item?.name || `object ${item?.id ?? number ?? ""}`.trim();
}

/**
 * @param {T.Span[]} spans
 * @param {number} frame
 */
export function within(spans, frame) {
    return spans.some(([start, stop]) => start <= frame && frame < stop);
}

/**
 * The frames on which to track new and corrected objects again: from the first change to the last tracked frame, to
 * the end of the selected range, or to the end if tracking was stopped. Null if nothing is tracked or has changed.
 *
 * @param {State} state
 * @returns {T.Span | null}
 */
export function changedSpan({ video, range }) {
    const tracked = Object.values(video.tracked)
        .flat()
        .filter(([start, stop]) => stop - start > 1);
    if (!video.affected || !tracked.length) return null;
    const { start } = video.affected;
    const end = video.unfinished ? video.frames : Math.max(...tracked.map(([, stop]) => stop));
    const stop = range ? range[1] : end;
    return [start, stop > start + 1 ? stop : video.frames];
}

/** @param {State} state */
export function isPropagating(state) {
    return state.propagation?.state === "running" || state.propagation?.state === "waiting";
}

/**
 * The reviewed frames in a span.
 *
 * @param {State} state
 * @param {T.Span} span
 * @returns {T.Span[]}
 */
export function reviewedWithin({ video }, [start, stop]) {
    return video.reviewed
        .map(([first, end]) => /** @type {T.Span} */ ([Math.max(first, start), Math.min(end, stop)]))
        .filter(([first, end]) => first < end);
}

/**
 * A text that lists frames: "frame 5", "frames 5–9 and 12".
 *
 * @param {T.Span[]} spans
 */
export function frameList(spans) {
    const parts = spans.map(([start, stop]) => (stop - start > 1 ? `${start}–${stop - 1}` : String(start)));
    const many = parts.length > 1 || parts[0]?.includes("–");
    const words = parts.length > 4 ? [...parts.slice(0, 3), `${parts.length - 3} more ranges`] : parts;
    const joined = words.length > 1 ? `${words.slice(0, -1).join(", ")} and ${words.at(-1)}` : words[0];
    return `${many ? "frames" : "frame"} ${joined}`;
}

const DATE_AND_TIME = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

/** @param {string} at  the server's ISO 8601 string */
export function dateAndTime(at) {
    return DATE_AND_TIME.format(new Date(at));
}

/**
 * A frame's position as text: a time in a video, a slice or time point in a stack.
 *
 * @param {Pick<State, "video" | "stack" | "isVariable" | "seconds">} state
 * @param {number} frame  the current frame
 */
export function whereabouts({ video, stack, isVariable, seconds: shownAt }, frame) {
    if (video.kind === "video" && isVariable) return shownAt === null ? "" : clock(shownAt, 1);
    if (video.kind === "video") return clock(frame, video.fps);
    if (!stack) return "";
    const slice = stack.depth > 1 ? `slice ${frame % stack.depth}` : "";
    const point = Math.floor(frame / stack.depth);
    const seconds = stack.seconds[point];
    const taken = seconds === undefined ? "" : ` (${clock(seconds, 1)})`;
    const time = stack.time > 1 ? `time ${point}${taken}` : "";
    return [slice, time].filter(Boolean).join(", ");
}

/**
 * The number of frames as text, with the frame rate, or the numbers of slices and time points.
 *
 * @param {Pick<State, "video" | "stack" | "isVariable">} state
 */
export function extent({ video, stack, isVariable }) {
    const rate = isVariable ? "variable frame rate" : `${Number(video.fps.toFixed(2))} fps`;
    if (video.kind === "video") return `${video.frames} frames · ${rate}`;
    if (!stack) return `${video.frames} frames`;
    const slices = stack.depth > 1 ? `${stack.depth} slices` : "";
    const times = stack.time > 1 ? `${stack.time} time points${interval(stack.seconds)}` : "";
    return [slices, times].filter(Boolean).join(" × ");
}

/**
 * The interval between time points as text; empty if it varies or is unknown.
 *
 * @param {number[]} seconds
 */
function interval(seconds) {
    const steps = seconds.slice(1).map((second, index) => second - seconds[index]);
    const isRegular = steps.length > 0 && steps.every((step) => Math.abs(step - steps[0]) < 0.01 * steps[0]);
    return isRegular ? `, every ${Number(steps[0].toPrecision(4))} s` : "";
}

/**
 * A timecode of hours, minutes, seconds and frames.
 *
 * @param {number} frame
 * @param {number} fps
 */
export function timecode(frame, fps) {
    const rate = Math.max(1, Math.round(fps || 24));
    const seconds = Math.floor(frame / rate);
    const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60, frame % rate];
    return parts.map((part) => String(part).padStart(2, "0")).join(":");
}

/**
 * Minutes, seconds and hundredths.
 *
 * @param {number} frame
 * @param {number} fps
 */
export function clock(frame, fps) {
    const seconds = fps > 0 ? frame / fps : 0;
    const hours = Math.floor(seconds / 3600);
    const minutes = String(Math.floor(seconds / 60) % 60).padStart(hours ? 2 : 1, "0");
    const rest = (seconds % 60).toFixed(2).padStart(5, "0");
    return hours ? `${hours}:${minutes}:${rest}` : `${minutes}:${rest}`;
}
