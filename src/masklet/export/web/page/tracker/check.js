/** Checks that a GPU gives the CPU's masks, because GPU drivers can be wrong. */

/** @import { Network } from "./network.js" */

const AGREEING = 0.99; // minimum share of pixels with logits of the same sign

/**
 * Whether two networks on different providers give the same masks.
 *
 * @param {Network} one
 * @param {Network} other
 */
export async function agree(one, other) {
    const [first, second] = [await trackDisc(one), await trackDisc(other)];
    let same = 0;
    for (let at = 0; at < first.length; at++) if (first[at] > 0 === second[at] > 0) same++;
    return same >= AGREEING * first.length;
}

/**
 * Low-res logits of a drawn disc that is clicked on one frame and tracked to the next.
 *
 * @param {Network} network
 */
async function trackDisc(network) {
    const { image_size, memory } = network.manifest;
    const prompt = { points: [[image_size / 2, image_size / 2]], labels: [network.manifest.labels.positive] };
    const before = await network.encode(disc(image_size, 0));
    const [, clicked] = await network.decode(before, before.context, prompt, null);
    const tokens = await network.memorize(before, [clicked], true);
    const features = await network.encode(disc(image_size, image_size / 16));
    const selection = { tokens, rows: [memory.prompted_row], pointers: [clicked.pointer], ages: [1 / memory.span] };
    const context = await network.attend(features, [selection]);
    const [[, tracked]] = await network.decodeTracked(features, context);
    const logits = new Float32Array(clicked.logits.length + tracked.logits.length);
    logits.set(clicked.logits);
    logits.set(tracked.logits, clicked.logits.length);
    return logits;
}

/**
 * A bright disc on a dark slope, as planes of red, green and blue.
 *
 * @param {number} side
 * @param {number} shift  displacement of the disc to the right
 */
function disc(side, shift) {
    const square = new Float32Array(3 * side * side);
    for (let y = 0; y < side; y++) {
        for (let x = 0; x < side; x++) {
            const isInside = Math.hypot(x - side / 2 - shift, y - side / 2) < side / 5;
            const color = isInside ? [220, 60, 50] : [30 + (60 * x) / side, 60, 40 + (60 * y) / side];
            for (let channel = 0; channel < 3; channel++) {
                square[channel * side * side + y * side + x] = color[channel];
            }
        }
    }
    return square;
}
