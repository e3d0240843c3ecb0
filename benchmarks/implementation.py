"""The interface of the compared implementations, and their common workload."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from benchmarks.timing import Clock, Stopwatch
from masklet import Grid

CLICK = (0.3, 0.4)  # as fractions of width and height
FULL = 16  # frames after which memory is full: six maps and the prompted one, sixteen pointers
STAGES = ("encode", "attend", "decode", "memorize")
# Random weights give low and unstable scores: these thresholds keep every mask that is not empty.
GRID = Grid(
    points_per_side=8,
    pred_iou_thresh=0.01,
    stability_score_thresh=0.01,
    stability_score_offset=0.2,
    box_nms_thresh=1.0,
    nms="box",
)


@dataclass(frozen=True)
class Workload:
    """Weights, frames and clicks, the same for all implementations.

    weights : a file in the original's layout, or the name of an embedded model
    frames : uint8 (T, H, W, 3)
    clock : `time.process_time` on a machine that others use
    """

    weights: Path
    frames: np.ndarray
    device: torch.device
    clock: Clock = time.perf_counter

    def click(self, object: int) -> tuple[float, float]:
        """(x, y) of an object's click."""
        height, width = self.frames.shape[1:3]
        return CLICK[0] * width + 7 * object, CLICK[1] * height + 5 * object


def is_published(weights: Path) -> bool:
    """Whether the peers support the network of the weights. They have no trunk like nano's."""
    return str(weights) != "nano"


class Implementation(Protocol):
    """An implementation that tracks frame by frame, so that memory can be filled without tracking."""

    stopwatch: Stopwatch

    def segment_image(self) -> None:
        """Encode an image and answer one click on it."""

    def click(self) -> None:
        """Answer a click on the encoded image."""

    def open(self, objects: int) -> None:
        """Open a video and click so many objects on frame 0."""

    def fill_memory(self) -> None:
        """Fill every object's memory as if 16 frames had been tracked, with copies of frame 0's."""

    def track_frame(self, frame: int) -> object:
        """Track all objects to a frame, and return the logits of their masks at the source's size."""

    def make_generator(self) -> Callable[[], int]:
        """A function that segments everything in the image by GRID, and returns the number of masks."""

    def propagate_frame(self, frame: int) -> object:
        """Track object 1 in an interactive session, the second time after a correction."""
