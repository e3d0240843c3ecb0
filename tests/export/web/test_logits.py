"""The exported page's own modules give the logits of masklet in Python, on pixels that are handed to both."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from playwright.sync_api import Browser

import masklet
from masklet import Prompt
from toy_models import clip

pytestmark = [pytest.mark.browser, pytest.mark.slow]

LENGTH, SIZE, CORRECTED = 20, (96, 128), 8
CLICKS = {1: (60, 40), 2: (90, 55)}
BESIDE = (20, 20)

LOAD = """async (root) => {
    const load = (name) => import(`${root}tracker/${name}.js`);
    const [{ Network, downloadGraphs }, { loadRuntime }, { Session }, { View }] =
        await Promise.all(["network", "runtime", "session", "zoom"].map(load));
    const { builds } = await (await fetch(`${root}manifest.json`)).json();
    const runtime = await loadRuntime(builds.wasm, `${root}onnxruntime/`, 1, () => {});
    const network = await Network.create(runtime, await downloadGraphs(`${root}model/`, () => {}), "wasm");
    Object.assign(window, { network, Session, View });
}"""

TRACK = """async ([frames, [height, width], clicks, corrected, beside]) => {
    const session = new Session(network, "video");
    const look = (frame) => {
        const rgba = Uint8ClampedArray.from(atob(frames[frame]), (byte) => byte.charCodeAt(0));
        return session.look(frame, { width, height, rgba });
    };
    const trackFrom = async (start) => {
        session.beginTracking();
        for (let frame = start; frame < frames.length; frame++) {
            await look(frame);
            await session.track();
        }
    };
    await look(0);
    for (const [id, click] of Object.entries(clicks)) {
        await session.prompt(Number(id), { positive: [click], negative: [], box: null });
    }
    await trackFrom(0);
    await look(corrected);
    await session.prompt(1, { positive: [], negative: [beside], box: null });
    await trackFrom(corrected);
    return frames.map((_, frame) =>
        [...session.objects.values()].map(({ answers }) => Array.from(answers.get(frame).logits)),
    );
}"""


SEGMENT = """async ([image, [height, width], { positive, negative, box }]) => {
    const rgba = Uint8ClampedArray.from(atob(image), (byte) => byte.charCodeAt(0));
    const view = await View.encode(network, { width, height, rgba }, "still");
    const [{ prediction, window: seen }] = await view.zoom({ positive, negative, box }, null, true);
    return [Array.from(prediction.logits), seen];
}"""


def as_rgba(image: np.ndarray) -> str:
    opaque = np.concatenate([image, np.full_like(image[..., :1], 255)], axis=2)
    return base64.b64encode(opaque.tobytes()).decode()


def test_every_logit_of_twenty_frames_agrees_to_a_thousandth(chromium: Browser, address: str) -> None:
    frames = clip(LENGTH, SIZE)
    sent = [as_rgba(frame) for frame in frames]
    page = chromium.new_page()
    page.goto(f"{address}manifest.json")
    clicks = {str(id): list(click) for id, click in CLICKS.items()}
    page.evaluate(LOAD, address)
    tracked = page.evaluate(TRACK, [sent, list(SIZE), clicks, CORRECTED, list(BESIDE)])
    page.close()

    session = masklet.VideoSession(masklet.load("nano", device="cpu", engine="torch"), frames)
    for id, click in CLICKS.items():
        session.prompt(0, id, Prompt(positive=[click]))
    list(session.propagate())
    session.prompt(CORRECTED, 1, Prompt(negative=[BESIDE]))
    list(session.propagate(CORRECTED))
    seen = 0
    for frame, logits in enumerate(tracked):
        masks = session.masks(frame)
        seen += bool((masks.score > 0).all())
        expected = masks.low_res.numpy()
        found = np.array(logits, dtype=np.float32).reshape(expected.shape)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3, err_msg=f"frame {frame}")
    assert seen >= LENGTH // 2, "objects that are there: without them all logits are one number"


def test_the_logits_of_images_agree_however_small_they_are(chromium: Browser, address: str) -> None:
    """Windows have a least side: around an object of a small image, those of several sizes are one."""
    page = chromium.new_page()
    page.goto(f"{address}manifest.json")
    page.evaluate(LOAD, address)
    network = masklet.load("nano", device="cpu", engine="torch")
    for size in ((50, 50), (40, 45), (33, 300), (200, 260)):
        height, width = size
        image = clip(1, size)[0]
        image[height // 2 - 4 : height // 2 + 4, width // 2 - 5 : width // 2 + 5] = 250, 30, 30
        middle = (width // 2, height // 2)
        around = (middle[0] - 5, middle[1] - 4, middle[0] + 5, middle[1] + 4)
        for prompt in (Prompt([middle]), Prompt(box=around)):
            sent = {"positive": prompt.positive, "negative": (), "box": prompt.box}
            logits, window = page.evaluate(SEGMENT, [as_rgba(image), list(size), sent])
            best = masklet.ImageSession(network, image).segment(prompt).ranked[0]
            assert window == (None if best.window is None else list(best.window))
            found = np.array(logits, dtype=np.float32).reshape(best.logits.shape)
            message = f"{prompt} in an image of {size}"
            np.testing.assert_allclose(found, best.logits, rtol=0, atol=1e-3, err_msg=message)
    page.close()
