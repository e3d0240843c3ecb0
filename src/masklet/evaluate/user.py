"""How protocols let the simulated user prompt an object."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import torch

from masklet.boxes import tight_box
from masklet.evaluate.subjects import Following
from masklet.simulated_user import center_click
from masklet.types import Prompt

Given = Literal["mask", "box", "1 click", "3 clicks", "5 clicks"]
GIVEN: tuple[Given, ...] = get_args(Given)


def clicks_of(given: Given) -> int | None:
    """How many clicks a setting means; None for a mask or a box."""
    return int(given.split()[0]) if "click" in given else None


def give(video: Following, frame: int, id: int, truth: np.ndarray, given: Given) -> None:
    """Prompt an object by its true mask, the box around it, or clicks."""
    clicks = clicks_of(given)
    if clicks is not None:
        click(video, frame, id, truth, None, clicks)
    else:
        video.prompt(frame, id, Prompt(mask=truth) if given == "mask" else Prompt(box=tight_box(truth)))


def click(
    video: Following, frame: int, id: int, truth: np.ndarray, answer: np.ndarray | None, clicks: int
) -> None:
    """Click some times in turn, each time in the middle of what is still wrong.

    answer : the mask that stands on the frame; None sends the first click to the middle of the object
    """
    for _ in range(clicks):
        answer = video.prompt(frame, id, next_click(answer, truth))[id]


def next_click(answer: np.ndarray | None, truth: np.ndarray) -> Prompt:
    guess = None if answer is None else torch.from_numpy(answer)[None]
    return center_click(guess, torch.from_numpy(truth)[None]).prompt(0)
