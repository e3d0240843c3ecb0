"""The parts of a data set: items, which are listed first and opened when needed, and clips for training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Bool, UInt8

from masklet.media import Frames

UNDECIDED = 255  # undecided pixels in label maps of data sets, such as the outlines of PASCAL VOC


class LabelledFrames(Protocol):
    """An opened item: its labelled frames, numbered from 0, and the objects in them."""

    def __len__(self) -> int: ...

    def objects(self, frame: int) -> Sequence[int]:
        """The ids that may be visible on a frame; an object has the same id on all frames."""
        ...

    def image(self, frame: int) -> UInt8[np.ndarray, "H W 3"]: ...

    def masks(self, frame: int, ids: Sequence[int]) -> Bool[np.ndarray, "n H W"]:
        """One mask for each id; empty if the object is not visible."""
        ...


@dataclass(frozen=True)
class DatasetItem:
    """One video or image of a data set.

    Attributes:
        name: "set/item", used in reports and to select validation items.
        open: Reads only what is needed to find frames and objects; images and masks are read when requested.
        is_video: False for an image, an item of one frame.
        images: The file of the image or video, or the folder of its frames; None if there is none.
        labels: The file or folder of its labels; None if there is none.
    """

    name: str
    open: Callable[[], LabelledFrames]
    _: KW_ONLY
    is_video: bool = False
    images: Path | None = None
    labels: Path | None = None


@dataclass(frozen=True)
class GroundTruth:
    """The ground truth of one frame: a mask for each annotated object.

    Attributes:
        undecided: Pixels that are not scored, if some are marked.
    """

    masks: Mapping[int, Bool[np.ndarray, "H W"]]
    undecided: Bool[np.ndarray, "H W"] | None

    def pair(self, id: int, answer: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """An object's true mask and an answer for scoring, both without undecided pixels."""
        truth = self.masks.get(id)
        if truth is None:
            truth = np.zeros_like(answer)
        if self.undecided is None:
            return truth, answer
        return truth & ~self.undecided, answer & ~self.undecided


class LabelledVideo(Protocol):
    """A video with ground truth on some of its frames, for evaluation.

    Attributes:
        labelled: The frames with ground truth, in order.
        exclusive: Whether a pixel belongs to at most one object.
        first_frames: By object, the first frame with a mask; it is prompted there.
    """

    @property
    def name(self) -> str: ...

    @property
    def frames(self) -> Frames: ...

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of every frame."""
        ...

    @property
    def labelled(self) -> Sequence[int]: ...

    @property
    def exclusive(self) -> bool: ...

    @property
    def first_frames(self) -> dict[int, int]: ...

    def image(self, frame: int) -> UInt8[np.ndarray, "H W 3"]: ...

    def annotated_frames(self, id: int) -> list[int]:
        """The frames with ground truth for this object, also those without it."""
        ...

    def truth(self, frame: int) -> GroundTruth: ...


def distinct_names(names: Sequence[str]) -> list[str]:
    """The names, with a number for those that repeat an earlier one.

    Example:
        >>> distinct_names(["a", "b", "a", "a (2)"])
        ['a', 'b', 'a (2)', 'a (2) (2)']
    """
    taken = dict[str, None]()
    for name in names:
        candidate, number = name, 1
        while candidate in taken:
            number += 1
            candidate = f"{name} ({number})"
        taken[candidate] = None
    return list(taken)


def find_first_frames(video: LabelledVideo) -> dict[int, int]:
    """By object, the first frame with a mask."""
    first: dict[int, int] = {}
    for frame in video.labelled:
        for id, mask in video.truth(frame).masks.items():
            if id not in first and mask.any():
                first[id] = frame
    return dict(sorted(first.items()))


@dataclass(frozen=True, eq=False)
class Clip:
    """Frames and the objects in them; a still is a clip of one frame.

    Attributes:
        images: RGB.
        masks: The visible part of each object; empty if it is hidden or has left.
        name: The name of its image or video, if any.
    """

    images: UInt8[np.ndarray, "t H W 3"]
    masks: Bool[np.ndarray, "t n H W"]
    name: str = ""

    def __len__(self) -> int:
        return len(self.images)

    @property
    def objects(self) -> int:
        return self.masks.shape[1]
