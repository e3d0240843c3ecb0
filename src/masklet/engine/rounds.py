"""One round of the loop on clips with ground truth: propose masklets, sort them by gates, review them.

The result of each step is saved, so that the same command resumes. This module does not depend on training.
"""

from __future__ import annotations

import json
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
    calibrate_gates,
    pass_all,
    review_order,
    score_gates,
    score_gates_held_out,
)
from masklet.engine.proposal_folder import write_accepted
from masklet.engine.proposals import Masklet, Measures, propose_masklets
from masklet.engine.simulated_reviewer import ACCEPT_J, RIGHT_J, SimulatedReviewer, find_object
from masklet.errors import MaskletError
from masklet.files import atomic_write
from masklet.media import open_frames
from masklet.model import Sam2

TRUSTED = 0.8  # masklets pass without review if gates had this precision on other clips
FEWEST_PASSED = 8  # passing masklets needed to measure this precision
FULL_REVIEW = 4  # every n-th clip is reviewed completely, to keep measuring trusted gates


@dataclass(frozen=True)
class ClipResult:
    """The proposals in one clip, and the result of their review.

    Attributes:
        measures: The measures of each proposed masklet.
        are_right: Whether each is correct.
        reviewed: How many masklets were accepted, corrected, added and rejected.
        seconds: The person's time.
        taken: How many masklets were accepted without the person.
        is_judged: Whether the person reviewed every masklet, including those that passed.
    """

    measures: tuple[Measures, ...]
    are_right: tuple[bool, ...]
    reviewed: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    taken: int = 0
    is_judged: bool = True

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> ClipResult:
        measures = tuple(Measures(**values) for values in row["measures"])
        return cls(**{**row, "measures": measures, "are_right": tuple(row["are_right"])})


@dataclass(frozen=True)
class ClipLabeller:
    """Proposes masklets in clips with ground truth.

    Attributes:
        model: The network.
        grid: The grid of the proposals.
        max_objects: The maximum of masklets in a clip.
        zoom: Whether the person's clicks are answered with zoom; None leaves it to the network's config.
        accept_from: The mean J from which the person accepts a masklet.
    """

    model: Sam2
    grid: Grid
    max_objects: int
    zoom: bool | None = None
    accept_from: float = ACCEPT_J

    def propose(self, clip: Clip) -> tuple[list[Masklet], list[bool]]:
        """The masklets of a clip, and which of them are correct."""
        frames = open_frames(clip.images)
        masklets = propose_masklets(self.model, frames, self.grid, max_objects=self.max_objects)
        return masklets, [find_object(masklet, clip.masks)[1] >= RIGHT_J for masklet in masklets]

    def measure(self, clip: Clip) -> ClipResult:
        """Propose only: for calibration."""
        masklets, are_right = self.propose(clip)
        return ClipResult(tuple(masklet.measures for masklet in masklets), tuple(are_right))

    def label(
        self, clip: Clip, calibration: Calibration, folder: Path, *, is_full_review: bool = False
    ) -> ClipResult:
        """Propose, sort and review; accepted masklets are written as training data.

        Args:
            clip: The clip with its ground truth, which only the simulated person and the report use.
            calibration: The gates, and whether passing masklets are accepted without review.
            is_full_review: Whether the person also reviews passing masklets of trusted gates.
            folder: The folder for the clip with its accepted masklets; results of an interrupted attempt are
                removed.
        """
        if folder.exists():
            shutil.rmtree(folder)
        frames, gates = open_frames(clip.images), calibration.gates
        masklets, are_right = self.propose(clip)
        passed = [masklet for masklet in masklets if pass_all(masklet.measures, gates)]
        queue = review_order(masklets, gates)
        is_judged = is_full_review or not calibration.is_trusted
        taken = [] if is_judged else passed
        if is_judged:  # those that pass are reviewed first
            queue = passed + queue
        reviewer = SimulatedReviewer(
            self.model, frames, clip.masks, taken, zoom=self.zoom, accept_from=self.accept_from
        )
        reviewed = {"accepted": 0, "corrected": 0, "added": 0, "rejected": 0}
        for masklet in queue:
            reviewed[reviewer.review(masklet)] += 1
        reviewed["added"] += reviewer.add_missing()
        codes = [*(masklet.codes for masklet in taken), *reviewer.accepted.values()]
        if codes:
            write_accepted(folder, frames, dict(enumerate(codes, 1)))
        measures = tuple(masklet.measures for masklet in masklets)
        return ClipResult(measures, tuple(are_right), reviewed, reviewer.seconds, len(taken), is_judged)


@dataclass(frozen=True)
class Calibration:
    """Gates with limits from clips with reviewed masklets, and their quality.

    Attributes:
        gates: The gates with the limits from all these clips.
        scores: The scores of each clip's masklets with the limits from the other clips.
        in_sample: The scores with limits from the same masklets: too optimistic.
        proposed: The number of masklets in these clips.
    """

    gates: tuple[Gate, ...]
    scores: Sequence[GateScore]
    in_sample: Sequence[GateScore]
    proposed: int

    @classmethod
    def from_clips(cls, clips: Sequence[ClipResult]) -> Calibration:
        """Choose the limits of the gates on clips of which every masklet was reviewed.

        Clips with a partial review are left out: only their failing masklets were reviewed, which would bias
        the limits.
        """
        judged = [clip for clip in clips if clip.is_judged]
        measures, are_right = _join(judged)
        gates = calibrate_gates(measures, are_right, GATES)
        held_out = score_gates_held_out([(clip.measures, clip.are_right) for clip in judged], GATES)
        return cls(gates, held_out, score_gates(measures, are_right, gates), len(measures))

    @property
    def is_trusted(self) -> bool:
        """Whether passing masklets are accepted without review, measured on clips that did not set the
        limits."""
        together = self.scores[-1]
        enough = round(together.passed * self.proposed) >= FEWEST_PASSED
        return enough and together.precision is not None and together.precision >= TRUSTED

    def lines(self) -> Iterator[str]:
        yield (
            f"Calibration: {self.proposed} masklets proposed; each clip is tested with limits from the others"
        )
        yield from describe_gates(self.scores)
        precision = self.in_sample[-1].precision
        own = "-" if precision is None else f"{precision:.0%}"
        verdict = "trusted" if self.is_trusted else "not trusted: masklets that pass are reviewed too"
        yield f"  all gates on the clips that set them: precision {own} (not used); {verdict}"


def _join(clips: Sequence[ClipResult]) -> tuple[list[Measures], list[bool]]:
    measures = [row for clip in clips for row in clip.measures]
    return measures, [is_right for clip in clips for is_right in clip.are_right]


def process_clips(
    results: StepResults, name: str, clips: Sequence[Clip], process: Callable[[int, Clip], ClipResult]
) -> list[ClipResult]:
    """Process clips one at a time. Those with a result from an earlier run are skipped."""
    rows = (
        results.get(f"{name}-clip-{number:03d}", lambda n=number, c=clip: asdict(process(n, c)))  # type: ignore[misc]
        for number, clip in enumerate(clips)
    )
    return [ClipResult.from_json(row) for row in rows]


@dataclass(frozen=True)
class Round:
    """The results of the proposals and the review of one round.

    Attributes:
        gates: The quality of each gate.
        proposed: The number of masklets.
        passed: Those that passed all gates, and the correct ones of these.
        taken: Those that were accepted without review.
        reviewed: The results of the review, also for objects without a proposal.
        seconds: The person's time.
    """

    gates: Sequence[GateScore]
    proposed: int
    passed: tuple[int, int]
    taken: int
    reviewed: Mapping[str, int]
    seconds: float

    @classmethod
    def from_clips(cls, clips: Sequence[ClipResult], gates: Sequence[Gate]) -> Round:
        measures, are_right = _join(clips)
        right_of_passed = [
            is_right for row, is_right in zip(measures, are_right, strict=True) if pass_all(row, gates)
        ]
        return cls(
            score_gates(measures, are_right, gates),
            len(measures),
            (len(right_of_passed), sum(right_of_passed)),
            sum(clip.taken for clip in clips),
            {name: sum(clip.reviewed[name] for clip in clips) for name in clips[0].reviewed},
            sum(clip.seconds for clip in clips),
        )

    @property
    def accepted(self) -> int:
        from_person = sum(count for name, count in self.reviewed.items() if name != "rejected")
        return from_person + self.taken

    def lines(self, number: int) -> Iterator[str]:
        yield f"Round {number}: {self.proposed} masklets proposed"
        yield from describe_gates(self.gates)
        passed = f"{self.passed[0]}, {self.passed[1]} of them correct"
        yield f"  passed all gates: {passed}; {self.taken} of them are accepted without review"
        outcomes = ", ".join(f"{count} {name}" for name, count in self.reviewed.items())
        yield f"  a simulated person: {outcomes}; {self.seconds / 60:.1f} minutes"
        per_masklet = f"{self.seconds / 60 / self.accepted:.2f}" if self.accepted else "-"
        yield f"  {self.accepted} masklets for training, {per_masklet} minutes of review for each"


def describe_gates(scores: Sequence[GateScore]) -> Iterator[str]:
    """The lines of a table."""
    yield f"  {'gate':<30} {'passed':>7} {'precision':>10} {'recall':>7}"
    for score in scores:
        shares = (score.passed, score.precision, score.recall)
        passed, precision, recall = ("-" if share is None else f"{share:.0%}" for share in shares)
        yield f"  {score.name:<30} {passed:>7} {precision:>10} {recall:>7}"


class StepResults:
    """A folder with a JSON file for each finished step.

    Args:
        folder: The folder of the results.

    Example:
        >>> import tempfile
        >>> results = StepResults(Path(tempfile.mkdtemp()))
        >>> results.get("sum", lambda: 1 + 1)
        2
        >>> results.get("sum", lambda: 1 / 0)  # it is there
        2
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, name: str, compute: Callable[[], Any]) -> Any:
        """The result of a step as JSON: from its file if there is one, otherwise computed now."""
        result = self._read(f"{name}.json")
        if result is None:
            self._write(f"{name}.json", compute())
            result = self._read(f"{name}.json")
        return result

    def _read(self, name: str) -> Any:
        path = self._folder / name
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise MaskletError(f"{path} cannot be read: {error}. Remove it to run its step again.") from error

    def _write(self, name: str, content: Any) -> None:
        with atomic_write(self._folder / name) as part:
            part.write_text(json.dumps(content, indent=1), encoding="utf-8")
