/** The worker, which has the network and the session, and answers the page's requests one after the other. */

import { agree } from "./check.js";
import { Network, downloadGraphs } from "./network.js";
import { countThreads, hasGpu, loadRuntime } from "./runtime.js";
import { Session } from "./session.js";

/** @import { Build, Provider } from "./runtime.js" */
/** @import { Prompt } from "./zoom.js" */

/**
 * @typedef {object} Site  manifest.json of the exported folder
 * @property {string} masklet  version
 * @property {string} model
 * @property {string} onnxruntime  version of onnxruntime-web
 * @property {Record<Provider, Build>} builds
 * @property {number} graphBytes
 */

const CUT_OFF = "A part of it could not be loaded. Check the connection to this page's server.";
const ROOT = new URL("..", import.meta.url).href;

/** @type {Network | null} */
let network = null;
/** @type {Session | null} */
let session = null;
/** @type {Promise<unknown>} */
let queue = Promise.resolve();

/** @returns {Session} */
function current() {
    if (!session) throw new Error("Nothing is open.");
    return session;
}

const requests = {
    /**
     * Load the model with the fastest provider of this browser, unless `wanted` states one.
     *
     * @param {{provider: Provider | null, threads: number | null}} wanted
     */
    async load({ provider, threads }) {
        const site = /** @type {Site} */ (await (await fetch(`${ROOT}manifest.json`)).json());
        const chosen = provider ?? ((await hasGpu()) ? "webgpu" : "wasm");
        try {
            return await start(site, chosen, threads ?? countThreads());
        } catch (error) {
            if (provider || chosen === "wasm") throw error;
            return start(site, "wasm", threads ?? countThreads());
        }
    },

    /** @param {{kind: Session["kind"]}} what */
    async open({ kind }) {
        if (!network) throw new Error("The model is not loaded yet.");
        session = new Session(network, kind);
    },

    /** @param {{frame: number, image: ImageBitmap}} what */
    async look({ frame, image }) {
        await current().look(frame, read(image));
    },

    /** @param {{point: [number, number]}} what */
    async preview({ point }) {
        return current().preview(point);
    },

    /** @param {{object: number, prompt: Prompt}} what */
    async prompt({ object, prompt }) {
        await current().prompt(object, prompt);
        return { masks: current().masks(current().frame), prompts: current().allPrompts() };
    },

    async beginTracking() {
        current().beginTracking();
    },

    /** @param {{frame: number, image: ImageBitmap}} what */
    async track({ frame, image }) {
        await current().look(frame, read(image));
        return current().track();
    },

    /** @param {{object: number}} what */
    async remove({ object }) {
        current().remove(object);
        return everything();
    },

    async undo() {
        current().undo();
        return everything();
    },
};

function everything() {
    return { frames: current().allMasks(), prompts: current().allPrompts(), canUndo: current().past.length > 0 };
}

/**
 * @param {Site} site
 * @param {Provider} provider
 * @param {number} threads
 */
async function start(site, provider, threads) {
    const build = site.builds[provider];
    const total = build.bytes + site.graphBytes;
    let loaded = 0;
    const report = (/** @type {number} */ length) => {
        loaded += length;
        postMessage({ progress: Math.min(1, loaded / total) });
    };
    const runtime = await loadRuntime(build, `${ROOT}onnxruntime/`, threads, report);
    const graphs = await downloadGraphs(`${ROOT}model/`, report);
    network = await Network.create(runtime, graphs, provider);
    if (provider === "webgpu" && !(await agree(network, await Network.create(runtime, graphs, "wasm")))) {
        throw new Error("The GPU of this device computes masks that differ from the CPU's.");
    }
    const side = network.manifest.image_size;
    await network.encode(new Float32Array(3 * side * side)); // warm-up: the first run also prepares the graph
    return { provider, threads, model: site.model, version: site.masklet };
}

/** @param {ImageBitmap} bitmap */
function read(bitmap) {
    const { width, height } = bitmap;
    const canvas = new OffscreenCanvas(width, height);
    const context = /** @type {OffscreenCanvasRenderingContext2D} */ (
        canvas.getContext("2d", { willReadFrequently: true })
    );
    context.drawImage(bitmap, 0, 0);
    bitmap.close();
    return { width, height, rgba: context.getImageData(0, 0, width, height).data };
}

self.addEventListener("message", ({ data }) => {
    const { number, name, argument } = /** @type {{number: number, name: keyof typeof requests, argument: any}} */ (
        data
    );
    queue = queue.then(async () => {
        try {
            postMessage({ number, value: await requests[name](argument) });
        } catch (error) {
            const isCutOff = name === "load" && error instanceof TypeError; // fetch and import throw it
            const message = error instanceof Error ? error.message : String(error);
            postMessage({ number, error: isCutOff ? CUT_OFF : message });
        }
    });
});
