"""Ten thousand frames in which objects come and go: resident bytes after 1,000 of them, and at the end.

A script: users have a process of their own too, without the tests' type checks. endless.py [CAPACITY]
"""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np

from masklet import Tracker
from masklet.config import toy
from masklet.tracking.bank import POINTERS
from sessions.resident import resident
from toy_models import SIZE, Fake, click

GREY = np.full((*SIZE, 3), 128, dtype=np.uint8)


def main(capacity: int) -> None:
    held = []
    network = Fake()
    network.config = replace(toy(), image_size=128, windows=(8, 4, 4, 2))  # memories of a kilobyte
    tracker = Tracker(network, capacity=capacity)
    for frame in range(10_000):
        joining = {frame + 1: click()} if frame % 40 == 0 else {}
        corrected = {tracker.ids[0]: click()} if frame % 100 == 33 else {}
        tracker.step(GREY, joining | corrected)
        if len(tracker.ids) > 4:
            tracker.forget(tracker.ids[1 + frame // 40 % 3])  # the first stays
        if frame in (999, 9_999):
            held.append(resident())
    sys.stdout.write(" ".join(map(str, held)))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else POINTERS)
