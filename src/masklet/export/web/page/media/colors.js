/**
 * Reads the colours of images and frames exactly like masklet in Python, because masks depend on every bit.
 *
 * Browsers convert video to RGB with another rounding, up to three levels away from FFmpeg's. So this module reads the
 * decoder's planes, and converts them with FFmpeg's arithmetic.
 */

// Factors for red from V, blue from U, green from U and green from V, times 65536, as in FFmpeg's swscale.
const BT601 = [104597, 132201, -25675, -53279];
/** @type {Record<string, number[]>} */
const MATRICES = {
    bt709: [117489, 138438, -13975, -34925],
    bt470bg: BT601,
    smpte170m: BT601,
    "bt2020-ncl": [110013, 140363, -12277, -42626],
};
const LONGEST_WAIT = 500; // milliseconds to wait for a frame
const AS_STORED = /** @type {const} */ ({ colorSpaceConversion: "none", premultiplyAlpha: "none" });

/**
 * Read an image's stored values, without applying its colour profile.
 *
 * @param {Blob} file
 * @returns {Promise<ImageBitmap>}
 */
export async function readImage(file) {
    return createImageBitmap(file, { colorSpaceConversion: "none" });
}

/**
 * Draw an image on a white background.
 *
 * @param {ImageBitmap} image  closed by this function
 * @returns {ImageBitmap}
 */
export function onWhite(image) {
    const { width, height } = image;
    const canvas = new OffscreenCanvas(width, height);
    const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d"));
    context.fillStyle = "white";
    context.fillRect(0, 0, width, height);
    context.drawImage(image, 0, 0);
    image.close();
    return canvas.transferToImageBitmap();
}

/**
 * Read the frame to which a video is seeking. If its planes cannot be read, it has the browser's colours.
 *
 * @param {HTMLVideoElement} video
 * @param {number} start  start of the frame, in seconds
 * @param {number} stop
 * @param {{hasMatrix: boolean}} named  without a stated matrix, FFmpeg uses BT.601, and browsers use BT.709 from 720 lines on
 * @returns {Promise<ImageBitmap>}
 */
export async function readFrame(video, start, stop, { hasMatrix }) {
    if (typeof VideoFrame === "undefined" || !("rotation" in VideoFrame.prototype)) return createImageBitmap(video);
    const frame = await waitForFrame(video, start, stop);
    try {
        const image = isReadable(frame, video) ? await convert(frame, hasMatrix) : null;
        return await (image ? createImageBitmap(image, AS_STORED) : createImageBitmap(video));
    } finally {
        frame.close();
    }
}

/**
 * Wait for the frame. After the `seeked` event, a browser may still show the previous frame for a moment.
 *
 * @param {HTMLVideoElement} video
 * @param {number} start
 * @param {number} stop
 * @returns {Promise<VideoFrame>} after LONGEST_WAIT the shown frame, because times may be estimates
 */
async function waitForFrame(video, start, stop) {
    const early = (stop - start) / 2;
    for (const began = performance.now(); ; ) {
        const frame = new VideoFrame(video);
        const seconds = frame.timestamp / 1e6;
        if (start - early < seconds && seconds < stop) return frame;
        if (performance.now() - began > LONGEST_WAIT) return frame;
        frame.close();
        await new Promise((resolve) => setTimeout(resolve, 2));
    }
}

/**
 * Whether FFmpeg would convert a frame like `convert`: 8 bits, 4:2:0 colours, an even height, no rotation.
 *
 * @param {VideoFrame} frame
 * @param {HTMLVideoElement} video
 */
function isReadable(frame, { videoWidth, videoHeight }) {
    const { format, visibleRect: visible } = frame;
    const { rotation, flip } = /** @type {{rotation: number, flip: boolean}} */ (/** @type {unknown} */ (frame));
    return (
        (format === "I420" || format === "NV12") &&
        visible?.width === videoWidth &&
        visible.height === videoHeight &&
        videoHeight % 2 === 0 &&
        !rotation &&
        !flip
    );
}

/**
 * @param {VideoFrame} frame
 * @param {boolean} hasMatrix
 * @returns {Promise<ImageData>}
 */
async function convert(frame, hasMatrix) {
    const { width, height } = /** @type {DOMRectReadOnly} */ (frame.visibleRect);
    const samples = new Uint8Array(frame.allocationSize());
    const [luma, ...chroma] = await frame.copyTo(samples);
    const isPlanar = chroma.length === 2; // otherwise U and V are interleaved
    const [u, v] = isPlanar ? chroma : [chroma[0], { ...chroma[0], offset: chroma[0].offset + 1 }];
    const step = isPlanar ? 1 : 2;
    const { matrix, fullRange } = frame.colorSpace;
    const factors = (hasMatrix && MATRICES[matrix ?? ""]) || BT601;
    const tables = makeTables(factors, fullRange ?? false);
    const image = new ImageData(width, height);
    const { data } = image; // clamps stored values to 0 to 255
    data.fill(255);
    for (let y = 0, target = 0; y < height; y++) {
        const row = luma.offset + y * luma.stride;
        const uRow = u.offset + (y >> 1) * u.stride;
        const vRow = v.offset + (y >> 1) * v.stride;
        for (let x = 0; x < width; x++, target += 4) {
            const grey = tables.luma[samples[row + x]];
            const blueness = samples[uRow + (x >> 1) * step];
            const redness = samples[vRow + (x >> 1) * step];
            data[target] = grey + tables.redFromV[redness];
            data[target + 1] = grey + tables.greenFromU[blueness] + tables.greenFromV[redness];
            data[target + 2] = grey + tables.blueFromU[blueness];
        }
    }
    return image;
}

/**
 * Tables of what each sample value adds to a colour. FFmpeg multiplies 16-bit numbers and drops the lower half.
 *
 * @param {number[]} matrix
 * @param {boolean} isFullRange
 */
function makeTables(matrix, isFullRange) {
    const [redFromV, blueFromU, greenFromU, greenFromV] = matrix.map((factor) => {
        const scaled = isFullRange ? Math.trunc((factor * 224) / 255) : factor;
        return makeTable(scaled, 128);
    });
    const luma = isFullRange ? makeTable(65536, 0) : makeTable(Math.trunc((65536 * 255) / 219), 16);
    return { luma, redFromV, blueFromU, greenFromU, greenFromV };
}

/**
 * @param {number} factor  times 65536
 * @param {number} zero  the sample that adds nothing
 */
function makeTable(factor, zero) {
    const short = (factor * 8192 + 32768) >> 16;
    return Int16Array.from({ length: 256 }, (_, sample) => ((sample - zero) * 8 * short) >> 16);
}
