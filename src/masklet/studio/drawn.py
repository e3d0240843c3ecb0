"""Masks and prompts that came over the network: checked to the last run before anything is made of them."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, Field

from masklet.errors import PromptError
from masklet.types import Prompt

LONGEST = 1_000_000  # characters or runs of a mask

Xy = tuple[float, float]


class DrawnMask(BaseModel):
    """COCO's run-length encoding: `counts` compressed as text, or a plain list of run lengths."""

    size: Annotated[list[int], Field(min_length=2, max_length=2)]
    counts: Annotated[str, Field(max_length=LONGEST)] | Annotated[list[int], Field(max_length=LONGEST)]


class Said(BaseModel):
    """A prompt; what is left out is not said."""

    positive: list[Xy] = []
    negative: list[Xy] = []
    box: tuple[float, float, float, float] | None = None
    mask: DrawnMask | None = None

    def prompt(self, size: tuple[int, int], points: int) -> Prompt:
        """The prompt on a frame of a size (H, W), with no more than so many points."""
        if len(self.positive) + len(self.negative) > points:
            raise PromptError(f"a prompt may have up to {points} points.")
        said: dict[str, Any] = {"positive": self.positive, "negative": self.negative, "box": self.box}
        return Prompt(**said, mask=None if self.mask is None else mask_of(self.mask, size))


def mask_of(drawn: DrawnMask, size: tuple[int, int]) -> np.ndarray:
    """bool (H, W); pycocotools would trust what it is given."""
    if tuple(drawn.size) != size:
        raise PromptError(f"mask must have the frame's size, (H, W) = {size}. Got {tuple(drawn.size)}.")
    runs = _runs(drawn.counts) if isinstance(drawn.counts, str) else drawn.counts
    height, width = size
    if any(not 0 <= run <= height * width for run in runs) or sum(runs) != height * width:
        raise PromptError("the mask's runs must cover the frame, pixel for pixel.")
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(width, height).T


def _runs(counts: str) -> list[int]:
    """Run lengths of COCO's compressed text."""
    runs: list[int] = []
    value, shift = 0, 0
    for character in counts:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > 30:
            raise PromptError("the mask's counts are not COCO's compressed text.")
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            value -= (code & 16) << (shift - 4)  # the last group's highest bit is the sign
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value, shift = 0, 0
    if shift:
        raise PromptError("the mask's counts end in the middle of a number.")
    return runs
