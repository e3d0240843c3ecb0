/** The outline of a mask as a smooth path, which stays sharp at any zoom. */

/** @import * as T from "../lib/types.js" */

const EAST = 0;
const SOUTH = 1;
const WEST = 2;
const NORTH = 3;
const STEP_X = [1, 0, -1, 0];
const STEP_Y = [0, 1, 0, -1];
const SMOOTHING = 2; // rounds of averaging neighbours, which move a point by at most half a pixel

/**
 * The outlines of a mask, holes included, as closed paths. Filled by the even-odd rule they cover the mask.
 *
 * @param {Uint8Array} pixels  of the whole frame, row after row: 1 is the object
 * @param {number} width  of the frame
 * @param {T.Box} box  around the mask
 * @returns {Path2D}
 */
export function outlinePath(pixels, width, box) {
    const path = new Path2D();
    for (const loop of traceLoops(pixels, width, box)) addLoop(path, smoothLoop(loop));
    return path;
}

/**
 * Follow the edges between object and background, with the object on the right.
 *
 * @param {Uint8Array} pixels
 * @param {number} width
 * @param {T.Box} box
 * @returns {number[][]} x and y in turn: the middle of each pixel edge along the outline
 */
export function traceLoops(pixels, width, [left, top, right, bottom]) {
    const inside = (/** @type {number} */ x, /** @type {number} */ y) =>
        x >= left && y >= top && x < right && y < bottom && pixels[y * width + x] === 1;
    const columns = right - left;
    const visited = new Uint8Array(columns * (bottom - top)); // pixels whose upper edge belongs to an outline that was already followed
    /** @type {number[][]} */
    const loops = [];
    for (let y = top; y < bottom; y++) {
        for (let x = left; x < right; x++) {
            if (pixels[y * width + x] !== 1 || inside(x, y - 1)) continue;
            if (visited[(y - top) * columns + x - left]) continue;
            loops.push(traceLoop(x, y));
        }
    }
    return loops;

    /**
     * @param {number} startX
     * @param {number} startY
     */
    function traceLoop(startX, startY) {
        const points = [];
        let [x, y, direction] = [startX, startY, EAST];
        do {
            if (direction === EAST) visited[(y - top) * columns + x - left] = 1;
            points.push(x + STEP_X[direction] / 2, y + STEP_Y[direction] / 2);
            x += STEP_X[direction];
            y += STEP_Y[direction];
            // The two pixels ahead of the corner (x, y), on the left and on the right.
            const leftX = direction === EAST || direction === SOUTH ? x : x - 1;
            const leftY = direction === SOUTH || direction === WEST ? y : y - 1;
            const rightX = direction === EAST || direction === NORTH ? x : x - 1;
            const rightY = direction === EAST || direction === SOUTH ? y : y - 1;
            if (inside(leftX, leftY)) direction = (direction + 3) % 4;
            else if (!inside(rightX, rightY)) direction = (direction + 1) % 4;
        } while (x !== startX || y !== startY || direction !== EAST);
        return points;
    }
}

/**
 * @param {number[]} points  x and y in turn
 * @returns {number[]}
 */
function smoothLoop(points) {
    const count = points.length;
    for (let round = 0; round < SMOOTHING; round++) {
        const before = points;
        points = before.map(
            (value, at) =>
                (before[(at + count - 2) % count] + 2 * value + before[(at + 2) % count]) / 4,
        );
    }
    return points;
}

/**
 * @param {Path2D} path
 * @param {number[]} points
 */
function addLoop(path, points) {
    const count = points.length;
    path.moveTo((points[count - 2] + points[0]) / 2, (points[count - 1] + points[1]) / 2);
    for (let at = 0; at < count; at += 2) {
        const next = (at + 2) % count;
        path.quadraticCurveTo(
            points[at],
            points[at + 1],
            (points[at] + points[next]) / 2,
            (points[at + 1] + points[next + 1]) / 2,
        );
    }
    path.closePath();
}
