"""The protocols of evaluations: prompted and corrected videos, everything in a video, clicks on images.

Offline and online corrections are those of the paper (arXiv 2408.00714, app. E.1.2).

`docs/evaluation.md` describes how details are handled that the paper does not specify.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from masklet import rle
from masklet.auto import everything_in_video
from masklet.boxes import tight_box
from masklet.datasets import LabelledVideo
from masklet.evaluate.metrics import (
    SAME_OBJECT_J,
    Agreement,
    IdentityScore,
    ObjectScore,
    ScoredFrames,
    TrackScore,
    jaccard,
    measure_agreement,
    scored_frames,
)
from masklet.evaluate.predictors import (
    Predictor,
    PromptKind,
    VideoPredictor,
    click_object,
    count_clicks,
    prompt_object,
    require_model,
)
from masklet.evaluate.report import WORST_FRAMES, ObjectResult, WorstFrame, WorstFrames
from masklet.evaluate.samples import ImageSample
from masklet.simulated_user import ImagePredictor, click_image, select_closest, select_first
from masklet.types import ImageCandidates, Masks, Prompt

INTERACTIONS = 8  # frames
CLICKS = 3  # on each of them
ACCEPTED_J = 0.75  # J below which an online user stops at a frame

# The paper's time model, in seconds.
LOCATE = 1.0  # the object on a frame
CLICK = 1.5
WATCH = 30 / 300  # a frame of the result


@dataclass(frozen=True)
class SemiSupervised:
    """J and F after a prompt on the first frame with the object; nothing for a clip without objects.

    Attributes:
        prompts: The settings; the clip is tracked again for each.
        frames: The annotated frames that are scored; SA-V leaves out each object's own first and last.
    """

    prompts: tuple[PromptKind, ...] = ("mask",)
    frames: ScoredFrames = "inner"

    axis = "clicks on the first frame"
    headline = ("J&F",)

    def run(self, predictor: Predictor, clip: LabelledVideo) -> Iterator[ObjectResult]:
        for kind in self.prompts:
            video = predictor.video(clip.frames)
            for id, frame in clip.first_frames.items():
                prompt_object(video, frame, id, clip.truth(frame).masks[id], kind)
            if clip.first_frames:
                yield from self._track(video, clip, kind)

    def _track(self, video: VideoPredictor, clip: LabelledVideo, kind: PromptKind) -> Iterator[ObjectResult]:
        counted = {id: set(scored_frames(clip.annotated_frames(id), self.frames)) for id in clip.first_frames}
        scores, worst = {id: ObjectScore() for id in counted}, {id: WorstFrames() for id in counted}
        identities = {id: IdentityScore(id) for id in counted}
        tracked, seconds = 0, 0.0
        for masks, spent in _time_frames(video.propagate()):
            tracked, seconds = tracked + 1, seconds + spent
            if masks.frame not in clip.labelled:
                continue
            truth = clip.truth(masks.frame)
            answers = split_masks(masks, clip.first_frames, exclusive=clip.exclusive)
            for id, identity in identities.items():
                identity.add(truth.masks, answers[id])
            for id in (id for id, frames in counted.items() if masks.frame in frames):
                true, answer = truth.pair(id, answers[id])
                agreement = scores[id].add(masks.frame, true, answer)
                if agreement is not None:
                    worst[id].add(masks.frame, agreement.jf, true, answer)
        for id, score in scores.items():
            mean = score.mean()
            if mean is not None:
                named = {"J": mean.j, "F": mean.f, "J&F": mean.jf, **identities[id].scores}
                named["s/frame"] = seconds / tracked
                yield ObjectResult(clip.name, id, kind, count_clicks(kind), named, worst[id].frames)


def split_masks(masks: Masks, ids: Iterable[int], *, exclusive: bool) -> dict[int, np.ndarray]:
    """Each object's mask, bool (H, W); empty where it is not tracked yet.

    Args:
        exclusive: Assign each pixel to one object, as in the label maps of most benchmarks; SA-V uses each
            object's whole mask.
    """
    labels, empty = masks.label_map() if exclusive else None, np.zeros(masks.size, dtype=bool)
    by_id = dict.fromkeys(ids, empty)
    for id in by_id:
        if id in masks:
            by_id[id] = masks[id] if labels is None else labels == id
    return by_id


def _time_frames(frames: Iterator[Masks]) -> Iterator[tuple[Masks, float]]:
    """Each frame's masks, and the seconds that the predictor took for them."""
    while True:
        started = time.perf_counter()
        masks = next(frames, None)
        if masks is None:
            return
        yield masks, time.perf_counter() - started


@dataclass(frozen=True)
class Offline:
    """The user watches the whole result and corrects the frame with the lowest J; then tracking restarts."""

    axis = "frames interacted with"
    headline = ("J&F",)

    def run(self, predictor: Predictor, clip: LabelledVideo) -> Iterator[ObjectResult]:
        for id, first in clip.first_frames.items():
            obj = InteractiveObject(clip, id, predictor.video(clip.frames))
            frame: int | None = first
            for step in range(1, INTERACTIONS + 1):
                if frame is not None:
                    obj.correct(frame)
                    obj.track(first)
                    frame = obj.worst_frame()
                yield obj.result("offline", step, watched=len(obj.corrected) * len(clip.frames))


@dataclass(frozen=True)
class Online:
    """The user watches once and stops to correct where J is below 0.75; earlier frames keep their masks."""

    axis = "frames interacted with"
    headline = ("J&F",)

    def run(self, predictor: Predictor, clip: LabelledVideo) -> Iterator[ObjectResult]:
        for id, first in clip.first_frames.items():
            obj = InteractiveObject(clip, id, predictor.video(clip.frames))
            frame: int | None = first
            for step in range(1, INTERACTIONS + 1):
                if frame is not None:
                    obj.correct(frame)
                    obj.track(frame)
                    frame = obj.next_below(ACCEPTED_J, frame)
                yield obj.result("online", step, watched=len(clip.frames))


@dataclass
class InteractiveObject:
    """One object of a clip, its corrected frames, and the newest answers."""

    clip: LabelledVideo
    id: int
    video: VideoPredictor
    corrected: list[int] = field(default_factory=list)
    answers: dict[int, rle.RLE] = field(default_factory=dict)
    agreements: dict[int, Agreement] = field(default_factory=dict)

    def correct(self, frame: int) -> None:
        answer = rle.decode(self.answers[frame]) if frame in self.answers else None
        click_object(self.video, frame, self.id, self._truth(frame), answer, CLICKS)
        self.corrected.append(frame)

    def track(self, start: int) -> None:
        """Track the object from a frame to the end, and score the annotated frames."""
        annotated = set(self.clip.annotated_frames(self.id))
        for masks in self.video.propagate(start):
            if masks.frame in annotated:
                truth, answer = self.clip.truth(masks.frame).pair(self.id, masks[self.id])
                self.answers[masks.frame] = rle.encode(answer)
                self.agreements[masks.frame] = measure_agreement(truth, answer)

    def worst_frame(self) -> int | None:
        """The frame with the lowest J of those not corrected yet."""
        left = [frame for frame in self.agreements if frame not in self.corrected]
        return min(left, key=lambda frame: self.agreements[frame].j, default=None)

    def next_below(self, j: float, after: int) -> int | None:
        """The first frame after another whose J is below a value."""
        return next(
            (frame for frame in sorted(self.agreements) if frame > after and self.agreements[frame].j < j),
            None,
        )

    def result(self, setting: str, step: int, *, watched: int) -> ObjectResult:
        """Scores over all annotated frames since the object appeared, and the user's time.

        Args:
            step: The allowed number of corrections; those that were not needed take no time.
            watched: Frames that the user watched.
        """
        mean = Agreement.mean(self.agreements.values())
        seconds = len(self.corrected) * (LOCATE + CLICKS * CLICK) + watched * WATCH
        scores = {"J": mean.j, "F": mean.f, "J&F": mean.jf, "user s": seconds}
        worst = sorted(self.agreements, key=lambda frame: self.agreements[frame].jf)[:WORST_FRAMES]
        return ObjectResult(
            self.clip.name, self.id, setting, step, scores, tuple(map(self._worst_frame, worst))
        )

    def _worst_frame(self, frame: int) -> WorstFrame:
        truth = rle.encode(self._truth(frame))
        return WorstFrame(frame, self.agreements[frame].jf, truth, self.answers[frame])

    def _truth(self, frame: int) -> np.ndarray:
        height, width = self.clip.frames.size
        return self.clip.truth(frame).pair(self.id, np.zeros((height, width), dtype=bool))[0]


@dataclass(frozen=True)
class Everything:
    """Everything in a video is found and tracked without prompts: HOTA and IDF1 of all masklets of a clip.

    Tracked objects without annotation lower these, so the truth should label everything. `recall` does not
    need that: it is the fraction of objects that a masklet follows, at a mean J of 0.5 or more.

    Attributes:
        grid: The grid of points: fast, balanced, dense.
    """

    grid: str = "balanced"

    axis = "frames"
    headline = ("HOTA",)

    def run(self, predictor: Predictor, clip: LabelledVideo) -> Iterator[ObjectResult]:
        model = require_model(predictor, "only a model can find everything in a video")
        masklets = everything_in_video(
            model.model, clip.frames, self.grid, policy=model.policy, cuts=model.cuts
        )
        tracks, overlaps, labelled = TrackScore(), dict[tuple[int, int], float](), set(clip.labelled)
        frames = Counter[int]()
        for masks in masklets:
            if masks.frame not in labelled:
                continue
            truth = clip.truth(masks.frame)
            answers = split_masks(masks, masks.ids, exclusive=clip.exclusive)
            visible = {id: mask for id, mask in truth.masks.items() if mask.any()}
            if truth.undecided is not None:
                answers = {id: mask & ~truth.undecided for id, mask in answers.items()}
            tracks.add(visible, answers)
            frames.update(visible.keys())
            for id, mask in visible.items():
                for answer_id, answer in answers.items():
                    j = overlaps.get((id, answer_id), 0.0)
                    overlaps[id, answer_id] = j + jaccard(mask, answer)
        follows = [
            any(j / count >= SAME_OBJECT_J for (true_id, _), j in overlaps.items() if true_id == id)
            for id, count in frames.items()
        ]
        if follows:
            scores = {**tracks.scores(), "recall": float(np.mean(follows))}
            yield ObjectResult(clip.name, 0, "everything", None, scores)


@dataclass(frozen=True)
class ImageClicks:
    """IoU after a box and after some clicks, and the calibration of the predicted IoU.

    The scores of each setting:

    IoU : of the candidate with the highest predicted IoU; clicks correct that one, as a program would choose
    best of 3 : of the candidate that is closest to the truth; clicks correct that one, as a person would
    choose IoU error, IoU bias : |predicted IoU - IoU| and predicted IoU - IoU; not for baselines, which
    predict none
    """

    clicks: tuple[int, ...] = (1, 3, 5)

    axis = "clicks"
    headline = ("IoU", "best of 3")

    def run(self, predictor: Predictor, sample: ImageSample) -> Iterator[ObjectResult]:
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
    """NoC, the number of clicks needed to reach an IoU (RITM, arXiv 2102.06583).

    An object that does not reach a target counts with `limit` clicks, and as a failure.
    """

    targets: tuple[float, ...] = (0.85, 0.9)
    limit: int = 20

    axis = "clicks"
    headline = ()

    def run(self, predictor: Predictor, sample: ImageSample) -> Iterator[ObjectResult]:
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
