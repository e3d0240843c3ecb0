/** Changes and files that this page is sending. */

/** @type {Set<Promise<unknown>>} */
const changes = new Set(); // of all videos, also of those that were closed
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
    work.then(done, done); // the caller handles errors
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

/** Wait until all changes are sent, of all videos. */
export async function changesSent() {
    await Promise.allSettled(changes);
}

/** Let the browser ask before it leaves the page while something is being sent. */
export function askBeforeLeaving() {
    window.addEventListener("beforeunload", (event) => {
        if (changes.size || files.size) event.preventDefault();
    });
}
