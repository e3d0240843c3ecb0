/** One object's memories, and SAM 2's rule for which of them a frame is compared with. */

/** @import { Manifest, Selection } from "./network.js" */

/**
 * @typedef {object} Memory
 * @property {number} frame
 * @property {Float32Array} tokens
 * @property {Float32Array} pointer
 * @property {boolean} isPrompted
 *
 * @typedef {Omit<Memory, "tokens"> & {tokens: Float32Array | Uint16Array}} StoredMemory  an array of 16 bits has bfloat16
 */

export class MemoryBank {
    /**
     * @param {Manifest} manifest  if its network rounds tokens to bfloat16, they are kept in half the space
     * @param {Map<number, StoredMemory>} [memories]  by frame
     */
    constructor(manifest, memories = new Map()) {
        this.manifest = manifest;
        this.memories = memories;
    }

    copy() {
        return new MemoryBank(this.manifest, new Map(this.memories));
    }

    /**
     * @param {Memory} memory
     * @param {number} capacity  of tracked memories, the newest of which stay; and of prompted ones
     */
    keep(memory, capacity) {
        this.memories.delete(memory.frame);
        const tokens = this.manifest.memory_dtype === "bfloat16" ? toBfloat16(memory.tokens) : memory.tokens;
        this.memories.set(memory.frame, { ...memory, tokens });
        const tracked = [...this.memories.values()].filter(({ isPrompted }) => !isPrompted);
        if (tracked.length > capacity) this.memories.delete(tracked[0].frame);
        const prompted = [...this.memories.values()].filter(({ isPrompted }) => isPrompted);
        if (prompted.length > capacity) this.memories.delete(prompted[1].frame); // the first always stays
    }

    /** @param {number} frame */
    forget(frame) {
        this.memories.delete(frame);
    }

    /**
     * All prompted frames, the frames just before, and the newest pointers. The frame's own memory is not looked at.
     *
     * @param {number} frame
     * @returns {Selection}
     */
    select(frame) {
        const { window, pointers: reach, prompted_row, span } = this.manifest.memory;
        /** @type {Selection} */
        const selection = { tokens: [], rows: [], pointers: [], ages: [] };
        const add = (/** @type {StoredMemory} */ { tokens }, /** @type {number} */ row) => {
            selection.tokens.push(tokens instanceof Uint16Array ? toFloat32(tokens) : tokens);
            selection.rows.push(row);
        };
        const point = (/** @type {StoredMemory} */ { pointer }, /** @type {number} */ age) => {
            selection.pointers.push(pointer);
            selection.ages.push(age / span);
        };
        for (const memory of this.memories.values()) {
            if (!memory.isPrompted || memory.frame === frame) continue;
            add(memory, prompted_row);
            if (memory.frame < frame) point(memory, frame - memory.frame);
        }
        for (let age = 1; age < Math.max(reach, window + 1); age++) {
            const memory = this.memories.get(frame - age);
            if (!memory || memory.isPrompted) continue;
            if (age <= window) add(memory, age - 1);
            if (age < reach) point(memory, age);
        }
        // A prompt may lie ahead. Its map is looked at, its pointer is not; without pointers it is no memory at all.
        return selection.pointers.length ? selection : { tokens: [], rows: [], pointers: [], ages: [] };
    }
}

/** @param {Float32Array} values  that bfloat16 has */
function toBfloat16(values) {
    const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
    return Uint16Array.from(words, (word) => word >>> 16);
}

/** @param {Uint16Array} halves */
function toFloat32(halves) {
    return new Float32Array(Uint32Array.from(halves, (half) => half << 16).buffer);
}
