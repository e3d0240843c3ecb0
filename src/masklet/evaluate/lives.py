"""Does an answer stay with its object: how often it goes over to another, and whether it comes back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from masklet.evaluate.metrics import jaccard

ON = 0.5  # J at which an answer is on an object
WITHIN = 10  # frames of an object's return within which it must be found


@dataclass
class Life:
    """One object over a clip, its annotated frames in order.

    on : the object that its answer is on, or was on last
    returns, found : how often it came back after a frame without it, and was found in time
    waiting : frames of the newest return that are left to find it; None where there is nothing to find
    """

    id: int
    on: int | None = None
    switches: int = 0
    returns: int = 0
    found: int = 0
    seen: bool | None = None  # on the frame before; None before the first time
    waiting: int | None = None

    def live(self, truths: Mapping[int, np.ndarray], answer: np.ndarray) -> None:
        """Take the next annotated frame.

        truths : every object's mask, by id
        """
        self._follow(truths, answer)
        there = self.id in truths and bool(truths[self.id].any())
        if there and self.seen is False:
            self.returns, self.waiting = self.returns + 1, WITHIN
        if there and self.waiting is not None:
            hit = jaccard(truths[self.id], answer) >= ON
            self.found += hit
            self.waiting = None if hit or self.waiting == 1 else self.waiting - 1
        if not there:
            self.waiting = None
            self.seen = None if self.seen is None else False
        else:
            self.seen = True

    def _follow(self, truths: Mapping[int, np.ndarray], answer: np.ndarray) -> None:
        overlaps = {id: jaccard(truth, answer) for id, truth in truths.items() if truth.any()}
        nearest = max(overlaps, key=overlaps.__getitem__, default=self.id)
        if overlaps.get(nearest, 0.0) >= ON:
            # An answer that starts on the wrong object went over to it as well.
            self.switches += nearest != (self.id if self.on is None else self.on)
            self.on = nearest

    @property
    def scores(self) -> dict[str, float]:
        """`switches`, and the share of returns that were `re-found` where there were any."""
        shown = {"switches": float(self.switches)}
        return shown | ({"re-found": self.found / self.returns} if self.returns else {})
