/** Loads ONNX Runtime Web: selects the build and the number of threads for the browser. */

/**
 * The types of onnxruntime-web that this page uses.
 *
 * @typedef {object} Tensor
 * @property {Float32Array | Int32Array} data
 * @property {readonly number[]} dims
 *
 * @typedef {object} Session
 * @property {(feeds: Record<string, Tensor>) => Promise<Record<string, Tensor>>} run
 *
 * @typedef {object} Runtime
 * @property {new (type: "float32" | "int32", data: Float32Array | Int32Array, dims: number[]) => Tensor} Tensor
 * @property {{create: (graph: Uint8Array, options: {executionProviders: string[], logSeverityLevel: number}) => Promise<Session>}} InferenceSession
 * @property {{wasm: {numThreads: number, wasmBinary?: ArrayBuffer, wasmPaths?: {mjs: string}}}} env
 *
 * @typedef {"webgpu" | "wasm"} Provider
 *
 * @typedef {object} Build  one build of onnxruntime-web in the exported folder; see manifest.json there
 * @property {string} script
 * @property {string} loader
 * @property {string} binary  compressed with gzip
 * @property {number} bytes  of the compressed binary
 */

const MOST_THREADS = 4; // more threads do not speed up a network of this size

/**
 * Whether the page can use a GPU.
 *
 * @returns {Promise<boolean>}
 */
export async function hasGpu() {
    const { gpu } = /** @type {{gpu?: {requestAdapter(): Promise<object | null>}}} */ (
        /** @type {unknown} */ (navigator)
    );
    try {
        const adapter = await gpu?.requestAdapter();
        return Boolean(adapter) && !(/** @type {any} */ (adapter).info?.isFallbackAdapter);
    } catch {
        return false;
    }
}

/** The number of threads; one if the page is not cross-origin isolated. */
export function countThreads() {
    if (!globalThis.crossOriginIsolated) return 1;
    return Math.max(1, Math.min(MOST_THREADS, navigator.hardwareConcurrency || 1));
}

/**
 * @param {Build} build
 * @param {string} folder  address of the builds, with a trailing slash
 * @param {number} threads
 * @param {(length: number) => void} report  called with the length of each loaded chunk
 * @returns {Promise<Runtime>}
 */
export async function loadRuntime(build, folder, threads, report) {
    const runtime = /** @type {Runtime} */ (await import(`${folder}${build.script}`));
    const answer = await fetch(`${folder}${build.binary}`);
    if (!answer.ok || !answer.body)
        throw new Error(`ONNX Runtime is missing: ${answer.url} returned status ${answer.status}.`);
    const counted = answer.body.pipeThrough(
        new TransformStream({
            transform(piece, controller) {
                report(piece.length);
                controller.enqueue(piece);
            },
        }),
    );
    runtime.env.wasm.wasmBinary = await unpacked(counted);
    runtime.env.wasm.wasmPaths = { mjs: `${folder}${build.loader}` };
    runtime.env.wasm.numThreads = threads;
    return runtime;
}

/**
 * Decompress gzip. Some servers already decompress .gz files; such data is returned unchanged.
 *
 * @param {ReadableStream<Uint8Array>} stream
 * @returns {Promise<ArrayBuffer>}
 */
async function unpacked(stream) {
    const bytes = await new Response(stream).arrayBuffer();
    const [first, second] = new Uint8Array(bytes);
    if (first !== 0x1f || second !== 0x8b) return bytes;
    const unzip = new DecompressionStream("gzip");
    const writing = new Response(bytes).body?.pipeTo(/** @type {WritableStream<any>} */ (unzip.writable));
    const [whole] = await Promise.all([new Response(unzip.readable).arrayBuffer(), writing]);
    return whole;
}
