/** What this page has begun to send: changes of videos, and files. */

/** @type {Set<Promise<unknown>>} */
const changes = new Set(); // of all videos: they are still sent when a video's page is left
/** @type {Set<Promise<unknown>>} */
const files = new Set();

/**
 * @template Result
 * @param {Set<Promise<unknown>>} group
 * @param {Promise<Result>} work
 */
function add(group, work) {
    group.add(work);
    const done = () => group.delete(work);
    work.then(done, done); // who began it hears of errors
    return work;
}

/**
 * @template Result
 * @param {Promise<Result>} change
 */
export const sendingChange = (change) => add(changes, change);

/**
 * @template Result
 * @param {Promise<Result>} work
 */
export const sendingFiles = (work) => add(files, work);

/** Wait for the changes that this page has begun to send, of whatever video. */
export async function changesSent() {
    await Promise.allSettled(changes);
}

/** Ask before the browser leaves the page while something would be lost with it. */
export function askBeforeLeaving() {
    window.addEventListener("beforeunload", (event) => {
        if (changes.size || files.size) event.preventDefault();
    });
}
