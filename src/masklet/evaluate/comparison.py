"""Memory policies side by side: a table, and pictures of where one gains and loses most.

Each clip is encoded once and followed under every rule.
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
from masklet.errors import MaskletError
from masklet.evaluate.report import Line, painted
from masklet.evaluate.rows import Row
from masklet.evaluate.semi_supervised import SemiSupervised, answers_of
from masklet.evaluate.subjects import Network, Subject
from masklet.evaluate.user import give
from masklet.sessions.feature_cache import FeatureCache
from masklet.sessions.video import VideoSession
from masklet.tracking.policies import POLICIES

SHOWN = 6  # frames of a strip
TILE = 128  # pixels
LEAST = 0.005  # J&F; what differs by less is neither a win nor a loss

Answers = dict[int, dict[int, np.ndarray]]  # by frame and object


@dataclass(frozen=True)
class Rule:
    """A memory policy by its name.

    cuts : scene cuts are watched for
    """

    policy: str
    cuts: bool = False

    @property
    def name(self) -> str:
        return f"{self.policy}, cuts" if self.cuts else self.policy


PLAIN = Rule("recency")
RULES = (*map(Rule, POLICIES), Rule("recency", cuts=True))


@dataclass(frozen=True)
class Policies:
    """J and F after first-frame masks, a setting for each rule.

    `s/frame` is what a frame took to encode, the same under all rules, and to follow.
    """

    rules: tuple[Rule, ...] = RULES

    axis = "clicks on the first frame"
    headline = ("J&F",)

    def run(self, subject: Subject, clip: LabelledVideo) -> Iterator[Row]:
        network, spent = encoded(with_memory(subject), clip)
        for rule in self.rules:
            for row in SemiSupervised().run(replace(network, policy=rule.policy, cuts=rule.cuts), clip):
                scores = {**row.scores, "s/frame": row.scores["s/frame"] + spent}
                yield replace(row, setting=rule.name, scores=scores)


def with_memory(subject: Subject) -> Network:
    """The subject, if it has a memory that rules can be about."""
    if not isinstance(subject, Network):
        raise MaskletError(
            f"policies are rules of a model's memory, which a baseline has not. Got {subject.identity}: "
            "choose a model."
        )
    return subject


def encoded(network: Network, clip: LabelledVideo) -> tuple[Network, float]:
    """The network with every frame of a clip encoded, and the seconds that a frame took."""
    frames = clip.frames
    features = FeatureCache(spill=Path(tempfile.gettempdir()))
    session, spent = VideoSession(network.model, frames, features=features), []
    for frame in range(len(frames)):
        started = time.perf_counter()
        session.features(frame).coarse.flatten()[0].item()  # a GPU has then done it
        spent.append(time.perf_counter() - started)
    return replace(network, features=features), float(np.median(spent))


@dataclass(frozen=True)
class Difference:
    """How much better a rule did than recency on an object of a clip, in J&F."""

    rule: Rule
    item: str
    object: int
    gain: float

    def __str__(self) -> str:
        return f"{self.rule.name}, {self.item}, object {self.object}: {100 * self.gain:+.1f} J&F"


def differences(rows: Sequence[Row], rule: Rule) -> list[Difference]:
    """Of each object, beside recency; the largest loss first."""
    plain = {(row.item, row.object): row.scores["J&F"] for row in rows if row.setting == PLAIN.name}
    found = [
        Difference(rule, row.item, row.object, row.scores["J&F"] - plain[row.item, row.object])
        for row in rows
        if row.setting == rule.name
    ]
    return sorted(found, key=lambda each: each.gain)


def extremes(rows: Sequence[Row], rules: Sequence[Rule] = RULES) -> dict[str, Difference]:
    """Each rule's largest win and largest loss, as far as it has any; by the name of a file."""
    found = {}
    for rule in rules:
        ranked = differences(rows, rule)
        name = rule.name.replace(", ", "-")
        if ranked and ranked[-1].gain > LEAST:
            found[f"{name}-win"] = ranked[-1]
        if ranked and ranked[0].gain < -LEAST:
            found[f"{name}-loss"] = ranked[0]
    return found


def markdown(sets: Mapping[str, Sequence[Row]]) -> str:
    """A table for each set of clips.

    sets : by the set's name, its rows
    """
    parts = []
    for name, rows in sets.items():
        settings = dict.fromkeys(row.setting for row in rows)
        lines = [Line.over(rule, [row for row in rows if row.setting == rule]) for rule in settings]
        columns = list(dict.fromkeys(column for line in lines for column in line.scores))
        count = len({row.item for row in rows})
        parts.append(f"| {name}: {count} clip{'s' if count > 1 else ''} | objects | {' | '.join(columns)} |")
        parts.append("| --- " * (len(columns) + 2) + "|")
        for line in lines:
            cells = (line.shown(column) for column in columns)
            parts.append(f"| {line.label} | {line.objects} | {' | '.join(cells)} |")
        parts.append("")
    return "\n".join(parts)


class Strips:
    """Pictures of clips, which are followed again: each once under each rule."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._encoded: dict[str, Network] = {}
        self._answers: dict[tuple[str, Rule], Answers] = {}

    def strip(self, clip: LabelledVideo, id: int, rules: Sequence[Rule]) -> np.ndarray:
        """One row of pictures for each rule, (H, W, 3) uint8: hit green, missed blue, exceeded red.

        Frames are spread over those on which the rules' answers differ.
        """
        answers = [self._followed(clip, rule) for rule in rules]
        frames = [frame for frame in clip.labelled if all(frame in each for each in answers)]
        first = answers[0]
        differ = [at for at in frames if any((each[at][id] != first[at][id]).any() for each in answers)]
        spread = np.linspace(0, len(differ or frames) - 1, SHOWN).round().astype(int)
        chosen = [(differ or frames)[place] for place in spread]
        rows = [[_tile(clip, id, frame, each[frame][id]) for frame in chosen] for each in answers]
        return np.vstack([np.hstack(row) for row in rows])

    def _followed(self, clip: LabelledVideo, rule: Rule) -> Answers:
        if clip.name not in self._encoded:
            self._encoded[clip.name], _ = encoded(self._network, clip)
        if (clip.name, rule) not in self._answers:
            network = replace(self._encoded[clip.name], policy=rule.policy, cuts=rule.cuts)
            video = network.video(clip.frames)
            for id, frame in clip.first_frames.items():
                give(video, frame, id, clip.truth(frame).masks[id], "mask")
            self._answers[clip.name, rule] = {
                masks.frame: answers_of(masks, clip.first_frames, exclusive=clip.exclusive)
                for masks in video.propagate()
            }
        return self._answers[clip.name, rule]


def _tile(clip: LabelledVideo, id: int, frame: int, answer: np.ndarray) -> np.ndarray:
    truth, answer = clip.truth(frame).pair(id, answer)
    picture = painted(clip.picture(frame), truth, answer)
    width = round(TILE * picture.shape[1] / picture.shape[0])
    return np.asarray(cv2.resize(picture, (width, TILE), interpolation=cv2.INTER_AREA))
