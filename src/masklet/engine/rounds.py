"""One round of the loop on clips whose truth is known: propose masklets, sort them by gates, review them.

Knows nothing of training.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from masklet.auto import Grid
from masklet.datasets.types import Clip
from masklet.engine.gates import (
    GATES,
    Gate,
    GateScore,
    Masklet,
    Measures,
    calibrate_gates,
    pass_all,
    propose_masklets,
    review_order,
    score_gates,
)
from masklet.engine.proposals import write_accepted
from masklet.engine.simulated_person import RIGHT_J, SimulatedPerson, find_object
from masklet.engine.step_results import StepResults
from masklet.media import open_frames
from masklet.model import Sam2

TRUSTED = 0.8  # masklets pass without a person where this precision was reached in calibration
FEWEST_PASSED = 8  # masklets that pass in calibration; fewer say too little


@dataclass(frozen=True)
class ClipResult:
    """What was proposed in one clip, and what its review came to.

    Attributes:
        measures: Of each proposed masklet.
        are_right: Whether it is right.
        reviewed: How many masklets were accepted, corrected, added and rejected.
        seconds: Of the person.
    """

    measures: tuple[Measures, ...]
    are_right: tuple[bool, ...]
    reviewed: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> ClipResult:
        measures = tuple(Measures(**values) for values in row["measures"])
        return cls(measures, tuple(row["are_right"]), row["reviewed"], row["seconds"])


@dataclass(frozen=True)
class ClipLabeller:
    """Proposes masklets in clips whose truth is known.

    Attributes:
        model: The network.
        grid: Of the proposals.
        max_objects: Masklets of a clip.
        zoom: Whether the person's clicks are answered with zoom; None leaves it to the network's config.
    """

    model: Sam2
    grid: Grid
    max_objects: int
    zoom: bool | None = None

    def propose(self, clip: Clip) -> tuple[list[Masklet], list[bool]]:
        """The masklets of a clip, and which of them are right."""
        frames = open_frames(clip.images)
        masklets = propose_masklets(self.model, frames, self.grid, max_objects=self.max_objects)
        return masklets, [find_object(masklet, clip.masks)[1] >= RIGHT_J for masklet in masklets]

    def measure(self, clip: Clip) -> ClipResult:
        """Propose only: for calibration."""
        masklets, are_right = self.propose(clip)
        return ClipResult(tuple(masklet.measures for masklet in masklets), tuple(are_right))

    def label(self, clip: Clip, calibration: Calibration, folder: Path) -> ClipResult:
        """Propose, sort and review; what is accepted is training data in a folder of its own.

        Args:
            clip: With its truth, which only the simulated person and the report see.
            calibration: The gates, and whether what passes is taken without a person.
            folder: Takes the clip with its accepted masklets; what an interrupted attempt left is removed.
        """
        if folder.exists():
            shutil.rmtree(folder)
        frames, gates = open_frames(clip.images), calibration.gates
        masklets, are_right = self.propose(clip)
        passed = [masklet for masklet in masklets if pass_all(masklet.measures, gates)]
        queue = review_order(masklets, gates)
        taken = passed if calibration.is_trusted else []
        if not calibration.is_trusted:  # those that pass are looked at first
            queue = passed + queue
        person = SimulatedPerson(self.model, frames, clip.masks, taken, zoom=self.zoom)
        reviewed = {"accepted": 0, "corrected": 0, "added": 0, "rejected": 0}
        for masklet in queue:
            reviewed[person.review(masklet)] += 1
        reviewed["added"] += person.add_missing()
        codes = [*(masklet.codes for masklet in taken), *person.accepted.values()]
        if codes:
            write_accepted(folder, frames, dict(enumerate(codes, 1)))
        measures = tuple(masklet.measures for masklet in masklets)
        return ClipResult(measures, tuple(are_right), reviewed, person.seconds)


@dataclass(frozen=True)
class Calibration:
    """Gates with limits from clips whose truth is known, and their worth on these clips."""

    gates: tuple[Gate, ...]
    scores: Sequence[GateScore]
    proposed: int

    @classmethod
    def from_clips(cls, clips: Sequence[ClipResult]) -> Calibration:
        """Choose the limits of the gates on clips that no round uses."""
        measures, are_right = _join(clips)
        gates = calibrate_gates(measures, are_right, GATES)
        return cls(gates, score_gates(measures, are_right, gates), len(measures))

    @property
    def is_trusted(self) -> bool:
        """Whether masklets that pass are taken without a person."""
        together = self.scores[-1]
        enough = together.passed * self.proposed >= FEWEST_PASSED
        return enough and together.precision is not None and together.precision >= TRUSTED


def _join(clips: Sequence[ClipResult]) -> tuple[list[Measures], list[bool]]:
    measures = [row for clip in clips for row in clip.measures]
    return measures, [is_right for clip in clips for is_right in clip.are_right]


def process_clips(
    results: StepResults, name: str, clips: Sequence[Clip], process: Callable[[int, Clip], ClipResult]
) -> list[ClipResult]:
    """Process clips one by one. Those with a result from an earlier run are not processed again."""
    rows = (
        results.get(f"{name}-clip-{number:03d}", lambda n=number, c=clip: asdict(process(n, c)))  # type: ignore[misc]
        for number, clip in enumerate(clips)
    )
    return [ClipResult.from_json(row) for row in rows]


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

    @classmethod
    def from_clips(cls, clips: Sequence[ClipResult], calibration: Calibration) -> Round:
        measures, are_right = _join(clips)
        gates = calibration.gates
        right_of_passed = [
            is_right for row, is_right in zip(measures, are_right, strict=True) if pass_all(row, gates)
        ]
        return cls(
            score_gates(measures, are_right, gates),
            len(measures),
            (len(right_of_passed), sum(right_of_passed)),
            calibration.is_trusted,
            {name: sum(clip.reviewed[name] for clip in clips) for name in clips[0].reviewed},
            sum(clip.seconds for clip in clips),
        )

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
