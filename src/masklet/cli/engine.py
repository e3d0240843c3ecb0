"""masklet engine: a model proposes, gates sort, people review what is doubtful, the next model trains."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from masklet.cli import options
from masklet.cli.items import Kind, find_items
from masklet.cli.runs import ProgressBar

if TYPE_CHECKING:
    from masklet.jobs.gates import Masklet
    from masklet.media import Frames
    from masklet.model import Sam2
    from masklet.rle import RLE

app = typer.Typer(help="The loop that makes training data: docs/scale.md.", no_args_is_help=True)


class PresetName(StrEnum):
    """The presets that leave the trunk as it is, without importing torch."""

    decoder = "decoder"
    memory = "memory"


@app.command(cls=options.Command)
def propose(
    out: options.Out,
    videos: Annotated[
        list[str] | None, typer.Argument(help="Short clips: files, folders, globs or URLs.")
    ] = None,
    names: options.ListFile = None,
    max_objects: Annotated[int, typer.Option(help="The best so many of a clip are tracked.")] = 8,
    limits: Annotated[
        Path | None, typer.Option(help="The gates' limits, as gates.json of the demo; by default its own.")
    ] = None,
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

        from masklet.jobs.gates import GATES, pass_all, propose_masklets, read_limits, review_order
        from masklet.media import open_frames

        gates = GATES if limits is None else read_limits(limits)
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
            passed = [masklet for masklet in proposed if pass_all(masklet.measures, gates)]
            if passed:
                write_accepted(
                    out / "accepted" / (item.name or frames.name),
                    frames,
                    {row.id: row.codes for row in passed},
                )
            bar.end()
        queue = review_order(masklets, gates)
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
    pictures: Annotated[
        Path | None,
        typer.Option(help="Compose from labelled pictures, SET/instances.json; by default from nothing."),
    ] = None,
    base: Annotated[
        Path | None, typer.Option(help="Labelled data that half of the training comes from.")
    ] = None,
    clips: Annotated[int, typer.Option(min=1, help="Composed clips of each round.")] = 10,
    frames: Annotated[int, typer.Option(min=2, help="Of each clip.")] = 12,
    size: Annotated[int, typer.Option(help="Side of the clips.")] = 320,
    steps: Annotated[int, typer.Option(help="Training steps of each round.")] = 60,
    preset: Annotated[
        PresetName, typer.Option(help="The parts of the network to train.")
    ] = PresetName.decoder,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds.")] = 2,
    max_objects: Annotated[int, typer.Option(help="The best so many of a clip are tracked.")] = 8,
    points: Annotated[int, typer.Option(help="On each side of the grid of proposals.")] = 16,
) -> None:
    """Run the whole loop on composed clips, whose truth is known, and print what each part is worth.

    A simulated person reviews. Weights are chosen by clips that no round trains on, and reported on others.
    """
    from masklet.cli.engine_demo import ClipMaker, FineTune, run_demo
    from masklet.synthetic.director import Stock
    from masklet.synthetic.stock import load_pictures
    from masklet.train.parameters import TRAINED_MODULES

    folders = [] if pictures is None else sorted(path.parent for path in pictures.glob("*/instances.json"))
    if pictures is not None and not folders:
        raise typer.BadParameter(f"{pictures} holds no SET/instances.json.", param_hint="--pictures")
    stock = Stock(load_pictures(folders, out / "cache") if folders else ())
    names = {name: name for name in TRAINED_MODULES}
    training = FineTune(names[preset.value], steps, base)
    lines = list[str]()

    def report(line: str) -> None:
        lines.append(line)
        typer.echo(line)

    run_demo(
        out,
        model,
        ClipMaker.of(stock, size, frames),
        training,
        clips=clips,
        rounds=rounds,
        max_objects=max_objects,
        points=points,
        report=report,
    )
    (out / "report.txt").write_text("\n".join([f"$ {options.command_line()}", *lines, ""]), encoding="utf-8")


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
