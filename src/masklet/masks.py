"""The masks of the objects of a frame, and those of a video, frame by frame."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from masklet.drawing import STRIP, Image, Tile, as_html, as_strip, plot_image, show_image
from masklet.errors import OptionError
from masklet.label_maps import HIGHEST_ID
from masklet.prompts import check_arrays, check_frame
from masklet.results import MaskResult, ReadImage

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CERTAIN = 10.0  # the logit inside a mask from a user; outside it has the opposite sign
EDGE = 0.1  # the logit of a pixel for which the exact mask and the low-res logits disagree


@dataclass(frozen=True, eq=False)
class Masks(MaskResult):
    """The masks of the objects of one frame, in source pixels.

    A mask is where the low-res logits, enlarged to the frame, are above 0, unless `exact` has a finer one.
    Masks are enlarged and moved to the host only when you read them.

    Attributes:
        frame: The frame's number.
        ids: The objects, from 1 on, in the order of the rows of all arrays.
        low_res: Float32 (n, h, w) mask logits at stride 4, as the decoder made them. They are the hint for
            clicks that correct a mask.
        size: (H, W) of the frame.
        iou: (n,) predicted quality, 0 to 1.
        score: (n,) object score. Above 0 the object is in the frame.
        exact: Masks by id that are finer than the low-res logits: drawn by a person, or refined by zoom.
        image: Reads the frame, to show it with its masks. None for frames of a stream.

    Example:
        >>> masks = Masks(0, (7,), torch.full((1, 2, 2), 3.0), (4, 6), torch.ones(1), torch.ones(1))
        >>> masks[7].shape, int(masks.label_map().max()), masks.boxes.tolist()
        ((4, 6), 7, [[0.0, 0.0, 6.0, 4.0]])
    """

    frame: int
    ids: tuple[int, ...]
    low_res: Float[Tensor, "n h4 w4"] = field(repr=False)
    size: tuple[int, int]
    iou: Float[Tensor, " n"]
    score: Float[Tensor, " n"]
    exact: Mapping[int, Bool[np.ndarray, "H W"]] = field(default_factory=dict, repr=False, kw_only=True)
    image: ReadImage | None = field(default=None, repr=False, compare=False, kw_only=True)

    @classmethod
    def empty(cls, frame: int, size: tuple[int, int]) -> Masks:
        """A frame without objects.

        Args:
            frame: The frame's number.
            size: (H, W) of the frame.
        """
        nothing = torch.zeros(0, dtype=torch.float32, device="cpu")
        return cls(frame, (), nothing.view(0, 1, 1), size, nothing, nothing)

    @classmethod
    def from_arrays(
        cls,
        frame: int,
        arrays: Mapping[int, Any],
        size: tuple[int, int],
        iou: Sequence[float] | None = None,
        score: Sequence[float] | None = None,
    ) -> Masks:
        """Create masks that do not come from the network.

        Args:
            frame: The frame's number.
            arrays: Masks (H, W) by object id, of any kind that `Prompt(mask=)` takes, such as bool.
            size: (H, W) of the frame.
            iou: The quality of each mask, by default 1.
            score: The object score of each mask, by default 1.

        Returns:
            Masks. Their low-res logits only tell whether a mask is empty.

        Raises:
            PromptError: A mask has a wrong size or type, an id is below 1, scores are missing or not finite,
                or the frame is not an integer.

        Example:
            >>> Masks.from_arrays(0, {3: np.eye(2, dtype=bool)}, (2, 2)).label_map().tolist()
            [[3, 0], [0, 3]]
        """
        frame, exact = check_frame(frame), check_arrays(arrays, size, iou, score)
        logits, quality, presence = (
            torch.tensor([1.0] * len(exact) if values is None else values, dtype=torch.float32, device="cpu")
            for values in ([EDGE if mask.any() else -EDGE for mask in exact.values()], iou, score)
        )
        return cls(frame, tuple(exact), logits.view(-1, 1, 1), size, quality, presence, exact=exact)

    @classmethod
    def stack(
        cls,
        frame: int,
        size: tuple[int, int],
        rows: Mapping[int, tuple[Tensor, Tensor, Tensor]],
        exact: Mapping[int, np.ndarray],
        image: ReadImage | None = None,
    ) -> Masks:
        """The masks of objects that were computed separately on a frame.

        Args:
            frame: The frame's number.
            size: (H, W) of the frame.
            rows: Low-res logits (1, h, w), IoU (1,) and object score (1,) of each object, by its id.
            exact: Finer masks by id.
            image: Reads the frame.
        """
        if not rows:
            return replace(cls.empty(frame, size), image=image)
        low_res, iou, score = (torch.cat(parts) for parts in zip(*rows.values(), strict=True))
        return cls(frame, tuple(rows), low_res, size, iou, score, exact=exact, image=image)

    @cached_property
    def logits(self) -> Float[Tensor, "n H W"]:
        """Mask logits in source pixels. Above 0 is the object."""
        logits = enlarge(self.low_res, self.size)
        if not self.exact:
            return logits
        rows = zip(self.ids, logits, strict=True)
        return torch.stack(
            [
                match_mask(row, torch.from_numpy(self.exact[id]).to(row.device)) if id in self.exact else row
                for id, row in rows
            ]
        )

    @cached_property
    def _arrays(self) -> Bool[np.ndarray, "n H W"]:
        if self.ids and self.exact.keys() >= {*self.ids}:
            return np.stack([self.exact[id] for id in self.ids])
        return (self.logits > 0).cpu().numpy()

    def __getitem__(self, id: int) -> Bool[np.ndarray, "H W"]:
        return np.array(self._arrays[self._row(id)])  # a copy: callers may draw on it

    def __contains__(self, id: object) -> bool:
        return id in self.ids

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[int]:
        return iter(self.ids)

    def items(self) -> Iterator[tuple[int, Bool[np.ndarray, "H W"]]]:
        """Pairs of object id and mask."""
        return ((id, self[id]) for id in self.ids)

    @staticmethod
    def join(parts: Mapping[int, Masks]) -> Masks:
        """Join the masks of objects that were segmented separately on the same frame.

        Args:
            parts: The mask of each object, by the id that it gets; at least one.
        """
        first = next(iter(parts.values()))
        rows = {id: (part.low_res, part.iou, part.score) for id, part in parts.items()}
        exact = {id: mask for id, part in parts.items() for mask in part.exact.values()}
        return Masks.stack(first.frame, first.size, rows, exact, first.image)

    def with_image(self, image: ReadImage) -> Self:
        """Attach the image, so that a notebook shows the masks over it.

        Args:
            image: Reads the image when it is called.
        """
        return replace(self, image=image)

    def replace_masks(self, masks: Bool[np.ndarray, "n H W"]) -> Masks:
        """Replace the masks of the objects. The low-res logits, which serve as hints, stay.

        Args:
            masks: In the order of `ids`.
        """
        return replace(self, exact=dict(zip(self.ids, masks, strict=True)))

    def numpy(self) -> Bool[np.ndarray, "n H W"]:
        """All masks as one new bool array, in the order of `ids`."""
        return self._arrays.copy()

    def _numbered(self) -> Iterator[tuple[int, Bool[np.ndarray, "H W"]]]:
        return zip(self.ids, self._arrays, strict=True)

    def _tiles(self, image: object) -> list[Tile]:
        iou = zip(self.ids, self.iou.tolist(), strict=True)
        objects = ", ".join(f"{id}: IoU {value:.2f}" for id, value in iou) or "no objects"
        return [Tile(self.draw(image), f"frame {self.frame}; {objects}")]

    def __getstate__(self) -> dict[str, Any]:
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**fields, "image": None}  # pickling would copy all frames of an array

    def select(self, *ids: int) -> Masks:
        """Return the frame with only these objects, in this order, each once.

        Args:
            *ids: The objects to keep.

        Raises:
            KeyError: The frame has no mask of such an object.
        """
        rows = {self.ids[row]: row for row in map(self._row, ids)}
        exact = {id: mask for id, mask in self.exact.items() if id in rows}
        low_res, iou, score = (_take(part, rows.values()) for part in (self.low_res, self.iou, self.score))
        return Masks(self.frame, tuple(rows), low_res, self.size, iou, score, exact=exact, image=self.image)

    def _row(self, id: int) -> int:
        if id not in self.ids:
            present = ", ".join(map(str, self.ids)) or "none"
            raise KeyError(f"no object {id} on frame {self.frame}; there are {present}")
        return self.ids.index(id)

    def label_map(self) -> np.ndarray:
        """Int32 (H, W): the object's id at each pixel, or 0. Where masks overlap, the highest logit wins."""
        if max(self.ids, default=0) > HIGHEST_ID:
            raise OptionError(f"a label map can hold ids up to {HIGHEST_ID}. Got {max(self.ids)}.")
        labels = np.zeros(self.size, dtype=np.int32)
        claims = np.zeros(self.size, dtype=np.uint16)
        for id, mask in zip(self.ids, self._arrays, strict=True):
            labels[mask] = id
            claims += mask
        disputed = claims > 1  # usually few pixels, and reading the logits of all would be slow
        if disputed.any():
            logits = self.logits[:, torch.from_numpy(disputed).to(self.logits.device)]
            labels[disputed] = np.array(self.ids)[logits.argmax(dim=0).cpu().numpy()]
        return labels


class MaskIterator(Iterator[Masks]):
    """The masks of a video, frame by frame. Iterate over it once.

    `len` is the number of frames if it is known, so that progress bars such as `tqdm` show what is left. A
    notebook shows a filmstrip of the frames read so far.

    Args:
        frames: The masks of each frame.
        length: The number of frames, or None if it is not known, as for a camera.

    Example:
        >>> video = MaskIterator((Masks.empty(frame, (4, 6)) for frame in range(3)), 3)
        >>> len(video), [masks.frame for masks in video]
        (3, [0, 1, 2])
        >>> video.filmstrip().shape[2]
        3
    """

    def __init__(self, frames: Iterator[Masks], length: int | None = None) -> None:
        self._frames = frames
        self._length = length
        self._sample: list[Masks] = []  # evenly spaced over the frames that were read
        self._stride = 1
        self._count = 0

    def __iter__(self) -> MaskIterator:
        return self

    def __next__(self) -> Masks:
        masks = next(self._frames)
        if self._count % self._stride == 0:
            self._sample.append(masks.select(*masks.ids))  # a copy, which does not keep cached results
            if len(self._sample) > 2 * STRIP:
                self._sample, self._stride = self._sample[::2], 2 * self._stride
        self._count += 1
        return masks

    def __len__(self) -> int:
        if self._length is None:
            raise TypeError("the number of frames is not known until the last frame")
        return self._length

    def __bool__(self) -> bool:
        return True

    def close(self) -> None:
        """Stop reading and close the source. After the last frame, this happens automatically."""
        if hasattr(self._frames, "close"):
            self._frames.close()

    def filmstrip(self) -> Image:
        """Up to eight of the frames read so far, evenly spaced, side by side: uint8 (H, W, 3) RGB."""
        return as_strip(self._tiles())

    def show(self) -> None:
        """Show the filmstrip: below the cell of a notebook, otherwise in the system's viewer."""
        show_image(self.filmstrip())

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the filmstrip on Matplotlib axes, by default the current ones."""
        return plot_image(self.filmstrip(), ax)

    def _tiles(self) -> list[Tile]:
        rows = np.linspace(0, len(self._sample) - 1, min(STRIP, len(self._sample))).round().astype(int)
        chosen = [self._sample[row] for row in rows]
        return [Tile(masks.draw(), f"frame {masks.frame}") for masks in chosen]

    def _repr_html_(self) -> str:
        total = "" if self._length is None else f" of {self._length}"
        return f"<p>{self._count}{total} frames read</p>{as_html(self._tiles())}"


def enlarge(logits: Float[Tensor, "n h4 w4"], size: tuple[int, int]) -> Float[Tensor, "n H W"]:
    """Low-res logits at the size (H, W) of the frame."""
    return F.interpolate(logits[:, None], size, mode="bilinear", align_corners=False)[:, 0]


def _take(tensor: Tensor, rows: Collection[int]) -> Tensor:
    """Some rows of a tensor, in this order. Indexing with a list would wait for a GPU."""
    return torch.stack([tensor[row] for row in rows]) if rows else tensor[:0]


def match_mask(
    logits: Float[Tensor, "*n H W"], inside: Bool[Tensor, "*n H W"], logit: float = EDGE
) -> Float[Tensor, "*n H W"]:
    """The logits, changed to `logit` or `-logit` where a mask disagrees with their sign."""
    sides = logits.new_full((), logit).where(inside, -logit)
    return torch.where((logits > 0) == inside, logits, sides)
