/** Sends changes again if the server could not take them. */

import * as api from "./api.js";
import { clearNotes, complain, toast, ToldError } from "./toast.js";

/** @import * as T from "./types.js" */
/** @import { Studio } from "./studio.js" */

const AGAIN = 1500; // milliseconds between two attempts
const STEPS = 100; // newest steps of the history to search for a change whose response was lost
const TRACKING = "follow"; // the server adds this step while it tracks

/** @typedef {"offline" | "signed-out" | "disk-full"} Obstacle */

const WORDS = {
    offline: "The server cannot be reached. Your changes are sent when it answers again: keep this page open.",
    "signed-out":
        "You are signed out: open the address that the studio printed in another tab. Your changes are sent then: keep this page open.",
    "disk-full": "The server's disk is full. Your changes are sent when there is space again: keep this page open.",
};

/**
 * Why the server cannot take a change now; null if it will never take it.
 *
 * @param {unknown} error
 * @returns {Obstacle | null}
 */
export function obstacleOf(error) {
    if (!(error instanceof api.ApiError)) return null;
    if (error.kind === "offline" || error.status === 502 || error.status === 504) return "offline";
    if (error.status === 401) return "signed-out";
    return error.status === 507 ? "disk-full" : null;
}

/**
 * Send a change. If the server cannot take it now, retry until it can.
 *
 * @template Result
 * @param {Studio} studio
 * @param {() => Promise<Result>} change
 * @returns {Promise<Result>}
 * @throws {ToldError} the change was made, but the response was lost
 */
export async function deliver(studio, change) {
    let waited = false;
    for (;;) {
        const { head } = studio;
        try {
            const result = await change();
            if (waited) released(studio);
            return result;
        } catch (error) {
            const obstacle = obstacleOf(error);
            if (!obstacle) {
                if (waited) released(studio);
                throw error;
            }
            if (studio.state.obstacle !== obstacle) complain(new Error(WORDS[obstacle]));
            studio.store.set({ obstacle });
            waited = true;
            if (obstacle === "offline" && (await hasArrived(studio, head))) {
                released(studio);
                throw new ToldError("The change was made, but the server's answer was lost.");
            }
            if (obstacle !== "offline") await pause();
        }
    }
}

/** @param {Studio} studio */
function released(studio) {
    studio.store.set({ obstacle: null });
    clearNotes();
    toast("The server answers again. Your changes are being sent.");
}

/**
 * Wait for the server, and check whether it made the change before the connection was lost.
 *
 * @param {Studio} studio
 * @param {number} head  the newest step before the change
 */
async function hasArrived(studio, head) {
    for (;;) {
        await pause();
        try {
            const { steps } = await api.history(studio.id, STEPS);
            const newest = steps.find((step) => !step.undone)?.head ?? 0;
            const { name } = studio.about.person;
            const isMine = (/** @type {T.HistoryStep} */ step) =>
                step.client === null ? step.person === name && step.do !== TRACKING : step.client === api.CLIENT;
            return newest < head || steps.some((step) => step.head > head && !step.undone && isMine(step));
        } catch (error) {
            if (obstacleOf(error) !== "offline") return false; // sending the change again will show the error
        }
    }
}

function pause() {
    return new Promise((resolve) => setTimeout(resolve, AGAIN));
}
