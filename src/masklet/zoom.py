"""Zoom: segment an object again in windows around it, for one more encoding each.

If a network resizes an image to 256 x 256 pixels, an object of 1/25 of the image's side is ten pixels
wide. In a window of twice the object's side, it is over a hundred pixels wide. An object that is too large
for a window is segmented in the mirrored image too. The best answer is then the mean over windows of several
sizes, since each has errors of its own. Sessions pass the segmenter; this module does not need torch.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, Protocol, Self, TypeVar

import numpy as np

from masklet.arrays import to_array
from masklet.boxes import Box, box_area, box_iou, intersect_boxes, tight_box, unite_boxes
from masklet.components import remove_specks
from masklet.errors import OptionError, check_count
from masklet.prompts import Prompt, first_mask

SHARED = 0.5  # IoU of windows above which one is used for both
TEMPER = 0.45  # chosen on validation images: the predicted IoU of a first click is then not biased
FAR = 2.0  # factor of the area of a mask's box: clicks that enlarge it further are on another object
MOVED = 0.5  # IoU of windows below which the best answer is segmented again
BROADEST = 0.8  # the largest window that is averaged, as a part of the image
ON_FRAMES: dict[str, Any] = {"mirrored": False, "views": ()}  # options of zoom in videos and streams

Window = tuple[int, int, int, int]  # x0, y0, x1, y1 in source pixels, x1 and y1 exclusive


def _check_share(value: object, name: str, least: float) -> None:
    try:
        number = math.nan if isinstance(value, bool) or not isinstance(value, Real) else float(value)
    except OverflowError:  # a whole number too large for a float
        number = math.inf
    if not least <= number < math.inf:
        raise OptionError(f"{name} must be a number of at least {least:g}. Got {value!r:.60}.")


class RankedMasks(Protocol):
    """Candidate masks for a prompt, best first, such as `ImageCandidates`. `masks[0]` is bool (H, W)."""

    @property
    def size(self) -> tuple[int, int]: ...

    @property
    def ranked(self) -> Sequence[Any]: ...

    def __getitem__(self, rank: int, /) -> np.ndarray: ...

    def select(self, *ranks: int) -> Self: ...

    @classmethod
    def rank(cls, size: tuple[int, int], candidates: Sequence[Any]) -> Self: ...


Result = TypeVar("Result")
Ranked = TypeVar("Ranked", bound=RankedMasks)
RankedOut = TypeVar("RankedOut", bound=RankedMasks, covariant=True)


class Segmenter(Protocol[RankedOut]):
    """Answers a prompt in a window of its image."""

    size: tuple[int, int]

    def encode_windows(self, windows: Sequence[Window]) -> None:
        """Encode windows together, since `segment_in` is about to be called with each."""

    def segment_in(self, window: Window | None, prompt: Prompt, hint: Any, candidates: int) -> RankedOut:
        """Masks for a prompt in the image's pixels, segmented in a window; None for the whole image."""

    def segment_both_ways(self, prompt: Prompt, hint: Any, candidates: int) -> RankedOut:
        """Masks for a prompt in the whole image: the mean with those of its mirror image."""


@dataclass(frozen=True)
class Zoom:
    """When to zoom, and where.

    Args:
        margin: The side of a window as a multiple of the object's side.
        narrowest: The shortest side of a window, in pixels.
        largest: The largest window, as a part of the image. A larger one shows little more than all of it.
        rounds: Windows for the best answer to a first click; the others have one. The second is used only if
            the first shows that the object's position or size differs from the answer in the whole image.
        mirrored: Segment an object that is too large for a window in the mirrored image too. Sessions of
            videos and streams do not.
        views: The margins of further windows; the logits of the best mask are the mean over all of them.
            Sessions of videos and streams have none.
        tile: For large images: a prompt is first answered in a window of this side in pixels around it,
            instead of the whole image. A window whose edge cuts the best mask is doubled, up to the whole
            image. Small objects in it are then refined in their own windows, as above.

    Example:
        >>> Zoom().window((40, 30, 60, 50), (120, 160))
        (30, 20, 70, 60)
        >>> Zoom().window((10, 10, 150, 110), (120, 160)) is None
        True
    """

    margin: float = 2.0
    narrowest: int = 32
    largest: float = 0.3
    rounds: int = 2
    mirrored: bool = True
    views: Sequence[float] = (1.5, 3.0)
    tile: int | None = None

    def __post_init__(self) -> None:
        check_count(self.narrowest, "narrowest")
        check_count(self.rounds, "rounds", 0)
        _check_share(self.margin, "margin", 1.0)
        if not isinstance(self.views, tuple | list):
            raise OptionError(f"views must be a list of margins. Got {type(self.views).__name__}.")
        for view in self.views:
            _check_share(view, "views", 1.0)
        object.__setattr__(self, "views", tuple(self.views))
        _check_share(self.largest, "largest", 0.0)
        if self.tile is not None and check_count(self.tile, "tile", 0) < self.narrowest:
            raise OptionError(
                f"a tile must have a side of at least {self.narrowest} pixels. Got {self.tile}."
            )

    def segment(self, segmenter: Segmenter[Ranked], prompt: Prompt, hint: Any, candidates: int) -> Ranked:
        """Answer a prompt in a window if the prompt or its answer shows that the object is small.

        Specks are removed at the end, since the whole answer is better for choosing a window.

        Args:
            hint: The masks to correct, the first is used: candidates, or the masks of a frame; or None.
        """
        return finish(self.steps(segmenter, prompt, hint, candidates, pauses=False))

    def steps(
        self,
        segmenter: Segmenter[Ranked],
        prompt: Prompt,
        hint: Any,
        candidates: int,
        *,
        pauses: bool = True,
    ) -> Generator[None, None, Ranked]:
        """The same answer, with a pause before each window is encoded."""
        answers = yield from self._look(segmenter, prompt, hint, candidates, pauses)
        return remove_candidates_specks(answers, prompt)

    def _look(
        self, segmenter: Segmenter[Ranked], prompt: Prompt, hint: Any, candidates: int, pauses: bool
    ) -> Generator[None, None, Ranked]:
        if prompt.mask is not None and hint is None:
            prompt = add_box(prompt, prompt.mask)
        box = box_of_prompt(prompt, hint)
        if self.tile is None and box is not None:
            answers = self._segment_around(segmenter, box, prompt, hint, candidates)
            return (yield from self._average(segmenter, answers, box, prompt, hint, pauses))
        if self.tile is not None:
            around = box or _box_of_clicks(prompt)
            answers = self._segment_in_tile(segmenter, prompt, hint, candidates, around)
        else:
            answers = segmenter.segment_in(None, prompt, hint, candidates)
            box = box_of_mask(answers[0], prompt)
            if self.mirrored and (box is None or self.window(box, segmenter.size) is None):
                answers = segmenter.segment_both_ways(prompt, hint, candidates)
        for _ in range(self.rounds):
            answers = yield from self.refine(segmenter, answers, prompt, pauses=pauses)
        box = box_of_mask(answers[0], prompt)
        if box is None:
            return answers
        return (yield from self._average(segmenter, answers, box, prompt, answers.select(0), pauses))

    def _segment_around(
        self, segmenter: Segmenter[Ranked], box: Box, prompt: Prompt, hint: Any, candidates: int
    ) -> Ranked:
        window = self.window(box, segmenter.size)
        if window is None and self.mirrored:
            return segmenter.segment_both_ways(prompt, hint, candidates)
        before = window_of_hint(hint)
        if window is not None and before is not None:
            window = share_window(window, box, [before])  # so that the hint is the network's own mask there
        return segmenter.segment_in(window, prompt, hint, candidates)

    def _average(
        self,
        segmenter: Segmenter[Ranked],
        answers: Ranked,
        box: Box,
        prompt: Prompt,
        hint: Any,
        pauses: bool,
    ) -> Generator[None, None, Ranked]:
        """The answers, of which the best is the mean of its logits and of those in windows of other sizes."""
        best, *others = answers.ranked
        around = dict.fromkeys(
            _window_around(box, segmenter.size, view, self.narrowest) for view in self.views
        )
        limit = BROADEST * segmenter.size[0] * segmenter.size[1]
        windows = [window for window in around if window != best.window and box_area(window) <= limit]
        if not windows:
            return answers
        yield from _encode(segmenter, windows, pauses)
        views = [segmenter.segment_in(window, prompt, hint, 1).ranked[0] for window in windows]
        mean = mean_over_views([best, *views], answers.size)
        return answers.rank(answers.size, [best.with_logits(mean), *others])

    def _segment_in_tile(
        self, segmenter: Segmenter[Ranked], prompt: Prompt, hint: Any, candidates: int, box: Box
    ) -> Ranked:
        side = float(max(self.tile or 0, self.margin * (box[2] - box[0]), self.margin * (box[3] - box[1])))
        while True:
            window = _square_around(box, side, segmenter.size)
            answers = segmenter.segment_in(window, prompt, hint, candidates)
            if window is None or not _is_cut(answers[0], window):
                return answers
            side *= 2

    def refine(
        self, segmenter: Segmenter[Ranked], answers: Ranked, prompt: Prompt, *, pauses: bool = False
    ) -> Generator[None, None, Ranked]:
        """Refine each small answer that had no window in one; the best answer again if it moved.

        The predicted IoU of an answer refined in a window is too high by 0.1. All are scaled by the IoU that
        was predicted for the best answer before, which keeps their order.

        Args:
            pauses: Yield before each window is encoded; otherwise all are encoded in one call.
        """
        windows: list[Window] = []  # of the answers that are refined
        by_rank: dict[int, Window] = {}
        for rank, candidate in enumerate(answers.ranked):
            if rank > 0 and candidate.window is not None:
                continue
            box = box_of_mask(answers[rank], prompt)
            window = None if box is None else self.window(box, answers.size)
            if box is None or window is None or not has_moved(candidate.window, window):
                continue
            by_rank[rank] = share_window(window, box, windows)
            windows.append(by_rank[rank])
        yield from _encode(segmenter, list(dict.fromkeys(windows)), pauses)
        refined: list[Any] = []
        for rank, candidate in enumerate(answers.ranked):
            if rank in by_rank:
                refined += segmenter.segment_in(by_rank[rank], prompt, answers.select(rank), 1).ranked
            else:
                refined.append(candidate)
        best = max(range(len(refined)), key=lambda rank: float(refined[rank].iou))
        before, after = float(answers.ranked[best].iou), float(refined[best].iou)
        tempered = (before / after) ** TEMPER if before > 0 and after > 0 else 1.0
        return answers.rank(answers.size, [replace(answer, iou=answer.iou * tempered) for answer in refined])

    def window(self, box: Box, size: tuple[int, int]) -> Window | None:
        """The window around a box in an image of `size` (H, W); None if it would not help."""
        window = _window_around(box, size, self.margin, self.narrowest)
        return window if box_area(window) <= self.largest * size[0] * size[1] else None


def finish(steps: Generator[None, None, Result]) -> Result:
    """Run steps to the end without pauses, and return their result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            answer: Result = end.value
            return answer


def _encode(
    segmenter: Segmenter[Any], windows: Sequence[Window], pauses: bool
) -> Generator[None, None, None]:
    """Encode windows in one call, or with a pause before each."""
    for together in [[window] for window in windows] if pauses else [windows]:
        if pauses:
            yield
        segmenter.encode_windows(together)


def remove_candidates_specks(answers: Ranked, prompt: Prompt) -> Ranked:
    """The answers without specks and pinholes, except clicked ones."""
    height, width = answers.size
    clicks = Prompt(prompt.positive, prompt.negative)
    tidied = []
    for candidate in answers.ranked:
        window, inside = candidate.window or (0, 0, width, height), candidate.inside
        there, size = crop_prompt(clicks, window), (window[3] - window[1], window[2] - window[0])
        positive, negative = (
            _cells(points, size, inside.shape) for points in (there.positive, there.negative)
        )
        tidied.append(candidate.with_cells(remove_specks(inside, positive, negative)))
    return answers.rank(answers.size, tidied)


def _cells(
    points: Iterable[tuple[float, float]], size: tuple[int, int], grid: tuple[int, int]
) -> list[tuple[int, int]]:
    """The cells of a grid (rows, columns) over an image of `size` (H, W) that contain points."""
    (height, width), (rows, columns) = size, grid
    return [(int(y / height * rows), int(x / width * columns)) for x, y in points]


def find_zoom(zoom: Zoom | bool | None, *, default: bool, frames: bool = False) -> Zoom | None:
    """The zoom that a caller requests; None is the network's default.

    Args:
        frames: Whether it is for frames of a video, which are not mirrored and have no further views.
    """
    if zoom is not None and not isinstance(zoom, bool | Zoom):
        raise OptionError(f"zoom must be a Zoom, True, False or None. Got {type(zoom).__name__}.")
    if not isinstance(zoom, Zoom):
        zoom = Zoom() if (default if zoom is None else zoom) else None
    return replace(zoom, **ON_FRAMES) if zoom is not None and frames else zoom


def box_of_prompt(prompt: Prompt, hint: Any) -> Box | None:
    """The box of a prompt's object by prompt and hint; None if they do not show it."""
    if prompt.box is not None:
        return _with_clicks(prompt.box, prompt)
    mask = prompt.mask
    if hint is not None:
        mask = first_mask(hint)
    return None if mask is None else box_of_mask(mask, prompt)


def window_of_hint(hint: Any) -> Window | None:
    """The window in which the corrected candidate was made; None for others, and for masks of frames."""
    ranked = getattr(hint, "ranked", None)
    return None if ranked is None else ranked[0].window


def box_of_mask(mask: np.ndarray, prompt: Prompt) -> Box | None:
    """The box around a mask and its positive clicks; None if the mask is empty."""
    box = tight_box(mask)
    return None if box is None else _with_clicks(box, prompt)


def add_box(prompt: Prompt, mask: np.ndarray) -> Prompt:
    """Clicks that correct a mask, bool (H, W), that was tracked or drawn, with the box around both.

    A window is segmented without memory. There, one click may select only a part, and a negative click alone
    selects nothing; the box identifies the object to correct. Clicks far from the mask mean that the mask is
    on another object. The answer to a click in an image gets no box: it is too often the wrong object.
    """
    box, around = tight_box(mask), box_of_mask(mask, prompt)
    if prompt.box is not None or box is None or around is None:
        return prompt
    return prompt if box_area(around) > FAR * box_area(box) else replace(prompt, box=around)


def _with_clicks(box: Box, prompt: Prompt) -> Box:
    for x, y in prompt.positive:
        box = unite_boxes(box, (x, y, x, y))
    return box


def _box_of_clicks(prompt: Prompt) -> Box:
    """The box around the positive clicks, or around all clicks if none is positive."""
    points = np.array(prompt.positive or prompt.negative, dtype=float)
    (x0, y0), (x1, y1) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return x0, y0, x1, y1


def _square_around(box: Box, side: float, size: tuple[int, int]) -> Window | None:
    """A square window around a box, moved into the image; None if it would be the whole image."""
    height, width = size
    x0, x1 = _centred(box[0] + box[2], side, width)
    y0, y1 = _centred(box[1] + box[3], side, height)
    return None if (x0, y0, x1, y1) == (0, 0, width, height) else (x0, y0, x1, y1)


def _is_cut(mask: np.ndarray, window: Window) -> bool:
    """Whether a mask reaches an edge of the window that is not an edge of the image."""
    box, (height, width) = tight_box(mask), mask.shape
    if box is None:
        return False
    ends = (0, 0, width, height)
    return any(box[i] == window[i] != ends[i] for i in range(4))


def _window_around(box: Box, size: tuple[int, int], margin: float, narrowest: int) -> Window:
    """The window around a box whose sides are `margin` times the box's, inside an image of `size` (H, W)."""
    wide, high = (max(margin * (box[i + 2] - box[i]), narrowest) for i in (0, 1))
    wide, high = max(wide, high / 2), max(high, wide / 2)  # an object distorted more is not recognised
    x0, x1 = _centred(box[0] + box[2], wide, size[1])
    y0, y1 = _centred(box[1] + box[3], high, size[0])
    return x0, y0, x1, y1


def share_window(window: Window, box: Box, others: Iterable[Window]) -> Window:
    """The first of other windows that shows the box about as well; otherwise the window itself."""
    serving = (
        other for other in others if intersect_boxes(other, box) == box and box_iou(other, window) >= SHARED
    )
    return next(serving, window)


def has_moved(before: Window | None, window: Window) -> bool:
    """Whether a window differs from the one in which a mask was made, if there was one."""
    return before is None or box_iou(before, window) < MOVED


def _centred(twice_middle: float, length: float, side: int) -> tuple[int, int]:
    """An interval of a length around a centre, moved into 0 to `side`."""
    taken = min(round(length), side)
    start = min(max(round((twice_middle - taken) / 2), 0), side - taken)
    return start, start + taken


def crop_prompt(prompt: Prompt, window: Window) -> Prompt:
    """A prompt in a window's own pixels. Clicks outside the window are left out."""
    x0, y0, x1, y1 = window

    def moved(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
        return [(x - x0, y - y0) for x, y in points if x0 <= x < x1 and y0 <= y < y1]

    box, mask = prompt.box, prompt.mask
    return Prompt(
        moved(prompt.positive),
        moved(prompt.negative),
        None if box is None else (box[0] - x0, box[1] - y0, box[2] - x0, box[3] - y0),
        None if mask is None else mask[y0:y1, x0:x1],
    )


def mirror_prompt(prompt: Prompt, width: int) -> Prompt:
    """A prompt in pixels of the mirrored image, which is `width` pixels wide."""

    def mirrored(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
        return [(width - x, y) for x, y in points]

    box, mask = prompt.box, prompt.mask
    return Prompt(
        mirrored(prompt.positive),
        mirrored(prompt.negative),
        None if box is None else (width - box[2], box[1], width - box[0], box[3]),
        None if mask is None else mask[:, ::-1].copy(),
    )


def mean_over_views(views: Sequence[Any], size: tuple[int, int]) -> np.ndarray:
    """The mean of candidates' logits at the cells of the first, of those whose windows show the cell.

    Args:
        views: Candidates for one object in several windows.
        size: (H, W) of the image.

    Returns:
        Float32 (rows, columns) in the window of the first.
    """
    whole = (0, 0, size[1], size[0])
    target = views[0].window or whole
    total, count = np.zeros((2, *views[0].logits.shape), dtype=np.float32)
    for view in views:
        source = view.window or whole
        columns, rows = (
            _interpolation_weights((source[i], source[i + 2]), (target[i], target[i + 2]), total.shape[1 - i])
            for i in (0, 1)
        )
        total += rows @ to_array(view.logits) @ columns.T
        count += rows.sum(axis=1)[:, None] * columns.sum(axis=1)
    mean: np.ndarray = total / count
    return mean


def _interpolation_weights(source: tuple[int, int], target: tuple[int, int], cells: int) -> np.ndarray:
    """How the cells of one interval are read from those of another, by linear interpolation.

    Returns:
        For each cell of the target the weights of the source's cells: their sum is 1 if its centre is inside
        the source, otherwise 0.

    Example:
        >>> _interpolation_weights((0, 4), (1, 5), 4).tolist()[::3]
        [[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    """
    centres = (np.arange(cells) + 0.5) / cells * (target[1] - target[0]) + target[0]
    places = (centres - source[0]) / (source[1] - source[0]) * cells - 0.5
    inside = (places > -0.5) & (places < cells - 0.5)
    distances = np.abs(np.clip(places, 0, cells - 1)[:, None] - np.arange(cells)[None, :])
    return (np.maximum(0, 1 - distances) * inside[:, None]).astype(np.float32)


def grid_cells(start: float, end: float, grid: int) -> tuple[int, int]:
    """The cells of a grid that an interval covers, both from 0 to 1; at least one."""
    first = min(round(start * grid), grid - 1)
    return first, max(round(end * grid), first + 1)
