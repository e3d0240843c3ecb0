/** The time of every frame of an MP4 or MOV, from the index in the file (ISO/IEC 14496-12). */

/**
 * @typedef {object} Box
 * @property {string} kind
 * @property {number} start  of its content
 * @property {number} stop
 */

const LARGEST_INDEX = 2 ** 27; // bytes

/**
 * @param {File} file
 * @returns {Promise<Float64Array | null>} seconds, in the order of showing; null for other files, and for fragmented ones
 */
export async function readFrameTimes(file) {
    const index = await findIndex(file);
    if (!index) return null;
    try {
        const moov = boxes(index, 0, index.byteLength);
        if (moov.some(({ kind }) => kind === "mvex")) return null;
        for (const track of moov.filter(({ kind }) => kind === "trak")) {
            const times = timesOfTrack(index, track);
            if (times) return times;
        }
    } catch (error) {
        if (!(error instanceof RangeError)) throw error; // a damaged index
    }
    return null;
}

/**
 * The content of the box `moov`; null where there is none.
 *
 * @param {File} file
 * @returns {Promise<DataView | null>}
 */
async function findIndex(file) {
    for (let at = 0; at + 8 <= file.size; ) {
        const head = new DataView(await file.slice(at, at + 16).arrayBuffer());
        let size = head.getUint32(0);
        let start = at + 8;
        if (size === 1 && head.byteLength === 16) {
            size = Number(head.getBigUint64(8));
            start += 8;
        }
        if (size === 0) size = file.size - at;
        if (size < 8) return null;
        if (name(head, 4) === "moov") {
            if (size > LARGEST_INDEX) return null;
            return new DataView(await file.slice(start, at + size).arrayBuffer());
        }
        at += size;
    }
    return null;
}

/**
 * @param {DataView} data
 * @param {number} start
 * @param {number} stop
 * @returns {Box[]}
 */
function boxes(data, start, stop) {
    /** @type {Box[]} */
    const list = [];
    for (let at = start; at + 8 <= stop; ) {
        const size = data.getUint32(at);
        if (size < 8) break;
        list.push({ kind: name(data, at + 4), start: at + 8, stop: Math.min(stop, at + size) });
        at += size;
    }
    return list;
}

/**
 * @param {DataView} data
 * @param {Box} track
 */
function timesOfTrack(data, track) {
    const inner = boxes(data, track.start, track.stop);
    const media = within(data, inner, ["mdia"]);
    if (!media) return null;
    const parts = boxes(data, media.start, media.stop);
    const handler = within(data, parts, ["hdlr"]);
    const header = within(data, parts, ["mdhd"]);
    const table = within(data, parts, ["minf", "stbl"]);
    if (!handler || !header || !table || name(data, handler.start + 8) !== "vide") return null;
    const scale = data.getUint32(header.start + (data.getUint8(header.start) === 1 ? 20 : 12));
    const tables = boxes(data, table.start, table.stop);
    const durations = within(data, tables, ["stts"]);
    if (!durations || !scale) return null;
    const times = decodingTimes(data, durations);
    const offsets = within(data, tables, ["ctts"]);
    if (offsets) addOffsets(data, offsets, times);
    const edits = within(data, inner, ["edts", "elst"]);
    const begin = edits ? firstTime(data, edits) : 0;
    const shown = times.map((time) => (time - begin) / scale).filter((time) => time >= 0);
    return Float64Array.from(shown).sort();
}

/**
 * @param {DataView} data
 * @param {Box} box
 */
function decodingTimes(data, box) {
    /** @type {number[]} */
    const times = [];
    let time = 0;
    const entries = data.getUint32(box.start + 4);
    for (let entry = 0, at = box.start + 8; entry < entries; entry++, at += 8) {
        const [count, duration] = [data.getUint32(at), data.getUint32(at + 4)];
        if (times.length + count > LARGEST_INDEX) throw new RangeError("more frames than a file can have");
        for (let sample = 0; sample < count; sample++, time += duration) times.push(time);
    }
    return times;
}

/**
 * @param {DataView} data
 * @param {Box} box
 * @param {number[]} times
 */
function addOffsets(data, box, times) {
    const entries = data.getUint32(box.start + 4);
    let sample = 0;
    for (let entry = 0, at = box.start + 8; entry < entries; entry++, at += 8) {
        const [count, offset] = [data.getUint32(at), data.getInt32(at + 4)];
        for (const stop = Math.min(times.length, sample + count); sample < stop; sample++) times[sample] += offset;
    }
}

/**
 * The media time at which showing begins.
 *
 * @param {DataView} data
 * @param {Box} box
 */
function firstTime(data, box) {
    const isLong = data.getUint8(box.start) === 1;
    const entries = data.getUint32(box.start + 4);
    for (let entry = 0, at = box.start + 8; entry < entries; entry++, at += isLong ? 20 : 12) {
        const time = isLong ? Number(data.getBigInt64(at + 8)) : data.getInt32(at + 4);
        if (time >= 0) return time; // -1 is an empty stretch
    }
    return 0;
}

/**
 * @param {DataView} data
 * @param {Box[]} list
 * @param {string[]} path
 * @returns {Box | undefined}
 */
function within(data, list, [kind, ...rest]) {
    const box = list.find((box) => box.kind === kind);
    return box && rest.length ? within(data, boxes(data, box.start, box.stop), rest) : box;
}

/**
 * @param {DataView} data
 * @param {number} at
 */
function name(data, at) {
    return String.fromCharCode(...Array.from({ length: 4 }, (_, index) => data.getUint8(at + index)));
}
