"""What callers hand to sessions, checked at one door: models, frame numbers, object ids and prompts."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import SupportsIndex

from masklet.errors import MaskletError, PromptError
from masklet.model import Sam2
from masklet.types import Prompt


def check_model(model: object) -> Sam2:
    """A network.

    Raises:
        MaskletError: It is something else, such as a path.
    """
    if not isinstance(model, Sam2):
        raise MaskletError(
            f"model must be a network, as masklet.load(...) returns it. Got {type(model).__name__}."
        )
    return model


def check_frame(frame: object) -> int:
    """A frame's number as a plain int, which NumPy's are not. Whether there is such a frame is not checked.

    Raises:
        PromptError: It is no whole number, such as "0", 1.5 or True.
    """
    if isinstance(frame, bool) or not isinstance(frame, SupportsIndex):
        raise PromptError(f"a frame is a whole number, such as 0. Got {frame!r}.")
    return operator.index(frame)


def check_id(id: object) -> int:
    """An object's id as a plain int, which NumPy's are not.

    Raises:
        PromptError: It is no whole number from 1 on.
    """
    if isinstance(id, bool) or not isinstance(id, SupportsIndex) or operator.index(id) < 1:
        raise PromptError(f"an object's id is a whole number from 1 on; 0 is the background. Got {id!r}.")
    return operator.index(id)


def check_prompts(prompts: object) -> dict[int, dict[int, Prompt]]:
    """Prompts by frame and object id, with plain ints as keys.

    Raises:
        PromptError: A key is no frame or id, or a value is no `Prompt`.

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
            f"prompts are given by frame and object: {{0: {{1: Prompt(positive=[(x, y)])}}}}. "
            f"Got {type(prompts).__name__}."
        )
    return prompts
