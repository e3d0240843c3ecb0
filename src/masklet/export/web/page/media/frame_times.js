/** Reads the index of MP4 and MOV files (ISO/IEC 14496-12): the times of frames, and whether a colour matrix is stated. */

/**
 * @typedef {object} Box
 * @property {string} kind
 * @property {number} start  start of its content
 * @property {number} stop
 */

/**
 * @typedef {object} Index
 * @property {Float64Array | null} times  of the frames in seconds, in display order; null if unknown
 * @property {boolean} hasMatrix  false if neither the file nor its H.264 stream states a colour matrix
 */

const ROUNDING = 1e-3; // seconds; durations of edits are often rounded to milliseconds
const LARGEST_INDEX = 2 ** 27; // maximum size of the index, in bytes
const SAMPLE_ENTRY = 78; // bytes of a video's sample entry before its boxes
const UNNAMED = 2; // the code for an unspecified matrix
const WITH_CHROMA = [44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244]; // profiles with additional header fields

/**
 * @param {File} file
 * @returns {Promise<Index>} without times for other and fragmented files
 */
export async function readIndex(file) {
    /** @type {Index} */
    const found = { times: null, hasMatrix: true };
    const index = await findIndex(file);
    if (!index) return found;
    try {
        const moov = boxes(index, 0, index.byteLength);
        const isFragmented = moov.some(({ kind }) => kind === "mvex");
        for (const track of moov.filter(({ kind }) => kind === "trak")) {
            const times = timesOfTrack(index, track, movieScale(index, moov));
            if (!times) continue;
            if (!isFragmented) found.times = times;
            found.hasMatrix = trackHasMatrix(index, track);
            break;
        }
    } catch (error) {
        if (!(error instanceof RangeError)) throw error; // the index is damaged
    }
    return found;
}

/**
 * The content of the box `moov`; null if there is none.
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
 * @param {Box[]} moov
 */
function movieScale(data, moov) {
    const header = within(data, moov, ["mvhd"]);
    return header ? data.getUint32(header.start + (data.getUint8(header.start) === 1 ? 20 : 12)) : 0;
}

/**
 * @param {DataView} data
 * @param {Box} track
 * @param {number} perSecond  units of edits' durations per second
 */
function timesOfTrack(data, track, perSecond) {
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
    const edit = edits ? shownPart(data, edits) : { begin: 0, duration: 0 };
    const end = edit.duration && perSecond ? edit.duration / perSecond - ROUNDING : Infinity;
    const shown = times.map((time) => (time - edit.begin) / scale).filter((time) => time >= 0 && time < end);
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
 * The media time at which the presentation begins, and its duration; 0 if it lasts to the end or has several parts.
 *
 * @param {DataView} data
 * @param {Box} box
 */
function shownPart(data, box) {
    const isLong = data.getUint8(box.start) === 1;
    const entries = data.getUint32(box.start + 4);
    const parts = [];
    for (let entry = 0, at = box.start + 8; entry < entries; entry++, at += isLong ? 20 : 12) {
        const duration = isLong ? Number(data.getBigUint64(at)) : data.getUint32(at);
        const begin = isLong ? Number(data.getBigInt64(at + 8)) : data.getInt32(at + 4);
        if (begin >= 0) parts.push({ begin, duration }); // -1 is an empty edit
    }
    const [first] = parts;
    return { begin: first?.begin ?? 0, duration: parts.length === 1 ? first.duration : 0 };
}

/**
 * Whether a track states the matrix for conversion to RGB, in a box or in its H.264 header.
 *
 * @param {DataView} data
 * @param {Box} track
 */
function trackHasMatrix(data, track) {
    const entries = within(data, boxes(data, track.start, track.stop), ["mdia", "minf", "stbl", "stsd"]);
    const entry = entries && boxes(data, entries.start + 8, entries.stop)[0];
    if (!entry || !["avc1", "avc3"].includes(entry.kind)) return true; // headers of other codecs are not read
    const parts = boxes(data, entry.start + SAMPLE_ENTRY, entry.stop);
    const color = within(data, parts, ["colr"]);
    if (color && ["nclx", "nclc"].includes(name(data, color.start)) && data.getUint16(color.start + 8) !== UNNAMED) {
        return true;
    }
    const settings = within(data, parts, ["avcC"]);
    if (!settings || !(data.getUint8(settings.start + 5) & 31)) return true;
    const start = settings.start + 8;
    return headerHasMatrix(new Bits(data, start, start + data.getUint16(settings.start + 6)));
}

/**
 * Whether a sequence parameter set of H.264 states a matrix (ITU-T H.264, 7.3.2.1 and E.1.1).
 *
 * @param {Bits} bits
 */
function headerHasMatrix(bits) {
    bits.take(8); // type of the unit
    const profile = bits.take(8);
    bits.take(16);
    bits.takeNumber();
    if (WITH_CHROMA.includes(profile)) {
        const chroma = bits.takeNumber();
        if (chroma === 3) bits.take(1);
        bits.takeNumbers(2);
        bits.take(1);
        if (bits.take(1)) {
            for (let list = 0; list < (chroma === 3 ? 12 : 8); list++) {
                if (bits.take(1)) skipScales(bits, list < 6 ? 16 : 64);
            }
        }
    }
    bits.takeNumber();
    const order = bits.takeNumber();
    if (order === 0) bits.takeNumber();
    if (order === 1) {
        bits.take(1);
        bits.takeNumbers(2);
        bits.takeNumbers(bits.takeNumber());
    }
    bits.takeNumber();
    bits.take(1);
    bits.takeNumbers(2);
    if (!bits.take(1)) bits.take(1);
    bits.take(1);
    if (bits.take(1)) bits.takeNumbers(4);
    if (!bits.take(1)) return false;
    if (bits.take(1) && bits.take(8) === 255) bits.take(32);
    if (bits.take(1)) bits.take(1);
    if (!bits.take(1)) return false;
    bits.take(4);
    if (!bits.take(1)) return false;
    bits.take(16);
    return bits.take(8) !== UNNAMED;
}

/**
 * @param {Bits} bits
 * @param {number} count
 */
function skipScales(bits, count) {
    for (let at = 0, last = 8, next = 8; at < count && next; at++, last = next || last) {
        const code = bits.takeNumber();
        const delta = code % 2 ? (code + 1) / 2 : -code / 2;
        next = (last + delta + 256) % 256;
    }
}

/** Reads the bits of an H.264 unit, without emulation prevention bytes. */
class Bits {
    /**
     * @param {DataView} data
     * @param {number} start
     * @param {number} stop
     */
    constructor(data, start, stop) {
        /** @type {number[]} */
        this.bytes = [];
        for (let at = start, zeros = 0; at < stop; at++) {
            const byte = data.getUint8(at);
            if (zeros < 2 || byte !== 3) this.bytes.push(byte);
            zeros = byte ? 0 : zeros + 1;
        }
        this.at = 0;
    }

    /** @param {number} count */
    take(count) {
        let value = 0;
        for (let bit = 0; bit < count; bit++, this.at++) {
            if (this.at >= 8 * this.bytes.length) throw new RangeError("the header is truncated");
            value = 2 * value + ((this.bytes[this.at >> 3] >> (7 - (this.at & 7))) & 1);
        }
        return value;
    }

    /** Read an unsigned Exp-Golomb number. */
    takeNumber() {
        let zeros = 0;
        while (!this.take(1)) zeros++;
        return 2 ** zeros - 1 + this.take(zeros);
    }

    /** @param {number} count */
    takeNumbers(count) {
        for (let number = 0; number < count; number++) this.takeNumber();
    }
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
