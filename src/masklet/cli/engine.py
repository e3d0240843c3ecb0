"""masklet engine: a model proposes, gates sort, people review what is doubtful, the next model trains."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from masklet.cli import options
from masklet.cli.items import Kind, find_items
from masklet.cli.runs import ProgressBar

if TYPE_CHECKING:
    import numpy as np

    from masklet.auto import Grid
    from masklet.datasets.types import Clip
    from masklet.jobs.gates import GateScore, Masklet
    from masklet.media import Frames
    from masklet.model import Sam2
    from masklet.rle import RLE

app = typer.Typer(help="The loop that makes training data: docs/scale.md.", no_args_is_help=True)

RIGHT_J = 0.75  # a masklet is right from this mean J on; the paper's users accept there
SAME_J = 0.3  # a proposal is meant for an object from this IoU on its first frame on
ROUNDS = 2
WATCH, LOCATE, CLICK = 0.1, 1.0, 1.5  # seconds of a person: for a frame, for an object, for a click
CORRECTIONS = 3  # of one masklet, after which it is rejected


@app.command(cls=options.Command)
def propose(
    out: options.Out,
    videos: Annotated[
        list[str] | None, typer.Argument(help="Short clips: files, folders, globs or URLs.")
    ] = None,
    names: options.ListFile = None,
    max_objects: Annotated[int, typer.Option(help="The best so many of a clip are tracked.")] = 8,
    model: options.Model = "nano",
    device: options.Device = None,
    dtype: options.Precision = options.Dtype.float32,
    setting: options.Speed = options.Setting.exact,
) -> None:
    """Propose masklets, and sort them: OUT/accepted trains, OUT/studio is a project to review, worst first.

    Review with `masklet studio OUT/review --data OUT/studio`, export there, and train with
    `masklet train finetune`.
    """
    with ProgressBar() as bar:
        from dataclasses import replace

        from masklet.jobs.gates import pass_all, propose_masklets, review_order
        from masklet.media import open_frames

        items = find_items(videos or (), Kind.video, names_from=names)
        network = options.ModelOptions(model, device, dtype, setting).load()
        bar.count = len(items)
        masklets: list[Masklet] = []
        sources: dict[str, Frames] = {}
        for item in items:
            bar.begin(item.title)
            frames = open_frames(item.source)
            proposed = [
                replace(masklet, video=item.source)
                for masklet in propose_masklets(network, frames, max_objects=max_objects)
            ]
            sources[item.source] = frames
            masklets += proposed
            passed = [masklet for masklet in proposed if pass_all(masklet.measures)]
            if passed:
                write_accepted(
                    out / "accepted" / (item.name or frames.name),
                    frames,
                    {row.id: row.codes for row in passed},
                )
            bar.end()
        queue = review_order(masklets)
        write_queue(out, queue)
        if queue:
            write_project(out, network, queue, sources)
    typer.echo(f"{len(masklets) - len(queue)} of {len(masklets)} masklets pass all gates: {out / 'accepted'}")
    if queue:
        typer.echo(f"{len(queue)} wait for a review: masklet studio {out / 'review'} --data {out / 'studio'}")


@app.command(cls=options.Command)
def demo(
    out: options.Out,
    model: options.Model = "nano",
    clips: Annotated[int, typer.Option(help="Composed clips of each round.")] = 6,
    frames: Annotated[int, typer.Option(help="Of each clip.")] = 8,
    size: Annotated[int, typer.Option(help="Side of clips and of the network's square.")] = 192,
    steps: Annotated[int, typer.Option(help="Training steps of each round.")] = 40,
    rounds: Annotated[int, typer.Option(help="Rounds.")] = ROUNDS,
) -> None:
    """Run the whole loop on composed clips, whose truth is known, and print what each part is worth."""
    from masklet import checkpoint
    from masklet.auto import resolve_grid
    from masklet.synthetic import Composer

    grid = resolve_grid("fast", checkpoint.load(model, device="cpu").config)
    composer = Composer([], size, frames, objects=3, seed=15)
    held_back = [composer.clip(10_000 + number) for number in range(clips)]
    weights: str | Path = model
    lines, scores = list[str](), list[float]()
    for number in range(1, rounds + 1):
        network = checkpoint.load(weights, device="cpu", image_size=size)
        scores.append(measure_tracking(network, held_back))
        folder = out / f"round-{number}"
        rows = [composer.clip(1000 * number + index) for index in range(clips)]
        result = run_round(network, rows, grid, folder)
        lines += result.lines(number, scores[-1])
        weights = fine_tune(folder / "accepted", weights, size, steps, folder / "training")
    network = checkpoint.load(weights, device="cpu", image_size=size)
    scores.append(measure_tracking(network, held_back))
    lines.append("")
    lines.append("J&F of held-back clips: " + ", then ".join(f"{score:.3f}" for score in scores))
    text = "\n".join(lines)
    (out / "report.txt").write_text(text + "\n", encoding="utf-8")
    typer.echo(text)


@dataclass(frozen=True)
class Round:
    """What one round came to.

    Attributes:
        gates: The worth of each gate.
        proposed: Masklets.
        passed: Those that passed all gates, and of these the right ones.
        reviewed: Those that a person looked at, and what became of them.
        seconds: Of the person.
    """

    gates: Sequence[GateScore]
    proposed: int
    passed: tuple[int, int]
    reviewed: Mapping[str, int]
    seconds: float

    @property
    def accepted(self) -> int:
        return self.passed[0] + self.reviewed["accepted"] + self.reviewed["corrected"]

    def lines(self, number: int, score: float) -> Iterator[str]:
        yield f"Round {number}: J&F {score:.3f} before it, {self.proposed} masklets proposed"
        yield f"  {'gate':<28} {'passed':>8} {'precision':>10} {'recall':>8}"
        for gate in self.gates:
            precision, recall = _percent(gate.precision), _percent(gate.recall)
            yield f"  {gate.name:<28} {_percent(gate.passed):>8} {precision:>10} {recall:>8}"
        outcomes = ", ".join(f"{count} {name}" for name, count in self.reviewed.items())
        yield f"  passed without a person: {self.passed[0]}, of which {self.passed[1]} are right"
        yield f"  reviewed by a simulated person: {outcomes}; {self.seconds / 60:.1f} minutes"
        per_masklet = self.seconds / 60 / self.accepted if self.accepted else 0.0
        yield f"  {self.accepted} masklets for training, {per_masklet:.2f} minutes of a person for each"


def run_round(model: Sam2, clips: Sequence[Clip], grid: Grid, out: Path) -> Round:
    """Propose, sort and review the masklets of some clips; the accepted ones are in OUT/accepted."""
    from dataclasses import replace

    from masklet.jobs.gates import pass_all, propose_masklets, review_order, score_gates
    from masklet.media import open_frames

    everything: list[Masklet] = []
    truths: dict[str, np.ndarray] = {}
    sources: dict[str, Frames] = {}
    for number, clip in enumerate(clips):
        name, frames = f"clip-{number:03d}", open_frames(clip.images)
        sources[name], truths[name] = frames, clip.masks
        proposed = propose_masklets(model, frames, grid, max_objects=6)
        everything += [replace(masklet, video=name) for masklet in proposed]
    right = [_closest(masklet, truths[masklet.video])[1] >= RIGHT_J for masklet in everything]
    gates = score_gates(everything, right)
    accepted: dict[str, dict[int, Sequence[RLE]]] = {}
    for masklet in everything:
        if pass_all(masklet.measures):
            accepted.setdefault(masklet.video, {})[masklet.id] = masklet.codes
    passed = [
        is_right for masklet, is_right in zip(everything, right, strict=True) if pass_all(masklet.measures)
    ]
    outcomes, seconds = {"accepted": 0, "corrected": 0, "rejected": 0}, 0.0
    queue = review_order(everything)
    for masklet in queue:
        person = SimulatedReview(model, sources[masklet.video], truths[masklet.video])
        outcome, codes = person.review(masklet)
        outcomes[outcome] += 1
        seconds += person.seconds
        if outcome != "rejected":
            accepted.setdefault(masklet.video, {})[masklet.id] = codes
    write_queue(out, queue)
    for name, codes_by_id in accepted.items():
        write_accepted(out / "accepted" / name, sources[name], codes_by_id)
    if queue:
        write_project(out, model, queue, sources)
    return Round(gates, len(everything), (len(passed), sum(passed)), outcomes, seconds)


class SimulatedReview:
    """A person who watches a masklet, accepts it, corrects it with clicks, or rejects it.

    Attributes:
        seconds: That the review took, by the time model of the paper.
    """

    def __init__(self, model: Sam2, frames: Frames, truth: np.ndarray) -> None:
        self._model, self._frames, self._truth = model, frames, truth
        self.seconds = 0.0

    def review(self, masklet: Masklet) -> tuple[str, Sequence[RLE]]:
        """What becomes of the masklet, and its masks."""
        import numpy as np

        from masklet import rle
        from masklet.sessions.video import VideoSession
        from masklet.simulated_user import mask_iou, next_click
        from masklet.types import Prompt

        self.seconds += WATCH * len(self._frames)
        row, j = _closest(masklet, self._truth)
        if row is None:
            return "rejected", ()
        if j >= RIGHT_J:
            return "accepted", masklet.codes
        truth = self._truth[:, row]
        session = VideoSession(self._model, self._frames, zoom=False)
        session.prompt(0, 1, Prompt(mask=masklet.mask(0)))
        for _ in session.propagate():
            pass
        masks = [masklet.mask(frame) for frame in range(len(self._frames))]
        for _ in range(CORRECTIONS):
            worst = int(np.argmin([mask_iou(*pair) for pair in zip(truth, masks, strict=True)]))
            session.prompt(worst, 1, next_click(masks[worst], truth[worst]))
            for reverse in (False, True):
                stop = -1 if reverse else len(self._frames)
                for _ in session.propagate(worst, stop, reverse=reverse):
                    pass
            masks = [session.masks(frame)[1] for frame in range(len(self._frames))]
            self.seconds += LOCATE + CLICK + WATCH * len(self._frames)
            if float(np.mean([mask_iou(*pair) for pair in zip(truth, masks, strict=True)])) >= RIGHT_J:
                return "corrected", tuple(rle.encode(mask) for mask in masks)
        return "rejected", ()


def _closest(masklet: Masklet, truth: np.ndarray) -> tuple[int | None, float]:
    """The object that a masklet is meant for, by its first frame, and its mean J on it."""
    import numpy as np

    from masklet.simulated_user import mask_iou

    first = [mask_iou(mask, masklet.mask(0)) for mask in truth[0]]
    row = int(np.argmax(first))
    if first[row] < SAME_J:
        return None, 0.0
    return row, float(np.mean([mask_iou(mask, masklet.mask(at)) for at, mask in enumerate(truth[:, row])]))


def measure_tracking(model: Sam2, clips: Sequence[Clip]) -> float:
    """The mean J&F after one click on the first frame."""
    import numpy as np

    import masklet
    from masklet.evaluate.metrics import measure_agreement
    from masklet.simulated_user import next_click

    scores = []
    for clip in clips:
        prompts = {row + 1: next_click(None, mask) for row, mask in enumerate(clip.masks[0])}
        for masks in masklet.track(model, clip.images, {0: prompts}, zoom=False):
            if masks.frame:
                truth = clip.masks[masks.frame]
                scores += [measure_agreement(truth[id - 1], mask).jf for id, mask in masks.items()]
    return float(np.mean(scores))


def fine_tune(data: Path, model: str | Path, size: int, steps: int, out: Path) -> Path:
    """Train the decoder on accepted masklets; returns the weights."""
    from dataclasses import replace

    from masklet.train.loop import LAST, train
    from masklet.train.recipe import TrainingOptions
    from masklet.train.recipes.finetune import FineTuning
    from masklet.train.state import TrainingState

    training = TrainingOptions(data, str(model), "decoder", size, steps)
    recipe = FineTuning(frames=1, distinct_clips=200).recipe(training)
    for _ in train(TrainingState.begin(replace(recipe, validation=None)), out):
        pass
    return out / LAST


def write_accepted(folder: Path, frames: Frames, codes: Mapping[int, Sequence[RLE]]) -> None:
    """Write a clip as pictures and palette PNGs, which training reads, and as YouTube-VIS: COCO for video."""
    from masklet import rle
    from masklet.media import writers
    from masklet.types import Masks

    with writers(["frames", "palette", "youtube-vis"], folder, frames) as writer:
        for frame, image in enumerate(frames):
            arrays = {id: rle.decode(row[frame]) for id, row in codes.items()}
            writer.write(image, Masks.from_arrays(frame, arrays, frames.size))


def write_queue(out: Path, queue: Sequence[Masklet]) -> None:
    """Write the review queue, worst first: which masklet, and what it was measured as."""
    from dataclasses import asdict

    from masklet.files import atomic_write

    rows = [{"video": masklet.video, "object": masklet.id, **asdict(masklet.measures)} for masklet in queue]
    with atomic_write(out / "queue.json") as part:
        part.write_text(json.dumps(rows, indent=1))


def write_project(out: Path, model: Sam2, queue: Sequence[Masklet], sources: Mapping[str, Frames]) -> None:
    """Make a studio project of the doubtful masklets: a video each, numbered by the queue.

    The masks of the first frame are prompts there, so that tracking and corrections start from them.
    """
    from fastapi.testclient import TestClient

    from masklet.errors import MaskletError
    from masklet.studio.app import make_app
    from masklet.studio.settings import Settings
    from masklet.studio.studio import Studio

    review = out / "review"
    order: dict[str, list[Masklet]] = {}
    for masklet in queue:
        order.setdefault(masklet.video, []).append(masklet)
    studio = Studio(Settings(data=out / "studio", folder=review), model, "engine")
    with TestClient(make_app(studio), base_url="http://127.0.0.1:8000") as client:

        def call(path: str, body: object) -> dict[str, Any]:
            answer = client.post(f"/api{path}", json=body)
            if not answer.is_success:
                raise MaskletError(f"the studio project cannot be made: {answer.text}")
            content: dict[str, Any] = answer.json()
            return content

        project = call("/projects", {"name": "review, worst first"})["id"]
        for number, (name, masklets) in enumerate(order.items(), 1):
            target = f"{number:04d}-{Path(name).stem}.mp4"
            _write_video(review / target, sources[name])
            video = call(f"/projects/{project}/videos", {"path": target})["id"]
            for masklet in masklets:
                mask = {"size": list(sources[name].size), "counts": masklet.codes[0]["counts"]}
                call(f"/videos/{video}/prompts", {"frame": 0, "object": masklet.id, "mask": mask})


def _write_video(path: Path, frames: Frames) -> None:
    from masklet.media import OverlayVideo
    from masklet.types import Masks

    with OverlayVideo(path, frames) as writer:
        for frame, image in enumerate(frames):
            writer.write(image, Masks.empty(frame, frames.size))


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"
