/** Copies and pastes masks as black-and-white PNGs, which other programs can read and write. */

import { giveMask, maskHere } from "./prompting.js";
import { complain, toast } from "./toast.js";

/** @import { Studio } from "./studio.js" */

/** @param {Studio} studio */
export async function copyMask(studio) {
    const { width, height } = studio.state.video;
    const pixels = maskHere(studio);
    if (!pixels.includes(1)) {
        toast("There is no mask of this object here to copy.");
        return;
    }
    studio.copied = pixels; // for browsers in which a page cannot read the clipboard
    studio.copiedHere = true;
    studio.copyIsShared = false;
    window.addEventListener("blur", () => (studio.copiedHere = false), { once: true });
    const canvas = new OffscreenCanvas(width, height);
    const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d"));
    const image = context.createImageData(width, height);
    const words = new Uint32Array(image.data.buffer);
    for (let place = 0; place < pixels.length; place++)
        words[place] = pixels[place] ? 0xffffffff : 0xff000000;
    context.putImageData(image, 0, 0);
    try {
        await navigator.clipboard.write([
            new ClipboardItem({ "image/png": canvas.convertToBlob({ type: "image/png" }) }),
        ]);
        studio.copyIsShared = true;
    } catch {
        // The page cannot write to the clipboard. Within the page, `studio.copied` is enough.
    }
    toast("Mask copied. Paste it on another frame or object.");
}

/**
 * Use what was copied last as the mask of the selected object: a mask of this page, or an image of another program.
 *
 * @param {Studio} studio
 * @param {File} [image]  from the browser's paste event
 */
export async function pasteMask(studio, image) {
    if (image && (studio.copyIsShared || !studio.copiedHere)) return await pasteImage(studio, image);
    if (studio.copied && studio.copiedHere) {
        giveMask(studio, studio.copied);
        return;
    }
    try {
        for (const item of await navigator.clipboard.read()) {
            const kind = item.types.find((type) => type.startsWith("image/"));
            if (kind) return await pasteImage(studio, await item.getType(kind));
        }
    } catch {
        // the page cannot read the clipboard
    }
    if (studio.copied) {
        giveMask(studio, studio.copied);
        return;
    }
    toast("There is no mask to paste. Copy one here, or press Ctrl+V with an image on the clipboard.");
}

/**
 * Paste an image as a mask: opaque, bright pixels are the object. It is resized to the frame if the sizes differ.
 *
 * @param {Studio} studio
 * @param {Blob} blob
 */
async function pasteImage(studio, blob) {
    const { width, height } = studio.state.video;
    try {
        const image = await createImageBitmap(blob);
        const shape = image.width / image.height;
        if (Math.abs(shape / (width / height) - 1) > 0.02) {
            toast(
                `A mask should have the frame's size, ${width} × ${height}. This image has ${image.width} × ${image.height}.`,
                { kind: "error" },
            );
            return;
        }
        const canvas = new OffscreenCanvas(width, height);
        const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d"));
        context.imageSmoothingEnabled = false;
        context.drawImage(image, 0, 0, width, height);
        const { data } = context.getImageData(0, 0, width, height);
        const pixels = new Uint8Array(width * height);
        for (let place = 0; place < pixels.length; place++) {
            const bright = Math.max(data[4 * place], data[4 * place + 1], data[4 * place + 2]) > 127;
            pixels[place] = bright && data[4 * place + 3] > 127 ? 1 : 0;
        }
        giveMask(studio, pixels);
    } catch (error) {
        complain(error);
    }
}
