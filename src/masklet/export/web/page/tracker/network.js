/** The network's verbs as ONNX graphs, which ONNX Runtime runs with WebGPU or WebAssembly. */

/** @import * as O from "./runtime.js" */

/**
 * @typedef {object} Manifest  the manifest of `masklet export onnx`
 * @property {string} model
 * @property {number} image_size  side of the network's square
 * @property {number} mask_size  side of low-res logits
 * @property {number} channels
 * @property {number} grid  side of the coarse map
 * @property {number} memory_channels
 * @property {{padding: number, negative: number, positive: number, box_start: number, box_end: number}} labels
 * @property {number} hint_limit
 * @property {number} absent_logit
 * @property {{capacity: number, window: number, pointers: number, prompted_row: number, span: number}} memory
 * @property {"bfloat16" | "float16" | "float32"} memory_dtype  to which memory tokens are rounded; float32 is not rounded
 * @property {boolean} zoom
 * @property {Record<string, {file: string, bytes: number}>} graphs
 *
 * @typedef {{manifest: Manifest, files: Record<string, Uint8Array>}} Graphs
 *
 * @typedef {Record<"coarse" | "middle" | "fine" | "context", O.Tensor>} Features  an encoded image
 *
 * @typedef {object} Prediction  one mask of one object
 * @property {Float32Array} logits  low-res
 * @property {number} iou
 * @property {number} score  above 0: the object is in the frame
 * @property {Float32Array} pointer
 *
 * @typedef {object} Selection  the memories to which an object attends
 * @property {Float32Array[]} tokens
 * @property {number[]} rows  rows of the age table, one for each array of tokens
 * @property {Float32Array[]} pointers
 * @property {number[]} ages  ages of pointers, divided by the span
 *
 * @typedef {object} Points  in pixels of the square
 * @property {number[][]} points
 * @property {number[]} labels
 */

const GRAPHS = /** @type {const} */ (["encode", "attend", "decode", "adopt", "memorize"]);

export class Network {
    /**
     * @param {O.Runtime} runtime
     * @param {Manifest} manifest
     * @param {Record<string, O.Session>} sessions
     */
    constructor(runtime, manifest, sessions) {
        this.runtime = runtime;
        this.manifest = manifest;
        this.sessions = sessions;
    }

    /**
     * @param {O.Runtime} runtime
     * @param {Graphs} graphs
     * @param {O.Provider} provider
     */
    static async create(runtime, { manifest, files }, provider) {
        /** @type {Record<string, O.Session>} */
        const sessions = {};
        for (const name of GRAPHS) {
            const options = { executionProviders: [provider], logSeverityLevel: 3 }; // 3 logs errors only
            sessions[name] = await runtime.InferenceSession.create(files[name], options);
        }
        return new Network(runtime, manifest, sessions);
    }

    /**
     * @param {Float32Array} square  planes of red, green and blue from 0 to 255
     * @returns {Promise<Features>}
     */
    async encode(square) {
        const side = this.manifest.image_size;
        const image = this.#floats(square, [1, 3, side, side]);
        return /** @type {Promise<Features>} */ (this.sessions.encode.run({ image }));
    }

    /**
     * Attend to the memories of several objects, each of which has the same number of memories.
     *
     * @param {Features} features
     * @param {Selection[]} selections  one for each object
     * @returns {Promise<O.Tensor>} the context; without memories the encoder's context, for one object
     */
    async attend(features, selections) {
        const objects = selections.length;
        const [{ tokens, pointers }] = selections;
        if (!tokens.length) return features.context;
        const { grid, memory_channels, channels } = this.manifest;
        const rows = Int32Array.from(selections.flatMap(({ rows }) => rows));
        const ages = Float32Array.from(selections.flatMap(({ ages }) => ages));
        const { context } = await this.sessions.attend.run({
            coarse: features.coarse,
            tokens: this.#floats(
                joined(selections.flatMap(({ tokens }) => tokens)),
                [objects, tokens.length, grid * grid, memory_channels],
            ),
            rows: new this.runtime.Tensor("int32", rows, [objects, tokens.length]),
            pointers: this.#floats(
                joined(selections.flatMap(({ pointers }) => pointers)),
                [objects, pointers.length, channels],
            ),
            ages: this.#floats(ages, [objects, pointers.length]),
        });
        return context;
    }

    /**
     * Decode an object's four masks: one for unambiguous prompts, then three candidates for ambiguous ones.
     *
     * @param {Features} features
     * @param {O.Tensor} context
     * @param {Points} prompt
     * @param {Float32Array | null} hint
     * @returns {Promise<Prediction[]>}
     */
    async decode(features, context, { points, labels }, hint) {
        const side = this.manifest.mask_size;
        const isEmpty = !labels.length;
        const at = isEmpty ? [[0, 0]] : points;
        const kinds = isEmpty ? [this.manifest.labels.padding] : labels;
        const [predictions] = await this.#decode(features, context, {
            points: this.#floats(Float32Array.from(at.flat()), [1, at.length, 2]),
            labels: new this.runtime.Tensor("int32", Int32Array.from(kinds), [1, kinds.length]),
            hint: this.#floats(hint ? this.#clamped(hint) : new Float32Array(side * side), [1, side, side]),
            has_hint: this.#floats(Float32Array.of(hint ? 1 : 0), [1]),
        });
        return predictions;
    }

    /**
     * Decode the four masks of each of several objects without prompts.
     *
     * @param {Features} features
     * @param {O.Tensor} context  of all objects
     * @returns {Promise<Prediction[][]>}
     */
    async decodeTracked(features, context) {
        const side = this.manifest.mask_size;
        const [objects] = context.dims;
        const padding = new Int32Array(objects).fill(this.manifest.labels.padding);
        return this.#decode(features, context, {
            points: this.#floats(new Float32Array(2 * objects), [objects, 1, 2]),
            labels: new this.runtime.Tensor("int32", padding, [objects, 1]),
            hint: this.#floats(new Float32Array(objects * side * side), [objects, side, side]),
            has_hint: this.#floats(new Float32Array(objects), [objects]),
        });
    }

    /**
     * @param {Features} features
     * @param {O.Tensor} context
     * @param {Record<"points" | "labels" | "hint" | "has_hint", O.Tensor>} prompts
     * @returns {Promise<Prediction[][]>} for each object
     */
    async #decode({ middle, fine }, context, prompts) {
        const answer = await this.sessions.decode.run({ context, middle, fine, ...prompts });
        const [logits, iou, pointers, score] = [answer.logits, answer.iou, answer.pointers, answer.score].map(
            (tensor) => /** @type {Float32Array} */ (tensor.data),
        );
        const masks = iou.length / score.length; // masks per object
        return Array.from(score, (presence, object) =>
            Array.from({ length: masks }, (_, mask) => {
                const row = object * masks + mask;
                return {
                    logits: part(logits, row, iou.length),
                    iou: iou[row],
                    score: presence,
                    pointer: part(pointers, row, iou.length),
                };
            }),
        );
    }

    /**
     * Adopt a mask as the answer.
     *
     * @param {Features} features
     * @param {Float32Array} mask  in the square, 0 or 1
     * @returns {Promise<Prediction>}
     */
    async adopt(features, mask) {
        const side = this.manifest.image_size;
        const adopted = await this.sessions.adopt.run({ mask: this.#floats(mask, [1, side, side]) });
        const [logits, hint, score, absent] = ["logits", "hint", "score", "absent_pointer"].map(
            (name) => /** @type {Float32Array} */ (adopted[name].data),
        );
        const [decoded] = await this.decode(features, features.coarse, { points: [], labels: [] }, hint);
        return { logits, iou: 1, score: score[0], pointer: score[0] < 0 ? absent : decoded.pointer };
    }

    /**
     * @param {Features} features
     * @param {Prediction[]} predictions  one for each object
     * @param {boolean} isPrompted
     * @returns {Promise<Float32Array[]>} memory tokens of each object
     */
    async memorize(features, predictions, isPrompted) {
        const objects = predictions.length;
        const side = this.manifest.mask_size;
        const { tokens } = await this.sessions.memorize.run({
            coarse: features.coarse,
            logits: this.#floats(joined(predictions.map(({ logits }) => logits)), [objects, side, side]),
            score: this.#floats(Float32Array.from(predictions, ({ score }) => score), [objects]),
            prompted: this.#floats(new Float32Array(objects).fill(isPrompted ? 1 : 0), [objects]),
        });
        const all = /** @type {Float32Array} */ (tokens.data);
        return predictions.map((_, row) => part(all, row, objects));
    }

    /**
     * @param {Float32Array} values
     * @param {number[]} shape
     */
    #floats(values, shape) {
        return new this.runtime.Tensor("float32", values, shape);
    }

    /** @param {Float32Array} hint */
    #clamped(hint) {
        const limit = this.manifest.hint_limit;
        return hint.map((value) => Math.max(-limit, Math.min(limit, value)));
    }
}

/**
 * @param {string} folder  address of the graphs, with a trailing slash
 * @param {(length: number) => void} report  called with the length of each loaded chunk
 * @returns {Promise<Graphs>}
 */
export async function downloadGraphs(folder, report) {
    const answer = await fetch(`${folder}manifest.json`);
    if (!answer.ok) throw new Error(`The model is missing: ${answer.url} returned status ${answer.status}.`);
    const manifest = /** @type {Manifest} */ (await answer.json());
    /** @type {Record<string, Uint8Array>} */
    const files = {};
    for (const name of GRAPHS) files[name] = await download(`${folder}${manifest.graphs[name].file}`, report);
    return { manifest, files };
}

/**
 * @param {string} address
 * @param {(length: number) => void} report  called with the length of each chunk
 * @returns {Promise<Uint8Array>}
 */
async function download(address, report) {
    const answer = await fetch(address);
    if (!answer.ok || !answer.body) throw new Error(`${address} cannot be loaded: status ${answer.status}.`);
    /** @type {Uint8Array[]} */
    const pieces = [];
    for (const reader = answer.body.getReader(); ; ) {
        const { done, value } = await reader.read();
        if (done) break;
        pieces.push(value);
        report(value.length);
    }
    const whole = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
    let at = 0;
    for (const piece of pieces) {
        whole.set(piece, at);
        at += piece.length;
    }
    return whole;
}

/** @param {Float32Array[]} arrays */
function joined(arrays) {
    const whole = new Float32Array(arrays.reduce((sum, array) => sum + array.length, 0));
    let at = 0;
    for (const array of arrays) {
        whole.set(array, at);
        at += array.length;
    }
    return whole;
}

/**
 * @param {Float32Array} values
 * @param {number} row
 * @param {number} rows
 */
function part(values, row, rows) {
    const length = values.length / rows;
    return values.slice(row * length, (row + 1) * length);
}
