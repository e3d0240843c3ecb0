"""masklet jobs: process large collections of videos with Ray."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from masklet.cli import options
from masklet.cli.commands import Command, GroupedCommand
from masklet.cli.items import SourceOptions
from masklet.cli.runs import ProgressBar

if TYPE_CHECKING:
    from masklet.jobs.records import ItemError, JobStatus
    from masklet.jobs.settings import Cluster, JobSettings

app = typer.Typer(help="Process large collections of videos with Ray (docs/scale.md).", no_args_is_help=True)

Out = Annotated[
    str, typer.Argument(metavar="OUT", help="The job's results: a path, or a URL such as s3://...")
]
Address = Annotated[
    str | None,
    typer.Option(help="Address of a Ray cluster, such as auto or ray://head:10001. Default: this machine."),
]
Actors = Annotated[
    int | None, typer.Option(help="Number of workers, each with one model. Default: as many as fit.")
]
Cpus = Annotated[float, typer.Option("--cpus-per-actor", help="CPU cores per worker.")]
Gpus = Annotated[
    float | None,
    typer.Option("--gpus-per-actor", help="GPUs per worker, such as 0.5. Default: 1 if there are GPUs."),
]
Attempts = Annotated[
    int, typer.Option(help="Attempts per item if a worker crashes or a store cannot be reached.")
]
Timeout = Annotated[float | None, typer.Option(help="Seconds after which an item fails.")]
RetryErrors = Annotated[bool, typer.Option("--retry-errors", help="Retry inputs that could not be read.")]


@app.command(cls=GroupedCommand)
def run(
    manifest: Annotated[
        str,
        typer.Argument(
            help="A .parquet, .csv or .jsonl with a column source, or a folder or glob of videos."
        ),
    ],
    out: Annotated[
        str,
        typer.Option(
            parser=options.check_named,
            metavar="URL",
            help="Where to write the results: a path, or a URL such as s3://...",
        ),
    ],
    model: options.Model = "nano",
    dtype: options.Precision = options.Dtype.float32,
    setting: options.Speed = options.Setting.balanced,
    image_size: options.ImageSize = None,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="Output format; repeat for several: parquet (default), {formats}.",
            autocompletion=options.format_names,
        ),
    ] = None,
    fps: Annotated[float | None, typer.Option(help="Sample this many frames per second.")] = None,
    policy: options.Policy = "recency",
    cuts: Annotated[bool, typer.Option("--cuts", help="Detect scene cuts.")] = False,
    exclusive: Annotated[bool, typer.Option("--exclusive", help="Remove overlaps between masks.")] = False,
    split: Annotated[
        int | None,
        typer.Option(
            metavar="FRAMES", help="Split longer videos at scene cuts into parts of this many frames."
        ),
    ] = None,
    preset: Annotated[str, typer.Option(help="Without prompts: fast, balanced or dense.")] = "balanced",
    every: Annotated[int | None, typer.Option(help="Without prompts: frames between key frames.")] = None,
    max_objects: Annotated[
        int, typer.Option(help="Without prompts: maximum number of objects tracked at once.")
    ] = 32,
    patience: Annotated[
        int | None,
        typer.Option(help="Without prompts: drop an object after it was lost for this many frames."),
    ] = None,
    channels: options.Channels = None,
    intensity_range: options.IntensityRange = None,
    pixel_size: options.PixelSize = None,
    max_pixels: options.MaxPixels = None,
    address: Address = None,
    actors: Actors = None,
    cpus_per_actor: Cpus = 1.0,
    gpus_per_actor: Gpus = None,
    attempts: Attempts = 3,
    timeout: Timeout = None,
    retry_errors: RetryErrors = False,
) -> None:
    """Segment all videos of a manifest. Repeat the command to resume."""
    _need_packages()
    from masklet.jobs.settings import PARQUET, Cluster, JobSettings

    names = tuple(dict.fromkeys(formats or ("parquet",)))
    source = SourceOptions.parse(
        channels,
        intensity_range,
        pixel_size,
        max_pixels,
        fps,
        formats=[name for name in names if name != PARQUET],
    )
    size = source.pixel_size
    settings = JobSettings(
        model=model,
        dtype=dtype.value,
        setting=setting.value,
        formats=names,
        fps=fps,
        policy=policy,
        cuts=cuts,
        exclusive=exclusive,
        split=split,
        preset=preset,
        every=every,
        max_objects=max_objects,
        max_pixels=max_pixels,
        image_size=image_size,
        channel=source.channel,
        intensity_range=source.intensity_range,
        patience=patience,
        pixel_size=None if size is None else (size.x, size.y, size.z),
    )
    cluster = Cluster(address, actors, cpus_per_actor, gpus_per_actor, attempts, timeout, retry_errors)
    _run(manifest, out, settings, cluster)


@app.command(cls=GroupedCommand)
def resume(
    out: Out,
    address: Address = None,
    actors: Actors = None,
    cpus_per_actor: Cpus = 1.0,
    gpus_per_actor: Gpus = None,
    attempts: Attempts = 3,
    timeout: Timeout = None,
    retry_errors: RetryErrors = False,
) -> None:
    """Resume a job with its original manifest and settings."""
    _need_packages()
    from masklet.jobs.records import read_job
    from masklet.jobs.settings import Cluster
    from masklet.jobs.stores import Store

    manifest, settings = read_job(Store(out))
    cluster = Cluster(address, actors, cpus_per_actor, gpus_per_actor, attempts, timeout, retry_errors)
    _run(manifest, out, settings, cluster)


@app.command(cls=Command)
def status(out: Out) -> None:
    """Show a job's progress, slow items and errors."""
    _need_packages()
    from masklet.jobs.records import last_status, read_errors
    from masklet.jobs.stores import Store

    store = Store(out)
    for line in describe_status(last_status(store)):
        typer.echo(options.terminal_text(line))
    _print_errors(read_errors(store))


@app.command(cls=Command)
def merge(
    out: Out,
    to: Annotated[str | None, typer.Option(help="Where to write the files. Default: OUT/merged.")] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="parquet (default) or coco, one coco.json of all; repeat for both.",
            autocompletion=lambda: ["parquet", "coco"],
        ),
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Merge the finished items of an unfinished job.")
    ] = False,
) -> None:
    """Merge the masks of all items into a few Parquet files, or one COCO file."""
    _need_packages()
    from masklet.jobs.merge import merge_results
    from masklet.jobs.stores import Store

    store = Store(out)
    target = Store(to or f"{store.url}/merged")
    for name in merge_results(store, target, formats or ("parquet",), is_partial=partial):
        typer.echo(f"{target.url}/{name}")


def _run(manifest: str, out: str, settings: JobSettings, cluster: Cluster) -> None:
    from masklet.jobs.records import read_errors
    from masklet.jobs.run import run_job
    from masklet.jobs.stores import Store

    with ProgressBar() as bar:
        shown = set[str]()

        def report(status: JobStatus) -> None:
            bar.count = 1
            bar.update((status.done + status.failed) / max(1, status.total), status.total, "items")
            for straggler in status.stragglers:
                if straggler.item not in shown:
                    shown.add(straggler.item)
                    bar.print(f"slow: {straggler.item}, {straggler.seconds:.0f} s so far")

        last = run_job(manifest, out, settings, cluster, report)
    earlier = f", {last.done_before} of them by an earlier run" if last.done_before else ""
    typer.echo(f"{last.done} of {last.done + last.failed} items are done{earlier}: {out}")
    if last.failed:
        _print_errors(read_errors(Store(out)))
        raise typer.Exit(1)


def describe_status(status: JobStatus) -> Iterator[str]:
    """The progress of a job, in a few lines."""
    yield (
        f"{status.done} of {status.total} items are done, {status.failed} failed, "
        f"{len(status.running)} at work, {status.waiting} waiting"
    )
    hours = (status.time - status.began) / 3600
    done_now = status.done - status.done_before
    if done_now and hours > 0:
        rate = done_now / hours
        left = status.unfinished / rate
        yield f"{rate:,.0f} items per hour" + (f", {left:.1f} hours left" if left else "")
    silent = time.time() - status.time
    if status.is_running and silent > 60:
        yield f"the driver wrote its status last {silent:.0f} seconds ago: if it is gone, masklet jobs resume"
    for straggler in status.stragglers:
        done, all_frames = straggler.frames
        yield (
            f"slow: {straggler.item}, {straggler.seconds:.0f} s so far, frame {done} of {all_frames}; "
            f"the median is {status.median_seconds:.0f} s"
        )


def _print_errors(errors: list[ItemError]) -> None:
    if not errors:
        return
    from rich.console import Console
    from rich.table import Column, Table

    source, why = Column("input", overflow="fold"), Column("why it failed", overflow="fold")
    table = Table(source, "part", why, "attempts")
    for row in errors:
        texts = (row.source, str(row.part), row.error, str(row.attempts))
        table.add_row(*map(options.terminal_text, texts))
    Console(stderr=True, markup=False).print(table)


def _need_packages() -> None:
    from importlib.util import find_spec

    from masklet.errors import MissingExtra

    for package in ("ray", "pyarrow", "fsspec"):
        if find_spec(package) is None:
            raise MissingExtra("jobs", package)
