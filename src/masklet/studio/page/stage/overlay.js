/** The layer over video and masks: clicks, boxes, the brush's outline and the cross that keys move. */

import { drawClick, drawCross } from "./marks.js";
import { FRESH, marks } from "./tools.js";

/** @import * as T from "../lib/types.js" */
/** @import { Studio } from "../lib/studio.js" */
/** @import { View } from "./view.js" */

/**
 * @typedef {object} Extras
 * @property {T.Box | null} box  the unfinished box
 * @property {T.Point[]} path  the unfinished outline
 * @property {T.Point | null} pointer  the pointer's position, for the brush
 * @property {T.Point | null} cross  the position of the cross that keys move
 */

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Studio} studio
 * @param {View} view
 * @param {Extras} extras
 */
export function drawOverlay(context, studio, view, extras) {
    const { state } = studio;
    for (const { prompt, color, active } of marks(studio)) {
        context.globalAlpha = active ? 1 : 0.45;
        if (prompt.box) drawBox(context, view, prompt.box, color, [6, 4]);
        for (const point of prompt.positive) drawClick(context, view.toStage(point), true, color);
        for (const point of prompt.negative) drawClick(context, view.toStage(point), false, color);
    }
    context.globalAlpha = 0.7;
    for (const { frame, object, point, positive } of state.pending) {
        const color = state.video.objects.find((item) => item.id === object)?.color ?? FRESH;
        if (frame === state.frame) drawClick(context, view.toStage(point), positive, color);
    }
    context.globalAlpha = 1;
    const color = state.video.objects.find((item) => item.id === state.object)?.color ?? FRESH;
    if (extras.path.length) drawPath(context, view, extras.path, color);
    if (extras.box) drawBox(context, view, extras.box, color, []);
    const brushing = state.tool === "brush" || state.tool === "erase";
    const at = extras.cross ?? extras.pointer;
    if (brushing && at) drawRing(context, view.toStage(at), (state.brush / 2) * view.scale);
    if (extras.cross) drawCross(context, view.toStage(extras.cross));
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {View} view
 * @param {T.Box} box
 * @param {string} color
 * @param {number[]} dash
 */
function drawBox(context, view, box, color, dash) {
    const [x0, y0] = view.toStage([box[0], box[1]]);
    const [x1, y1] = view.toStage([box[2], box[3]]);
    context.setLineDash([]);
    context.lineWidth = 3;
    context.strokeStyle = "rgb(0 0 0 / 55%)";
    context.strokeRect(x0, y0, x1 - x0, y1 - y0);
    context.setLineDash(dash);
    context.lineWidth = 1.5;
    context.strokeStyle = color;
    context.strokeRect(x0, y0, x1 - x0, y1 - y0);
    context.setLineDash([]);
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {View} view
 * @param {T.Point[]} path
 * @param {string} color
 */
function drawPath(context, view, path, color) {
    const corners = path.map((point) => view.toStage(point));
    for (const [width, stroke] of /** @type {[number, string][]} */ ([
        [3.5, "rgb(0 0 0 / 60%)"],
        [1.75, color],
    ])) {
        context.beginPath();
        for (const [x, y] of corners) context.lineTo(x, y);
        context.lineWidth = width;
        context.strokeStyle = stroke;
        context.stroke();
    }
    context.beginPath();
    context.arc(...corners[0], 4, 0, 2 * Math.PI);
    context.fillStyle = color;
    context.fill();
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {[number, number]} at
 * @param {number} radius
 */
function drawRing(context, [x, y], radius) {
    for (const [width, color] of /** @type {[number, string][]} */ ([
        [3, "rgb(0 0 0 / 60%)"],
        [1.25, "#fff"],
    ])) {
        context.beginPath();
        context.arc(x, y, Math.max(1, radius), 0, 2 * Math.PI);
        context.lineWidth = width;
        context.strokeStyle = color;
        context.stroke();
    }
}
