"""masklet engine demo: the whole loop on composed clips, whose truth is known, with a simulated person."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import numpy as np

from masklet import checkpoint, rle
from masklet.auto import Grid, resolve_grid
from masklet.cli.engine import write_accepted
from masklet.datasets import find_items
from masklet.datasets.types import Clip
from masklet.evaluate.metrics import measure_agreement
from masklet.evaluate.protocols import CLICK, CLICKS, LOCATE, WATCH
from masklet.jobs.gates import (
    GATES,
    Gate,
    GateScore,
    Masklet,
    calibrate_gates,
    pass_all,
    propose_masklets,
    review_order,
    score_gates,
    write_limits,
)
from masklet.media import Frames, open_frames
from masklet.model import Sam2
from masklet.rle import RLE
from masklet.sessions.feature_cache import FeatureCache
from masklet.sessions.tracker import track
from masklet.sessions.video import VideoSession
from masklet.simulated_user import mask_iou, next_click
from masklet.synthetic import director
from masklet.synthetic.director import Shot, Stock
from masklet.synthetic.effects import make_grain
from masklet.train.loop import LAST, train
from masklet.train.parameters import Preset
from masklet.train.recipe import BatchSource, TrainingOptions
from masklet.train.recipes.finetune import FineTuning
from masklet.train.sampling import Sampler
from masklet.train.state import TrainingState
from masklet.types import Prompt

RIGHT_J = 0.75  # a masklet is right from this mean J on; the paper's users accept there
SAME_J = 0.3  # a proposal is meant for an object from this IoU on its first frame on
TRUSTED = 0.8  # masklets pass without a person where this precision was reached in calibration
FEWEST_PASSED = 8  # masklets that pass in calibration; fewer say too little
PAINT = (
    37.8  # seconds to paint a mask, from the paper's first phase (app. D.1); other times are its time model
)
CORRECTIONS = 3  # frames of one masklet, after which it is rejected
THINGS = 4  # in a clip, at most; and up to two more
VISIBLE, WHOLE = 0.004, 0.6  # shares of the first frame between which a thing is an object to label
PACE = 0.15  # of the composer's things and cameras: calm clips
BASE_WEIGHT = 0.5  # of the batches, where there is base data
RATE = 5e-5  # learning rate at the start; it ends at 0


@dataclass(frozen=True)
class ClipMaker:
    """Composed clips, in which everything that moves by itself is labelled.

    Attributes:
        stock: Pictures to compose from. Without any, bodies and backgrounds come from nothing.
        shot: Size and length of the clips.
    """

    stock: Stock
    shot: Shot

    @classmethod
    def of(cls, stock: Stock, size: int, frames: int) -> ClipMaker:
        return cls(stock, Shot(size, frames, THINGS, make_grain(size + 128), PACE))

    def clips(self, series: int, count: int) -> list[Clip]:
        """The first clips of a series; the same ones every time."""
        return [self._clip(np.random.default_rng([15, series, number])) for number in range(count)]

    def _clip(self, rng: np.random.Generator) -> Clip:
        compose = director.pasted if self.stock.pictures else director.procedural
        while True:  # a few in a hundred show no object on the first frame
            clip = compose(rng, self.stock, self.shot).film(self.shot.size)
            share = clip.masks[0].mean(axis=(1, 2))
            is_object = (share > VISIBLE) & (share < WHOLE)
            if is_object.any():
                return Clip(clip.images, clip.masks[:, is_object])


def load_network(weights: str | Path) -> Sam2:
    """A network as the commands run it on a CPU."""
    return checkpoint.load(weights, device="cpu", setting="balanced")


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


def calibrate(model: Sam2, clips: Sequence[Clip], grid: Grid, max_objects: int) -> Calibration:
    """Choose the limits of the gates on clips that no round uses."""
    masklets, are_right = propose_all(model, clips, grid, max_objects)
    gates = calibrate_gates(masklets, are_right, GATES)
    return Calibration(gates, score_gates(masklets, are_right, gates), len(masklets))


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


@dataclass
class SimulatedPerson:
    """Watches the masklets of a clip, accepts, corrects or rejects them, and adds what is missing.

    Attributes:
        model: Tracks what is corrected.
        frames: The clip.
        truth: bool (t, n, H, W).
        taken: Masklets that need no review; the person sees them, and does not label their objects again.
        accepted: The accepted masklets, by the row of their object in the truth.
        seconds: That the review took.
    """

    model: Sam2
    frames: Frames
    truth: np.ndarray
    taken: Sequence[Masklet] = ()
    accepted: dict[int, Sequence[RLE]] = field(default_factory=dict)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self._features = FeatureCache()
        rows = (find_object(masklet, self.truth)[0] for masklet in self.taken)
        self._has_masklet = {row for row in rows if row is not None}

    def review(self, masklet: Masklet) -> str:
        """Watch a masklet; returns what becomes of it: accepted, corrected or rejected."""
        self.seconds += WATCH * len(self.frames)
        row, j = find_object(masklet, self.truth)
        if row is None or row in self.accepted or row in self._has_masklet:
            return "rejected"
        if j >= RIGHT_J:
            self.accepted[row] = masklet.codes
            return "accepted"
        masks = [masklet.mask(frame) for frame in range(len(self.frames))]
        return "corrected" if self._correct(row, {0: Prompt(mask=masks[0])}, masks) else "rejected"

    def add_missing(self) -> int:
        """Click objects without a masklet, and correct what comes of it; returns how many were accepted."""
        count = 0
        for row in range(self.truth.shape[1]):
            if row not in self.accepted and row not in self._has_masklet:
                click = next_click(None, self.truth[0, row])
                self.seconds += LOCATE + CLICK + WATCH * len(self.frames)
                count += self._correct(row, {0: click}, self._track({0: click}))
        return count

    def _correct(self, row: int, prompts: dict[int, Prompt], masks: list[np.ndarray]) -> bool:
        """Correct the worst frame, by clicks or else by painting, until the masklet is right."""
        truth = self.truth[:, row]
        for _ in range(CORRECTIONS):
            if _mean_iou(truth, masks) >= RIGHT_J:
                break
            ious = [mask_iou(*pair) for pair in zip(truth, masks, strict=True)]
            worst = int(np.argmin(ious))
            prompts = {**prompts, worst: self._correct_frame(worst, truth[worst], masks[worst])}
            masks = self._track(prompts)
        is_right = _mean_iou(truth, masks) >= RIGHT_J
        if is_right:
            self.accepted[row] = tuple(rle.encode(mask) for mask in masks)
        return is_right

    def _correct_frame(self, frame: int, truth: np.ndarray, mask: np.ndarray) -> Prompt:
        """Up to three clicks; if they do not help, a painted mask."""
        self.seconds += LOCATE + WATCH * len(self.frames)
        session = VideoSession(self.model, self.frames, features=self._features)
        prompt = Prompt()
        for _ in range(CLICKS if truth.any() else 0):
            click = next_click(mask if prompt.positive or prompt.negative else None, truth)
            prompt, mask = prompt | click, session.prompt(frame, 1, click)[1]
            self.seconds += CLICK
            if mask_iou(truth, mask) >= RIGHT_J:
                return prompt
        self.seconds += PAINT if truth.any() else 0.0
        return Prompt(mask=truth)

    def _track(self, prompts: Mapping[int, Prompt]) -> list[np.ndarray]:
        session = VideoSession(self.model, self.frames, features=self._features)
        for frame, prompt in sorted(prompts.items()):
            session.prompt(frame, 1, prompt)
        for _ in session.propagate():
            pass
        if min(prompts):
            for _ in session.propagate(min(prompts), -1, reverse=True):
                pass
        return [session.masks(frame)[1] for frame in range(len(self.frames))]


def _mean_iou(truth: np.ndarray, masks: Sequence[np.ndarray]) -> float:
    return float(np.mean([mask_iou(*pair) for pair in zip(truth, masks, strict=True)]))


def find_object(masklet: Masklet, truth: np.ndarray) -> tuple[int | None, float]:
    """The object that a masklet is meant for, by its first frame, and its mean J on it."""
    first = [mask_iou(mask, masklet.mask(0)) for mask in truth[0]]
    row = int(np.argmax(first))
    if first[row] < SAME_J:
        return None, 0.0
    return row, _mean_iou(truth[:, row], [masklet.mask(frame) for frame in range(len(truth))])


def measure_tracking(model: Sam2, clips: Sequence[Clip]) -> np.ndarray:
    """The J&F of each clip: the mean over objects and frames after one click on the first frame."""
    scores = []
    for clip in clips:
        prompts = {row + 1: next_click(None, mask) for row, mask in enumerate(clip.masks[0])}
        tracked = (masks for masks in track(model, clip.images, {0: prompts}) if masks.frame)
        agreements = [
            measure_agreement(clip.masks[masks.frame][id - 1], mask).jf
            for masks in tracked
            for id, mask in masks.items()
        ]
        scores.append(float(np.mean(agreements)))
    return np.array(scores)


@dataclass(frozen=True)
class FineTune:
    """How a round trains.

    Attributes:
        preset: The parts of the network to train; the trunk is frozen.
        steps: Optimizer steps.
        base: Labelled data that half of the batches come from, so that the network forgets nothing.
    """

    preset: Preset
    steps: int
    base: Path | None = None

    def run(self, data: Path, weights: str | Path, out: Path) -> Path:
        """Train on accepted masklets; returns the weights."""
        frames = 4 if self.preset == "memory" else 1
        training = TrainingOptions(data, str(weights), self.preset, steps=self.steps, validation=data)
        recipe = FineTuning(frames=frames, distinct_clips=200).recipe(training)
        (stage,) = recipe.stages
        sources = stage.sources
        if self.base is not None:
            stills = Sampler(find_items(self.base), stage.image_size, 1, 3, seed=5)
            sources = (*sources, BatchSource(stills.clip, 2, BASE_WEIGHT / (1 - BASE_WEIGHT)))
        stage = replace(stage, learning_rates=(RATE, 0.0), sources=sources, corrections=CLICKS)
        state = TrainingState.begin(replace(recipe, stages=(stage,), validation=None))
        for _ in train(state, out):
            pass
        return out / LAST


def average_weights(first: str | Path, second: str | Path, out: Path) -> Path:
    """Write the even mean of two networks' weights."""
    model, other = (checkpoint.load(weights, device="cpu") for weights in (first, second))
    theirs = other.state_dict()
    mean = {
        name: (tensor + theirs[name]) / 2 if tensor.is_floating_point() else tensor
        for name, tensor in model.state_dict().items()
    }
    model.load_state_dict(mean)
    checkpoint.save(model, out)
    return out


@dataclass(frozen=True)
class Choice:
    """The weights that a round ships, and what each candidate reached in validation.

    Attributes:
        name: Of the best; the weights before the round are called "before".
        weights: Of the best.
        scores: J&F of each clip of validation, by name.
    """

    name: str
    weights: str | Path
    scores: Mapping[str, np.ndarray]

    def line(self) -> str:
        scores = ", ".join(f"{name} {values.mean():.3f}" for name, values in self.scores.items())
        stays = "the round did not help, and the weights before it stay"
        verdict = stays if self.name == "before" else f"the round ships {self.name}"
        return f"  J&F in validation: {scores}; {verdict}"


def choose_weights(before: str | Path, scores: np.ndarray, trained: Path, clips: Sequence[Clip]) -> Choice:
    """The best of the weights before a round, those after it, and their mean, by held-back clips.

    Args:
        before: The weights before the round.
        scores: Their J&F of each clip.
        trained: The weights after it.
        clips: Neither trained on nor reported on.
    """
    mean = average_weights(before, trained, trained.with_name("mean.safetensors"))
    candidates: dict[str, str | Path] = {"before": before, "mean": mean, "after": trained}
    by_name = {"before": scores}
    for name in ("mean", "after"):
        by_name[name] = measure_tracking(load_network(candidates[name]), clips)
    name = best_by_more_than_chance(by_name)
    return Choice(name, candidates[name], by_name)


def best_by_more_than_chance(scores: Mapping[str, np.ndarray]) -> str:
    """The name with the best mean, if it is better than "before" by more than the standard error of the gain.

    Example:
        >>> before = np.array([0.4, 0.5, 0.6])
        >>> best_by_more_than_chance({"before": before, "after": before + (0.02, 0.03, 0.01)})
        'after'
        >>> best_by_more_than_chance({"before": before, "after": before + (0.1, -0.05, -0.02)})
        'before'
    """
    best = max(scores, key=lambda name: scores[name].mean())
    gains = scores[best] - scores["before"]
    error = gains.std(ddof=1) / len(gains) ** 0.5 if len(gains) > 1 else 0.0
    return best if gains.mean() > error else "before"


def run_demo(
    out: Path,
    model: str,
    maker: ClipMaker,
    training: FineTune,
    *,
    clips: int,
    rounds: int,
    max_objects: int,
    points: int,
    report: Callable[[str], None],
) -> None:
    """Run the loop, and report line by line.

    Args:
        out: Takes the limits of the gates, the accepted masklets, and each round's weights.
        model: To start from.
        maker: Makes the clips of calibration, validation, test, and of each round: all different.
        training: How each round trains.
        clips: Of each round, of calibration and of validation; the test has twice as many.
        rounds: Rounds.
        max_objects: Masklets of a clip.
        points: On each side of the grid of proposals.
        report: Takes each line as soon as it is known.
    """
    calibration_clips, validation, test = (
        maker.clips(1, clips),
        maker.clips(2, clips),
        maker.clips(3, 2 * clips),
    )
    network, weights = load_network(model), cast("str | Path", model)
    grid = replace(resolve_grid("fast", network.config), points_per_side=points)
    calibration = calibrate(network, calibration_clips, grid, max_objects)
    write_limits(out / "gates.json", calibration.gates)
    report(f"Calibration: {calibration.proposed} masklets proposed")
    for line in describe_gates(calibration.scores):
        report(line)
    best, scores = measure_tracking(network, validation), [float(measure_tracking(network, test).mean())]
    for number in range(1, rounds + 1):
        folder = out / f"round-{number}"
        series = maker.clips(10 + number, clips)
        result = run_round(network, series, grid, max_objects, calibration, out / "accepted", number)
        for line in result.lines(number):
            report(line)
        choice = Choice("before", weights, {"before": best})
        if result.accepted:
            trained = training.run(out / "accepted", weights, folder / "training")
            choice = choose_weights(weights, best, trained, validation)
        report(choice.line())
        is_new = choice.name != "before"
        weights, best, network = choice.weights, choice.scores[choice.name], load_network(choice.weights)
        scores.append(float(measure_tracking(network, test).mean()) if is_new else scores[-1])
        gain = scores[-1] - scores[-2]
        report(f"  J&F on test clips: {scores[-2]:.3f} before, {scores[-1]:.3f} after ({gain:+.3f})")
    if str(weights) != model:
        checkpoint.save(checkpoint.load(weights, device="cpu"), out / "model.safetensors")
    report("J&F of the test clips: " + ", then ".join(f"{score:.3f}" for score in scores))
    if scores[-1] <= scores[0]:
        report("The loop did not make the model better.")
