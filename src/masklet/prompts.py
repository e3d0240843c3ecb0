"""Prompts: clicks, boxes and masks, with the checks of user input. NumPy only, no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from masklet.arrays import to_array
from masklet.boxes import Box, clip_box
from masklet.errors import MediaError, OptionError, PromptError, whole_number
from masklet.label_maps import NotAMask, to_mask

# Labels of points. A box is its two corners.
PADDING, NEGATIVE, POSITIVE, BOX_START, BOX_END = -1, 0, 1, 2, 3

Point = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Prompt:
    """Clicks, a box or a mask that select an object on one frame.

    All positions are in pixels of the source image. `a | b` adds b's clicks to a's; b's box and mask, if any,
    replace a's.

    Args:
        positive: (x, y) clicks on the object.
        negative: (x, y) clicks on what is not the object.
        box: (x0, y0, x1, y1) with x0 < x1 and y0 < y1.
        mask: (H, W) of the frame's size: bool, labels, probabilities or logits. On a frame of a video, a
            prompt that is only a mask is used as the answer. In an image, and with clicks, the network
            starts from the mask.

    Raises:
        PromptError: A click is not a pair of finite numbers, the box has no area, or the mask is not a mask.

    Example:
        >>> Prompt(positive=[(5, 5)]) | Prompt(negative=[(1, 2)])
        Prompt(positive=((5.0, 5.0),), negative=((1.0, 2.0),))
    """

    positive: Sequence[Point] = ()
    negative: Sequence[Point] = ()
    box: Box | None = None
    mask: np.ndarray | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "positive", _points(self.positive, "positive"))
        object.__setattr__(self, "negative", _points(self.negative, "negative"))
        if self.box is not None:
            object.__setattr__(self, "box", _box(self.box))
        if self.mask is not None:
            object.__setattr__(self, "mask", _mask(self.mask))

    @property
    def clicks(self) -> int:
        """The number of clicks."""
        return len(self.positive) + len(self.negative)

    @property
    def is_mask_only(self) -> bool:
        """Whether the prompt is only a mask, which on a frame of a video is used as the answer."""
        return self.mask is not None and self.box is None and not self.clicks

    def __bool__(self) -> bool:
        return bool(self.positive or self.negative) or self.box is not None or self.mask is not None

    def __or__(self, other: Prompt) -> Prompt:
        if not isinstance(other, Prompt):
            return NotImplemented
        return Prompt(
            positive=(*self.positive, *other.positive),
            negative=(*self.negative, *other.negative),
            box=self.box if other.box is None else other.box,
            mask=self.mask if other.mask is None else other.mask,
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Prompt) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash(
            (self.positive, self.negative, self.box, None if self.mask is None else self.mask.tobytes())
        )

    def __repr__(self) -> str:
        names = [name for name in ("positive", "negative", "box") if getattr(self, name)]
        parts = [f"{name}={getattr(self, name)}" for name in names]
        if self.mask is not None:
            parts.append(f"mask={self.mask.shape[0]}x{self.mask.shape[1]}")
        return f"Prompt({', '.join(parts)})"

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict for `json`, without empty fields. The mask is COCO RLE."""
        fields: dict[str, Any] = {}
        if self.positive:
            fields["positive"] = [list(point) for point in self.positive]
        if self.negative:
            fields["negative"] = [list(point) for point in self.negative]
        if self.box is not None:
            fields["box"] = list(self.box)
        if self.mask is not None:
            from masklet import rle

            fields["mask"] = rle.encode(self.mask)
        return fields

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Prompt:
        """Create a prompt from a dict, as `to_json` returns it.

        Args:
            fields: positive, negative, box and mask; all are optional.

        Raises:
            PromptError: It is not a dict, has an unknown field, or a field has a wrong form.
        """
        if not isinstance(fields, Mapping):
            raise PromptError(
                f"a prompt must be an object with positive, negative, box and mask. Got {fields!r}."
            )
        unknown = set(fields) - {"positive", "negative", "box", "mask"}
        if unknown:
            raise PromptError(
                "a prompt can have positive, negative, box and mask. Got "
                f"{', '.join(sorted(map(str, unknown)))}."
            )
        box, mask = fields.get("box"), fields.get("mask")
        if mask is not None:
            from masklet import rle

            mask = rle.decode(mask)
        return cls(
            positive=_points(fields.get("positive", ()), "positive"),
            negative=_points(fields.get("negative", ()), "negative"),
            box=None if box is None else _box(box),
            mask=mask,
        )


def _points(points: Any, name: str) -> tuple[Point, ...]:
    array = _numbers(points)
    if array is not None and array.size == 0:
        return ()
    if array is None or array.ndim != 2 or array.shape[1] != 2:
        raise PromptError(f"{name} must be a list of (x, y) points; one click is [(x, y)]. Got {points!r}.")
    if not np.isfinite(array).all():
        raise PromptError(f"{name} must be finite pixel positions. Got {array.tolist()}.")
    return tuple((float(x), float(y)) for x, y in array)


def _numbers(values: Any) -> np.ndarray | None:
    """An array; None if rows differ in length, or not all values are numbers."""
    if np.ma.is_masked(values):  # some of them are masked out
        return None
    try:
        array = np.asarray(to_array(values))
        return None if array.dtype.kind in "bcmMV" else array.astype(np.float64)
    except (MediaError, TypeError, ValueError, OverflowError, RuntimeError):
        return None


def _box(box: Any) -> Box:
    array = _numbers(box)
    if array is None or array.shape != (4,) or not np.isfinite(array).all():
        raise PromptError(f"box must be four finite numbers (x0, y0, x1, y1). Got {box!r}.")
    x0, y0, x1, y1 = (float(value) for value in array)
    if x1 <= x0 or y1 <= y0:
        raise PromptError(
            "box must have an area: (x0, y0, x1, y1) with x0 < x1 and y0 < y1. "
            f"Got ({x0:g}, {y0:g}, {x1:g}, {y1:g})."
        )
    return x0, y0, x1, y1


def _mask(mask: Any) -> np.ndarray:
    try:
        array = np.ma.filled(to_array(mask), 0)  # masked-out pixels are background
    except MediaError as error:
        raise PromptError(f"mask: {error}") from error
    if array.ndim == 3 and 1 in (array.shape[0], array.shape[2]):
        array = array[0] if array.shape[0] == 1 else array[..., 0]
    if array.ndim != 2:
        raise PromptError(f"mask must have shape (H, W), one value per pixel. Got shape {array.shape}.")
    try:
        return to_mask(array)
    except NotAMask as error:
        raise PromptError(f"mask must be bool, labels, probabilities or logits: {error}.") from error


def check_prompt(prompt: object, size: tuple[int, int]) -> Prompt:
    """The prompt for the network on a frame of `size` (H, W): its box is clipped to the frame.

    Raises:
        PromptError: It is empty, is outside the frame, or its mask has another size.

    Example:
        >>> check_prompt(Prompt(box=(-20, 5, 40, 90)), (48, 64))
        Prompt(box=(0.0, 5.0, 40.0, 48.0))
    """
    if not isinstance(prompt, Prompt):
        raise PromptError(
            f"a prompt must be a Prompt, such as Prompt(positive=[(x, y)]). Got {type(prompt).__name__}."
        )
    height, width = size
    if not prompt:
        raise PromptError("a prompt needs a click, a box or a mask. Got an empty one.")
    clicks = (*prompt.positive, *prompt.negative)
    for x, y in clicks:
        if not (0 <= x < width and 0 <= y < height):
            raise PromptError(
                f"a click must lie in the frame, 0 <= x < {width} and 0 <= y < {height}. Got ({x:g}, {y:g})."
            )
    values = [value for click in clicks for value in click]
    # All clicks are in the first pixel, and not at its corner or centre.
    if any(value % 0.5 for value in values) and max(values) <= 1 < max(size):
        raise PromptError(
            f"clicks must be in pixels of the frame, which is {width} wide and {height} high. Got "
            f"({values[0]:g}, {values[1]:g}), which looks like fractions of its width and height: multiply "
            "them, or pass (0, 0) for the first pixel."
        )
    if prompt.box is not None:
        x0, y0, x1, y1 = prompt.box
        if min(x0, y0) >= 0 and max(x1, y1) <= 1 < max(size):
            raise PromptError(
                f"box must be in pixels of the frame, which is {width} wide and {height} high. Got ({x0:g}, "
                f"{y0:g}, {x1:g}, {y1:g}), which looks like fractions of its width and height."
            )
        box = clip_box(prompt.box, size)
        if box is None:
            raise PromptError(
                f"box must touch the frame, which is {width} wide and {height} high. "
                f"Got ({x0:g}, {y0:g}, {x1:g}, {y1:g})."
            )
        prompt = replace(prompt, box=box)
    if prompt.mask is not None and prompt.mask.shape != size:
        swapped = ": did you swap width and height?" if prompt.mask.shape == size[::-1] else "."
        raise PromptError(
            f"mask must have shape (H, W) = {size}, the size of the frame. Got {prompt.mask.shape}{swapped}"
        )
    return prompt


def check_frame_prompts(prompts: object, size: tuple[int, int]) -> dict[int, Prompt]:
    """Prompts by object id on a frame of `size` (H, W), with ints as keys.

    Raises:
        PromptError: They are not a mapping by object id, or one does not fit the frame.
    """
    if not isinstance(prompts, Mapping):
        raise PromptError(
            f"prompts must be given by object, {{1: Prompt(box=...)}}. Got {type(prompts).__name__}."
        )
    return {check_id(id): check_prompt(prompt, size) for id, prompt in prompts.items()}


def check_image_prompt(prompt: object, size: tuple[int, int]) -> Prompt:
    """A prompt on an image of `size` (H, W), which must select an object.

    Raises:
        PromptError: It does not fit the image, or is an empty mask.
    """
    checked = check_prompt(prompt, size)
    if checked.is_mask_only and checked.mask is not None and not checked.mask.any():
        raise PromptError("the mask is empty: in an image, a prompt must select an object.")
    return checked


def check_candidates(candidates: object) -> None:
    """Raise for a number of candidates other than 1, 3 or None.

    Raises:
        OptionError: It is another value.
    """
    if candidates is not None and whole_number(candidates) not in (1, 3):
        raise OptionError(f"candidates must be 1 or 3. Got {candidates!r:.60}.")


def check_hint(size_of_hint: Sequence[int], count: int, size: tuple[int, int]) -> None:
    """Raise for a hint without masks, or with masks of another size than the image, (H, W).

    Raises:
        PromptError: The sizes differ, or `count`, the number of masks, is 0.
    """
    if tuple(size_of_hint) != size:
        raise PromptError(
            f"hint must be masks of this image, with (H, W) = {size}. Got masks of {tuple(size_of_hint)}."
        )
    if not count:
        raise PromptError("hint must have a mask to correct. Got masks of no object: leave the hint out.")


def first_mask(masks: Any) -> np.ndarray:
    """The first of the masks of a frame, or of ranked candidates, bool (H, W)."""
    ids = getattr(masks, "ids", None)  # ranked candidates have none
    mask: np.ndarray = masks[0] if ids is None else masks[ids[0]]
    return mask


def split_hint(prompt: Prompt, hint: Any, side: int) -> tuple[Prompt, Any]:
    """A prompt and its hint. Of a hint that the network did not make, the first mask is the prompt's start.

    A prompt that is only a mask is a start of its own and drops the hint.

    Args:
        prompt: In pixels of the image.
        hint: Masks or candidates of the image, of which the first is corrected; or None.
        side: The side of the network's low-res masks.
    """
    if prompt.is_mask_only:
        return prompt, None
    if hint is None or hint.low_res.shape[-1] == side:
        return prompt, hint
    return replace(prompt, mask=first_mask(hint)), None


def count_candidates(prompt: Prompt) -> int:
    """The number of candidates for a prompt on an image: three for a single click, which is ambiguous."""
    return 3 if prompt.clicks == 1 and prompt.box is None else 1


def label_points(prompt: Prompt, size: tuple[int, int], side: int) -> tuple[np.ndarray, list[int]]:
    """Clicks and box as labelled points in the network's square; a box is two, before the clicks.

    Args:
        size: (H, W) of the frame.
        side: The side of the square.

    Returns:
        Float32 (p, 2), and p labels.

    Example:
        >>> label_points(Prompt(negative=[(32, 24)], box=(0, 0, 64, 12)), (48, 64), 16)[0].tolist()
        [[0.0, 0.0], [16.0, 4.0], [8.0, 8.0]]
    """
    corners = [] if prompt.box is None else [prompt.box[:2], prompt.box[2:]]
    points = np.array([*corners, *prompt.positive, *prompt.negative], dtype=np.float32).reshape(-1, 2)
    labels = [BOX_START, BOX_END][: len(corners)]
    labels += [POSITIVE] * len(prompt.positive) + [NEGATIVE] * len(prompt.negative)
    return points * np.array([side / size[1], side / size[0]], dtype=np.float32), labels


def check_frame(frame: object) -> int:
    """A frame number, also of NumPy, as an int. It is not checked whether there is such a frame.

    Raises:
        PromptError: It is not a whole number, such as "0", 1.5 or True.
    """
    number = whole_number(frame)
    if number is None:
        raise PromptError(f"a frame must be a whole number, such as 0. Got {frame!r:.60}.")
    return number


def check_id(id: object) -> int:
    """An object id, also of NumPy, as an int.

    Raises:
        PromptError: It is not a whole number from 1.
    """
    number = whole_number(id)
    if number is None or number < 1:
        raise PromptError(
            f"an object's id must be a whole number from 1; 0 is the background. Got {id!r:.60}."
        )
    return number


def check_ids(ids: object) -> tuple[int, ...]:
    """Object ids as ints.

    Raises:
        PromptError: They are not a list, or one is not an id.
    """
    if isinstance(ids, str | bytes | Mapping) or not isinstance(ids, Iterable):
        raise PromptError(f"objects must be a list of ids, such as [1, 2]. Got {ids!r:.60}.")
    return tuple(map(check_id, ids))


def check_arrays(
    arrays: object, size: tuple[int, int], *scores: Sequence[float] | None
) -> dict[int, np.ndarray]:
    """Masks by object id, with ints as keys, read like a prompt's mask.

    Raises:
        PromptError: A mask has another size than (H, W), an id is not one, or there are not as many scores as
            masks, all finite numbers.

    Example:
        >>> check_arrays({np.int64(3): np.eye(2, dtype=bool)}, (2, 2))[3].shape
        (2, 2)
    """
    if not isinstance(arrays, Mapping):
        raise PromptError(f"masks must be given by object id, {{1: mask}}. Got {type(arrays).__name__}.")
    checked: dict[int, np.ndarray] = {}
    for id, mask in arrays.items():
        array = _mask(mask)
        if array.shape != tuple(size):
            raise PromptError(
                f"the mask of object {id} must have the frame's size, (H, W) = {tuple(size)}. "
                f"Got {array.shape}."
            )
        checked[check_id(id)] = array
    for values in scores:
        if values is None:
            continue
        numbers = _numbers(values)
        if numbers is None or numbers.ndim != 1 or not np.isfinite(numbers).all():
            raise PromptError(f"scores of masks must be a list of finite numbers. Got {values!r:.60}.")
        if len(numbers) != len(checked):
            raise PromptError(f"{len(checked)} masks need one score each. Got {len(numbers)}.")
    return checked


def check_prompts(prompts: object) -> dict[int, dict[int, Prompt]]:
    """Prompts by frame and object id, with ints as keys.

    Raises:
        PromptError: A key is not a frame or id, or a value is not a `Prompt`.

    Example:
        >>> check_prompts({0: {1: Prompt(positive=[(5, 5)])}})
        {0: {1: Prompt(positive=((5.0, 5.0),))}}
    """
    checked: dict[int, dict[int, Prompt]] = {}
    for frame, by_id in _mapping(prompts).items():
        here = checked.setdefault(check_frame(frame), {})
        for id, prompt in _mapping(by_id).items():
            if not isinstance(prompt, Prompt):
                raise PromptError(
                    f"object {id} on frame {frame} needs a Prompt, such as Prompt(positive=[(x, y)]). "
                    f"Got {type(prompt).__name__}."
                )
            here[check_id(id)] = prompt
    return checked


def _mapping(prompts: object) -> Mapping[object, object]:
    if not isinstance(prompts, Mapping):
        raise PromptError(
            "prompts must be given by frame and object: {0: {1: Prompt(positive=[(x, y)])}}. Got "
            f"{type(prompts).__name__}."
        )
    return prompts
