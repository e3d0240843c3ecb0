"""Gates: limits on measures of proposed masklets, which separate reliable masklets from doubtful ones.

This module does not depend on Ray, on reviewers, or on where masklets are stored.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from masklet.engine.proposals import Masklet, Measures
from masklet.errors import MaskletError
from masklet.files import atomic_write, parse_json

FEWEST_RIGHT = 4  # masklets that limits are calibrated on
RIGHT_PASSED = 0.9  # at least this fraction of the correct masklets passes each calibrated gate
LARGEST_LIMIT = 1e6  # limit of a gate that no measure reaches


@dataclass(frozen=True)
class Gate:
    """A limit on one measure.

    Attributes:
        name: Its name in reports.
        limit: A masklet passes if its measure is at least this.
        measure: Maps measures to a number; higher is better.
    """

    name: str
    limit: float
    measure: Callable[[Measures], float]

    def passes(self, measures: Measures) -> bool:
        return self.measure(measures) >= self.limit

    def shortfall(self, measures: Measures) -> float:
        """How far a masklet is below the limit, as a fraction of the limit; 0 if it passes."""
        return max(0.0, (self.limit - self.measure(measures)) / (abs(self.limit) or 1.0))


GATES = (
    Gate("predicted IoU", 0.75, lambda measures: measures.iou),
    Gate("object score", 4.0, lambda measures: measures.score),
    Gate("stability", 0.78, lambda measures: measures.stability),
    Gate("forward and backward agree", 0.8, lambda measures: measures.agreement),
    Gate("area is steady", 0.5, lambda measures: 1 / measures.area_jump),
    Gate("does not fill the frame", 0.6, lambda measures: 1 - measures.area),
    Gate("touches two sides at most", 2.0, lambda measures: 4 - measures.sides),
    Gate("differs from its surroundings", 0.25, lambda measures: measures.contrast),
    Gate("moves relative to its surroundings", 0.1, lambda measures: measures.motion),
)


def pass_all(measures: Measures, gates: Sequence[Gate] = GATES) -> bool:
    return all(gate.passes(measures) for gate in gates)


def review_order(masklets: Sequence[Masklet], gates: Sequence[Gate] = GATES) -> list[Masklet]:
    """The masklets that do not pass every gate, the worst first."""
    doubtful = [masklet for masklet in masklets if not pass_all(masklet.measures, gates)]
    return sorted(doubtful, key=lambda masklet: -sum(gate.shortfall(masklet.measures) for gate in gates))


def calibrate_gates(
    measures: Sequence[Measures], are_right: Sequence[bool], gates: Sequence[Gate] = GATES
) -> tuple[Gate, ...]:
    """The gates, each with the highest limit that at least 90 % of the correct masklets pass.

    With fewer than four correct masklets, the limits are not changed.
    """
    right = [row for row, is_right in zip(measures, are_right, strict=True) if is_right]
    if len(right) < FEWEST_RIGHT:
        return tuple(gates)
    rank = len(right) - math.ceil(round(RIGHT_PASSED * len(right), 6))
    return tuple(replace(gate, limit=float(sorted(map(gate.measure, right))[rank])) for gate in gates)


def write_limits(path: Path, gates: Sequence[Gate]) -> None:
    """Write the limits of gates, by name."""
    with atomic_write(path) as part:
        part.write_text(json.dumps({gate.name: round(gate.limit, 4) for gate in gates}, indent=1) + "\n")


def read_limits(path: Path) -> tuple[Gate, ...]:
    """The gates with the limits in a file; gates that are not in it keep theirs.

    Raises:
        MaskletError: The file cannot be read, or has an unknown gate.
    """
    try:
        limits = parse_json(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise MaskletError(f"{path} cannot be read: {error}.") from error
    names = {gate.name for gate in GATES}
    if not isinstance(limits, dict) or not all(
        name in names and _is_limit(limit) for name, limit in limits.items()
    ):
        raise MaskletError(
            f"{path} must be a JSON object of limits, finite numbers. "
            f"The gates are: {', '.join(sorted(names))}."
        )
    return tuple(replace(gate, limit=float(limits.get(gate.name, gate.limit))) for gate in GATES)


def _is_limit(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST_LIMIT


@dataclass(frozen=True)
class GateScore:
    """The quality of a gate, measured with ground truth.

    Attributes:
        name: The gate's, or "all gates".
        passed: The fraction of masklets that pass.
        precision: The fraction of these that are correct; None if none pass.
        recall: The fraction of the correct ones that pass; None if none are correct.
    """

    name: str
    passed: float
    precision: float | None
    recall: float | None


def score_gates(
    measures: Sequence[Measures], are_right: Sequence[bool], gates: Sequence[Gate] = GATES
) -> list[GateScore]:
    """Precision and recall of each gate and of all together, over the measures of some masklets.

    Example:
        >>> good, bad = Measures(0.9, 5, 0.9, 0.9, 1.1), Measures(0.4, 5, 0.9, 0.9, 1.1)
        >>> first, *_, last = score_gates([good, bad], [True, False])
        >>> first.precision, first.recall, last.passed
        (1.0, 1.0, 0.5)
    """
    return _score(gates, [_passes(row, gates) for row in measures], are_right)


def score_gates_held_out(
    clips: Sequence[tuple[Sequence[Measures], Sequence[bool]]],
    gates: Sequence[Gate] = GATES,
) -> list[GateScore]:
    """Precision and recall of calibrated gates on masklets that did not set their limits.

    The masklets of each clip are tested with limits that `calibrate_gates` chose on all other clips. Whole
    clips are held out, since masklets of one clip are similar.

    Args:
        clips: The measures of each clip's masklets, and which of them are correct. With a single clip, no
            masklet is measured.
        gates: The gates to calibrate.
    """
    passed, right = list[list[bool]](), list[bool]()
    for number, (measures, are_right) in enumerate(clips):
        others = [*clips[:number], *clips[number + 1 :]]
        if others:
            rows = [row for clip, _ in others for row in clip]
            limits = calibrate_gates(rows, [value for _, clip in others for value in clip], gates)
            passed.extend(_passes(row, limits) for row in measures)
            right.extend(are_right)
    return _score(gates, passed, right)


def _passes(measures: Measures, gates: Sequence[Gate]) -> list[bool]:
    """Whether a masklet passes each gate, and all of them."""
    passed = [gate.passes(measures) for gate in gates]
    return [*passed, all(passed)]


def _score(
    gates: Sequence[Gate], passed: Sequence[Sequence[bool]], are_right: Sequence[bool]
) -> list[GateScore]:
    names = [*(gate.name for gate in gates), "all gates"]
    table = np.array(passed, dtype=bool).reshape(len(passed), len(names))
    right = np.array(are_right, dtype=bool)
    scores = []
    for name, passes in zip(names, table.T, strict=True):
        hits = int((passes & right).sum())
        scores.append(
            GateScore(
                name,
                float(passes.mean()) if len(passes) else 0.0,
                hits / int(passes.sum()) if passes.any() else None,
                hits / int(right.sum()) if right.any() else None,
            )
        )
    return scores
