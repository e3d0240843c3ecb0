"""Image segmentation after clicks and from a box: mIoU with the click placement of SAM and of RITM.

The first click lies in the middle of the object, each further one in the middle of the largest error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from masklet.boxes import tight_box
from masklet.evaluate.layouts import Picture
from masklet.evaluate.metrics import jaccard
from masklet.evaluate.rows import Album, Row
from masklet.evaluate.subjects import Segmenting, Subject
from masklet.evaluate.user import next_click
from masklet.types import Masks, Prompt

# From candidates and the truth to the id of one of them.
Pick = Callable[[Masks, np.ndarray], int]


@dataclass(frozen=True)
class ImageClicks:
    """IoU after a box and after some clicks, twice over.

    chosen : the user corrects the candidate that the model believes, as a program without a person must
    best : the user corrects the candidate that is closest to the truth, as a person does who sees all three
    """

    clicks: tuple[int, ...] = (1, 3, 5)

    axis = "clicks"
    headline = ("best", "chosen")

    def run(self, subject: Subject, picture: Picture) -> Iterator[Row]:
        image, masks = picture.read()
        session = subject.image(image)
        for id, truth in masks.items():
            if truth.any():
                yield from self._object(session, picture.name, id, truth)

    def _object(self, session: Segmenting, name: str, id: int, truth: np.ndarray) -> Iterator[Row]:
        boxed = session.segment(Prompt(box=tight_box(truth)))
        yield _row(
            name, id, "box", None, truth, best=boxed[closest(boxed, truth)], chosen=boxed[first(boxed, truth)]
        )
        chosen, best = (clicked(session, truth, max(self.clicks), pick) for pick in (first, closest))
        for step, answers in enumerate(zip(chosen, best, strict=True), start=1):
            if step in self.clicks:
                setting = "1 click" if step == 1 else f"{step} clicks"
                yield _row(name, id, setting, step, truth, chosen=answers[0], best=answers[1])


def first(masks: Masks, truth: np.ndarray) -> int:
    """The candidate that the model believes."""
    return masks.ids[0]


def closest(masks: Masks, truth: np.ndarray) -> int:
    """The candidate that agrees best with the truth."""
    return max(masks.ids, key=lambda id: jaccard(truth, masks[id]))


def clicked(session: Segmenting, truth: np.ndarray, clicks: int, pick: Pick) -> Iterator[np.ndarray]:
    """The mask after each click; the next click corrects it, and starts from it."""
    prompt, answer, hint = Prompt(), None, None
    for _ in range(clicks):
        prompt = prompt | next_click(answer, truth)
        masks = session.segment(prompt, hint=hint)
        id = pick(masks, truth)
        answer, hint = masks[id], masks.select(id)
        yield answer


def _row(
    name: str,
    id: int,
    setting: str,
    step: int | None,
    truth: np.ndarray,
    *,
    best: np.ndarray,
    chosen: np.ndarray,
) -> Row:
    scores = {"best": jaccard(truth, best), "chosen": jaccard(truth, chosen)}
    album = Album()
    album.show(0, scores["chosen"], truth, chosen)
    return Row(name, id, setting, step, scores, album.shots)
