/** Tracking, seeking and reviewing. */

import * as api from "./api.js";
import { changedSpan, frameList, isPropagating, neighboursOf, nextOpen, reviewedWithin, within } from "./state.js";
import { announce, complain, toast } from "./toast.js";

/** @import * as T from "./types.js" */
/** @import { Studio } from "./studio.js" */

const DOUBTFUL = 0.5; // tracking stops below this confidence, if asked to

/**
 * @param {Studio} studio
 * @param {() => {body: T.NewPropagation, span: T.Span} | null} plan  called after earlier changes are done.
 *     Returns the request, and the frames that it may change, for the message on reviewed frames; null tracks nothing
 */
async function start(studio, plan) {
    if (isPropagating(studio.state)) return;
    const { object, onlySelected, stopWhenDoubtful } = studio.state;
    const target = object === null ? null : studio.numberOf(object);
    try {
        await studio.inOrderRefreshed(async () => {
            const planned = plan();
            if (!planned || isPropagating(studio.state)) return;
            const { body, span } = planned;
            if (!studio.state.video.prompts.length) {
                toast("Select an object first: click on it, or draw a box around it.");
                return;
            }
            if (stopWhenDoubtful) body.stop_when_doubtful = DOUBTFUL;
            if (onlySelected && target && !body.resume) body.objects = [target.object];
            studio.store.set({ live: true, playing: false, candidates: null });
            const { propagation } = studio.state;
            const begun = await api.propagate(studio.id, body);
            // An event that arrived before this response is newer.
            if (studio.state.propagation === propagation) studio.store.set({ propagation: begun });
            noteReviewed(studio, span);
        });
    } catch (error) {
        studio.store.set({ live: false });
        complain(error);
    }
}

/**
 * @param {Studio} studio
 * @param {T.Span} span
 */
function noteReviewed(studio, span) {
    const reviewed = reviewedWithin(studio.state, span);
    const stay = reviewed.length === 1 && reviewed[0][1] - reviewed[0][0] === 1 ? "keeps its" : "keep their";
    if (reviewed.length) toast(`Reviewed ${frameList(reviewed)} ${stay} masks.`);
}

/**
 * Track through the whole video, or the selected range.
 *
 * @param {Studio} studio
 * @param {"forward" | "backward" | "both"} direction
 */
export function propagate(studio, direction) {
    const { video, range } = studio.state;
    /** @type {T.NewPropagation} */
    const body = { direction };
    if (range && direction === "backward") [body.start, body.stop] = [range[1] - 1, range[0] - 1];
    else if (range) [body.start, body.stop] = range;
    void start(studio, () => ({ body, span: range ?? [0, video.frames] }));
}

/**
 * Track forwards from the current frame.
 *
 * @param {Studio} studio
 * @param {number | null} frames  the maximum number of frames; null tracks to the end
 */
export function propagateFromHere(studio, frames) {
    const { video, frame } = studio.state;
    const stop = frames === null ? video.frames : Math.min(video.frames, frame + frames);
    void start(studio, () => ({ body: { direction: "forward", start: frame, stop }, span: [frame, stop] }));
}

/**
 * Track only on frames without masks, in the whole video or the selected range.
 *
 * @param {Studio} studio
 */
export function propagateMissing(studio) {
    const { video, range } = studio.state;
    const span = range ?? [0, video.frames];
    /** @type {T.NewPropagation} */
    const body = { scope: "missing", direction: "forward" };
    if (range) [body.start, body.stop] = range;
    void start(studio, () => ({ body, span: [span[1], span[1]] })); // frames with masks do not change
}

/** @param {Studio} studio */
export function propagateAffected(studio) {
    void start(studio, () => {
        const span = changedSpan(studio.state);
        return span && { body: { scope: "affected", direction: "forward", stop: span[1] }, span };
    });
}

/** @param {Studio} studio */
export async function stopOrResume(studio) {
    if (isPropagating(studio.state)) {
        try {
            studio.store.set({ propagation: await api.stopPropagation(studio.id), live: false });
            await studio.refresh();
        } catch (error) {
            complain(error);
        }
    } else {
        void start(studio, () => (studio.state.video.unfinished ? { body: { resume: true }, span: [0, 0] } : null));
    }
}

/**
 * @param {Studio} studio
 * @param {number} frame
 */
export function seek(studio, frame) {
    const { video, candidates } = studio.state;
    const to = Math.max(0, Math.min(video.frames - 1, Math.round(frame)));
    studio.store.set({
        frame: to,
        live: false,
        everything: studio.state.everything?.frame === to ? studio.state.everything : null,
        candidates: candidates?.frame === to ? candidates : null,
    });
}

/**
 * @param {Studio} studio
 * @param {number} frames
 */
export function step(studio, frames) {
    studio.store.set({ playing: false });
    seek(studio, studio.state.frame + frames);
}

/**
 * Go to the next frame with a prompt, in this direction.
 *
 * @param {Studio} studio
 * @param {1 | -1} way
 */
export function toPrompted(studio, way) {
    const { frame, video } = studio.state;
    const there = video.prompts.map((prompt) => prompt.frame).filter((other) => way * (other - frame) > 0);
    if (!there.length) return;
    studio.store.set({ playing: false });
    seek(studio, way > 0 ? Math.min(...there) : Math.max(...there));
}

/** @param {Studio} studio */
export function rangeFrom(studio) {
    const { frame, range, video } = studio.state;
    studio.store.set({ range: [frame, range && range[1] > frame ? range[1] : video.frames] });
}

/** @param {Studio} studio */
export function rangeTo(studio) {
    const { frame, range } = studio.state;
    studio.store.set({ range: [range && range[0] <= frame ? range[0] : 0, frame + 1] });
}

/** @param {Studio} studio */
export function togglePlay(studio) {
    const { playing, frame, video } = studio.state;
    if (video.frames < 2) return;
    if (!playing && frame === video.frames - 1) seek(studio, 0);
    studio.store.set({ playing: !playing, live: false });
}

/** @param {Studio} studio */
export async function nextDoubtful(studio) {
    try {
        const { visitedFrames } = studio.state;
        const doubtful = await api.doubtful(studio.id, visitedFrames);
        if (!doubtful) {
            studio.store.set({ visitedFrames: [] }); // the next call starts with the worst frame again
            const isTracked = Object.keys(studio.state.video.tracked).length > 0;
            if (!isTracked) toast("Nothing is tracked here yet.");
            else
                toast("You have checked all doubtful frames here.", {
                    action: { label: "Accept the video: next", press: () => void acceptVideo(studio) },
                });
            return;
        }
        studio.store.set({
            visitedFrames: [...visitedFrames, doubtful.frame].slice(-100),
            playing: false,
            object: doubtful.object,
        });
        seek(studio, doubtful.frame);
        announce(`Frame ${doubtful.frame}: confidence ${Math.round(100 * doubtful.confidence)} percent`);
    } catch (error) {
        complain(error);
    }
}

/**
 * Mark the selected range, or the current frame, as reviewed; or remove the mark.
 *
 * @param {Studio} studio
 */
export async function toggleReviewed(studio) {
    const { frame, range } = studio.state;
    await review(studio, range ?? [frame, frame + 1], (isReviewed) => !isReviewed);
}

/**
 * @param {Studio} studio
 * @param {T.Span} span
 * @param {(isReviewed: boolean) => boolean} decide  the new state, given the state of the first frame
 */
async function review(studio, span, decide) {
    try {
        await studio.inOrderRefreshed(async () => {
            const isReviewed = within(studio.state.video.reviewed, span[0]);
            const reviewed = decide(isReviewed);
            if (reviewed === isReviewed) return;
            studio.take(await api.review(studio.id, span, reviewed));
            announce(reviewed ? "Marked as reviewed" : "No longer marked as reviewed");
        });
    } catch (error) {
        complain(error);
    }
}

/**
 * Accept this frame, or the selected range around it, and go to the next doubtful frame; from an image, to the next
 * file that is not reviewed.
 *
 * @param {Studio} studio
 */
export async function accept(studio) {
    const { frame, range, video } = studio.state;
    const span = range && within([range], frame) ? range : /** @type {T.Span} */ ([frame, frame + 1]);
    if (!within(video.reviewed, frame)) await review(studio, span, () => true);
    if (studio.state.video.frames > 1) await nextDoubtful(studio);
    else await openNext(studio);
}

/**
 * Accept the whole video, and go to the next file.
 *
 * @param {Studio} studio
 */
async function acceptVideo(studio) {
    try {
        await studio.inOrder(() => api.changeVideo(studio.id, { state: "reviewed" }));
        await openNext(studio);
    } catch (error) {
        complain(error);
    }
}

/**
 * Open the next file that is not reviewed. If there is none, offer to open the project.
 *
 * @param {Studio} studio
 */
async function openNext(studio) {
    const { project } = studio.state;
    try {
        studio.store.set({ project: await api.project(project.id) }); // other people may have reviewed files
    } catch (error) {
        complain(error);
        return;
    }
    const next = nextOpen(studio.state);
    if (next) location.hash = `#video/${next.id}`;
    else
        toast("Every file of the project is reviewed.", {
            action: { label: "Open the project", press: () => (location.hash = `#project/${project.id}`) },
        });
}

/**
 * Open the video before or after this one in the project.
 *
 * @param {Studio} studio
 * @param {"previous" | "next"} which
 */
export function openNeighbour(studio, which) {
    const video = neighboursOf(studio.state)[which];
    if (video) location.hash = `#video/${video.id}`;
    else toast(`This is the ${which === "next" ? "last" : "first"} video of the project.`);
}
