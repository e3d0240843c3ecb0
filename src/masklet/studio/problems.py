"""Frames of a video that a person should check, found in the stored results."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby, pairwise

from sqlalchemy import select
from sqlalchemy.orm import Session

from masklet import rle
from masklet.studio.schemas import Problem, ProblemKind
from masklet.studio.store.tables import Result, Video
from masklet.studio.store.video_history import State, holds_at

DOUBTFUL = 0.5  # confidence below which a mask is doubtful
JUMP = 1.0  # sizes of an object that it moves in one frame
GROWTH = 2.5  # times that an object grows or shrinks in one frame
OVERLAP = 0.1  # allowed share of the smaller mask inside another one
MAX_COMPARISONS = 5_000  # pairs of masks that are compared pixel by pixel
MAX_PROBLEMS = 1_000

Quad = Sequence[float]


@dataclass(frozen=True)
class ResultRow:
    """A result's row for an object on a frame, without its mask."""

    id: int
    object: int
    frame: int
    prompted: bool
    score: float
    confidence: float
    box: list[float] | list[int] | None


@dataclass(frozen=True)
class Finding:
    """A problem on one frame."""

    kind: ProblemKind
    frame: int
    object: int
    other: int | None
    value: float


def find_problems(session: Session, video: Video, state: State) -> list[Problem]:
    """The problems of a video, by frame. Neighbouring frames with the same problem are one.

    Args:
        session: Of the database.
        video: The row of the video.
        state: Its state.
    """
    columns = (
        Result.id,
        Result.object,
        Result.frame,
        Result.prompted,
        Result.score,
        Result.confidence,
        Result.box,
    )
    where = holds_at(video.id, state.head), Result.object.in_(state.objects)
    ordered = select(*columns).where(*where).order_by(Result.object, Result.frame)
    rows = [ResultRow(*row) for row in session.execute(ordered)]
    findings = [
        *_in_objects(rows),
        *_overlaps(session, rows, (video.height, video.width)),
    ]
    reviewed = state.reviewed
    prompted = {(row.object, row.frame) for row in rows if row.prompted}
    open_findings = [
        finding
        for finding in findings
        if (finding.object, finding.frame) not in prompted
        and not any(start <= finding.frame < stop for start, stop in reviewed)
    ]
    problems = [_problem(run, state) for run in _runs(open_findings)]
    return sorted(problems, key=lambda problem: (problem.start, problem.object))[:MAX_PROBLEMS]


def _in_objects(rows: Sequence[ResultRow]) -> Iterator[Finding]:
    for id, group in groupby(rows, key=lambda row: row.object):
        results = list(group)
        seen = False
        for row in results:
            if row.score <= 0:
                if seen:
                    yield Finding("lost", row.frame, id, None, row.confidence)
                continue
            seen = True
            if row.confidence < DOUBTFUL:
                yield Finding("doubtful", row.frame, id, None, row.confidence)
        for before, row in pairwise(results):
            if row.frame == before.frame + 1 and before.box and row.box and min(before.score, row.score) > 0:
                jump = _jump(before.box, row.box)
                if jump is not None:
                    yield Finding("jump", row.frame, id, None, jump)


def _jump(before: Quad, box: Quad) -> float | None:
    """An object's motion relative to its size, or the factor of its growth or shrinking; None if small."""
    sides = [math.sqrt((x1 - x0) * (y1 - y0)) for x0, y0, x1, y1 in (before, box)]
    if not all(sides):
        return None
    moved = math.dist(_center(before), _center(box)) / max(sides)
    growth = (max(sides) / min(sides)) ** 2
    if moved <= JUMP and growth <= GROWTH:
        return None
    return moved if moved > JUMP else growth


def _center(box: Quad) -> tuple[float, float]:
    x0, y0, x1, y1 = box
    return (x0 + x1) / 2, (y0 + y1) / 2


def _overlaps(session: Session, rows: Sequence[ResultRow], size: tuple[int, int]) -> Iterator[Finding]:
    frames: dict[int, list[ResultRow]] = defaultdict(list)
    for row in rows:
        if row.box:
            frames[row.frame].append(row)
    pairs = [
        (first, second)
        for frame in sorted(frames)
        for first, second in combinations(frames[frame], 2)
        if first.box and second.box and _intersect(first.box, second.box)
    ][:MAX_COMPARISONS]
    for start in range(0, len(pairs), 200):
        some = pairs[start : start + 200]
        ids = {row.id for pair in some for row in pair}
        masks = session.execute(select(Result.id, Result.counts).where(Result.id.in_(ids)))
        counts = {id: code for id, code in masks}
        for first, second in some:
            one, other = (rle.RLE(size=list(size), counts=counts[row.id]) for row in (first, second))
            share = rle.containment(one, other)
            if share > OVERLAP:
                yield Finding("overlap", first.frame, first.object, second.object, share)


def _intersect(first: Quad, second: Quad) -> bool:
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]


def _runs(findings: Iterable[Finding]) -> Iterator[list[Finding]]:
    """Findings of the same kind on neighbouring frames."""
    run: list[Finding] = []
    order = sorted(findings, key=lambda item: (item.kind, item.object, item.other or 0, item.frame))
    for finding in order:
        last = run[-1] if run else None
        if last is not None and (
            (last.kind, last.object, last.other) != (finding.kind, finding.object, finding.other)
            or finding.frame > last.frame + 1
            or finding.kind == "jump"
        ):
            yield run
            run = []
        run.append(finding)
    if run:
        yield run


def _problem(run: Sequence[Finding], state: State) -> Problem:
    first, last = run[0], run[-1]
    values = [finding.value for finding in run]
    name = state.objects[first.object].name
    where = f"frame {first.frame}" if len(run) == 1 else f"frames {first.frame} to {last.frame}"
    match first.kind:
        case "lost":
            value, message = min(values), f"{name} is lost on {where}."
        case "doubtful":
            value, message = min(values), f"{name} is doubtful on {where} ({min(values):.2f})."
        case "jump":
            value, message = max(values), f"{name} jumps on {where}."
        case _:
            other = state.objects[first.other or 0].name
            value, message = max(values), f"{name} and {other} overlap on {where} ({max(values):.0%})."
    return Problem(
        kind=first.kind,
        start=first.frame,
        stop=last.frame + 1,
        object=first.object,
        other=first.other,
        value=round(value, 3),
        message=message,
    )
