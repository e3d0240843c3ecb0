"""A session on a real file of two hours: follow it all, look and correct in the middle, with little room.

Prints resident bytes at a quarter and at the end, the frames that a look at the middle decoded, and its
seconds. The network is fake, its masks are not: two_hours.py [FRAMES A SECOND]
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from torch import Tensor

from masklet import FeatureCache, Prompt, VideoSession
from masklet.media.readers.decoding import DecodingPass
from masklet.types import Candidates
from sessions.resident import resident
from toy_models import Fake, click

HOURS, SIZE, KEYS = 2, (48, 64), 50
ROOM = 2**20


class Wandering(Fake):
    """Masks are discs that wander."""

    turn = 0

    def decode(self, *args: Any, **options: Any) -> Candidates:
        offered = super().decode(*args, **options)
        self.turn += 1
        side = self.config.mask_size
        y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        across, down = self.turn * 0.01 % side, self.turn * 0.003 % side
        disc: Tensor = side / 5 - ((x - across) ** 2 + (y - down) ** 2).sqrt()
        return replace(offered, logits=disc.expand_as(offered.logits))


def write(path: Path, frames: int, rate: int) -> None:
    height, width = SIZE
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate, options={"g": str(KEYS)})
        stream.width, stream.height = width, height
        for frame in range(frames):
            image = np.full((height, width, 3), frame % 256, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        container.mux(stream.encode())


def main(rate: int) -> None:
    decoded = [0]
    frames = HOURS * 3600 * rate
    iterate = DecodingPass.__iter__

    def counted(decoding: DecodingPass) -> Iterator[Any]:
        for image in iterate(decoding):
            decoded[0] += 1
            yield image

    DecodingPass.__iter__ = counted
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / "two_hours.mp4", frames, rate)
        session = VideoSession(
            Wandering(), Path(folder) / "two_hours.mp4", budget=ROOM, features=FeatureCache(ROOM)
        )
        session.prompt(0, 1, click())
        for masks in session.propagate():
            if masks.frame == frames // 4:
                early = resident()
        late = resident()
        middle, decoded[0], began = frames // 2 + KEYS // 2, 0, time.perf_counter()
        assert session.masks(middle)[1].any()
        session.prompt(middle, 1, Prompt(positive=[(30, 20)]))
        seconds = time.perf_counter() - began
        assert len(list(session.propagate(middle, middle + 20))) == 20
        session.undo()
        sys.stdout.write(f"{frames} {early} {late} {decoded[0]} {seconds:.2f}\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
