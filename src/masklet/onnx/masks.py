"""Images and masks in NumPy: resizing as in torch, and masklet's `Masks` and `ImageCandidates`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from masklet.arrays import ComparesArrays
from masklet.boxes import tight_box
from masklet.errors import MediaError
from masklet.zoom import Window, grid_cells

CERTAIN = 10.0  # the logit inside a mask from a user; outside it has the opposite sign
EDGE = 0.1  # the logit of a pixel for which the exact mask and the low-res logits disagree


@dataclass(frozen=True, eq=False)
class Masks(ComparesArrays):
    """The masks of the objects of one frame, in source pixels.

    Attributes:
        frame: The frame's number.
        ids: The objects, from 1 on, in the order of the rows of all arrays.
        low_res: Float32 (n, m, m) mask logits, as the decoder made them.
        size: (H, W) of the frame.
        iou: (n,) predicted quality, 0 to 1.
        score: (n,) object score. Above 0 the object is in the frame.
        exact: Masks by id that are finer than the low-res logits: drawn by a person, or refined by zoom.

    Example:
        >>> one = np.ones(1, dtype=np.float32)
        >>> masks = Masks(0, (7,), np.full((1, 2, 2), 3, dtype=np.float32), (4, 6), one, one)
        >>> masks[7].shape, int(masks.label_map().max()), masks.boxes.tolist()
        ((4, 6), 7, [[0.0, 0.0, 6.0, 4.0]])
    """

    frame: int
    ids: tuple[int, ...]
    low_res: np.ndarray = field(repr=False)
    size: tuple[int, int]
    iou: np.ndarray
    score: np.ndarray
    exact: Mapping[int, np.ndarray] = field(default_factory=dict, repr=False, kw_only=True)

    @cached_property
    def logits(self) -> np.ndarray:
        """Float32 (n, H, W): mask logits in source pixels. Above 0 is the object."""
        logits = enlarge(self.low_res, self.size)
        for row, id in enumerate(self.ids):
            if id in self.exact:
                inside = self.exact[id]
                differs = (logits[row] > 0) != inside
                logits[row] = np.where(differs, np.where(inside, EDGE, -EDGE), logits[row])
        return logits

    @cached_property
    def _arrays(self) -> np.ndarray:
        if self.ids and self.exact.keys() >= {*self.ids}:
            return np.stack([self.exact[id] for id in self.ids])
        return self.logits > 0

    def numpy(self) -> np.ndarray:
        """All masks as one bool array (n, H, W), newly created."""
        return self._arrays.copy()

    def __getitem__(self, id: int) -> np.ndarray:
        return np.array(self._arrays[self._row(id)])  # a copy: callers may draw on it

    def __contains__(self, id: object) -> bool:
        return id in self.ids

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[int]:
        return iter(self.ids)

    def items(self) -> Iterator[tuple[int, np.ndarray]]:
        """Pairs of object id and mask, bool (H, W)."""
        return ((id, self[id]) for id in self.ids)

    def select(self, *ids: int) -> Masks:
        """Return the frame with only these objects, in this order, each once."""
        rows = list(dict.fromkeys(map(self._row, ids)))
        exact = {id: mask for id, mask in self.exact.items() if id in ids}
        kept = tuple(self.ids[row] for row in rows)
        return Masks(
            self.frame, kept, self.low_res[rows], self.size, self.iou[rows], self.score[rows], exact=exact
        )

    def _row(self, id: int) -> int:
        if id not in self.ids:
            present = ", ".join(map(str, self.ids)) or "none"
            raise KeyError(f"no object {id} on frame {self.frame}; there are {present}")
        return self.ids.index(id)

    @cached_property
    def boxes(self) -> np.ndarray:
        """Tight boxes (n, 4) in source pixels: x0, y0, x1, y1, x1 and y1 exclusive; zeros where empty."""
        return _boxes(self._arrays)

    def label_map(self) -> np.ndarray:
        """Int32 (H, W): the object's id at each pixel, or 0. Where masks overlap, the highest logit wins."""
        labels = np.zeros(self.size, dtype=np.int32)
        claims = np.zeros(self.size, dtype=np.uint16)
        for id, mask in self.items():
            labels[mask] = id
            claims += mask
        disputed = claims > 1
        if disputed.any():
            labels[disputed] = np.array(self.ids)[self.logits[:, disputed].argmax(axis=0)]
        return labels

    def rle(self) -> list[Any]:
        """Every mask as COCO RLE, in the order of `ids`. It needs pycocotools."""
        return _rle(self._arrays)


@dataclass(frozen=True, eq=False)
class Candidate(ComparesArrays):
    """One candidate mask for a prompt.

    Attributes:
        logits: Float32 (m, m) within the window.
        iou: Predicted quality, 0 to 1.
        score: Object score.
        window: The part of the image that the network saw; None for the whole. The object is inside it.
    """

    logits: np.ndarray = field(repr=False)
    iou: float
    score: float
    window: Window | None = None

    @property
    def inside(self) -> np.ndarray:
        """The cells of the mask."""
        return self.logits > 0

    def with_cells(self, inside: np.ndarray) -> Candidate:
        """The candidate with the cells of another mask; if they differ, logits change their sign."""
        return replace(self, logits=np.where(inside != self.inside, -self.logits, self.logits))

    def with_logits(self, logits: np.ndarray) -> Candidate:
        """The candidate with other logits in the same window."""
        return replace(self, logits=logits)

    def full(self, size: tuple[int, int]) -> np.ndarray:
        """The logits over an image of `size` (H, W)."""
        if self.window is None:
            return enlarge(self.logits[None], size)[0]
        x0, y0, x1, y1 = self.window
        full = np.full(size, -CERTAIN, dtype=np.float32)
        full[y0:y1, x0:x1] = enlarge(self.logits[None], (y1 - y0, x1 - x0))[0]
        return full

    def low_res(self, size: tuple[int, int]) -> np.ndarray:
        """The logits over an image of `size` (H, W), with the same number of cells as in the window."""
        if self.window is None:
            return self.logits
        x0, y0, x1, y1 = self.window
        side, (height, width) = len(self.logits), size
        grid = 4 * side
        left, right = grid_cells(x0 / width, x1 / width, grid)
        top, bottom = grid_cells(y0 / height, y1 / height, grid)
        padded = np.full((grid, grid), -CERTAIN, dtype=np.float32)
        padded[top:bottom, left:right] = shrink(self.logits, (bottom - top, right - left))
        means: np.ndarray = padded.reshape(side, 4, side, 4).mean(axis=(1, 3))
        return means


@dataclass(frozen=True, eq=False)
class ImageCandidates(ComparesArrays):
    """The candidate masks for a prompt in an image, best first. `candidates[0]` is bool (H, W).

    Pass the candidates as the hint for the next prompt to correct the best one, or `candidates.select(2)` to
    correct another.
    """

    size: tuple[int, int]
    ranked: tuple[Candidate, ...]

    @classmethod
    def rank(cls, size: tuple[int, int], candidates: Sequence[Candidate]) -> ImageCandidates:
        """Sort candidates by predicted IoU."""
        return cls(size, tuple(sorted(candidates, key=lambda candidate: -candidate.iou)))

    @cached_property
    def iou(self) -> np.ndarray:
        """Float32 (m,): predicted quality of each mask, 0 to 1."""
        return np.array([candidate.iou for candidate in self.ranked], dtype=np.float32)

    @cached_property
    def score(self) -> np.ndarray:
        """Float32 (m,): object score of each mask."""
        return np.array([candidate.score for candidate in self.ranked], dtype=np.float32)

    @cached_property
    def logits(self) -> np.ndarray:
        """Float32 (m, H, W): mask logits in source pixels. Above 0 is the object."""
        return np.stack([candidate.full(self.size) for candidate in self.ranked])

    @cached_property
    def low_res(self) -> np.ndarray:
        """Float32 (m, h, w): mask logits at stride 4 over the whole image."""
        return np.stack([candidate.low_res(self.size) for candidate in self.ranked])

    @property
    def best(self) -> np.ndarray:
        """The mask with the highest predicted IoU."""
        return self[0]

    @property
    def zoomed(self) -> bool:
        """Whether any of the masks was segmented in a window of the image."""
        return any(candidate.window is not None for candidate in self.ranked)

    def numpy(self) -> np.ndarray:
        """All masks as one bool array (m, H, W), newly created."""
        return self.logits > 0

    def __getitem__(self, rank: int) -> np.ndarray:
        mask: np.ndarray = self.logits[rank] > 0
        return mask

    def __len__(self) -> int:
        return len(self.ranked)

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self.logits > 0)

    def select(self, *ranks: int) -> ImageCandidates:
        """Return only the candidates with these ranks, in this order."""
        return ImageCandidates(self.size, tuple(self.ranked[rank] for rank in ranks))

    def as_masks(self, id: int = 1) -> Masks:
        """The best candidate as the mask of an object, for label maps."""
        exact = {id: self[0]} if self.ranked[0].window is not None else {}
        return Masks(0, (id,), self.low_res[:1], self.size, self.iou[:1], self.score[:1], exact=exact)

    @property
    def boxes(self) -> np.ndarray:
        """Tight boxes (m, 4) in source pixels: x0, y0, x1, y1, x1 and y1 exclusive; zeros where empty."""
        return _boxes(self.logits > 0)

    def label_map(self) -> np.ndarray:
        """Int32 (H, W): 1 inside the best mask, otherwise 0."""
        return self.best.astype(np.int32)

    def rle(self) -> list[Any]:
        """Every mask as COCO RLE, best first. It needs pycocotools."""
        return _rle(self.logits > 0)


def crop_hint(hint: Masks | ImageCandidates, window: Window | None, side: int) -> np.ndarray:
    """The low-res logits (m, m) of the first mask as seen in a window, None for the whole image."""
    if window is None:
        low_res: np.ndarray = hint.low_res[0]
        return low_res
    x0, y0, x1, y1 = window
    return shrink(hint.logits[0, y0:y1, x0:x1], (side, side))


def _boxes(masks: np.ndarray) -> np.ndarray:
    return np.array([tight_box(mask) or (0, 0, 0, 0) for mask in masks], dtype=float).reshape(-1, 4)


def _rle(masks: np.ndarray) -> list[Any]:
    from masklet import rle

    return [rle.encode(mask) for mask in masks]


def read_image(source: object) -> np.ndarray:
    """An image as uint8 (H, W, 3).

    Args:
        source: A uint8 array (H, W, 3) of RGB, a PIL image or a path. What is transparent becomes white.

    Raises:
        MediaError: It is not an image, cannot be read, or has more than 8 bits.
    """
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3 or 0 in source.shape:
            raise MediaError(
                f"an image must be a uint8 array (H, W, 3) of RGB. Got {source.dtype} {source.shape}."
            )
        return source
    if isinstance(source, str | os.PathLike):
        try:
            with Image.open(source) as image:
                return _as_rgb(image)
        except (OSError, Image.DecompressionBombError) as error:
            raise MediaError(f"{source} cannot be read as an image: {error}.") from error
    if isinstance(source, Image.Image):
        return _as_rgb(source)
    raise MediaError(
        f"an image must be a uint8 array (H, W, 3), a PIL image or a path. Got {type(source).__name__}."
    )


def _as_rgb(image: Image.Image) -> np.ndarray:
    """The image as it is shown: upright, on white."""
    stored = stored_mode(image)
    # Pillow would clip values above 255, or floats below 1.
    if stored.startswith(("I", "F")) or ";16" in stored:
        raise MediaError(
            f"an image must have 8 bits per channel. Got Pillow's mode {stored}: scale it to a uint8 array "
            "(H, W, 3), as masklet.media.read_image does."
        )
    upright = ImageOps.exif_transpose(image)
    if upright.has_transparency_data:
        upright = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright)
    return np.asarray(upright.convert("RGB"))


def stored_mode(image: Image.Image) -> str:
    """The storage of an image's pixels, such as `RGB;16B`, which Pillow opens in mode RGB with 8 bits."""
    tiles = getattr(image, "tile", [])  # none once it is loaded
    raw = tiles[0][3] if tiles else image.mode
    mode = raw[0] if isinstance(raw, tuple) and raw else raw
    return mode if isinstance(mode, str) and ";16" in mode else image.mode


def frame_to_square(image: np.ndarray, side: int) -> np.ndarray:
    """A frame of a video as float32 (3, S, S): bicubic, on whole numbers."""
    if image.shape[:2] != (side, side):
        image = np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))
    return np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32)


def still_to_square(image: np.ndarray, side: int) -> np.ndarray:
    """An image as float32 (3, S, S): antialiased bilinear, in floats."""
    channels = image.transpose(2, 0, 1).astype(np.float32)
    if image.shape[:2] == (side, side):
        return channels
    return np.stack([shrink(channel, (side, side)) for channel in channels])


def mask_to_square(mask: np.ndarray, side: int) -> np.ndarray:
    """A person's mask, bool (H, W), as bool (S, S)."""
    return mask if mask.shape == (side, side) else shrink(mask.astype(np.float32), (side, side)) >= 0.5


def shrink(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Float32 (h, w) at a size (H, W), bilinear and antialiased."""
    image = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32))
    return np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR))


def enlarge(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Low-res logits (n, h, w) at the size (H, W) of the frame, bilinear."""
    for axis, length in ((1, size[0]), (2, size[1])):
        first, second, share = _neighbours(logits.shape[axis], length)
        shape = [-1 if i == axis else 1 for i in range(3)]
        share = share.reshape(shape)
        logits = logits.take(first, axis=axis) * (1 - share) + logits.take(second, axis=axis) * share
    return logits


def _neighbours(length: int, target: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each of `target` cells: the two of `length` cells next to its centre, and the weight."""
    centres = np.maximum((np.arange(target, dtype=np.float32) + 0.5) * np.float32(length / target) - 0.5, 0)
    first = np.minimum(centres.astype(np.int64), length - 1)
    return first, np.minimum(first + 1, length - 1), (centres - first).astype(np.float32)
