/** Edits of existing masks on a frame, in a range or in the whole video, for one or several objects. */

import * as api from "./api.js";
import { seek } from "./propagation.js";
import { undoOrRedo } from "./prompting.js";
import { clearNotes, complain, toast } from "./toast.js";

/** @import * as T from "./types.js" */
/** @import { State } from "./state.js" */
/** @import { Studio } from "./studio.js" */

/** @typedef {"frame" | "range" | "all"} EditScope */

/**
 * The objects that an edit changes: the selected one, and those picked with it.
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
    const [start, stop] = scope === "frame" ? [frame, frame + 1] : scope === "range" && range ? range : [0, video.frames];
    await send(studio, { operation, start, stop, amount });
}

/**
 * Copy the mask of the current frame to the next frame, and show that frame.
 *
 * @param {Studio} studio
 */
export async function copyToNextFrame(studio) {
    const { frame, video } = studio.state;
    if (frame + 1 >= video.frames) {
        toast("This is the last frame.");
        return;
    }
    const isCopied = await send(studio, { operation: "copy", start: frame, stop: frame + 2 });
    if (isCopied) seek(studio, frame + 1);
}

/**
 * Merge other objects into the selected one.
 *
 * @param {Studio} studio
 * @param {number[]} others
 */
export async function merge(studio, others) {
    await send(studio, { operation: "merge" }, others);
}

/**
 * Send an edit of the selected object and others, and show how many frames it changed.
 *
 * @param {Studio} studio
 * @param {Omit<T.NewEdit, "object" | "others">} body
 * @param {number[]} others  by default those picked with the selected one
 * @returns {Promise<boolean>} whether the edit was made
 */
async function send(studio, body, others = studio.state.picked) {
    const { object } = studio.state;
    if (object === null) {
        toast("Select an object first.");
        return false;
    }
    const targets = [object, ...others.filter((id) => id !== object)].map((id) => studio.numberOf(id));
    clearNotes();
    studio.store.set({ asking: studio.state.asking + 1, candidates: null });
    try {
        return await studio.inOrderRefreshed(() => sendInTurn(studio, body, targets));
    } catch (error) {
        complain(error);
        return false;
    } finally {
        studio.store.set({ asking: studio.state.asking - 1, picked: [] });
        void studio.refresh();
    }
}

/**
 * @param {Studio} studio
 * @param {Omit<T.NewEdit, "object" | "others">} body
 * @param {{object: number}[]} targets
 */
async function sendInTurn(studio, body, targets) {
    const there = studio.state.video.objects.map(({ id }) => id);
    const [object, ...others] = targets.map((target) => target.object).filter((id) => there.includes(id));
    if (object === undefined) throw new Error("The object of this edit no longer exists.");
    const { frames, reviewed } = await api.edit(studio.id, { ...body, object, others });
    studio.masks.restart();
    await studio.refresh();
    const count = (/** @type {number} */ number) => `${number} ${number === 1 ? "frame" : "frames"}`;
    const kept = reviewed ? ` ${count(reviewed)} not changed, since reviewed.` : "";
    const words = frames ? `Changed ${count(frames)}.${kept}` : `Nothing to change.${kept}`;
    const { undo_step: step } = studio.state.video;
    const action = { label: "Undo", press: () => void undoOrRedo(studio, "undo", step) };
    toast(words, frames ? { action, step } : {});
    return true;
}
