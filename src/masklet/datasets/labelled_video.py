"""Labelled videos and pictures, whatever form they come in: named here, opened when one is needed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import Bool, Integer, UInt8
from PIL import Image
from pycocotools import mask as coco

from masklet.errors import MediaError
from masklet.media import Frames

GREYS = ("P", "L", "1", "I;16", "I")  # kinds of PNG whose numbers are the objects'


class Reel(Protocol):
    """Footage that was opened: its labelled frames, counted from 0, and the objects in them."""

    def __len__(self) -> int: ...

    def objects(self, frame: int) -> Sequence[int]:
        """The ids that may be in sight on a frame; constant through the footage."""
        ...

    def image(self, frame: int) -> UInt8[np.ndarray, "H W 3"]: ...

    def masks(self, frame: int, ids: Sequence[int]) -> Bool[np.ndarray, "n H W"]:
        """One mask for each id; empty where the object is out of sight."""
        ...


@dataclass(frozen=True)
class Footage:
    """One video or picture of a data set.

    name : "set/item", by which it is reported, and held back or not
    open : reads what is needed to find frames and objects; images and masks follow when asked for
    moving : whether it is a video; a picture is footage of one frame, known without opening it
    """

    name: str
    open: Callable[[], Reel]
    moving: bool = False


@dataclass(frozen=True)
class Truth:
    """The ground truth of one frame: a mask for each object that has an annotation there.

    undecided : pixels that belong to nobody, where some were marked
    """

    masks: Mapping[int, Bool[np.ndarray, "H W"]]
    undecided: Bool[np.ndarray, "H W"] | None

    def pair(self, id: int, answer: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One object's true mask and an answer to it, ready to be scored: both without undecided pixels."""
        truth = self.masks.get(id)
        if truth is None:
            truth = np.zeros_like(answer)
        if self.undecided is None:
            return truth, answer
        return truth & ~self.undecided, answer & ~self.undecided


class Film(Protocol):
    """A video with ground truth on some of its frames, as evaluation asks for it.

    labelled : the frames that have a ground truth, in order
    exclusive : whether a pixel belongs to one object at most
    first_frames : every object, with the first frame that shows it; there it is prompted
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

    def picture(self, frame: int) -> UInt8[np.ndarray, "H W 3"]: ...

    def annotated(self, id: int) -> list[int]:
        """The frames on which this object has a ground truth, be it that it is not there."""
        ...

    def truth(self, frame: int) -> Truth: ...


def first_frames(film: Film) -> dict[int, int]:
    """Every object of a film, with the first frame that shows it."""
    first: dict[int, int] = {}
    for frame in film.labelled:
        for id, mask in film.truth(frame).masks.items():
            if id not in first and mask.any():
                first[id] = frame
    return dict(sorted(first.items()))


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MediaError(f"{path} cannot be read as JSON: {error}.") from error


def decode(segmentation: Any, size: tuple[int, int], name: str) -> Bool[np.ndarray, "H W"]:
    """A segmentation in any of COCO's three forms (polygons, run lengths, compressed run lengths) as a mask.

    size : (H, W) of the picture
    name : the file, for the error
    """
    if isinstance(segmentation, list):
        outlines = [
            each for each in segmentation if len(each) >= 6
        ]  # pycocotools takes four numbers for a box
        if not outlines:
            return np.zeros(size, dtype=bool)
        packed = coco.merge(coco.frPyObjects(outlines, *size))
    elif isinstance(segmentation["counts"], list):
        packed = coco.frPyObjects(segmentation, *segmentation["size"])
    else:
        packed = {"size": segmentation["size"], "counts": segmentation["counts"].encode("ascii")}
    mask = coco.decode(packed).astype(bool)
    if mask.shape != size:
        raise MediaError(
            f"{name} is a picture of (H, W) = {size}, and one of its masks is {mask.shape}: "
            "were the pictures resized without their labels?"
        )
    return mask


def read_labels(path: Path) -> Integer[np.ndarray, "H W"]:
    """A mask's PNG as its numbers: palette, grey, or three channels that are alike."""
    try:
        with Image.open(path) as picture:
            if picture.mode in GREYS:
                return np.asarray(picture).astype(np.int32)
            channels = np.asarray(picture.convert("RGB"))
    except FileNotFoundError:
        raise MediaError(f"{path} is missing.") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise MediaError(f"{path} cannot be read as a mask: {error}.") from error
    if (channels != channels[..., :1]).any():
        raise MediaError(
            f"{path} must be a palette or grey picture, whose pixels are object ids. Got a colour picture, "
            "which does not say which object a pixel is of."
        )
    return channels[..., 0].astype(np.int32)
