/** What the page knows of the video in view, and small questions about it. */

/** @import * as T from "./types.js" */
/** @import { Obstacle } from "./delivery.js" */

/**
 * @typedef {"add" | "remove" | "box" | "brush" | "erase" | "lasso" | "polygon" | "hand"} ToolName
 * @typedef {{frame: number, object: number, point: T.Point, positive: boolean}} Pending
 *
 * @typedef {object} State
 * @property {T.Video} video
 * @property {{depth: number, time: number, seconds: number[], pixelSize: string | null} | null} stack  of a TIFF: slices
 *     and points in time, and when these were taken
 * @property {T.Project} project  that the video belongs to
 * @property {number} frame  in view
 * @property {boolean} isVariable  the video has no constant frame rate
 * @property {number | null} seconds  when the frame in view is shown, as the file says it; null until that is known
 * @property {number | null} object  the selected one; null: the next prompt makes a new one
 * @property {number[]} picked  objects that edits are for, beside the selected one
 * @property {ToolName} tool
 * @property {number} brush  diameter in pixels of the video
 * @property {T.Propagation | null} propagation
 * @property {T.Viewer[]} people  who has the video open
 * @property {T.Comment[]} comments
 * @property {Record<number, string>} changedBy  who else changed an object a moment ago, by object
 * @property {string} label  the class of the next new object; empty for none
 * @property {boolean} online
 * @property {boolean} signedOut  the server does not take the token of this browser any more
 * @property {Obstacle | null} obstacle  why changes wait in this page and are not sent
 * @property {{frame: number, object: number, list: T.Candidate[]} | null} candidates
 * @property {number} newest  the highest number of an object whose first prompt is under way
 * @property {Pending[]} pending  clicks that are not answered yet
 * @property {number} asking  prompts under way
 * @property {number | null} ready  the frame that is encoded
 * @property {{frame: number, message: string} | null} unreadable  why the frame in view cannot be shown
 * @property {T.Span} span  the frames that the timeline shows
 * @property {T.Span | null} range  frames that are selected on the timeline
 * @property {boolean} playing
 * @property {boolean} live  the view moves along with tracking
 * @property {"overlay" | "side" | "matte"} view  masks over the image, beside it, or alone
 * @property {number} opacity  of a mask's fill, 0 to 1
 * @property {boolean} preview  whether the mask under the cursor is shown before a click
 * @property {number | null} previewLatency  milliseconds from the last move of the cursor to its preview
 * @property {boolean} finding  the masks of everything are being found
 * @property {T.Segments | null} everything  masks to choose from by a click
 * @property {boolean} masksHidden  masks are not shown
 * @property {number} stretch  how many frames "track N frames" takes
 * @property {boolean} stopWhenDoubtful  tracking stops at the first doubtful mask
 * @property {boolean} onlySelected  tracking is for the selected object alone
 * @property {number} masksVersion  grows when any mask changed
 * @property {number[]} visitedFrames  doubtful frames that were jumped to
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

/** What a person chose, and the next video of the project begins with. */
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

/** The order of names as people expect it: 2 before 10, capitals like small letters. */
export const byName = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

/**
 * The videos before and after the one in view, by name.
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
 * The file to go on with: the next one by name that is not reviewed, from the first again behind the last.
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
 * A number for a new object; prompts that are still under way may have made some.
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
 * What was corrected or is new since objects were last tracked, and the frames on which to track it: as far as
 * objects are tracked, to the end where tracking was stopped, or the selected range. Null before objects are tracked.
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
 * Reviewed frames among those from start to before stop.
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
 * Frames in words: "frame 5", "frames 5–9 and 12".
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

/** @param {string} at  as the server writes it */
export function dateAndTime(at) {
    return DATE_AND_TIME.format(new Date(at));
}

/**
 * Where a frame is in its file, in words: a time for a video, the slice or point in time for a stack.
 *
 * @param {Pick<State, "video" | "stack" | "isVariable" | "seconds">} state
 * @param {number} frame  in view
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
 * How many frames there are, and of what.
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
 * How far points in time are apart, in words; empty where that differs or is not known.
 *
 * @param {number[]} seconds
 */
function interval(seconds) {
    const steps = seconds.slice(1).map((second, index) => second - seconds[index]);
    const isRegular = steps.length > 0 && steps.every((step) => Math.abs(step - steps[0]) < 0.01 * steps[0]);
    return isRegular ? `, every ${Number(steps[0].toPrecision(4))} s` : "";
}

/**
 * Hours, minutes, seconds and frames, as editors write them.
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
