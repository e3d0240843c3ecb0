/** Draws marks on an image: clicks, and the cross that keys move. */

const RADIUS = 7; // radius of a click's mark, in screen pixels

/**
 * @param {CanvasRenderingContext2D} context
 * @param {[number, number]} at
 * @param {boolean} isPositive
 * @param {string} color
 */
export function drawClick(context, [x, y], isPositive, color) {
    context.beginPath();
    context.arc(x, y, RADIUS, 0, 2 * Math.PI);
    context.fillStyle = isPositive ? color : "#15181d";
    context.fill();
    context.lineWidth = 2;
    context.strokeStyle = isPositive ? "#fff" : color;
    context.stroke();
    context.beginPath();
    context.moveTo(x - 3.5, y);
    context.lineTo(x + 3.5, y);
    if (isPositive) {
        context.moveTo(x, y - 3.5);
        context.lineTo(x, y + 3.5);
    }
    context.strokeStyle = isPositive ? "#15181d" : "#fff";
    context.stroke();
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {[number, number]} at
 */
export function drawCross(context, [x, y]) {
    for (const [width, color] of /** @type {[number, string][]} */ ([
        [4, "rgb(0 0 0 / 60%)"],
        [1.5, "#fff"],
    ])) {
        context.beginPath();
        for (const [dx, dy] of [
            [1, 0],
            [-1, 0],
            [0, 1],
            [0, -1],
        ]) {
            context.moveTo(x + 4 * dx, y + 4 * dy);
            context.lineTo(x + 16 * dx, y + 16 * dy);
        }
        context.lineWidth = width;
        context.strokeStyle = color;
        context.stroke();
    }
}
