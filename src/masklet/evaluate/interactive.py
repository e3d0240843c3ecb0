"""Interactive video segmentation by the paper's two protocols (arXiv 2408.00714, app. E.1.2).

Each object by itself; three clicks on each frame that the user interacts with, beginning with the frame that
first shows the object; one to eight such frames. `docs/evaluation.md` settles what the paper leaves open.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from masklet import rle
from masklet.datasets import LabelledVideo
from masklet.evaluate.metrics import Agreement, agree
from masklet.evaluate.rows import SHOTS, Row, Shot
from masklet.evaluate.subjects import Following, Subject
from masklet.evaluate.user import click

INTERACTIONS = 8  # frames
CLICKS = 3  # on each of them
GOOD_ENOUGH = 0.75  # J at which an online user does not stop

# The paper's time model, in seconds.
LOCATE = 1.0  # the object on a frame
CLICK = 1.5
EXAMINE = 30 / 300  # a frame, while watching the result


@dataclass(frozen=True)
class Offline:
    """The user watches the whole result, corrects the frame with the lowest J, and has all followed anew."""

    axis = "frames interacted with"
    headline = ("J&F",)

    def run(self, subject: Subject, clip: LabelledVideo) -> Iterator[Row]:
        for id, first in clip.first_frames.items():
            watched = Watched(clip, id, subject.video(clip.frames))
            frame: int | None = first
            for step in range(1, INTERACTIONS + 1):
                if frame is not None:
                    watched.correct(frame)
                    watched.follow(first)
                    frame = watched.lowest()
                yield watched.row("offline", step, examined=len(watched.corrected) * len(clip.frames))


@dataclass(frozen=True)
class Online:
    """The user watches once and stops to correct where J falls below 0.75; what is past stays as it was."""

    axis = "frames interacted with"
    headline = ("J&F",)

    def run(self, subject: Subject, clip: LabelledVideo) -> Iterator[Row]:
        for id, first in clip.first_frames.items():
            watched = Watched(clip, id, subject.video(clip.frames))
            frame: int | None = first
            for step in range(1, INTERACTIONS + 1):
                if frame is not None:
                    watched.correct(frame)
                    watched.follow(frame)
                    frame = watched.next_below(GOOD_ENOUGH, frame)
                yield watched.row("online", step, examined=len(clip.frames))


@dataclass
class Watched:
    """One object of a clip as the user sees it: where it was corrected, and the newest answers."""

    clip: LabelledVideo
    id: int
    video: Following
    corrected: list[int] = field(default_factory=list)
    answers: dict[int, rle.RLE] = field(default_factory=dict)
    agreements: dict[int, Agreement] = field(default_factory=dict)

    def correct(self, frame: int) -> None:
        standing = rle.decode(self.answers[frame]) if frame in self.answers else None
        click(self.video, frame, self.id, self._truth(frame), standing, CLICKS)
        self.corrected.append(frame)

    def follow(self, start: int) -> None:
        """Follow the object from a frame to the end, and compare the annotated frames."""
        annotated = set(self.clip.annotated(self.id))
        for masks in self.video.propagate(start):
            if masks.frame in annotated:
                truth, answer = self.clip.truth(masks.frame).pair(self.id, masks[self.id])
                self.answers[masks.frame] = rle.encode(answer)
                self.agreements[masks.frame] = agree(truth, answer)

    def lowest(self) -> int | None:
        """The frame with the lowest J of those not corrected yet."""
        left = [frame for frame in self.agreements if frame not in self.corrected]
        return min(left, key=lambda frame: self.agreements[frame].j, default=None)

    def next_below(self, j: float, after: int) -> int | None:
        """The first frame after another on which J is too low."""
        return next(
            (frame for frame in sorted(self.agreements) if frame > after and self.agreements[frame].j < j),
            None,
        )

    def row(self, setting: str, step: int, *, examined: int) -> Row:
        """Scores over all annotated frames since the object appeared, and the user's time.

        step : corrections that the user was allowed; those that were not needed took no time
        examined : frames watched
        """
        mean = Agreement.mean(self.agreements.values())
        seconds = len(self.corrected) * (LOCATE + CLICKS * CLICK) + examined * EXAMINE
        scores = {"J": mean.j, "F": mean.f, "J&F": mean.jf, "user s": seconds}
        worst = sorted(self.agreements, key=lambda frame: self.agreements[frame].jf)[:SHOTS]
        return Row(self.clip.name, self.id, setting, step, scores, tuple(map(self._shot, worst)))

    def _shot(self, frame: int) -> Shot:
        truth = rle.encode(self._truth(frame))
        return Shot(frame, self.agreements[frame].jf, truth, self.answers[frame])

    def _truth(self, frame: int) -> np.ndarray:
        height, width = self.clip.frames.size
        return self.clip.truth(frame).pair(self.id, np.zeros((height, width), dtype=bool))[0]
