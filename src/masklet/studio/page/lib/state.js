/** What the page knows of the video in view, and small questions about it. */

/** @import * as T from "./types.js" */

/**
 * @typedef {"add" | "remove" | "box" | "brush" | "erase" | "hand"} ToolName
 * @typedef {{frame: number, object: number, point: T.Point, positive: boolean}} Pending
 *
 * @typedef {object} State
 * @property {T.Video} video
 * @property {number} frame  in view
 * @property {number | null} object  the selected one; null: the next prompt makes a new one
 * @property {ToolName} tool
 * @property {number} brush  diameter in pixels of the video
 * @property {T.Propagation | null} propagation
 * @property {T.Person[]} people
 * @property {boolean} online
 * @property {{frame: number, object: number, list: T.Candidate[]} | null} candidates
 * @property {number} newest  the highest number that this tab gave to an object
 * @property {Pending[]} pending  clicks that are not answered yet
 * @property {number} asking  prompts under way
 * @property {number | null} ready  the frame that is encoded
 * @property {T.Span} span  the frames that the timeline shows
 * @property {T.Span | null} range  frames that are selected on the timeline
 * @property {boolean} playing
 * @property {boolean} live  the view follows tracking
 * @property {boolean} bare  masks are not shown
 * @property {boolean} onlySelected  tracking is for the selected object alone
 * @property {number} masksVersion  grows when any mask changed
 * @property {number[]} looked  doubtful frames that were jumped to
 * @property {number | null} latency  milliseconds from the last click to its painted mask
 * @property {Record<string, T.Export>} exports
 */

/**
 * @param {T.Video} video
 * @returns {State}
 */
export function initial(video) {
    return {
        video,
        frame: video.prompts.length ? Math.min(...video.prompts.map((prompt) => prompt.frame)) : 0,
        object: video.objects.length ? video.objects[0].id : null,
        tool: "add",
        brush: Math.max(6, Math.round(Math.min(video.width, video.height) / 14)),
        propagation: video.propagation,
        people: [],
        online: true,
        candidates: null,
        newest: 0,
        pending: [],
        asking: 0,
        ready: null,
        span: [0, video.frames],
        range: null,
        playing: false,
        live: false,
        bare: false,
        onlySelected: false,
        masksVersion: 0,
        looked: [],
        latency: null,
        exports: {},
    };
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
 * What was corrected or is new since objects were last tracked; null before that.
 *
 * @param {State} state
 */
export function changes({ video }) {
    const spans = Object.values(video.followed).flat();
    return spans.some(([start, stop]) => stop - start > 1) ? video.affected : null;
}

/** @param {State} state */
export function isPropagating(state) {
    return state.propagation?.state === "running" || state.propagation?.state === "waiting";
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
