/** Writes masks to files: PNG label maps with DAVIS's palette, masklets.json, and a zip file of them. */

import { decode } from "../lib/rle.js";

/** @import { FrameMasks, Mask } from "../tracker/session.js" */
/** @import { Clip } from "./clips.js" */

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
const CRC = Uint32Array.from({ length: 256 }, (_, byte) => {
    let value = byte;
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
    return value;
});

/**
 * A label map: each pixel is the number of its object, or 0. Where masks overlap, the one of higher confidence wins.
 *
 * @param {Mask[]} masks
 * @param {Clip} clip
 * @returns {Promise<Blob>}
 */
export async function labelMap(masks, { width, height }) {
    const highest = Math.max(0, ...masks.map(({ object }) => object));
    if (highest > 255) throw new Error(`A label map holds objects 1 to 255. Delete some: this is object ${highest}.`);
    const labels = new Uint8Array(width * height);
    for (const mask of masks.toSorted((one, other) => one.iou - other.iou)) {
        const pixels = decode({ size: [height, width], counts: mask.counts });
        for (let at = 0; at < pixels.length; at++) if (pixels[at]) labels[at] = mask.object;
    }
    const rows = new Uint8Array(height * (width + 1)); // each row starts with its filter type, 0
    for (let y = 0; y < height; y++) {
        rows.set(labels.subarray(y * width, (y + 1) * width), y * (width + 1) + 1);
    }
    const packed = new Blob([rows]).stream().pipeThrough(new CompressionStream("deflate"));
    const header = new Uint8Array(13);
    new DataView(header.buffer).setUint32(0, width);
    new DataView(header.buffer).setUint32(4, height);
    header.set([8, 3, 0, 0, 0], 8); // 8 bits, a palette
    return new Blob(
        [
            Uint8Array.from(SIGNATURE),
            chunk("IHDR", header),
            chunk("PLTE", davisPalette()),
            chunk("tEXt", new TextEncoder().encode("masklet-label-map\u00001")),
            chunk("IDAT", new Uint8Array(await new Response(packed).arrayBuffer())),
            chunk("IEND", new Uint8Array(0)),
        ],
        { type: "image/png" },
    );
}

/**
 * masklets.json, in the form of `masklet track`.
 *
 * @param {FrameMasks[]} frames
 * @param {Clip} clip
 */
export function maskletsJson(frames, clip) {
    const { width, height, times } = clip;
    const size = [height, width];
    const span = times.length > 1 ? times[times.length - 1] - times[0] : 0;
    const content = {
        version: 1,
        source: clip.name,
        size,
        fps: span > 0 ? (times.length - 1) / span : 0,
        frames: frames.map(({ frame, masks }) => ({
            frame,
            time: Number((times[frame] ?? 0).toFixed(6)),
            objects: masks.map(({ object, iou, score, box, counts }) => ({
                id: object,
                iou: Number(iou.toFixed(4)),
                score: Number(score.toFixed(3)),
                box: box ?? [0, 0, 0, 0],
                rle: { size, counts },
            })),
        })),
    };
    return new Blob([JSON.stringify(content)], { type: "application/json" });
}

/**
 * Put files in a zip file, uncompressed, because PNG is already compressed.
 *
 * @param {Iterable<[string, Blob]>} files
 * @returns {Promise<Blob>}
 */
export async function zip(files) {
    /** @type {BlobPart[]} */
    const parts = [];
    /** @type {BlobPart[]} */
    const directory = [];
    let [at, count, directorySize] = [0, 0, 0];
    for (const [name, blob] of files) {
        const bytes = new Uint8Array(await blob.arrayBuffer());
        const path = new TextEncoder().encode(name);
        const common = new DataView(new ArrayBuffer(26));
        common.setUint16(0, 20, true); // version
        common.setUint16(2, 0x800, true); // names are UTF-8
        common.setUint16(8, 0x21, true); // 1 January 1980
        common.setUint32(10, crc(bytes), true);
        common.setUint32(14, bytes.length, true);
        common.setUint32(18, bytes.length, true);
        common.setUint16(22, path.length, true);
        parts.push(words(0x04034b50), common.buffer, path, blob);
        const entry = new DataView(new ArrayBuffer(14));
        entry.setUint32(10, at, true);
        directory.push(words(0x02014b50), Uint8Array.of(20, 0), common.buffer, entry.buffer, path);
        at += 30 + path.length + bytes.length;
        directorySize += 46 + path.length;
        count++;
    }
    if (at + directorySize > 0xffffffff || count > 0xffff) {
        throw new Error("The masks exceed the limits of a zip file: 4 GB or 65,535 frames.");
    }
    const end = new DataView(new ArrayBuffer(22));
    end.setUint32(0, 0x06054b50, true);
    end.setUint16(8, count, true);
    end.setUint16(10, count, true);
    end.setUint32(12, directorySize, true);
    end.setUint32(16, at, true);
    return new Blob([...parts, ...directory, end.buffer], { type: "application/zip" });
}

/**
 * @param {Blob} blob
 * @param {string} name
 */
export function save(blob, name) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** DAVIS's palette: the bits of an object's number set bits of red, green and blue in turn, the lowest the brightest. */
export function davisPalette() {
    const palette = new Uint8Array(768);
    for (let id = 0; id < 256; id++) {
        for (let bit = 0; bit < 8; bit++) {
            for (let channel = 0; channel < 3; channel++) {
                palette[3 * id + channel] |= ((id >> (3 * bit + channel)) & 1) << (7 - bit);
            }
        }
    }
    return palette;
}

/**
 * @param {string} kind
 * @param {Uint8Array} content
 */
function chunk(kind, content) {
    const bytes = new Uint8Array(content.length + 12);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, content.length);
    bytes.set(new TextEncoder().encode(kind), 4);
    bytes.set(content, 8);
    view.setUint32(content.length + 8, crc(bytes.subarray(4, content.length + 8)));
    return bytes;
}

/** @param {Uint8Array} bytes */
function crc(bytes) {
    let value = 0xffffffff;
    for (const byte of bytes) value = CRC[(value ^ byte) & 255] ^ (value >>> 8);
    return (value ^ 0xffffffff) >>> 0;
}

/** @param {number} value */
function words(value) {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, value, true);
    return bytes;
}
