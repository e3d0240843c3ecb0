/** Plays the video at the times of its frames. Playback waits for frames that have not loaded. */

import { seek } from "../lib/propagation.js";

/** @import { Studio } from "../lib/studio.js" */
/** @import { FrameTimes } from "../lib/times.js" */

const AHEAD = 64; // number of frames whose times are loaded ahead
const LATE = 100; // milliseconds of delay that playback catches up with; longer delays shift the following frames

/**
 * @param {Studio} studio
 * @param {FrameTimes} times
 * @param {AbortSignal} signal
 */
export function play(studio, times, signal) {
    let since = 0; // when the current frame was due
    const tick = (/** @type {number} */ now) => {
        const { playing, frame, video } = studio.state;
        if (!playing || signal.aborted) return;
        requestAnimationFrame(tick);
        if (video.kind === "video") for (const at of [frame, frame + AHEAD]) times.want(Math.min(at, video.frames - 1));
        const due = since + duration(studio, times);
        if (now < due || !studio.frames.get(frame)) return;
        since = now - due > LATE ? now : due;
        if (frame + 1 >= video.frames) studio.store.set({ playing: false });
        else seek(studio, frame + 1);
    };
    studio.store.watch(["playing"], () => {
        if (!studio.state.playing) return;
        since = performance.now();
        requestAnimationFrame(tick);
    });
}

/**
 * How long the current frame is shown, in milliseconds.
 *
 * @param {Studio} studio
 * @param {FrameTimes} times
 */
function duration({ state: { frame, video, isVariable } }, times) {
    const start = times.at(frame);
    const end = times.at(frame + 1);
    return isVariable && start !== null && end !== null ? 1000 * (end - start) : 1000 / (video.fps || 24);
}
