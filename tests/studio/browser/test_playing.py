"""Playing a video: each frame for as long as its file shows it."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from studio.browser.screen import Screen

pytestmark = [pytest.mark.browser, pytest.mark.slow]

TICKS = [0, 1, 2, 22, 23, 24, 44, 45]  # at which frames are shown, in tenths of a second
LONG = {2, 5}  # frames that stay for two seconds; at the mean rate each would stay for 0.6
CHANGES = """() => {
    const stage = document.querySelector(".stage");
    window.changes = [[0, performance.now()]];
    new MutationObserver(() => {
        const frame = Number(stage.dataset.frame);
        if (window.changes.at(-1)[0] !== frame) window.changes.push([frame, performance.now()]);
    }).observe(stage, { attributeFilter: ["data-frame"] });
}"""


def test_a_variable_rate_is_played_at_its_own_times(opened: Callable[[], Screen], tmp_path: Path) -> None:
    with av.open(str(tmp_path / "phone.mp4"), "w") as container:
        stream = container.add_stream("libx264", 10)
        stream.width, stream.height, stream.pix_fmt = 160, 90, "yuv420p"
        for number, tick in enumerate(TICKS):
            frame = av.VideoFrame.from_ndarray(np.full((90, 160, 3), 20 * number, np.uint8))
            frame.pts, frame.time_base = tick, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    screen = opened()
    screen.upload(tmp_path / "phone.mp4")
    screen.page.get_by_text("variable frame rate").wait_for()
    screen.quiet()
    screen.page.evaluate(CHANGES)
    screen.press(" ")
    screen.page.wait_for_selector(f".stage[data-frame='{len(TICKS) - 1}']")
    changes = screen.page.evaluate("() => window.changes")
    shown = {frame: (after - before) / 1000 for (frame, before), (_, after) in pairwise(changes)}
    assert list(shown) == sorted(shown)  # a slow page may leave out short ones
    assert all(shown[frame] > 1.5 for frame in LONG), shown
    assert min(seconds for frame, seconds in shown.items() if frame not in LONG) < 0.5, shown
