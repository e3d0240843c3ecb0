/** Sends the page's requests to the worker, and returns promises of the answers. */

/** @import { FrameMasks, Mask } from "./session.js" */
/** @import { Prompt } from "./zoom.js" */

/**
 * @typedef {{object: number, frame: number, prompt: Prompt}} GivenPrompt
 * @typedef {{frames: FrameMasks[], prompts: GivenPrompt[], canUndo: boolean}} Everything
 * @typedef {{provider: "webgpu" | "wasm", threads: number, model: string, version: string}} Loaded
 *
 * @typedef {object} Requests  requests by name, as functions from the argument to the answer
 * @property {(wanted: {provider: string | null, threads: number | null}) => Loaded} load
 * @property {(what: {kind: string}) => void} open
 * @property {(what: {frame: number, image: ImageBitmap}) => void} look
 * @property {(what: {point: [number, number]}) => Mask} preview
 * @property {(what: {object: number, prompt: Prompt}) => {masks: Mask[], prompts: GivenPrompt[]}} prompt
 * @property {(what: {}) => void} beginTracking
 * @property {(what: {frame: number, image: ImageBitmap}) => FrameMasks} track
 * @property {(what: {object: number}) => Everything} remove
 * @property {(what: {}) => Everything} undo
 */

export class TrackerClient {
    /** @param {(share: number) => void} report  called while the model loads, with the part that has come */
    constructor(report) {
        this.worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
        /** @type {Map<number, {resolve: (value: any) => void, reject: (error: Error) => void}>} */
        this.waiting = new Map();
        this.number = 0;
        this.worker.addEventListener("message", ({ data }) => {
            if ("progress" in data) return report(data.progress);
            const request = this.waiting.get(data.number);
            this.waiting.delete(data.number);
            if ("error" in data) request?.reject(new Error(data.error));
            else request?.resolve(data.value);
        });
        this.worker.addEventListener("error", (event) => {
            for (const { reject } of this.waiting.values()) {
                reject(new Error(event.message || "The model cannot run in this browser."));
            }
            this.waiting.clear();
        });
    }

    /**
     * @template {keyof Requests} Name
     * @param {Name} name
     * @param {Parameters<Requests[Name]>[0]} argument
     * @returns {Promise<ReturnType<Requests[Name]>>}
     */
    request(name, argument) {
        const number = this.number++;
        const { image } = /** @type {{image?: ImageBitmap}} */ (argument);
        return new Promise((resolve, reject) => {
            this.waiting.set(number, { resolve, reject });
            this.worker.postMessage({ number, name, argument }, image ? [image] : []);
        });
    }
}
