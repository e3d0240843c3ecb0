"""masklet evaluate: measure a model, or a baseline, on a benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from masklet.cli.compare import compare

if TYPE_CHECKING:
    from masklet.evaluate.runner import Item, Measurement


class Rules(StrEnum):
    video = "video"
    offline = "offline"
    online = "online"
    image = "image"
    policies = "policies"


class Given(StrEnum):
    mask = "mask"
    box = "box"
    click = "1 click"
    three = "3 clicks"
    five = "5 clicks"


class Counted(StrEnum):
    inner = "inner"
    all = "all"


def evaluate(
    protocol: Annotated[
        Rules,
        typer.Argument(
            help="video: follow what the first frame gives (J&F). offline, online: the paper's interactive "
            "protocols. image: mIoU after clicks and from a box. policies: as video, by every memory policy, "
            "and on three composed suites too."
        ),
    ],
    data: Annotated[
        Path,
        typer.Argument(
            help="A folder as DAVIS, MOSE, YouTube-VOS, LVOS or SA-V lay it out, or NAME/frames beside "
            "NAME/masks; for image whatever training reads."
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Takes the results; the same folder again continues a killed run.")
    ],
    model: Annotated[
        str, typer.Option(help="A model's name, path or hub id; or a baseline: repeat, flow, grabcut.")
    ] = "nano",
    given: Annotated[
        list[Given] | None, typer.Option(help="video: what the first frame gives; may be repeated.")
    ] = None,
    frames: Annotated[
        Counted,
        typer.Option(help="video: inner leaves out the first and last annotated frame, as DAVIS does."),
    ] = Counted.inner,
    policy: Annotated[
        str, typer.Option(help="The memory policy: recency, gated, samurai, dam4sam or long.")
    ] = "recency",
    cuts: Annotated[bool, typer.Option(help="Watch for scene cuts.")] = False,
    closer: Annotated[
        bool | None,
        typer.Option(
            "--closer/--no-closer",
            help="Look again, from close up, at what is small; by default nano does.",
        ),
    ] = None,
    names: Annotated[
        Path | None,
        typer.Option("--list", help="A text file with the names of the clips or pictures to take."),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps.")] = None,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
) -> None:
    """Measure a model or a baseline on a benchmark: a table, OUT/result.json and OUT/report.html."""
    from rich.console import Console
    from rich.progress import Progress

    from masklet.evaluate import layouts, report
    from masklet.evaluate.runner import Named, Run
    from masklet.tracking.policies import find_policy

    find_policy(policy)
    if given and protocol is not Rules.video:
        raise typer.BadParameter(f"{protocol} gives its own prompts; --given is for video.")
    if protocol is Rules.policies:
        if cuts or policy != "recency":
            raise typer.BadParameter("policies compares them all: leave --policy and --cuts out.")
        compare(data, None if names is None else layouts.listed(names), out, model, jobs, device, dtype)
        return
    template = report.page_template()
    measurement = _measurement(protocol, given or [Given.mask], frames)
    read = layouts.pictures if protocol is Rules.image else layouts.clips
    items: Sequence[Item] = read(data, None if names is None else layouts.listed(names))
    run = Run(measurement, Named(model, device, dtype, policy, cuts, closer), str(data.resolve()), out)

    console = Console()
    with Progress(console=console) as progress:
        task = progress.add_task(f"{protocol}, {model}", total=len(items))
        rows = run.rows(items, jobs, lambda name: progress.update(task, track_frame=1, description=name))

    title = f"{protocol}: {model} on {data.name}"
    if len(settings := list(dict.fromkeys(row.setting for row in rows))) == 1 or protocol is Rules.image:
        console.print(report.table("one by one", report.group_lines(rows, settings[0])))
    console.print(report.table(title, report.lines(rows)))
    report.write_json(out / "result.json", title, rows)
    pictures = {item.name: item for item in items}
    report.write_page(
        out / "report.html",
        template,
        title,
        rows,
        axis=measurement.axis,
        headline=measurement.headline,
        picture=lambda name, frame: pictures[name].picture(frame),
    )
    console.print(f"{out / 'result.json'}\n{out / 'report.html'}")


def _measurement(protocol: Rules, given: list[Given], frames: Counted) -> Measurement[Any]:
    from masklet.evaluate.image_clicks import ImageClicks
    from masklet.evaluate.interactive import Offline, Online
    from masklet.evaluate.semi_supervised import SemiSupervised

    match protocol:
        case Rules.video:
            return SemiSupervised(tuple(each.value for each in given), frames.value)
        case Rules.offline:
            return Offline()
        case Rules.online:
            return Online()
        case Rules.image:
            return ImageClicks()
        case Rules.policies:
            raise AssertionError("policies are compared by `compare`")
