"""One round of the loop on clips whose truth is known: propose masklets, sort them by gates, review them.

Knows nothing of training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from masklet.auto import Grid
from masklet.datasets.types import Clip
from masklet.engine.gates import (
    GATES,
    Gate,
    GateScore,
    Masklet,
    calibrate_gates,
    pass_all,
    propose_masklets,
    review_order,
    score_gates,
)
from masklet.engine.proposals import write_accepted
from masklet.engine.simulated_person import RIGHT_J, SimulatedPerson, find_object
from masklet.media import open_frames
from masklet.model import Sam2

TRUSTED = 0.8  # masklets pass without a person where this precision was reached in calibration
FEWEST_PASSED = 8  # masklets that pass in calibration; fewer say too little


@dataclass(frozen=True)
class Calibration:
    """Gates with limits from clips whose truth is known, and their worth on these clips."""

    gates: tuple[Gate, ...]
    scores: Sequence[GateScore]
    proposed: int

    @property
    def is_trusted(self) -> bool:
        together = self.scores[-1]
        enough = together.passed * self.proposed >= FEWEST_PASSED
        return enough and together.precision is not None and together.precision >= TRUSTED


def calibrate(model: Sam2, clips: Sequence[Clip], grid: Grid, max_objects: int) -> Calibration:
    """Choose the limits of the gates on clips that no round uses."""
    masklets, are_right = propose_all(model, clips, grid, max_objects)
    gates = calibrate_gates(masklets, are_right, GATES)
    return Calibration(gates, score_gates(masklets, are_right, gates), len(masklets))


def propose_all(
    model: Sam2, clips: Sequence[Clip], grid: Grid, max_objects: int
) -> tuple[list[Masklet], list[bool]]:
    """The masklets of all clips, and which of them are right."""
    masklets, are_right = list[Masklet](), list[bool]()
    for number, clip in enumerate(clips):
        for masklet in propose_masklets(model, open_frames(clip.images), grid, max_objects=max_objects):
            masklets.append(replace(masklet, video=f"clip-{number:03d}"))
            are_right.append(find_object(masklet, clip.masks)[1] >= RIGHT_J)
    return masklets, are_right


def run_round(
    model: Sam2,
    clips: Sequence[Clip],
    grid: Grid,
    max_objects: int,
    calibration: Calibration,
    accepted: Path,
    number: int,
) -> Round:
    """Propose, sort and review the masklets of some clips.

    Args:
        model: The network.
        clips: With their truth, which only the simulated person and the report see.
        grid: Of the proposals.
        max_objects: Masklets of a clip.
        calibration: The gates, and whether what passes is taken without a person.
        accepted: The folder of the training data, of all rounds.
        number: Of the round.
    """
    masklets, are_right = propose_all(model, clips, grid, max_objects)
    gates = calibration.gates
    passes = [pass_all(masklet.measures, gates) for masklet in masklets]
    outcomes = {"accepted": 0, "corrected": 0, "added": 0, "rejected": 0}
    seconds = 0.0
    for index, clip in enumerate(clips):
        name, frames = f"clip-{index:03d}", open_frames(clip.images)
        rows = [
            (masklet, passed)
            for masklet, passed in zip(masklets, passes, strict=True)
            if masklet.video == name
        ]
        taken = [masklet for masklet, passed in rows if passed and calibration.is_trusted]
        queue = review_order([masklet for masklet, passed in rows if not passed], gates)
        if not calibration.is_trusted:  # those that pass are looked at first
            queue = [masklet for masklet, passed in rows if passed] + queue
        person = SimulatedPerson(model, frames, clip.masks, taken)
        for masklet in queue:
            outcomes[person.review(masklet)] += 1
        outcomes["added"] += person.add_missing()
        seconds += person.seconds
        codes = [*(masklet.codes for masklet in taken), *person.accepted.values()]
        if codes:
            write_accepted(accepted / f"round-{number}-{name}", frames, dict(enumerate(codes, 1)))
    right = sum(is_right for is_right, passed in zip(are_right, passes, strict=True) if passed)
    scores = score_gates(masklets, are_right, gates)
    return Round(scores, len(masklets), (sum(passes), right), calibration.is_trusted, outcomes, seconds)


@dataclass(frozen=True)
class Round:
    """What the proposals and the review of one round came to.

    Attributes:
        gates: What each gate is worth.
        proposed: Masklets.
        passed: Those that passed all gates, and of these the right ones.
        is_trusted: Whether those that passed were taken without a person.
        reviewed: What became of the masklets that a person looked at, and of objects that nobody proposed.
        seconds: Of the person.
    """

    gates: Sequence[GateScore]
    proposed: int
    passed: tuple[int, int]
    is_trusted: bool
    reviewed: Mapping[str, int]
    seconds: float

    @property
    def accepted(self) -> int:
        from_person = sum(count for name, count in self.reviewed.items() if name != "rejected")
        return from_person + (self.passed[0] if self.is_trusted else 0)

    def lines(self, number: int) -> Iterator[str]:
        yield f"Round {number}: {self.proposed} masklets proposed"
        yield from describe_gates(self.gates)
        taken = "taken without a person" if self.is_trusted else "reviewed too: not trusted"
        yield f"  passed all gates: {self.passed[0]}, of which {self.passed[1]} are right; {taken}"
        outcomes = ", ".join(f"{count} {name}" for name, count in self.reviewed.items())
        yield f"  a simulated person: {outcomes}; {self.seconds / 60:.1f} minutes"
        per_masklet = f"{self.seconds / 60 / self.accepted:.2f}" if self.accepted else "-"
        yield f"  {self.accepted} masklets for training, {per_masklet} minutes of a person for each"


def describe_gates(scores: Sequence[GateScore]) -> Iterator[str]:
    """The lines of a table."""
    yield f"  {'gate':<30} {'passed':>7} {'precision':>10} {'recall':>7}"
    for score in scores:
        shares = (score.passed, score.precision, score.recall)
        passed, precision, recall = ("-" if share is None else f"{share:.0%}" for share in shares)
        yield f"  {score.name:<30} {passed:>7} {precision:>10} {recall:>7}"
