/** Opens images, videos and cameras as clips, whose frames have numbers. */

import { onWhite, readFrame, readImage } from "./colors.js";
import { readIndex } from "./frame_times.js";

/**
 * @typedef {object} Clip
 * @property {"image" | "video" | "camera"} kind
 * @property {string} name  without its suffix
 * @property {number} width
 * @property {number} height
 * @property {number} frames  number of frames; for a camera, those recorded so far
 * @property {Float64Array} times  of the frames, in seconds
 * @property {HTMLVideoElement | null} video  the playing element; null for images
 * @property {(frame: number) => Promise<ImageBitmap>} read
 * @property {() => void} close
 */

const RATES = [10, 12, 12.5, 15, 20, 23.976, 24, 25, 29.97, 30, 48, 50, 59.94, 60, 120];
const LISTENED = 700; // milliseconds of playback to estimate a video's frame rate
const FALLBACK_RATE = 30;
const MOST_PIXELS = 2 ** 25;

/**
 * @param {File} file
 * @returns {Promise<Clip>}
 */
export async function openFile(file) {
    const name = file.name.replace(/\.[^.]*$/, "");
    const image = await readImage(file).catch((error) => {
        if (!file.type.startsWith("image/")) return null;
        throw new Error(`${file.name} cannot be opened: this browser does not support it.`, { cause: error });
    });
    return image ? openImage(image, name) : openVideo(file, name);
}

/**
 * @param {ImageBitmap} stored
 * @param {string} name
 * @returns {Clip}
 */
function openImage(stored, name) {
    const { width, height } = stored;
    if (width * height > MOST_PIXELS) {
        stored.close();
        throw tooLarge(name, width, height);
    }
    const whole = onWhite(stored);
    return {
        kind: "image",
        name,
        width,
        height,
        frames: 1,
        times: Float64Array.of(0),
        video: null,
        read: () => createImageBitmap(whole),
        close: () => whole.close(),
    };
}

/**
 * @param {string} name
 * @param {number} width
 * @param {number} height
 */
function tooLarge(name, width, height) {
    return new Error(`${name} has ${width} × ${height} pixels. The limit is 32 million.`);
}

/**
 * @param {File} file
 * @param {string} name
 * @returns {Promise<Clip>}
 */
async function openVideo(file, name) {
    const video = document.createElement("video");
    Object.assign(video, { muted: true, playsInline: true, preload: "auto", src: URL.createObjectURL(file) });
    const close = () => {
        video.pause();
        URL.revokeObjectURL(video.src);
        video.removeAttribute("src");
        video.load();
    };
    try {
        await event(video, "loadeddata");
        if (!video.videoWidth) throw new Error("it has no image");
        if (!Number.isFinite(video.duration)) await seek(video, 1e7); // a recording's file does not contain its duration; seeking makes the browser find it
    } catch (error) {
        close();
        throw new Error(`${file.name} cannot be opened: this browser does not support its format or codec.`, {
            cause: error,
        });
    }
    if (video.videoWidth * video.videoHeight > MOST_PIXELS) {
        close();
        throw tooLarge(name, video.videoWidth, video.videoHeight);
    }
    const index = await readIndex(file);
    const times = fitting(index.times, video.duration) ?? (await estimateTimes(video));
    return {
        kind: "video",
        name,
        width: video.videoWidth,
        height: video.videoHeight,
        frames: times.length,
        times,
        video,
        read: async (frame) => {
            const next = frame + 1 < times.length ? times[frame + 1] : Math.max(video.duration, times[frame]);
            await seek(video, (times[frame] + next) / 2);
            return readFrame(video, times[frame], next, index);
        },
        close,
    };
}

/** @returns {Promise<Clip>} */
export async function openCamera() {
    if (!navigator.mediaDevices) {
        throw new Error("A camera can only be used on https:// pages and on localhost.");
    }
    let stream;
    try {
        stream = await navigator.mediaDevices.getUserMedia({
            video: { facingMode: "environment", width: { ideal: 1280 }, height: { ideal: 720 } },
        });
    } catch (error) {
        const reason = /** @type {DOMException} */ (error).name;
        const words = reason === "NotFoundError" ? "There is no camera." : "The camera is not allowed.";
        throw new Error(`${words} Allow it in the browser's address bar, or open a file.`, { cause: error });
    }
    const video = document.createElement("video");
    Object.assign(video, { muted: true, playsInline: true, srcObject: stream });
    await video.play();
    return {
        kind: "camera",
        name: "camera",
        width: video.videoWidth,
        height: video.videoHeight,
        frames: 0,
        times: new Float64Array(0),
        video,
        read: () => createImageBitmap(video),
        close: () => {
            for (const track of stream.getTracks()) track.stop();
            video.srcObject = null;
        },
    };
}

/**
 * The number of the frame that is shown at a time.
 *
 * @param {Float64Array} times
 * @param {number} seconds
 */
export function frameAt(times, seconds) {
    let [low, high] = [0, times.length - 1];
    while (low < high) {
        const middle = (low + high + 1) >> 1;
        if (times[middle] <= seconds + 1e-4) low = middle;
        else high = middle - 1;
    }
    return low;
}

/**
 * @param {HTMLVideoElement} video
 * @param {number} seconds
 */
async function seek(video, seconds) {
    const done = event(video, "seeked");
    video.currentTime = seconds;
    await done;
}

/**
 * @param {HTMLVideoElement} video
 * @param {string} name
 * @returns {Promise<void>}
 */
function event(video, name) {
    return new Promise((resolve, reject) => {
        video.addEventListener(name, () => resolve(), { once: true });
        video.addEventListener("error", () => reject(new Error(video.error?.message ?? "no video")), {
            once: true,
        });
    });
}

/**
 * The times if they agree with the duration that the browser reports; otherwise null.
 *
 * @param {Float64Array | null} times
 * @param {number} duration
 */
function fitting(times, duration) {
    if (!times?.length) return null;
    const last = times[times.length - 1];
    const each = times.length > 1 ? last / (times.length - 1) : duration;
    return Math.abs(last + each - duration) < Math.max(0.5, 2 * each) ? times : null;
}

/**
 * Estimate the times of frames from a short playback, for files whose index this page cannot read.
 *
 * @param {HTMLVideoElement} video
 */
async function estimateTimes(video) {
    /** @type {number[]} */
    const shown = [];
    if ("requestVideoFrameCallback" in video) {
        const note = (/** @type {number} */ _, /** @type {{mediaTime: number}} */ { mediaTime }) => {
            shown.push(mediaTime);
            video.requestVideoFrameCallback(note);
        };
        await seek(video, 0);
        video.requestVideoFrameCallback(note);
        await video.play().catch(() => {});
        await new Promise((resolve) => setTimeout(resolve, LISTENED));
        video.pause();
    }
    const gaps = shown.slice(1).map((time, index) => time - shown[index]);
    const gap = Math.min(...gaps.filter((gap) => gap > 0.004));
    const measured = Number.isFinite(gap) ? 1 / gap : FALLBACK_RATE;
    const nearest = RATES.reduce((one, other) =>
        Math.abs(other - measured) < Math.abs(one - measured) ? other : one,
    );
    const rate = Math.abs(nearest / measured - 1) < 0.06 ? nearest : measured;
    const count = Math.max(1, Math.round(video.duration * rate));
    return Float64Array.from({ length: count }, (_, frame) => frame / rate);
}
