"""Several subjects on several sets of clips: a table, and pictures of where one gains and loses most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from masklet.evaluate.layouts import Clip
from masklet.evaluate.report import Line, painted
from masklet.evaluate.rows import Row
from masklet.evaluate.semi_supervised import answers_of
from masklet.evaluate.subjects import Subject
from masklet.evaluate.user import Given, give

SHOWN = 6  # frames of a strip
TILE = 128  # pixels


@dataclass(frozen=True)
class Difference:
    """How much better one subject did than another on an object of a clip, in J&F."""

    item: str
    object: int
    gain: float


def differences(rows: Sequence[Row], others: Sequence[Row]) -> list[Difference]:
    """Of each object of which both have a row; the largest loss first."""
    theirs = {(row.item, row.object): row.scores["J&F"] for row in others}
    found = [
        Difference(row.item, row.object, row.scores["J&F"] - theirs[row.item, row.object])
        for row in rows
        if (row.item, row.object) in theirs
    ]
    return sorted(found, key=lambda each: each.gain)


def markdown(sets: Mapping[str, Mapping[str, Sequence[Row]]]) -> str:
    """Tables as text.

    sets : by the set's name, by the subject's name, its rows there
    """
    parts = []
    for name, subjects in sets.items():
        lines = [Line.over(subject, rows) for subject, rows in subjects.items()]
        columns = list(dict.fromkeys(column for line in lines for column in line.scores))
        parts.append(f"| {name} | objects | {' | '.join(columns)} |")
        parts.append("| --- " * (len(columns) + 2) + "|")
        for line in lines:
            cells = (line.shown(column) for column in columns)
            parts.append(f"| {line.label} | {line.objects} | {' | '.join(cells)} |")
        parts.append("")
    return "\n".join(parts)


def strip(clip: Clip, id: int, given: Given, subjects: Sequence[Subject]) -> np.ndarray:
    """One row of pictures for each subject, (H, W, 3) uint8: hit green, missed blue, exceeded red.

    Frames are spread over those on which the subjects' answers differ.
    """
    answers = [_followed(clip, id, given, subject) for subject in subjects]
    frames = [frame for frame in clip.labels if all(frame in each for each in answers)]
    differ = [frame for frame in frames if any((each[frame] != answers[0][frame]).any() for each in answers)]
    spread = np.linspace(0, len(differ or frames) - 1, SHOWN).round().astype(int)
    chosen = [(differ or frames)[place] for place in spread]
    rows = []
    for each in answers:
        tiles = [
            painted(clip.picture(frame), clip.truth(frame).pair(id, each[frame])[0], each[frame])
            for frame in chosen
        ]
        rows.append(np.hstack([_tile(tile) for tile in tiles]))
    return np.vstack(rows)


def _followed(clip: Clip, id: int, given: Given, subject: Subject) -> dict[int, np.ndarray]:
    video = subject.video(clip.frames)
    for each, frame in clip.first_frames.items():
        give(video, frame, each, clip.truth(frame).masks[each], given)
    return {masks.frame: answers_of(masks, [id], exclusive=clip.exclusive)[id] for masks in video.propagate()}


def _tile(picture: np.ndarray) -> np.ndarray:
    width = round(TILE * picture.shape[1] / picture.shape[0])
    return np.asarray(cv2.resize(picture, (width, TILE), interpolation=cv2.INTER_AREA))
