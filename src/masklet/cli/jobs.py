"""masklet jobs: corpora of videos on Ray."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from masklet.cli import options
from masklet.cli.runs import ProgressBar, parse_intensity_range, parse_pixel_size

if TYPE_CHECKING:
    from masklet.jobs.manifest import Cluster, JobSettings

app = typer.Typer(help="Corpora of videos on Ray: docs/scale.md.", no_args_is_help=True)

Out = Annotated[str, typer.Argument(metavar="OUT", help="The results: a path, or a URL such as s3://...")]
Address = Annotated[
    str | None,
    typer.Option(help="Of a Ray cluster, such as auto or ray://head:10001; by default this machine."),
]
Actors = Annotated[int | None, typer.Option(help="Models at work at a time; by default as many as fit.")]
Cpus = Annotated[float, typer.Option("--cpus-per-actor", help="CPU cores of each.")]
Gpus = Annotated[
    float | None, typer.Option("--gpus-per-actor", help="GPUs of each, such as 0.5; 1 where there are GPUs.")
]
Attempts = Annotated[
    int, typer.Option(help="How often an item may fail through no fault of its own, such as a killed worker.")
]
Timeout = Annotated[float | None, typer.Option(help="Seconds after which an item counts as failed.")]
RetryErrors = Annotated[bool, typer.Option("--retry-errors", help="Try again what could not be read.")]


@app.command(cls=options.GroupedCommand)
def run(
    manifest: Annotated[
        str, typer.Argument(help="A .parquet, .csv or .jsonl with a column source; or a folder or glob.")
    ],
    out: Annotated[
        str,
        typer.Option(
            parser=options.check_named,
            metavar="URL",
            help="Where the results go: a path, or a URL such as s3://...",
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
            help="parquet (by default) or, may be repeated: {formats}.",
            autocompletion=options.format_names,
        ),
    ] = None,
    fps: Annotated[float | None, typer.Option(help="Take so many frames of each second.")] = None,
    policy: options.Policy = "recency",
    cuts: Annotated[bool, typer.Option("--cuts", help="Detect scene cuts.")] = False,
    exclusive: Annotated[bool, typer.Option("--exclusive", help="Let no two masks overlap.")] = False,
    split: Annotated[
        int | None,
        typer.Option(
            metavar="FRAMES", help="Split longer videos at scene cuts, into parts of so many frames."
        ),
    ] = None,
    preset: Annotated[str, typer.Option(help="Without prompts: fast, balanced or dense.")] = "balanced",
    every: Annotated[
        int | None, typer.Option(help="Without prompts: frames from key frame to key frame.")
    ] = None,
    max_objects: Annotated[int, typer.Option(help="Without prompts: objects tracked at a time.")] = 32,
    patience: Annotated[
        int | None, typer.Option(help="Without prompts: frames until a lost object is given up.")
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
    """Segment all videos of a manifest. The same command again goes on where it stopped."""
    _need_packages()
    from masklet.jobs.manifest import PARQUET, Cluster, JobSettings
    from masklet.media.readers.microscopy import parse_channels

    names = tuple(dict.fromkeys(formats or ("parquet",)))
    size = parse_pixel_size(pixel_size, [name for name in names if name != PARQUET])
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
        channel=parse_channels(channels or ()),
        intensity_range=parse_intensity_range(intensity_range),
        patience=patience,
        pixel_size=None if size is None else (size.x, size.y, size.z),
    )
    cluster = Cluster(address, actors, cpus_per_actor, gpus_per_actor, attempts, timeout, retry_errors)
    _run(manifest, out, settings, cluster)


@app.command(cls=options.GroupedCommand)
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
    """Go on with a job, with the manifest and settings that it was started with."""
    _need_packages()
    from masklet.jobs.manifest import Cluster
    from masklet.jobs.run import read_job
    from masklet.jobs.stores import Store

    manifest, settings = read_job(Store(out))
    cluster = Cluster(address, actors, cpus_per_actor, gpus_per_actor, attempts, timeout, retry_errors)
    _run(manifest, out, settings, cluster)


@app.command(cls=options.Command)
def status(out: Out) -> None:
    """Show how far a job is, what is slow, and what failed."""
    _need_packages()
    from masklet.jobs.report import describe_status, read_errors, read_status
    from masklet.jobs.stores import Store

    store = Store(out)
    for line in describe_status(read_status(store)):
        typer.echo(options.terminal_text(line))
    _print_errors(read_errors(store))


@app.command(cls=options.Command)
def merge(
    out: Out,
    to: Annotated[str | None, typer.Option(help="Where the files go; by default OUT/merged.")] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="parquet (by default) or coco: one coco.json of all; may be repeated.",
            autocompletion=lambda: ["parquet", "coco"],
        ),
    ] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Merge what is there.")] = False,
) -> None:
    """Copy the masks of all items into few Parquet files, or one COCO file."""
    _need_packages()
    from masklet.jobs.merge import merge_results
    from masklet.jobs.stores import Store

    store = Store(out)
    target = Store(to or f"{store.url}/merged")
    for name in merge_results(store, target, formats or ("parquet",), is_partial=partial):
        typer.echo(f"{target.url}/{name}")


def _run(manifest: str, out: str, settings: JobSettings, cluster: Cluster) -> None:
    from masklet.jobs.report import find_stragglers, read_errors
    from masklet.jobs.run import run_job
    from masklet.jobs.stores import Store

    with ProgressBar() as bar:
        shown = set[str]()

        def report(status: Mapping[str, Any]) -> None:
            done = status["done"] + status["failed"]
            total = done + status["waiting"] + len(status["running"])
            bar.count = 1
            bar.update(done / max(1, total), total, "items")
            for straggler in find_stragglers(status):
                if straggler.item not in shown:
                    shown.add(straggler.item)
                    bar.print(f"slow: {straggler.item}, {straggler.seconds:.0f} s so far")

        last = run_job(manifest, out, settings, cluster, report)
    before = last["done_before"]
    typer.echo(
        f"{last['done']} of {last['done'] + last['failed']} items are done"
        + (f", {before} of them by an earlier run" if before else "")
        + f": {out}"
    )
    if last["failed"]:
        _print_errors(read_errors(Store(out)))
        raise typer.Exit(1)


def _print_errors(errors: list[dict[str, Any]]) -> None:
    if not errors:
        return
    from rich.console import Console
    from rich.table import Column, Table

    source, why = Column("input", overflow="fold"), Column("why it failed", overflow="fold")
    table = Table(source, "part", why, "attempts")
    for row in errors:
        texts = (row["source"], str(row["part"]), row["error"], str(row["attempts"]))
        table.add_row(*map(options.terminal_text, texts))
    Console(stderr=True, markup=False).print(table)


def _need_packages() -> None:
    from importlib.util import find_spec

    from masklet.errors import MissingExtra

    for package in ("ray", "pyarrow", "fsspec"):
        if find_spec(package) is None:
            raise MissingExtra("jobs", package)
