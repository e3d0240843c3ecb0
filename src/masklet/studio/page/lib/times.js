/** When frames are shown, where the file has no constant frame rate: asked of the server, some frames at a time. */

import * as api from "./api.js";

/** @import { Studio } from "./studio.js" */

const CHUNK = 512; // frames
const SETTLED = 250; // milliseconds on a frame before times are asked for: its picture goes first
const TOLERANCE = 0.5; // frames by which a constant rate may be off, as times are rounded

/**
 * Keep the time of the frame in view in the state.
 *
 * @param {Studio} studio
 */
export function watchTimes(studio) {
    const { video } = studio.state;
    if (video.kind !== "video" || video.frames < 2) return;
    /** @type {Map<number, number[]>} */
    const chunks = new Map();
    let timer = 0;
    const fetchChunk = async (/** @type {number} */ start) => {
        chunks.set(start, []); // it is under way
        try {
            const { seconds } = await api.times(video.id, start, start + CHUNK);
            chunks.set(start, seconds);
            const isVariable = seconds.some((second, index) => Math.abs(second * video.fps - start - index) > TOLERANCE);
            if (isVariable) studio.store.set({ isVariable });
            show();
        } catch {
            chunks.delete(start); // the frame itself says what is wrong
        }
    };
    const show = () => {
        const { frame } = studio.state;
        const start = frame - (frame % CHUNK);
        const seconds = chunks.get(start);
        clearTimeout(timer);
        if (!seconds) timer = window.setTimeout(() => void fetchChunk(start), SETTLED);
        studio.store.set({ seconds: seconds?.[frame - start] ?? null });
    };
    studio.store.watch(["frame"], show);
}
