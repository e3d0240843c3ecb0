/** Changes that did not reach the server: they wait, and are sent again when it can take them. */

import * as api from "./api.js";
import { clearNotes, complain, toast, ToldError } from "./toast.js";

/** @import * as T from "./types.js" */
/** @import { Studio } from "./studio.js" */

const AGAIN = 1500; // milliseconds between two tries
const STEPS = 100; // of the history, to look for a change whose answer was lost
const TRACKING = "follow"; // a step that the server adds by itself while it tracks

/** @typedef {"offline" | "signed-out" | "disk-full"} Obstacle */

const WORDS = {
    offline: "The server cannot be reached. Your changes are sent when it answers again: keep this page open.",
    "signed-out":
        "You are signed out: open the address that the studio printed in another tab. Your changes are sent then: keep this page open.",
    "disk-full": "The server's disk is full. Your changes are sent when there is space again: keep this page open.",
};

/**
 * What keeps the server from taking a change; null where it refuses it for good.
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
 * Send a change; where the server cannot take it, try again until it can.
 *
 * @template Result
 * @param {Studio} studio
 * @param {() => Promise<Result>} change
 * @returns {Promise<Result>}
 * @throws {ToldError} the change is made, and its answer was lost with the connection
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
 * Wait for the server, and find out whether it took a change before the connection was lost.
 *
 * @param {Studio} studio
 * @param {number} head  the last step before the change
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
            if (obstacleOf(error) !== "offline") return false; // sent again, the change is refused for the same reason
        }
    }
}

function pause() {
    return new Promise((resolve) => setTimeout(resolve, AGAIN));
}
