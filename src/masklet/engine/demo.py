"""The whole loop on composed clips, with a simulated reviewer, and tests of each round's weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from masklet import checkpoint
from masklet.auto import resolve_grid
from masklet.checkpoint.locations import find_given
from masklet.datasets.types import Clip
from masklet.engine.gates import write_limits
from masklet.engine.rounds import (
    FULL_REVIEW,
    Calibration,
    ClipLabeller,
    ClipResult,
    Round,
    StepResults,
    process_clips,
)
from masklet.engine.simulated_reviewer import ACCEPT_J
from masklet.engine.weights import (
    RoundTraining,
    WeightChoice,
    average_weights,
    best_by_more_than_chance,
    load_network,
    measure_tracking,
    standard_error,
)
from masklet.model import Sam2
from masklet.run_folder import Manifest, Run, check_folder, digest, read_settings_file
from masklet.synthetic import scenes
from masklet.synthetic.assets import AssetLibrary
from masklet.synthetic.cells import compose_cells
from masklet.synthetic.effects import make_grain
from masklet.synthetic.scenes import ClipSpec

# Series of clips; the round's number is added to the last.
CALIBRATION, VALIDATION, TEST, ROUNDS = 1, 2, 3, 10

STEPS = "steps"  # the folder of their results

World = Literal["cells", "things"]

THINGS = 4  # maximum objects in a clip, plus up to two more
VISIBLE, WHOLE = 0.004, 0.6  # fractions of the first frame between which an object is labelled
SPEED = 0.15  # speed of objects and cameras, relative to the composer's: calm clips


def run_demo(
    out: Path,
    model: str,
    maker: ClipMaker,
    training: RoundTraining,
    size: DemoSize,
    report: Callable[[str], None],
) -> None:
    """Run the loop, and report line by line. Call it again to resume.

    Args:
        out: The folder for the gates' limits, the accepted masklets, and each round's weights.
        model: The network to start from.
        maker: Makes the clips for calibration, validation, test and each round: all different.
        training: The training settings of each round.
        size: The numbers of clips, rounds and masklets.
        report: Called with each line as soon as it is known.

    Raises:
        MediaError: `out` belongs to another run.
    """
    settings = {"model": model, **maker.to_json(), **training.to_json(), **asdict(size)}
    settings.pop("rounds")  # more rounds may follow later
    file = find_given(model)
    if file is not None:  # otherwise, other weights with the same name would continue from its results
        settings["weights"] = digest(model, [file])
    run = Run("engine demo", "", settings, {})
    check_folder(out, run, before=lambda: read_settings_file(out / STEPS / "settings.json", run, [STEPS]))
    Manifest.protect(run, [STEPS]).write(out)
    demo = _Demo(out, size, maker, StepResults(out / STEPS), load_network(model))
    judged = demo.calibrate()
    weights: str | Path = model
    best = demo.choose_zoom(weights, report)
    scores = [demo.measure("test-start", weights, TEST)]
    report(f"J&F before: {best.mean():.3f} on validation clips, {_mean_and_error(scores[0])} on test clips")
    for number in range(1, size.rounds + 1):
        calibration = Calibration.from_clips(judged)
        for line in calibration.lines():
            report(line)
        labelled = demo.run_round(number, calibration)
        judged = [*judged, *labelled]  # the person's answers determine the next limits
        write_limits(out / "gates.json", Calibration.from_clips(judged).gates)
        result = Round.from_clips(labelled, calibration.gates)
        for line in result.lines(number):
            report(line)
        choice = WeightChoice("before", weights, {"before": best})
        if result.accepted:
            folder = out / f"round-{number}" / "training"
            # Train from the first weights, on the masklets of all rounds, so that errors of a round are not
            # kept.
            trained = training.run(demo.accepted, model, folder)
            choice = demo.choose_weights(number, weights, best, trained)
        report(choice.line())
        if choice.name != "before":
            weights, best = choice.weights, choice.scores[choice.name]
            demo.model = load_network(weights)
            scores.append(demo.measure(f"test-{number}", weights, TEST))
            report(f"  J&F on test clips: {_gain(scores[-2], scores[-1])}")
    if str(weights) != model:
        demo.save(weights, out / "model.safetensors")
    report(f"All rounds, J&F on test clips: {_gain(scores[0], scores[-1])}")
    if scores[-1].mean() <= scores[0].mean():
        report("The loop did not make the model better.")


def _mean_and_error(scores: np.ndarray) -> str:
    return f"{scores.mean():.3f} (standard error {standard_error(scores):.3f})"


def _gain(before: np.ndarray, after: np.ndarray) -> str:
    gains = after - before
    return (
        f"{before.mean():.3f} before, {after.mean():.3f} after: {gains.mean():+.3f} (standard error of the "
        f"gain {standard_error(gains):.3f}; better on {(gains > 0).sum()} of {len(gains)} clips)"
    )


@dataclass(frozen=True)
class DemoSize:
    """The numbers of clips, rounds and masklets, and the strictness of the simulated person.

    Attributes:
        clips: Clips for each round, for calibration and for validation; the test has twice as many.
        rounds: Rounds.
        max_objects: The maximum of masklets in a clip.
        points: Points on each side of the proposal grid.
        accept_from: The mean J from which the person accepts a masklet.
    """

    clips: int
    rounds: int
    max_objects: int
    points: int
    accept_from: float = ACCEPT_J


@dataclass
class _Demo:
    """The steps of the demo, whose results are saved.

    Attributes:
        model: The network of the current round.
        zoom: Whether clicks are answered with zoom.
    """

    out: Path
    size: DemoSize
    maker: ClipMaker
    results: StepResults
    model: Sam2
    zoom: bool = False

    @property
    def accepted(self) -> Path:
        """The folder of the training data, of all rounds so far."""
        return self.out / "accepted"

    def _labeller(self) -> ClipLabeller:
        grid = replace(resolve_grid("fast", self.model.config), points_per_side=self.size.points)
        return ClipLabeller(self.model, grid, self.size.max_objects, self.zoom, self.size.accept_from)

    def calibrate(self) -> list[ClipResult]:
        labeller, clips = self._labeller(), self.maker.clips(CALIBRATION, self.size.clips)
        return process_clips(self.results, "calibration", clips, lambda number, clip: labeller.measure(clip))

    def run_round(self, number: int, calibration: Calibration) -> list[ClipResult]:
        labeller, clips = self._labeller(), self.maker.clips(ROUNDS + number, self.size.clips)

        def label(index: int, clip: Clip) -> ClipResult:
            folder = self.accepted / f"round-{number}-clip-{index:03d}"
            is_full_review = index % FULL_REVIEW == 0
            return labeller.label(clip, calibration, folder, is_full_review=is_full_review)

        return process_clips(self.results, f"round-{number}", clips, label)

    def choose_zoom(self, weights: str | Path, report: Callable[[str], None]) -> np.ndarray:
        """Use zoom from this round on if the network tracks better with it; returns its J&F for each
        validation clip."""
        by_zoom = dict[bool, np.ndarray]()
        for zoom in (False, True):
            self.zoom = zoom
            by_zoom[zoom] = self.measure(f"validation-start-zoom-{int(zoom)}", weights, VALIDATION)
        without, with_zoom = by_zoom[False].mean(), by_zoom[True].mean()
        self.zoom = bool(with_zoom > without)
        report(
            f"J&F in validation: {without:.3f} without zoom, {with_zoom:.3f} with zoom; from here on "
            f"{'with' if self.zoom else 'without'} zoom"
        )
        return by_zoom[self.zoom]

    def save(self, weights: str | Path, path: Path) -> None:
        """Save weights as a network that zooms by default if this loop did."""
        source = checkpoint.load(weights, device="cpu")
        network = Sam2(replace(source.config, zoom=self.zoom))
        network.load_state_dict(source.state_dict())
        checkpoint.save(network, path)

    def measure(self, name: str, weights: str | Path, series: int) -> np.ndarray:
        """The J&F of each clip of a series."""
        count = 2 * self.size.clips if series == TEST else self.size.clips

        def compute() -> list[float]:
            model = load_network(weights)
            return measure_tracking(model, self.maker.clips(series, count), zoom=self.zoom).tolist()

        return np.array(self.results.get(name, compute))

    def choose_weights(
        self, number: int, before: str | Path, scores: np.ndarray, trained: Path
    ) -> WeightChoice:
        """The best of the weights before a round, those after it, and their mean, on held-back clips.

        Args:
            number: The round's number.
            before: The weights before the round.
            scores: Their J&F for each validation clip.
            trained: The weights after it.
        """
        mean = average_weights(before, trained, trained.with_name("mean.safetensors"))
        candidates: dict[str, str | Path] = {"before": before, "mean": mean, "after": trained}
        by_name = {"before": scores}
        for name in ("mean", "after"):
            by_name[name] = self.measure(f"validation-{number}-{name}", candidates[name], VALIDATION)
        name = best_by_more_than_chance(by_name)
        return WeightChoice(name, candidates[name], by_name)


@dataclass(frozen=True)
class ClipMaker:
    """Composed clips, in which every object that moves independently is labelled.

    Attributes:
        world: Their content: "cells", or "things", on which nano was trained.
        size: Side of the frames in pixels.
        frames: Length of the clips.
        assets: Images to compose things from. Without any, objects and backgrounds are procedural.
    """

    world: World
    size: int
    frames: int
    assets: AssetLibrary = field(default_factory=lambda: AssetLibrary(()))

    def to_json(self) -> dict[str, Any]:
        images = sorted(image.name for image in self.assets.images)
        return {"world": self.world, "size": self.size, "frames": self.frames, "pictures": images}

    def clips(self, series: int, count: int) -> list[Clip]:
        """The first clips of a series; the same ones every time."""
        return [self._clip(np.random.default_rng([15, series, number])) for number in range(count)]

    def _clip(self, rng: np.random.Generator) -> Clip:
        while True:  # a few in a hundred show no object on the first frame
            clip = self._compose(rng)
            share = clip.masks[0].mean(axis=(1, 2))
            is_object = (share > VISIBLE) & (share < WHOLE)
            if is_object.any():
                return Clip(clip.images, clip.masks[:, is_object])

    def _compose(self, rng: np.random.Generator) -> Clip:
        if self.world == "cells":
            return compose_cells(rng, self.size, self.frames)
        spec = ClipSpec(self.size, self.frames, THINGS, make_grain(self.size + 128), SPEED)
        build = scenes.build_pasted if self.assets.images else scenes.build_procedural
        return build(rng, self.assets, spec).render(self.size)
