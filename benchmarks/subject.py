"""What is compared: one implementation with one set of weights, and what it is asked to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from benchmarks.timing import Stopwatch
from masklet import Grid

CLICK = (0.3, 0.4)  # of width and height
FULL = 16  # frames after which memory is full: six maps and the prompted one, sixteen pointers
STAGES = ("encode", "attend", "decode", "memorize")
# Of random weights little is sure or steady: what is not empty stays.
GRID = Grid(
    points_per_side=8,
    pred_iou_thresh=0.01,
    stability_score_thresh=0.01,
    stability_score_offset=0.2,
    box_nms_thresh=1.0,
    nms="box",
)


@dataclass(frozen=True)
class Work:
    """What all subjects are given.

    weights : a file in the original's layout, or the name of an embedded model
    frames : uint8 (T, H, W, 3)
    """

    weights: Path
    frames: np.ndarray
    device: torch.device

    def click(self, object: int) -> tuple[float, float]:
        """(x, y) of an object's click; each has its own."""
        height, width = self.frames.shape[1:3]
        return CLICK[0] * width + 7 * object, CLICK[1] * height + 5 * object


class Subject(Protocol):
    """One implementation. Frames are followed singly, so that full memory need not be followed to."""

    watch: Stopwatch

    def picture(self) -> None:
        """Encode a picture and answer one click on it."""

    def click(self) -> None:
        """Answer a click on the picture, which is encoded."""

    def open(self, objects: int) -> None:
        """A video in which so many objects were clicked on frame 0."""

    def remember(self) -> None:
        """Give every object the memories that following to frame 15 would leave: copies of frame 0's."""

    def follow(self, frame: int) -> None:
        """Follow all objects to a frame, to masks in the size of the source."""

    def generator(self) -> Callable[[], int]:
        """What finds masks of everything in the picture by GRID, and says how many."""

    def edit(self, frame: int) -> None:
        """The same for object 1, in a session that a person edits; a second time is after a correction."""
