"""masklet evaluate: measure a model, or a baseline, on a benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from masklet.cli.options import ImageSize, Policy, Setting, announce_start, command_line, parse_folder

if TYPE_CHECKING:
    from jinja2 import Template
    from rich.console import Console

    from masklet.datasets import LabelledVideo
    from masklet.evaluate.predictors import ModelPredictor
    from masklet.evaluate.report import ObjectResult
    from masklet.evaluate.runner import Evaluation, EvaluationProtocol, PredictorSpec
    from masklet.evaluate.samples import Sample

CLIPS = "clips"  # the name of the user's suite


class ProtocolName(StrEnum):
    video = "video"
    offline = "offline"
    online = "online"
    image = "image"
    noc = "noc"
    everything = "everything"
    policies = "policies"


class PromptName(StrEnum):
    mask = "mask"
    box = "box"
    click = "1 click"
    three = "3 clicks"
    five = "5 clicks"


class CountedFrames(StrEnum):
    inner = "inner"
    all = "all"


def evaluate(
    protocol: Annotated[
        ProtocolName,
        typer.Argument(
            help="video: track from a prompt on the first frame (J&F). offline, online: the paper's "
            "interactive protocols. image: IoU after 1, 3 and 5 clicks and from a box, and the error of the "
            "predicted IoU. noc: the number of clicks to reach IoU 85 and 90 %. everything: find and track "
            "everything in videos without prompts (HOTA, IDF1). policies: like video, with "
            "every memory policy, also on three synthetic suites."
        ),
    ],
    data: Annotated[
        Path,
        typer.Argument(
            help="A folder in the layout of DAVIS, MOSE, YouTube-VOS, LVOS or SA-V, or NAME/frames beside "
            "NAME/masks; for image and noc any data set that training reads."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            parser=parse_folder,
            metavar="FOLDER",
            help="Folder for the results. The same folder resumes a killed run.",
        ),
    ],
    model: Annotated[
        str, typer.Option(help="A model's name, path or hub id; or a baseline: repeat, flow, grabcut.")
    ] = "nano",
    given: Annotated[
        list[PromptName] | None,
        typer.Option(help="video: the prompt on the first frame. Repeat for several."),
    ] = None,
    frames: Annotated[
        CountedFrames,
        typer.Option(
            help="video: which annotated frames to score; inner skips the first and last, as DAVIS does."
        ),
    ] = CountedFrames.inner,
    policy: Policy = "recency",
    cuts: Annotated[bool, typer.Option(help="Detect scene cuts.")] = False,
    zoom: Annotated[
        bool | None,
        typer.Option(
            "--zoom/--no-zoom",
            "--closer/--no-closer",
            help="Segment small objects again in a window around them. Default: on for nano.",
        ),
    ] = None,
    names: Annotated[
        Path | None,
        typer.Option("--list", help="A text file with the names of the clips or images to evaluate."),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Number of processes.")] = 1,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 or mps.")] = None,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    setting: Annotated[
        Setting,
        typer.Option(
            help="Rounding on CPUs: exact gives the published numbers; other commands use balanced."
        ),
    ] = Setting.exact,
    image_size: ImageSize = None,
) -> None:
    """Measure a model or a baseline on a benchmark; write OUT/result.json and OUT/report.html."""
    announce_start()
    from rich.console import Console

    from masklet.evaluate import report, samples
    from masklet.evaluate.runner import Evaluation, PredictorSpec
    from masklet.tracking.policies import find_policy

    find_policy(policy)
    if given and protocol is not ProtocolName.video:
        raise typer.BadParameter(f"{protocol} chooses its own prompts: use --given only with video.")
    listed = None if names is None else samples.read_names(names)
    command = command_line()
    spec = PredictorSpec(model, device, dtype, policy, cuts, zoom, setting.value, image_size)
    if protocol is ProtocolName.policies:
        if cuts or policy != "recency":
            raise typer.BadParameter("policies compares all policies: remove --policy and --cuts.")
        compare(data, listed, out, spec, jobs, command)
        return
    template = report.load_template()
    rules = _make_protocol(protocol, given or [PromptName.mask], frames)
    on_images = protocol in (ProtocolName.image, ProtocolName.noc)
    find = samples.find_images if on_images else samples.find_clips
    items: Sequence[Sample] = find(data, listed)
    evaluation = Evaluation(rules, spec, str(data.resolve()), out)

    console = Console(markup=False)
    results = _run(evaluation, items, jobs, f"{protocol}, {model}", console)
    title = f"{protocol}: {model} on {data.name}"
    if len(settings := list(dict.fromkeys(result.setting for result in results))) == 1 or on_images:
        table = report.make_table(
            f"{settings[0]}, one at a time", report.summarize_groups(results, settings[0])
        )
        console.print(table)
    console.print(report.make_table(title, report.summarize(results)))
    report.write_json(out / "result.json", title, command, results)
    _write_page(out, template, title, command, results, rules, {item.name: item for item in items})
    console.print(f"{out / 'result.json'}\n{out / 'report.html'}", soft_wrap=True)


def _make_protocol(
    protocol: ProtocolName, given: list[PromptName], frames: CountedFrames
) -> EvaluationProtocol[Any]:
    from masklet.evaluate.protocols import (
        ClicksToTarget,
        Everything,
        ImageClicks,
        Offline,
        Online,
        SemiSupervised,
    )

    match protocol:
        case ProtocolName.video:
            return SemiSupervised(tuple(prompt.value for prompt in given), frames.value)
        case ProtocolName.offline:
            return Offline()
        case ProtocolName.online:
            return Online()
        case ProtocolName.image:
            return ImageClicks()
        case ProtocolName.noc:
            return ClicksToTarget()
        case ProtocolName.everything:
            return Everything()
        case ProtocolName.policies:
            raise AssertionError("policies are compared by `compare`")


def _run(
    evaluation: Evaluation[Any], items: Sequence[Sample], jobs: int, title: str, console: Console
) -> list[ObjectResult]:
    """Evaluate with a progress bar."""
    from rich.markup import escape
    from rich.progress import Progress

    with Progress(console=console) as progress:
        task = progress.add_task(escape(title), total=len(items))
        return evaluation.run(
            items, jobs, lambda name: progress.update(task, advance=1, description=escape(name))
        )


def _write_page(
    out: Path,
    template: Template,
    title: str,
    command: str,
    results: Sequence[ObjectResult],
    protocol: EvaluationProtocol[Any],
    items: Mapping[str, Sample],
) -> None:
    """Write OUT/report.html."""
    from masklet.evaluate import report

    report.write_page(
        out / "report.html",
        template,
        title,
        command,
        results,
        axis=protocol.axis,
        headline=protocol.headline,
        read_frame=lambda name, frame: items[name].image(frame),
    )


def compare(
    data: Path, names: list[str] | None, out: Path, spec: PredictorSpec, jobs: int, command: str
) -> None:
    """Track each first-frame mask with every policy: OUT/table.md, report.html, and strips.

    A strip shows the object of a synthetic clip on which a policy gains or loses most compared with recency.

    Args:
        names: Names of clips in `data` and in the suites; by default all.
        command: The command that made the report.
    """
    from rich.console import Console

    from masklet.evaluate import policy_comparison, report
    from masklet.evaluate.predictors import require_model
    from masklet.evaluate.runner import Evaluation
    from masklet.evaluate.samples import find_clips
    from masklet.files import atomic_write

    console, template = Console(markup=False), report.load_template()
    own = find_clips(data)
    predictor = require_model(spec.load(), "memory policies need a model")
    with console.status("rendering the synthetic suites"):
        suites = _find_suites(own, names, out)
    by_name = {clip.name: clip for clips in suites.values() for clip in clips}
    protocol = policy_comparison.PolicyComparison()
    evaluation = Evaluation(protocol, spec, str(data.resolve()), out)
    results = _run(evaluation, list(by_name.values()), jobs, f"policies, {spec.name}", console)
    of_suites = {
        suite: [result for result in results if result.sample in {clip.name for clip in clips}]
        for suite, clips in suites.items()
        if clips
    }
    table = policy_comparison.make_markdown(of_suites)
    console.print(table)
    synthetic = [result for suite, rows in of_suites.items() if suite != CLIPS for result in rows]
    with console.status("painting strips"):
        strips = _write_strips(predictor, synthetic, by_name, out)
    with atomic_write(out / "table.md") as part:
        part.write_text("\n".join([table, *strips, f"Made by `{command}`", ""]))
    title = f"policies: {spec.name} on {data.name} and synthetic suites"
    _write_page(out, template, title, command, results, protocol, by_name)
    console.print(f"{out / 'table.md'}\n{out / 'report.html'}", soft_wrap=True)


def _find_suites(
    own: list[LabelledVideo], names: list[str] | None, out: Path
) -> dict[str, list[LabelledVideo]]:
    """The user's clips, and those of the synthetic suites, which are rendered into OUT/suites."""
    from masklet.evaluate.samples import find_clips
    from masklet.synthetic.suites import render

    rendered = render(out / "suites")
    suites = {CLIPS: own, **{suite: find_clips(folder) for suite, folder in rendered.items()}}
    if names is None:
        return suites
    known = {clip.name for clips in suites.values() for clip in clips}
    if missing := [name for name in names if name not in known]:
        raise typer.BadParameter(f"no clip has the name {', '.join(missing)}.", param_hint="--list")
    return {suite: [clip for clip in clips if clip.name in names] for suite, clips in suites.items()}


def _write_strips(
    predictor: ModelPredictor,
    results: Sequence[ObjectResult],
    clips: Mapping[str, LabelledVideo],
    out: Path,
) -> list[str]:
    """Write OUT/strips; returns the lines of Markdown that show them."""
    import cv2

    from masklet.evaluate.policy_comparison import RECENCY, StripPainter, find_extremes
    from masklet.files import make_folder

    painter, lines, folder = StripPainter(predictor), list[str](), make_folder(out / "strips")
    for name, difference in find_extremes(results).items():
        image = painter.paint(clips[difference.sample], difference.object, (RECENCY, difference.variant))
        path = folder / f"{name}.jpg"
        cv2.imwrite(str(path), image[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, 80))
        lines += [f"{difference}", "", f"![{difference}](strips/{path.name})", ""]
    return lines
