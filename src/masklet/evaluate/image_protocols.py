"""Image segmentation after clicks and from a box, with the click placement of SAM and of RITM.

The first click lies in the centre of the object, each further one in the centre of the largest error.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from masklet.boxes import tight_box
from masklet.evaluate.metrics import jaccard
from masklet.evaluate.predictors import Predictor
from masklet.evaluate.results import ObjectResult, WorstFrames
from masklet.evaluate.samples import PictureSample
from masklet.simulated_user import ImagePredictor, click_image, select_closest, select_first
from masklet.types import ImageCandidates, Prompt


@dataclass(frozen=True)
class ImageClicks:
    """IoU after a box and after some clicks, and the calibration of the predicted IoU.

    The scores of each setting:

    IoU : of the candidate with the highest predicted IoU; clicks correct that one, as a program must choose
    best of 3 : of the candidate that is closest to the truth; clicks correct that one, as a person chooses
    IoU error, IoU bias : |predicted IoU - IoU| and predicted IoU - IoU; not of baselines, which predict none
    """

    clicks: tuple[int, ...] = (1, 3, 5)

    axis = "clicks"
    headline = ("IoU", "best of 3")

    def run(self, predictor: Predictor, sample: PictureSample) -> Iterator[ObjectResult]:
        image, masks = sample.read()
        session = predictor.image(image)
        for id, truth in masks.items():
            if truth.any():
                yield from self._score_object(session, sample.name, id, truth)

    def _score_object(
        self, session: ImagePredictor, name: str, id: int, truth: np.ndarray
    ) -> Iterator[ObjectResult]:
        masks = session.segment(Prompt(box=tight_box(truth)))
        yield _make_result(name, id, "box", None, truth, masks, masks[select_closest(masks, truth)])
        most = max(self.clicks)
        turns = zip(
            click_image(session, truth, most, select_first),
            click_image(session, truth, most, select_closest),
            strict=True,
        )
        for step, ((masks, _), (_, closest)) in enumerate(turns, start=1):
            if step in self.clicks:
                setting = "1 click" if step == 1 else f"{step} clicks"
                yield _make_result(name, id, setting, step, truth, masks, closest)


@dataclass(frozen=True)
class ClicksToTarget:
    """NoC, the number of clicks that it takes to reach an IoU (RITM, arXiv 2102.06583).

    An object that does not reach a target counts with `limit` clicks, and as a failure.
    """

    targets: tuple[float, ...] = (0.85, 0.9)
    limit: int = 20

    axis = "clicks"
    headline = ()

    def run(self, predictor: Predictor, sample: PictureSample) -> Iterator[ObjectResult]:
        image, masks = sample.read()
        session = predictor.image(image)
        for id, truth in masks.items():
            if truth.any():
                yield self._score_object(session, sample.name, id, truth)

    def _score_object(self, session: ImagePredictor, name: str, id: int, truth: np.ndarray) -> ObjectResult:
        reached: dict[float, int] = {}
        worst, iou = WorstFrames(), 0.0
        for step, (_, answer) in enumerate(click_image(session, truth, self.limit, select_first), start=1):
            iou = jaccard(truth, answer)
            reached |= {target: step for target in self.targets if iou >= target and target not in reached}
            if len(reached) == len(self.targets):
                break
        worst.add(0, iou, truth, answer)
        scores: dict[str, float] = {}
        for target in self.targets:
            percent = f"{100 * target:.0f}"
            scores[f"NoC@{percent}"] = float(reached.get(target, self.limit))
            scores[f"failures@{percent}"] = float(target not in reached)
        return ObjectResult(name, id, "clicks", None, {**scores, "last IoU": iou}, worst.frames)


def _make_result(
    name: str,
    id: int,
    setting: str,
    step: int | None,
    truth: np.ndarray,
    masks: ImageCandidates,
    closest: np.ndarray,
) -> ObjectResult:
    answer, predicted = masks.best, float(masks.iou[0])
    iou = jaccard(truth, answer)
    scores = {"IoU": iou, "best of 3": jaccard(truth, closest)}
    if math.isfinite(predicted):
        scores |= {"IoU error": abs(predicted - iou), "IoU bias": predicted - iou}
    worst = WorstFrames()
    worst.add(0, iou, truth, answer)
    return ObjectResult(name, id, setting, step, scores, worst.frames)
