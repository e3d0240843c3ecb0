/** What a person says of objects: clicks, boxes, painted masks; choosing, clearing, undoing. */

import * as api from "./api.js";
import { decode, encode } from "./rle.js";
import { nameOf, nextNumber, saidHere, selected } from "./state.js";
import { announce, complain, toast } from "./toast.js";

/** @import * as T from "./types.js" */
/** @import { Studio } from "./studio.js" */

/**
 * @param {Studio} studio
 * @param {Omit<T.NewPrompt, "frame" | "object">} said
 */
async function say(studio, said) {
    const { frame } = studio.state;
    const object = studio.state.object ?? nextNumber(studio.state);
    studio.store.set({ object, newest: Math.max(object, studio.state.newest), candidates: null });
    const answer = await studio.ask(() => api.prompt(studio.id, { frame, object, ...said }));
    if (!answer) return;
    const list = answer.candidates ?? [];
    studio.store.set({ candidates: list.length > 1 ? { frame, object, list } : null });
    const mask = answer.masks.find((each) => each.object === object);
    if (mask) {
        const name = nameOf(selected(studio.state), object);
        announce(`${name} on frame ${frame}: confidence ${Math.round(100 * mask.confidence)} percent`);
    }
}

/**
 * @param {Studio} studio
 * @param {T.Point} point
 * @param {boolean} positive
 */
export function click(studio, point, positive) {
    const { frame, pending } = studio.state;
    const object = studio.state.object ?? nextNumber(studio.state);
    const mask = studio.masks.at(frame).get(object);
    if (!positive && !mask?.box && !saidHere(studio.state, object)) {
        toast("Click on the object first; a minus takes away from a mask that is there.");
        return;
    }
    studio.store.set({ pending: [...pending, { frame, object, point, positive }] });
    void say(studio, { [positive ? "positive" : "negative"]: [point], candidates: true });
}

/**
 * @param {Studio} studio
 * @param {T.Box} box
 */
export function drawBox(studio, box) {
    void say(studio, { box });
}

/**
 * A whole mask is the answer as it is; an empty one says that the object is not there.
 *
 * @param {Studio} studio
 * @param {Uint8Array} pixels  row after row
 */
export function giveMask(studio, pixels) {
    const { width, height } = studio.state.video;
    const elsewhere = selected(studio.state)?.prompted.some((each) => each !== studio.state.frame);
    if (!elsewhere && !pixels.includes(1)) {
        clearHere(studio);
        return;
    }
    void say(studio, { mask: encode(pixels, [height, width]) });
}

/**
 * The mask that stands for the selected object, to paint on.
 *
 * @param {Studio} studio
 */
export function maskHere(studio) {
    const { frame, object, video } = studio.state;
    const mask = object === null ? undefined : studio.masks.at(frame).get(object);
    if (!mask) return new Uint8Array(video.width * video.height);
    return decode({ size: [video.height, video.width], counts: mask.counts });
}

/** @param {Studio} studio */
export function clearHere(studio) {
    const { frame, object } = studio.state;
    if (object === null || !saidHere(studio.state, object)) {
        toast("Nothing was said of this object on this frame.");
        return;
    }
    studio.store.set({ candidates: null });
    void studio.ask(() => api.clearPrompt(studio.id, frame, object));
}

/**
 * @param {Studio} studio
 * @param {number} rank
 */
export function choose(studio, rank) {
    const { candidates } = studio.state;
    if (!candidates) return;
    const { frame, object } = candidates;
    const list = candidates.list.map((each) => ({ ...each, chosen: each.rank === rank }));
    studio.store.set({ candidates: { ...candidates, list } });
    void studio.ask(() => api.choose(studio.id, frame, object, rank));
}

/** @param {Studio} studio */
export function chooseNext(studio) {
    const list = studio.state.candidates?.list;
    if (!list) return;
    const at = list.findIndex((each) => each.chosen);
    choose(studio, list[(Math.max(at, 0) + 1) % list.length].rank);
}

/**
 * @param {Studio} studio
 * @param {"undo" | "redo"} which
 */
export async function goBack(studio, which) {
    studio.store.set({ candidates: null });
    await studio.line; // what was said goes first; the server knows whether there is something to take back
    const title = studio.state.video[which];
    try {
        studio.take(await api[which](studio.id));
        announce(`${which === "undo" ? "Undone" : "Redone"}: ${title ?? ""}`);
    } catch (error) {
        complain(error);
    }
}

/** @param {Studio} studio */
export function newObject(studio) {
    const { video } = studio.state;
    if (video.objects.length >= studio.about.limits.objects) {
        toast(`A video may have up to ${studio.about.limits.objects} objects. Delete one first.`);
        return;
    }
    studio.store.set({ object: null, candidates: null });
    announce("New object: click on it, or draw a box around it");
}

/**
 * @param {Studio} studio
 * @param {number | null} object
 */
export function select(studio, object) {
    const { candidates } = studio.state;
    studio.store.set({ object, candidates: candidates?.object === object ? candidates : null });
}

/**
 * @param {Studio} studio
 * @param {number} object
 * @param {{name?: string, color?: string, hidden?: boolean}} patch
 */
export async function change(studio, object, patch) {
    const { video } = studio.state;
    const objects = video.objects.map((each) => (each.id === object ? { ...each, ...patch } : each));
    studio.store.set({ video: { ...video, objects } });
    try {
        await api.changeObject(studio.id, object, patch);
    } catch (error) {
        complain(error);
    }
    void studio.refresh();
}

/**
 * @param {Studio} studio
 * @param {number} object
 */
export async function remove(studio, object) {
    const name = nameOf(studio.state.video.objects.find((each) => each.id === object) ?? null, object);
    try {
        await api.deleteObject(studio.id, object);
        await studio.refresh();
        toast(`Deleted ${name}.`, { action: { label: "Undo", press: () => void goBack(studio, "undo") } });
    } catch (error) {
        complain(error);
    }
}
