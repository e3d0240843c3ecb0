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

TRACK = """async ([root, frames, [height, width], clicks, corrected, beside]) => {
    const load = (name) => import(`${root}tracker/${name}.js`);
    const [{ Network, downloadGraphs }, { loadRuntime }, { Session }] =
        await Promise.all(["network", "runtime", "session"].map(load));
    const { builds } = await (await fetch(`${root}manifest.json`)).json();
    const runtime = await loadRuntime(builds.wasm, `${root}onnxruntime/`, 1, () => {});
    const network = await Network.create(runtime, await downloadGraphs(`${root}model/`, () => {}), "wasm");
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


def test_every_logit_of_twenty_frames_agrees_to_a_thousandth(chromium: Browser, address: str) -> None:
    frames = clip(LENGTH, SIZE)
    opaque = np.concatenate([frames, np.full_like(frames[..., :1], 255)], axis=3)
    sent = [base64.b64encode(frame.tobytes()).decode() for frame in opaque]
    page = chromium.new_page()
    page.goto(f"{address}manifest.json")
    clicks = {str(id): list(click) for id, click in CLICKS.items()}
    tracked = page.evaluate(TRACK, [address, sent, list(SIZE), clicks, CORRECTED, list(BESIDE)])
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
