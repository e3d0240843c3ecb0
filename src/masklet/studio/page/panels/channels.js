/** The choice of the shown and segmented channel of a TIFF with several channels. */

import * as api from "../lib/api.js";
import { fill, h } from "../lib/dom.js";
import { complain, toast } from "../lib/toast.js";
import { focusStage } from "../stage/stage.js";

/** @import { Studio } from "../lib/studio.js" */

const ALL = "all";

/** @param {Studio} studio */
export function channelChoice(studio) {
    const field = h("select", { class: "field channel", "aria-label": "Channel", title: "Channel of the file", hidden: true });
    const show = () => (field.value = String(studio.state.video.channel ?? ALL));
    field.addEventListener("change", async () => {
        try {
            const channel = field.value === ALL ? null : Number(field.value);
            studio.take(await studio.inOrder(() => api.changeVideo(studio.id, { channel })));
            if (studio.state.video.objects.length) toast("Existing masks are kept. New ones are made from this channel.");
        } catch (error) {
            complain(error);
        }
        show();
        focusStage(); // so that keys control the studio again
    });
    studio.store.watch(["video"], show);
    if (studio.state.video.kind !== "video") void offer(studio, field).then(show);
    return field;
}

/**
 * @param {Studio} studio
 * @param {HTMLSelectElement} field
 */
async function offer(studio, field) {
    try {
        const { channels, depth, time, seconds, pixel_size } = await api.channels(studio.id);
        if (depth && time) studio.store.set({ stack: { depth, time, seconds, pixelSize: pixel_size } });
        const names = channels.map((name, number) => name || `channel ${number}`);
        fill(
            field,
            h("option", { value: ALL }, "all channels"),
            ...names.map((name, number) => h("option", { value: number }, name)),
        );
        field.hidden = !channels.length;
    } catch (error) {
        complain(error);
    }
}
