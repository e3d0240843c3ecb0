"""Compares memory policies: a table, and images of each policy's largest gain and loss.

Each clip is encoded once and tracked with every policy.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from masklet.datasets import LabelledVideo
from masklet.evaluate.predictors import ModelPredictor, Predictor, prompt_object, require_model
from masklet.evaluate.protocols import SemiSupervised, split_masks
from masklet.evaluate.report import ObjectResult, TableRow, paint_errors
from masklet.sessions.feature_cache import FeatureCache
from masklet.sessions.video import VideoSession
from masklet.tracking.policies import POLICIES

STRIP_FRAMES = 6
TILE = 128  # pixels
MIN_DIFFERENCE = 0.005  # J&F; smaller differences are neither gains nor losses

MasksByFrame = dict[int, dict[int, np.ndarray]]  # by clip, then by object


@dataclass(frozen=True)
class PolicyVariant:
    """A memory policy by its name, with or without detection of scene cuts."""

    policy: str
    cuts: bool = False

    @property
    def name(self) -> str:
        return f"{self.policy}, cuts" if self.cuts else self.policy


RECENCY = PolicyVariant("recency")
VARIANTS = (*map(PolicyVariant, POLICIES), PolicyVariant("recency", cuts=True))


@dataclass(frozen=True)
class PolicyComparison:
    """J and F after first-frame masks, a setting for each policy.

    `s/frame` is the time to encode a frame, which all policies share, and to track it.
    """

    variants: tuple[PolicyVariant, ...] = VARIANTS

    axis = "clicks on the first frame"
    headline = ("J&F",)

    def run(self, predictor: Predictor, clip: LabelledVideo) -> Iterator[ObjectResult]:
        encoded, spent = encode_clip(require_model(predictor, "memory policies need a model"), clip)
        for variant in self.variants:
            variant_predictor = replace(encoded, policy=variant.policy, cuts=variant.cuts)
            for result in SemiSupervised().run(variant_predictor, clip):
                scores = {**result.scores, "s/frame": result.scores["s/frame"] + spent}
                yield replace(result, setting=variant.name, scores=scores)


def encode_clip(predictor: ModelPredictor, clip: LabelledVideo) -> tuple[ModelPredictor, float]:
    """The predictor with every frame of a clip encoded, and the seconds per frame."""
    frames = clip.frames
    features = FeatureCache(spill=Path(tempfile.gettempdir()))
    session, spent = VideoSession(predictor.model, frames, features=features), []
    for frame in range(len(frames)):
        started = time.perf_counter()
        session.features(frame).coarse.flatten()[0].item()  # waits for a GPU
        spent.append(time.perf_counter() - started)
    return replace(predictor, features=features), float(np.median(spent))


@dataclass(frozen=True)
class Difference:
    """The gain of a policy over recency on an object of a clip, in J&F."""

    variant: PolicyVariant
    sample: str
    object: int
    gain: float

    def __str__(self) -> str:
        return f"{self.variant.name}, {self.sample}, object {self.object}: {100 * self.gain:+.1f} J&F"


def rank_differences(results: Sequence[ObjectResult], variant: PolicyVariant) -> list[Difference]:
    """The difference on each object; the largest loss first."""
    recency = {
        (result.sample, result.object): result.scores["J&F"]
        for result in results
        if result.setting == RECENCY.name
    }
    gains = [
        Difference(
            variant,
            result.sample,
            result.object,
            result.scores["J&F"] - recency[result.sample, result.object],
        )
        for result in results
        if result.setting == variant.name
    ]
    return sorted(gains, key=lambda difference: difference.gain)


def find_extremes(
    results: Sequence[ObjectResult], variants: Sequence[PolicyVariant] = VARIANTS
) -> dict[str, Difference]:
    """Each policy's largest gain and largest loss, if any, by file name."""
    by_name = {}
    for variant in variants:
        ranked = rank_differences(results, variant)
        name = variant.name.replace(", ", "-")
        if ranked and ranked[-1].gain > MIN_DIFFERENCE:
            by_name[f"{name}-win"] = ranked[-1]
        if ranked and ranked[0].gain < -MIN_DIFFERENCE:
            by_name[f"{name}-loss"] = ranked[0]
    return by_name


def make_markdown(suites: Mapping[str, Sequence[ObjectResult]]) -> str:
    """A table for each suite of clips.

    Args:
        suites: The results by suite name.
    """
    parts = []
    for name, results in suites.items():
        settings = dict.fromkeys(result.setting for result in results)
        rows = [
            TableRow.over(setting, [result for result in results if result.setting == setting])
            for setting in settings
        ]
        columns = list(dict.fromkeys(column for row in rows for column in row.scores))
        count = len({result.sample for result in results})
        parts.append(f"| {name}: {count} clip{'s' if count > 1 else ''} | objects | {' | '.join(columns)} |")
        parts.append("| --- " * (len(columns) + 2) + "|")
        for row in rows:
            cells = (row.format(column) for column in columns)
            parts.append(f"| {row.label} | {row.objects} | {' | '.join(cells)} |")
        parts.append("")
    return "\n".join(parts)


class StripPainter:
    """Draws strips of frames; each clip is tracked again with each policy."""

    def __init__(self, predictor: ModelPredictor) -> None:
        self._predictor = predictor
        self._encoded: dict[str, ModelPredictor] = {}
        self._masks: dict[tuple[str, PolicyVariant], MasksByFrame] = {}

    def paint(self, clip: LabelledVideo, id: int, variants: Sequence[PolicyVariant]) -> np.ndarray:
        """One strip for each policy, (H, W, 3) uint8: hit green, missed blue, exceeded red.

        The frames are spread over those on which the policies' answers differ.
        """
        answers = [self._track(clip, variant) for variant in variants]
        frames = [frame for frame in clip.labelled if all(frame in masks for masks in answers)]
        first = answers[0]
        differing = [
            frame
            for frame in frames
            if any((masks[frame][id] != first[frame][id]).any() for masks in answers)
        ]
        candidates = differing or frames
        places = np.linspace(0, len(candidates) - 1, STRIP_FRAMES).round().astype(int)
        chosen = [candidates[place] for place in places]
        strips = [
            np.hstack([_paint_tile(clip, id, frame, masks[frame][id]) for frame in chosen])
            for masks in answers
        ]
        return np.vstack(strips)

    def _track(self, clip: LabelledVideo, variant: PolicyVariant) -> MasksByFrame:
        if clip.name not in self._encoded:
            self._encoded[clip.name], _ = encode_clip(self._predictor, clip)
        if (clip.name, variant) not in self._masks:
            predictor = replace(self._encoded[clip.name], policy=variant.policy, cuts=variant.cuts)
            video = predictor.video(clip.frames)
            for id, frame in clip.first_frames.items():
                prompt_object(video, frame, id, clip.truth(frame).masks[id], "mask")
            self._masks[clip.name, variant] = {
                masks.frame: split_masks(masks, clip.first_frames, exclusive=clip.exclusive)
                for masks in video.propagate()
            }
        return self._masks[clip.name, variant]


def _paint_tile(clip: LabelledVideo, id: int, frame: int, answer: np.ndarray) -> np.ndarray:
    truth, answer = clip.truth(frame).pair(id, answer)
    image = paint_errors(clip.image(frame), truth, answer)
    width = round(TILE * image.shape[1] / image.shape[0])
    return np.asarray(cv2.resize(image, (width, TILE), interpolation=cv2.INTER_AREA))
