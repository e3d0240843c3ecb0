"""A closer look: what fills little of a picture is looked at again, in a window around it.

A network that sees a picture in 256 x 256 pixels has ten of them for an object of a twenty-fifth of its side.
In a window of twice the object's side it has a hundred, for one more encoding.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from masklet.types import DRAWN, Box, Closeup, Masks, Prompt, Window

ROOM = 2.0  # sides of the window, in those of what it is around
NARROWEST = 32  # pixels
WORTH = 0.3  # of the picture: a larger window shows little more than the picture itself
ALIKE = 0.5  # IoU of windows of which one will do for both
THE_SAME = 0.85  # IoU of windows, the second of which would show nothing new


def meant(prompt: Prompt, hint: Masks | None) -> Box | None:
    """Where a prompt's object is, as far as that is known before anyone looks; None where it is not.

    hint : earlier masks, of which the first is meant
    """
    if prompt.box is not None:
        return _bounds(prompt, prompt.box)
    known = prompt.mask if hint is None else hint[hint.ids[0]]
    return None if known is None else found(known, prompt)


def found(mask: np.ndarray, prompt: Prompt) -> Box | None:
    """The bounds of a mask and of the clicks that mean it; None of an empty one."""
    xs, ys = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(xs):
        return None
    return _bounds(prompt, (float(xs[0]), float(ys[0]), float(xs[-1] + 1), float(ys[-1] + 1)))


def _bounds(prompt: Prompt, box: Box) -> Box:
    xs, ys = ([box[i], box[i + 2], *(point[i] for point in prompt.positive)] for i in (0, 1))
    return min(xs), min(ys), max(xs), max(ys)


def around(box: Box, size: tuple[int, int]) -> Window | None:
    """The window to look into for what lies in a box on a picture of `size` (H, W); None if not worth it."""
    height, width = size
    wide, high = (max(ROOM * (box[i + 2] - box[i]), NARROWEST) for i in (0, 1))
    wide, high = max(wide, high / 2), max(high, wide / 2)  # what is squeezed too much is not known again
    (x0, x1), (y0, y1) = _span(box[0] + box[2], wide, width), _span(box[1] + box[3], high, height)
    window = x0, y0, x1, y1
    return window if _area(window) <= WORTH * width * height else None


def shared(window: Window, box: Box, others: Iterable[Window]) -> Window:
    """The first of other windows that shows what lies in the box as well; else the window itself."""
    return next((each for each in others if _holds(each, box) and _overlap(each, window) >= ALIKE), window)


def elsewhere(window: Window, now: Window) -> bool:
    """Whether it pays to look anew, into the window around what was found in the window before."""
    return _overlap(window, now) < THE_SAME


def _holds(window: Window, box: Box) -> bool:
    return window[0] <= box[0] and window[1] <= box[1] and box[2] <= window[2] and box[3] <= window[3]


def _overlap(one: Window, other: Window) -> float:
    sides = [max(0, min(one[i + 2], other[i + 2]) - max(one[i], other[i])) for i in (0, 1)]
    both = sides[0] * sides[1]
    return both / (_area(one) + _area(other) - both)


def _area(window: Window) -> int:
    return (window[2] - window[0]) * (window[3] - window[1])


def _span(twice_middle: float, long: float, room: int) -> tuple[int, int]:
    """A stretch of that length about a middle, moved so that it lies within 0 to `room`."""
    taken = min(round(long), room)
    start = min(max(round((twice_middle - taken) / 2), 0), room - taken)
    return start, start + taken


def within(window: Window, prompt: Prompt) -> Prompt:
    """A prompt in a window's own pixels. Clicks on what lies beyond it have nothing to say there."""
    x0, y0, x1, y1 = window

    def moved(points: tuple[tuple[float, float], ...]) -> list[tuple[float, float]]:
        return [(x - x0, y - y0) for x, y in points if x0 <= x < x1 and y0 <= y < y1]

    box, mask = prompt.box, prompt.mask
    return Prompt(
        moved(tuple(prompt.positive)),
        moved(tuple(prompt.negative)),
        None if box is None else (box[0] - x0, box[1] - y0, box[2] - x0, box[3] - y0),
        None if mask is None else mask[y0:y1, x0:x1],
    )


def hinted(window: Window, hint: Masks, side: int) -> Float[Tensor, "1 h4 w4"]:
    """What earlier logits say within a window, at the decoder's size."""
    x0, y0, x1, y1 = window
    inside = hint.logits[None, :1, y0:y1, x0:x1]
    return F.interpolate(inside, (side, side), mode="bilinear", align_corners=False, antialias=True)[0]


def coarse(close: Closeup, size: tuple[int, int], side: int) -> Float[Tensor, "1 h4 w4"]:
    """The same as low-res logits of the whole picture, as a hint to those who look at it from afar."""
    x0, y0, x1, y1 = close.window
    grid, (height, width) = 4 * side, size
    left, right = _cells(x0 / width, x1 / width, grid)
    top, bottom = _cells(y0 / height, y1 / height, grid)
    inside = F.interpolate(
        close.logits[None, None], (bottom - top, right - left), mode="bilinear", antialias=True
    )
    spread = F.pad(inside, (left, grid - right, top, grid - bottom), value=-DRAWN)
    return F.avg_pool2d(spread, 4)[0]


def _cells(start: float, end: float, grid: int) -> tuple[int, int]:
    first = min(round(start * grid), grid - 1)
    return first, max(round(end * grid), first + 1)
