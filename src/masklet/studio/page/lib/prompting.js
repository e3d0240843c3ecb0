/** Prompts: clicks, boxes, painted masks; selecting candidates, clearing, undoing. */

import * as api from "./api.js";
import { contains, decode, encode } from "./rle.js";
import { isPropagating, nameOf, nextNumber, promptHere, selected } from "./state.js";
import { announce, clearNotes, complain, toast } from "./toast.js";

/** @import * as T from "./types.js" */
/** @import { Studio } from "./studio.js" */

/** @typedef {Omit<T.NewPrompt, "frame" | "object" | "label">} PromptFields */

/**
 * @param {Studio} studio
 * @param {(object: number | null) => PromptFields | null | Promise<PromptFields | null>} make  returns the prompt for
 *     an existing or new object, after earlier changes are done; null clears the object's prompt on the frame
 */
async function sendPrompt(studio, make) {
    clearNotes();
    const { frame, label } = studio.state;
    const isNew = studio.state.object === null;
    let object = studio.state.object ?? nextNumber(studio.state);
    const target = isNew ? { object } : studio.numberOf(object);
    if (isNew) studio.begun.set(object, target);
    studio.store.set({ object, newest: Math.max(object, studio.state.newest), candidates: null });
    const answer = await studio.ask(async () => {
        const prompt = await make(isNew ? null : target.object);
        if (!prompt) return takeBack(studio, frame, target.object);
        return await api.prompt(studio.id, { frame, object: target.object, label, new: isNew, ...prompt });
    });
    if (isNew) studio.begun.delete(object);
    if (answer && answer.object !== object) {
        // Somebody else has used the number meanwhile. Waiting prompts go to the new object, too.
        target.object = answer.object;
        if (studio.state.object === object) studio.store.set({ object: answer.object });
        object = answer.object;
    }
    if (!answer) {
        if (!selected(studio.state)) studio.store.set({ object: null }); // it was not created
        return;
    }
    const list = answer.candidates ?? [];
    studio.store.set({ candidates: list.length > 1 ? { frame, object, list } : null });
    const mask = answer.masks.find((mask) => mask.object === object);
    if (mask) {
        const name = nameOf(selected(studio.state), object);
        announce(`${name} on frame ${frame}: confidence ${Math.round(100 * mask.confidence)} percent`);
    }
}

/**
 * @param {Studio} studio
 * @param {T.Point} point
 * @param {boolean} positive
 * @param {boolean} [edit]  whether the click edits the selected object even on another object's mask
 */
export function click(studio, point, positive, edit = false) {
    const { frame, pending } = studio.state;
    const other = positive && !edit ? objectAt(studio, point) : null;
    if (other) {
        select(studio, other.id);
        toast(`Selected ${nameOf(other)}. Shift+click adds to the object that was selected before.`);
        return;
    }
    const object = studio.state.object ?? nextNumber(studio.state);
    const mask = studio.masks.at(frame).get(object);
    const isPending = pending.some((one) => one.positive && one.frame === frame && one.object === object);
    if (!positive && !mask?.box && !isPending && !promptHere(studio.state, object)) {
        toast("Click on the object first; a negative click removes part of a mask.");
        return;
    }
    studio.store.set({ pending: [...pending, { frame, object, point, positive }] });
    void sendPrompt(studio, () => ({ [positive ? "positive" : "negative"]: [point], candidates: true }));
}

/**
 * Whether a click creates a mask: for a new object, or for one without a mask on this frame.
 *
 * @param {Studio} studio
 */
export function promptsNewObject(studio) {
    const { object, frame } = studio.state;
    return object === null || !studio.state.video.objects.some((item) => item.id === object)
        ? true
        : !studio.masks.at(frame).get(object)?.box && !promptHere(studio.state, object);
}

/**
 * Find masks of everything on this frame, to select from by a click; or end the selection.
 *
 * @param {Studio} studio
 */
export async function toggleEverything(studio) {
    const { frame, everything, finding } = studio.state;
    if (everything || finding) {
        studio.store.set({ everything: null });
        return;
    }
    studio.store.set({ finding: true, playing: false });
    try {
        const answer = await api.everything(studio.id, frame);
        if (studio.state.frame !== frame) return;
        if (answer.segments.length) {
            studio.store.set({ everything: answer });
            toast(`${answer.segments.length} masks. Click on those to keep; press Esc to finish.`);
        } else {
            toast("No objects were found on this frame. Click on the object instead.");
        }
    } catch (error) {
        complain(error);
    } finally {
        studio.store.set({ finding: false });
    }
}

/**
 * Make one of these masks an object.
 *
 * @param {Studio} studio
 * @param {string} counts
 */
export function keepSegment(studio, counts) {
    const { video, everything } = studio.state;
    if (!everything) return;
    const segments = everything.segments.filter((segment) => segment.counts !== counts);
    studio.store.set({ object: null, everything: segments.length ? { ...everything, segments } : null });
    void sendPrompt(studio, () => ({ mask: { size: [video.height, video.width], counts } }));
}

/**
 * Another object whose mask contains a point; null if a click there edits the selected object.
 *
 * After "New object", a click never selects another object, because the new object may be a part of one.
 *
 * @param {Studio} studio
 * @param {T.Point} point
 * @returns {T.Object | null}
 */
export function objectAt(studio, point) {
    const { video, frame, object, masksHidden } = studio.state;
    if (object === null || masksHidden) return null;
    const masks = studio.masks.at(frame);
    const covers = (/** @type {number} */ id) => {
        const mask = masks.get(id);
        return mask?.box ? contains(mask.counts, video.height, mask.box, point) : false;
    };
    if (covers(object)) return null;
    return video.objects.findLast((item) => item.id !== object && !item.hidden && covers(item.id)) ?? null;
}

/**
 * @param {Studio} studio
 * @param {T.Box} box
 */
export function drawBox(studio, box) {
    void sendPrompt(studio, () => ({ box }));
}

/**
 * Use a mask as the answer. An empty mask means that the object is not on the frame.
 *
 * @param {Studio} studio
 * @param {Uint8Array} pixels  row after row
 */
export function giveMask(studio, pixels) {
    const { frame } = studio.state;
    if (studio.state.object === null && !pixels.includes(1)) {
        toast("The mask is empty. Use one with white pixels.");
        return;
    }
    void sendPrompt(studio, (object) => maskPrompt(studio, frame, object, pixels));
}

/**
 * Add pixels to the mask of the selected object, or remove them, after earlier changes are done.
 *
 * @param {Studio} studio
 * @param {Uint8Array} touched  1 where a pixel changes, row after row
 * @param {0 | 1} value
 */
export function paint(studio, touched, value) {
    const { frame } = studio.state;
    if (!touched.includes(1)) return;
    if (studio.state.object === null && !value) {
        toast("There is no mask to erase here.");
        return;
    }
    void sendPrompt(studio, async (object) => {
        await studio.masks.fresh(frame); // an earlier change may have changed the masks
        const pixels = maskOf(studio, frame, object);
        for (let place = 0; place < pixels.length; place++) if (touched[place]) pixels[place] = value;
        return maskPrompt(studio, frame, object, pixels);
    });
}

/**
 * @param {Studio} studio
 * @param {number} frame
 * @param {number | null} object
 * @param {Uint8Array} pixels
 * @returns {PromptFields | null}
 */
function maskPrompt(studio, frame, object, pixels) {
    const { width, height, objects } = studio.state.video;
    const elsewhere = objects.find((item) => item.id === object)?.prompted.some((at) => at !== frame);
    return elsewhere || pixels.includes(1) ? { mask: encode(pixels, [height, width]) } : null;
}

/**
 * The pixels of the selected object's mask on this frame.
 *
 * @param {Studio} studio
 */
export function maskHere(studio) {
    return maskOf(studio, studio.state.frame, studio.state.object);
}

/**
 * @param {Studio} studio
 * @param {number} frame
 * @param {number | null} object
 */
function maskOf(studio, frame, object) {
    const { video } = studio.state;
    const mask = object === null ? undefined : studio.masks.at(frame).get(object);
    if (!mask) return new Uint8Array(video.width * video.height);
    return decode({ size: [video.height, video.width], counts: mask.counts });
}

/** @param {Studio} studio */
export function clearHere(studio) {
    const { frame, object } = studio.state;
    if (object === null || (!promptHere(studio.state, object) && !studio.state.asking)) {
        toast("This object has no prompt on this frame.");
        return;
    }
    studio.store.set({ candidates: null });
    const target = studio.numberOf(object);
    void studio.ask(() => takeBack(studio, frame, target.object));
}

/**
 * @param {Studio} studio
 * @param {number} frame
 * @param {number} object
 */
async function takeBack(studio, frame, object) {
    const answer = await api.clearPrompt(studio.id, frame, object);
    studio.masks.restart(); // an object without prompts has no masks on other frames either
    return { object, candidates: null, ...answer };
}

/**
 * @param {Studio} studio
 * @param {number} rank
 */
export function choose(studio, rank) {
    const { candidates } = studio.state;
    if (!candidates) return;
    const { frame, object } = candidates;
    const list = candidates.list.map((candidate) => ({ ...candidate, chosen: candidate.rank === rank }));
    studio.store.set({ candidates: { ...candidates, list } });
    void studio.ask(() => api.choose(studio.id, frame, object, rank));
}

/** @param {Studio} studio */
export function chooseNext(studio) {
    const list = studio.state.candidates?.list;
    if (!list) return;
    const at = list.findIndex((candidate) => candidate.chosen);
    choose(studio, list[(Math.max(at, 0) + 1) % list.length].rank);
}

/**
 * Undo or redo the step that the page shows. The server refuses if others have made or undone a step meanwhile.
 *
 * @param {Studio} studio
 * @param {"undo" | "redo"} which
 * @param {string | null} [only]  undo only this step
 */
export async function undoOrRedo(studio, which, only) {
    studio.store.set({ candidates: null });
    const field = /** @type {const} */ (`${which}_step`);
    const shown = { step: studio.state.video[field], others: studio.stepsOfOthers };
    /** @type {{id: string | null} | null} */
    let step = null;
    try {
        await studio.inOrderRefreshed(async () => {
            if (!step && isPropagating(studio.state) && !(await stopTracking(studio))) return;
            const { video } = studio.state;
            if (only !== undefined && only !== video[field]) {
                throw new Error(`Nothing was undone, because there is a newer step: ${video[which] ?? "undo"}.`);
            }
            // Own changes since the press were meant to be undone; those of others were not. A repeated request sends the same step.
            step ??= { id: studio.stepsOfOthers === shown.others ? video[field] : shown.step };
            const moved = await api[which](studio.id, step.id);
            studio.take(moved);
            studio.masks.restart();
            const words = `${which === "undo" ? "Undone" : "Redone"}: ${moved[which === "undo" ? "redo" : "undo"] ?? ""}`;
            if (studio.state.people.length > 1) toast(words); // the change may be another person's
            else announce(words);
        });
    } catch (error) {
        complain(error);
        studio.masks.restart(); // to show what the page did not know of
        await studio.refresh();
    }
}

/**
 * Stop tracking in order to undo it.
 *
 * @param {Studio} studio
 * @returns {Promise<boolean>} whether a frame was tracked, which can be undone
 */
async function stopTracking(studio) {
    let isTracked = true;
    try {
        const propagation = await api.stopPropagation(studio.id);
        studio.store.set({ propagation, live: false });
        isTracked = propagation.fps !== null;
    } catch (error) {
        if (!(error instanceof api.ApiError) || error.kind !== "nothing") throw error; // it has just ended
    }
    await studio.refresh();
    return isTracked;
}

/** @param {Studio} studio */
export function newObject(studio) {
    studio.store.set({ object: null, candidates: null });
    if (studio.state.video.objects.length >= studio.about.limits.objects) {
        toast(`A video can have at most ${studio.about.limits.objects} objects. Delete one first.`);
        return;
    }
    announce("New object: click on it, or draw a box around it");
}

/**
 * @param {Studio} studio
 * @param {number | null} object
 */
export function select(studio, object) {
    const { candidates, picked } = studio.state;
    studio.store.set({
        object,
        picked: picked.length ? [] : picked,
        candidates: candidates?.object === object ? candidates : null,
    });
}

/**
 * Add an object to those that edits change, beside the selected one; or remove it.
 *
 * @param {Studio} studio
 * @param {number} object
 */
export function pick(studio, object) {
    const { picked } = studio.state;
    if (studio.state.object === null) select(studio, object);
    else if (studio.state.object !== object) {
        const others = picked.filter((id) => id !== object);
        studio.store.set({ picked: others.length < picked.length ? others : [...picked, object] });
    }
}

/**
 * Change some fields of an object. Other fields keep the server's values.
 *
 * @param {Studio} studio
 * @param {number} object
 * @param {Partial<Pick<T.Object, "name" | "color" | "hidden" | "label" | "attributes">>} patch
 * @param {number} [head]  the newest step that the user saw; later changes by others are shown as conflicts
 */
export async function change(studio, object, patch, head = studio.state.video.head) {
    const { video } = studio.state;
    const objects = video.objects.map((item) =>
        item.id === object
            ? { ...item, ...patch, attributes: { ...item.attributes, ...patch.attributes } }
            : item,
    );
    studio.store.set({ video: { ...video, objects } });
    const target = studio.numberOf(object);
    try {
        const send = () => api.changeObject(studio.id, target.object, { ...patch, head });
        const { conflicts } = await studio.inOrder(send);
        for (const sentence of conflicts) toast(sentence);
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
    const name = nameOf(studio.state.video.objects.find((item) => item.id === object) ?? null, object);
    const target = studio.numberOf(object);
    try {
        await studio.inOrder(async () => {
            await api.deleteObject(studio.id, target.object);
            await studio.refresh();
        });
        const { undo_step: step } = studio.state.video;
        toast(`Deleted ${name}.`, { action: { label: "Undo", press: () => void undoOrRedo(studio, "undo", step) }, step });
    } catch (error) {
        complain(error);
    }
}
