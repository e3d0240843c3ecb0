"""The details that change numbers, each with a way to leave it out, to see what it is worth."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from masklet import MemoryBank, MemorySelection, Recency, Sam2
from masklet.nn.memory_attention import MemoryAttention
from masklet.nn.prompt_encoder import PromptEncoder
from masklet.prompts import PADDING, label_points
from masklet.tracking.step import EncodedPrompt
from masklet.transforms import still_to_square
from masklet.types import MaskPrediction
from parity.scenarios import Scenario, backwards, both_ways, corrected, forwards, many_clicks


@dataclass(frozen=True)
class Detail:
    """What masklet does, a scenario that shows it, and a context in which masklet does otherwise."""

    name: str
    scenario: Scenario
    otherwise: Callable[[], AbstractContextManager[Any]]


_points, _memorize, _decode, _recall = (
    PromptEncoder.points,
    Sam2.memorize,
    Sam2.decode,
    Recency.select_memories,
)
_attend, _ask = MemoryAttention.forward, EncodedPrompt.of


def _no_half_pixel(*arguments: Any) -> tuple[np.ndarray, list[int]]:
    points, labels = label_points(*arguments)
    return points - 0.5, labels


def _no_padding(self: PromptEncoder, points: Tensor, labels: Tensor) -> Tensor:
    tokens = _points(self, points, labels)
    return tokens if (labels == PADDING).all() else tokens[:, :-1]


def _one_padding(self: PromptEncoder, points: Tensor, labels: Tensor) -> Tensor:
    tokens = _points(self, points, labels)
    return tokens[:, :1] if (labels == PADDING).all() else tokens


def _soft(self: Sam2, features: Any, prediction: MaskPrediction, *, binary: bool) -> Tensor:
    return _memorize(self, features, prediction, binary=False)


def _shown(self: MaskPrediction, _present: float) -> MaskPrediction:
    return self


def _unsteady(self: Sam2, *arguments: Any, **told: Any) -> Any:
    return _decode(self, *arguments, **told | {"stable": False})


def _no_hint(prompt: Any, size: Any, model: Any, _hint: Tensor | None, **told: bool) -> EncodedPrompt:
    return _ask(prompt, size, model, None, **told)


def _never_alone(*arguments: Any, alone: bool, adopts: bool) -> EncodedPrompt:
    return _ask(*arguments, alone=True, adopts=adopts)


def _any_length(self: Recency, *arguments: Any, reverse: bool, clip_length: int) -> MemorySelection:
    return _recall(self, *arguments, reverse=reverse, clip_length=None)


def _pointers_ahead(
    self: Recency, bank: MemoryBank, frame: int, *, reverse: bool, clip_length: int
) -> MemorySelection:
    selection = _recall(self, bank, frame, reverse=reverse, clip_length=clip_length)
    direction = -1 if reverse else 1
    ages = {at: (frame - at) * direction for at in bank.prompted}
    ahead = tuple((ages[at], memory.pointer) for at, memory in bank.prompted.items() if ages[at] < 0)
    return replace(selection, pointers=selection.pointers + ahead)


def _no_maps_ahead(
    self: Recency, bank: MemoryBank, frame: int, *, reverse: bool, **told: Any
) -> MemorySelection:
    selection = _recall(self, bank, frame, reverse=reverse, **told)
    direction = -1 if reverse else 1
    behind = tuple(pair for pair in selection.spatial if (frame - pair[1].frame) * direction >= 0)
    return replace(selection, spatial=behind)


def _no_position(self: MemoryAttention, coarse: Tensor, *arguments: Tensor) -> Tensor:
    return _attend(self, coarse - 0.1 * self.position.T.unflatten(-1, coarse.shape[2:]), *arguments)


def _square(image: Any, *arguments: Any) -> Tensor:
    return still_to_square(image, *arguments)


_UNROUNDED = property(lambda model: torch.float32)  # a property takes precedence over the network's own value


def _on(target: Any, name: str, value: Any) -> Callable[[], AbstractContextManager[Any]]:
    return lambda: patch.object(target, name, value, create=True)


def _in(target: str, value: Any) -> Callable[[], AbstractContextManager[Any]]:
    return lambda: patch(target, value)


POINTS, ASK = "masklet.tracking.step.label_points", "masklet.tracking.step.EncodedPrompt.of"
SQUARE = "masklet.tracking.step.frame_to_square"

DETAILS = (
    Detail("a point is the middle of a pixel", forwards, _in(POINTS, _no_half_pixel)),
    Detail(
        "a padding point comes last, after boxes too", forwards, _on(PromptEncoder, "points", _no_padding)
    ),
    Detail(
        "without points there are two padding points", forwards, _on(PromptEncoder, "points", _one_padding)
    ),
    Detail("hints are clamped", corrected, _in("masklet.tracking.step.HINT_LIMIT", float("inf"))),
    Detail("a correction starts from the mask before", many_clicks, _in(ASK, _no_hint)),
    Detail("a correction attends to the memory", corrected, _in(ASK, _never_alone)),
    Detail("an unstable single mask is replaced", forwards, _on(Sam2, "decode", _unsteady)),
    Detail("an absent object has no mask", forwards, _on(MaskPrediction, "hide_absent", _shown)),
    Detail("masks of prompted frames are memorised as 0 or 1", forwards, _on(Sam2, "memorize", _soft)),
    Detail("memories are kept in bfloat16", forwards, _on(Sam2, "memory_dtype", _UNROUNDED)),
    Detail("ages are fractions of the clip", forwards, _on(Recency, "select_memories", _any_length)),
    Detail(
        "pointers of prompts ahead are left out", corrected, _on(Recency, "select_memories", _pointers_ahead)
    ),
    Detail("tokens of prompts ahead are used", corrected, _on(Recency, "select_memories", _no_maps_ahead)),
    Detail("positions are added before attention", both_ways, _on(MemoryAttention, "forward", _no_position)),
    Detail("a video's frames are resized bicubically", backwards, _in(SQUARE, _square)),
)
