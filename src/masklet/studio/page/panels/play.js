/** Playing: the video's own pace, waiting where a frame is not there yet. */

import { seek } from "../lib/propagation.js";

/** @import { Studio } from "../lib/studio.js" */

/**
 * @param {Studio} studio
 * @param {AbortSignal} signal
 */
export function play(studio, signal) {
    let last = 0;
    const tick = (/** @type {number} */ now) => {
        const { playing, frame, video } = studio.state;
        if (!playing || signal.aborted) return;
        requestAnimationFrame(tick);
        const pace = 1000 / (video.fps || 24);
        if (now - last < pace || !studio.frames.get(frame)) return;
        last = now - last > 2 * pace ? now : last + pace;
        if (frame + 1 >= video.frames) studio.store.set({ playing: false });
        else seek(studio, frame + 1);
    };
    studio.store.watch(["playing"], () => {
        if (studio.state.playing) requestAnimationFrame(tick);
    });
}
