"""masklet engine: a model proposes masklets, gates sort them, people review, the next model trains."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import masklet
from masklet.cli import options
from masklet.cli.commands import Command, GroupedCommand
from masklet.cli.items import Item, Kind, find_items
from masklet.cli.runs import Failures, ProgressBar, collect_failures, print_failures

if TYPE_CHECKING:
    from masklet.engine.gates import Gate
    from masklet.engine.proposal_folder import ProposalFolder
    from masklet.model import Sam2

app = typer.Typer(
    help="Make training data in a loop: propose, review, train (docs/engine.md).", no_args_is_help=True
)


class PresetName(StrEnum):
    """The presets that do not train the trunk, without importing torch."""

    decoder = "decoder"
    memory = "memory"


class WorldName(StrEnum):
    """The contents of composed clips, without importing torch."""

    cells = "cells"
    things = "things"


@app.command(cls=Command)
def propose(
    out: options.Out,
    videos: Annotated[
        list[str] | None, typer.Argument(help="Short clips: files, folders, globs or URLs.")
    ] = None,
    names: options.ListFile = None,
    max_objects: Annotated[
        int, typer.Option(min=1, help="Track at most this many objects of a clip, the best first.")
    ] = 8,
    limits: Annotated[
        Path | None, typer.Option(help="Limits of the gates, a JSON file like the demo's gates.json.")
    ] = None,
    model: options.Model = "nano",
    device: options.Device = None,
    dtype: options.Precision = options.Dtype.float32,
    setting: options.Speed = options.Setting.exact,
) -> None:
    """Propose masklets and sort them into OUT/accepted, for training, and OUT/studio, to review.

    Review with `masklet studio OUT/review --data OUT/studio`, export there, and train with
    `masklet train finetune`.
    """
    with ProgressBar() as bar:
        from masklet.checkpoint.locations import find_given
        from masklet.engine.gates import GATES, read_limits, review_order
        from masklet.engine.proposal_folder import ProposalFolder, write_project, write_queue
        from masklet.run_folder import Run, digest

        gates = GATES if limits is None else read_limits(limits)
        items = find_items(videos or (), Kind.video, names_from=names)
        settings = {
            "model": model,
            "dtype": dtype.value,
            "setting": setting.value,
            "max_objects": max_objects,
            "gates": {gate.name: gate.limit for gate in gates},
            "weights": None if (weights := find_given(model)) is None else digest(model, [weights]),
        }
        network = options.ModelOptions(
            model, device, dtype, setting
        ).load()  # an unknown model claims no folder
        folder = ProposalFolder(out, Run("engine propose", str(masklet.__version__), settings, {}))
        failures: Failures = []
        contents: dict[str, str] = {}
        for item in items:
            with collect_failures(item, failures):
                contents[item.source] = digest(item.source, item.files())
        folder.begin(contents)
        new = [item for item in items if item.source in contents and not folder.is_done(item.source)]
        if not (new or failures or folder.unreviewed):
            typer.echo(
                f"{out} already has the proposals for these videos. Review them, or choose another --out."
            )
            return
        bar.count = len(new)
        for item in new:
            bar.begin(item.title)
            with collect_failures(item, failures):
                _propose(network, item, folder, gates, max_objects)
            bar.end()
        masklets = folder.masklets()
        queue = review_order(masklets, gates)
        write_queue(out, queue)
        waiting = folder.unreviewed
        if unreviewed := [masklet for masklet in queue if masklet.video in waiting]:
            write_project(out, network, unreviewed, folder.projects + 1)
        folder.finish_project(waiting)
    typer.echo(f"{len(masklets) - len(queue)} of {len(masklets)} masklets pass all gates: {out / 'accepted'}")
    if queue:
        typer.echo(f"{len(queue)} must be reviewed: masklet studio {out / 'review'} --data {out / 'studio'}")
    if failures:
        print_failures(failures)
        raise typer.Exit(1)


def _propose(
    network: Sam2, item: Item, folder: ProposalFolder, gates: Sequence[Gate], max_objects: int
) -> None:
    """Propose the masklets of one video, and write those that pass all gates."""
    from dataclasses import replace

    from masklet.engine.gates import pass_all
    from masklet.engine.proposal_folder import write_accepted
    from masklet.engine.proposals import propose_masklets
    from masklet.media import open_frames

    frames = open_frames(item.source)
    proposed = [
        replace(masklet, video=item.source)
        for masklet in propose_masklets(network, frames, max_objects=max_objects)
    ]
    path = folder.accept(item.source, item.name or frames.name)
    if passed := [masklet for masklet in proposed if pass_all(masklet.measures, gates)]:
        write_accepted(path, frames, {masklet.id: masklet.codes for masklet in passed})
    folder.finish(item.source, proposed)


@app.command(cls=GroupedCommand)
def demo(
    out: options.Out,
    model: options.Model = "nano",
    world: Annotated[
        WorldName, typer.Option(help="What the clips show: cells, or things like nano's training data.")
    ] = WorldName.cells,
    images: Annotated[
        Path | None,
        typer.Option(
            "--pictures",
            help="Compose things from labelled images, SET/instances.json; by default from drawn shapes.",
        ),
    ] = None,
    base: Annotated[Path | None, typer.Option(help="Labelled data for half of the training batches.")] = None,
    clips: Annotated[int, typer.Option(min=1, help="Clips per round.")] = 10,
    frames: Annotated[int, typer.Option(min=2, rich_help_panel="Loop", help="Frames per clip.")] = 12,
    size: Annotated[
        int, typer.Option(min=32, rich_help_panel="Loop", help="Side of the clips, in pixels.")
    ] = 320,
    steps: Annotated[int, typer.Option(min=1, help="Training steps per round.")] = 60,
    preset: Annotated[
        PresetName, typer.Option(rich_help_panel="Training", help="The parts of the network to train.")
    ] = PresetName.memory,
    rate: Annotated[float, typer.Option(help="Learning rate at the start; it falls to 0.")] = 1e-4,
    rounds: Annotated[int, typer.Option(min=1, help="Number of rounds.")] = 2,
    max_objects: Annotated[
        int, typer.Option(min=1, help="Track at most this many objects of a clip, the best first.")
    ] = 8,
    points: Annotated[int, typer.Option(min=1, help="Points along each side of the proposal grid.")] = 16,
    accept_from: Annotated[
        float,
        typer.Option(min=0.3, max=1.0, help="Mean IoU from which the simulated person accepts a masklet."),
    ] = 0.85,
) -> None:
    """Run the loop on composed clips with known ground truth, and print the gain of each part.

    A simulated person reviews. Held-back clips choose the weights, and other clips measure them.
    Repeat the command to resume.
    """
    from masklet.datasets import find_items as find_labelled
    from masklet.engine.demo import ClipMaker, DemoSize, run_demo
    from masklet.engine.weights import RoundTraining
    from masklet.synthetic.assets import AssetLibrary, load_images
    from masklet.train.parameters import TRAINED_MODULES

    folders = [] if images is None else sorted(path.parent for path in images.glob("*/instances.json"))
    if images is not None and not folders:
        raise typer.BadParameter(f"{images} contains no SET/instances.json.", param_hint="--pictures")
    if folders and world is WorldName.cells:
        raise typer.BadParameter(
            "--pictures cannot be used for cells: add --world things.", param_hint="--pictures"
        )
    if base is not None:
        find_labelled(base)  # fail now, not when the first round trains
    assets = AssetLibrary(load_images(folders, out / "cache") if folders else ())
    names = {name: name for name in TRAINED_MODULES}
    training = RoundTraining(names[preset.value], steps, rate, base)
    lines = list[str]()

    def report(line: str) -> None:
        lines.append(line)
        typer.echo(line)

    maker = ClipMaker(world.value, size, frames, assets)
    run_demo(out, model, maker, training, DemoSize(clips, rounds, max_objects, points, accept_from), report)
    (out / "report.txt").write_text("\n".join([f"$ {options.command_line()}", *lines, ""]), encoding="utf-8")
