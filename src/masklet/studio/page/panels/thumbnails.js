/** Thumbnails along the timeline: as many as fit, each at the position of its frame. */

import { thumbnailAddress } from "../lib/api.js";
import { h } from "../lib/dom.js";

/** @import { Studio } from "../lib/studio.js" */

const SETTLED = 120; // milliseconds without a change before thumbnails are requested
const AT_ONCE = 2; // leaves connections for clicks, and keeps the order of frames, in which decoding is fastest

/**
 * @param {Studio} studio
 * @param {HTMLElement} root
 * @param {AbortSignal} signal
 */
export function mountThumbnails(studio, root, signal) {
    let timer = 0;
    const soon = () => {
        clearTimeout(timer);
        timer = window.setTimeout(() => draw(studio, root), SETTLED);
    };
    const observer = new ResizeObserver(soon);
    observer.observe(root);
    signal.addEventListener("abort", () => {
        observer.disconnect();
        clearTimeout(timer);
    });
    studio.store.watch(["span"], soon);
    let { channel } = studio.state.video;
    studio.store.watch(["video"], () => {
        if (channel !== studio.state.video.channel) soon();
        ({ channel } = studio.state.video);
    });
}

/**
 * @param {Studio} studio
 * @param {HTMLElement} root
 */
function draw(studio, root) {
    const { video, span } = studio.state;
    const { width, height } = root.getBoundingClientRect();
    const natural = (height * video.width) / video.height;
    const count = Math.max(1, Math.min(span[1] - span[0], Math.round(width / natural)));
    const frames = Array.from({ length: count }, (_, index) => {
        const middle = span[0] + ((index + 0.5) * (span[1] - span[0])) / count;
        return Math.min(video.frames - 1, Math.floor(middle));
    });
    const images = frames.map(() => h("img", { alt: "", decoding: "async", draggable: "false" }));
    root.replaceChildren(...images);
    const addresses = frames.map((frame) => thumbnailAddress(studio.id, frame, video.channel));
    let next = 0;
    const load = () => {
        const image = images[next];
        if (!image?.isConnected) return; // all have loaded, or the thumbnails were replaced
        image.onload = image.onerror = load;
        image.src = addresses[next++];
    };
    for (let at = 0; at < AT_ONCE; at++) load();
}
