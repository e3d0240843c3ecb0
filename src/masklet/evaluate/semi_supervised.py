"""Semi-supervised video segmentation: objects are given where they first appear, then only followed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from masklet.datasets import LabelledVideo
from masklet.evaluate.lives import Life
from masklet.evaluate.metrics import Frames, Tally, scored_frames
from masklet.evaluate.rows import Album, Row
from masklet.evaluate.subjects import Following, Subject
from masklet.evaluate.user import Given, clicks_of, give
from masklet.types import Masks


@dataclass(frozen=True)
class SemiSupervised:
    """J and F after a first-frame mask, box, or clicks.

    given : settings, each followed through the clip by itself
    frames : which annotated frames count; SA-V leaves out each object's own first and last
    """

    given: tuple[Given, ...] = ("mask",)
    frames: Frames = "inner"

    axis = "clicks on the first frame"
    headline = ("J&F",)

    def run(self, subject: Subject, clip: LabelledVideo) -> Iterator[Row]:
        for given in self.given:
            video = subject.video(clip.frames)
            for id, frame in clip.first_frames.items():
                give(video, frame, id, clip.truth(frame).masks[id], given)
            yield from self._follow(video, clip, given)

    def _follow(self, video: Following, clip: LabelledVideo, given: Given) -> Iterator[Row]:
        counts = {id: set(scored_frames(clip.annotated(id), self.frames)) for id in clip.first_frames}
        tallies, albums = {id: Tally() for id in counts}, {id: Album() for id in counts}
        lives = {id: Life(id) for id in counts}
        followed, seconds = 0, 0.0
        for masks, spent in timed(video.propagate()):
            followed, seconds = followed + 1, seconds + spent
            if masks.frame not in clip.labelled:
                continue
            truth = clip.truth(masks.frame)
            answers = answers_of(masks, clip.first_frames, exclusive=clip.exclusive)
            for id, life in lives.items():
                life.live(truth.masks, answers[id])
            for id in (id for id, frames in counts.items() if masks.frame in frames):
                true, answer = truth.pair(id, answers[id])
                agreement = tallies[id].add(masks.frame, true, answer)
                if agreement is not None:
                    albums[id].show(masks.frame, agreement.jf, true, answer)
        for id, tally in tallies.items():
            mean = tally.mean()
            if mean is not None:
                scores = {"J": mean.j, "F": mean.f, "J&F": mean.jf, **lives[id].scores}
                scores["s/frame"] = seconds / followed
                yield Row(clip.name, id, given, clicks_of(given), scores, albums[id].shots)


def answers_of(masks: Masks, ids: Iterable[int], *, exclusive: bool) -> dict[int, np.ndarray]:
    """Each object's mask, bool (H, W); empty where it is not followed yet.

    exclusive : a pixel belongs to one object, as in the label maps that most benchmarks take; SA-V takes each
                object's whole mask
    """
    labels, nothing = masks.label_map() if exclusive else None, np.zeros(masks.size, dtype=bool)
    found = dict.fromkeys(ids, nothing)
    for id in found:
        if id in masks:
            found[id] = masks[id] if labels is None else labels == id
    return found


def timed(frames: Iterator[Masks]) -> Iterator[tuple[Masks, float]]:
    """Each frame's masks, and the seconds that it took to get them."""
    while True:
        started = time.perf_counter()
        masks = next(frames, None)
        if masks is None:
            return
        yield masks, time.perf_counter() - started
