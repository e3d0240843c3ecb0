/**
 * A service worker that adds the headers that browsers require for threads, for servers that cannot send them.
 * It caches nothing: every file comes from the server.
 */

const HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
};

/** @typedef {Event & {waitUntil(work: Promise<unknown>): void}} LifeEvent */
/** @typedef {Event & {request: Request, respondWith(answer: Promise<Response>): void}} FetchEvent */

const scope = /** @type {any} */ (self);

scope.addEventListener("install", () => scope.skipWaiting());

scope.addEventListener("activate", (/** @type {LifeEvent} */ event) => {
    event.waitUntil(scope.clients.claim());
});

scope.addEventListener("fetch", (/** @type {FetchEvent} */ event) => {
    if (new URL(event.request.url).origin !== location.origin) return;
    event.respondWith(isolated(event.request));
});

/** @param {Request} request */
async function isolated(request) {
    const answer = await fetch(request);
    if (answer.type === "opaqueredirect" || answer.type === "error") return answer;
    const headers = new Headers(answer.headers);
    for (const [name, value] of Object.entries(HEADERS)) headers.set(name, value);
    const { status, statusText } = answer;
    return new Response(status === 204 || status === 304 ? null : answer.body, { status, statusText, headers });
}
