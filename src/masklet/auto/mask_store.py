"""All masks of a stored video as run lengths: so that what is found later can be filled in before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from masklet import rle
from masklet.auto.newcomers import SAME
from masklet.auto.segments import CodedMasks, shrunk
from masklet.auto.track_records import Lives
from masklet.types import Masks

ABSENT = -10.0  # the object score where nothing was seen, or looked for


@dataclass(frozen=True)
class Entry:
    """One object on one frame on which it is seen."""

    code: rle.RLE
    iou: float
    score: float


class Ledger:
    """Masks by frame and object; two objects that turn out to be one become one.

    size : (H, W) of the frames
    side : of low-res logits
    """

    def __init__(self, size: tuple[int, int], side: int) -> None:
        self._size = size
        self._side = side
        self._frames: list[dict[int, Entry]] = []
        self.ended: dict[int, int] = {}  # the frames on which objects were given up

    def put(self, frame: int, masks: Masks) -> None:
        """Keep the masks of the objects that are seen on a frame."""
        while len(self._frames) <= frame:
            self._frames.append({})
        rows = zip(masks.ids, masks.rle(), masks.iou.tolist(), masks.score.tolist(), strict=True)
        self._frames[frame] |= {
            id: Entry(code, iou, score) for id, code, iou, score in rows if rle.area(code)
        }

    def __getitem__(self, frame: int) -> dict[int, Entry]:
        return self._frames[frame]

    def born(self) -> dict[int, int]:
        """Each object's first frame."""
        first: dict[int, int] = {}
        for frame, entries in enumerate(self._frames):
            for id in entries:
                first.setdefault(id, frame)
        return first

    def last(self) -> dict[int, int]:
        """Each object's last frame."""
        return {id: frame for frame, entries in enumerate(self._frames) for id in entries}

    def at(self, frame: int, code: rle.RLE) -> int | None:
        """The object whose mask on a frame is like this one."""
        entries = self._frames[frame]
        if not entries:
            return None
        same = rle.overlaps([each.code for each in entries.values()], [code])[:, 0]
        return list(entries)[same.argmax()] if same.max() >= SAME else None

    def join(self, young: int, old: int) -> None:
        """Let all that is known of a younger object be the older one's."""
        for entries in self._frames:
            if young in entries:
                entries.setdefault(old, entries.pop(young))
        self.ended.pop(old, None)
        if young in self.ended:
            self.ended[old] = self.ended.pop(young)

    def replay(self, lives: Lives) -> Iterator[CodedMasks]:
        """The frames in order. An object is on every frame from its first to its end, seen or not."""
        born, count = self.born(), len(self._frames)
        numbers = {id: number for number, id in enumerate(born, 1)}  # without gaps, as they appear
        for frame, entries in enumerate(self._frames):
            lives.end(frame, *(numbers[id] for id in born if self.ended.get(id) == frame))
            ids = [id for id in born if born[id] <= frame < self.ended.get(id, count)]
            masks = self._masks(frame, ids, numbers)
            lives.step(masks, [id in entries for id in ids])
            yield masks

    def _masks(self, frame: int, ids: list[int], numbers: Mapping[int, int]) -> CodedMasks:
        nothing = Entry(rle.encode(np.zeros(self._size, dtype=bool)), 0.0, ABSENT)
        kept = [self._frames[frame].get(id, nothing) for id in ids]
        return CodedMasks(
            frame=frame,
            ids=tuple(numbers[id] for id in ids),
            low_res=shrunk([rle.decode(each.code) for each in kept], self._side),
            size=self._size,
            iou=torch.tensor([each.iou for each in kept]),
            score=torch.tensor([each.score for each in kept]),
            codes=tuple(each.code for each in kept),
        )
