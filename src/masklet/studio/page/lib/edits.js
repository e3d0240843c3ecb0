/** Edits of masks that are there: over a frame, a range or the whole video, for one object or several. */

import * as api from "./api.js";
import { seek } from "./propagation.js";
import { undoOrRedo } from "./prompting.js";
import { clearNotes, complain, toast } from "./toast.js";

/** @import * as T from "./types.js" */
/** @import { State } from "./state.js" */
/** @import { Studio } from "./studio.js" */

/** @typedef {"frame" | "range" | "all"} EditScope */

/**
 * The objects that an edit is for: the selected one, and those that were picked with it.
 *
 * @param {State} state
 * @returns {number[]}
 */
export function editedObjects({ object, picked, video }) {
    if (object === null) return [];
    const exists = (/** @type {number} */ id) => video.objects.some((item) => item.id === id);
    return [object, ...picked.filter((id) => id !== object)].filter(exists);
}

/**
 * @param {Studio} studio
 * @param {T.NewEdit["operation"]} operation
 * @param {EditScope} scope
 * @param {number | null} amount
 */
export async function edit(studio, operation, scope, amount = null) {
    const { frame, range, video } = studio.state;
    const [object, ...others] = editedObjects(studio.state);
    const [start, stop] = scope === "frame" ? [frame, frame + 1] : scope === "range" && range ? range : [0, video.frames];
    await send(studio, { operation, object, others, start, stop, amount });
}

/**
 * Copy the mask of the frame in view to the next one, and go there.
 *
 * @param {Studio} studio
 */
export async function copyToNextFrame(studio) {
    const { frame, video } = studio.state;
    if (frame + 1 >= video.frames) {
        toast("This is the last frame.");
        return;
    }
    const [object, ...others] = editedObjects(studio.state);
    const isCopied = await send(studio, { operation: "copy", object, others, start: frame, stop: frame + 2 });
    if (isCopied) seek(studio, frame + 1);
}

/**
 * Make other objects part of the selected one.
 *
 * @param {Studio} studio
 * @param {number[]} others
 */
export async function merge(studio, others) {
    const { object } = studio.state;
    if (object !== null) await send(studio, { operation: "merge", object, others });
}

/**
 * Send an edit, and say what it changed.
 *
 * @param {Studio} studio
 * @param {T.NewEdit} body
 * @returns {Promise<boolean>} whether it was done
 */
async function send(studio, body) {
    if (body.object === undefined) {
        toast("Select an object first.");
        return false;
    }
    let result;
    clearNotes();
    studio.store.set({ asking: studio.state.asking + 1, candidates: null });
    try {
        await studio.line; // prompts go first
        result = await api.edit(studio.id, body);
    } catch (error) {
        complain(error);
        return false;
    } finally {
        studio.store.set({ asking: studio.state.asking - 1, picked: [] });
        studio.masks.restart();
        await studio.refresh();
    }
    const { frames, reviewed } = result;
    const count = (/** @type {number} */ number) => `${number} ${number === 1 ? "frame" : "frames"}`;
    const kept = reviewed ? ` ${count(reviewed)} that ${reviewed === 1 ? "is" : "are"} reviewed stayed as before.` : "";
    const words = frames ? `Changed ${count(frames)}.${kept}` : `Nothing to change.${kept}`;
    toast(words, frames ? { action: { label: "Undo", press: () => void undoOrRedo(studio, "undo") } } : {});
    return true;
}
