"""masklet evaluate policies: memory policies side by side, on clips and on three synthetic suites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from masklet.datasets import LabelledVideo
    from masklet.evaluate.predictors import ModelPredictor
    from masklet.evaluate.results import ObjectResult
    from masklet.evaluate.runner import PredictorSpec

CLIPS = "clips"  # the name of the user's own suite


def compare(
    data: Path, names: list[str] | None, out: Path, spec: PredictorSpec, jobs: int, command: str
) -> None:
    """Track each first-frame mask with every policy: OUT/table.md, report.html, and strips.

    A strip shows the object of a synthetic clip on which a policy wins most over recency, or loses most.

    names : of clips in `data` and in the suites; by default all
    command : the command that made the report
    """
    from rich.console import Console
    from rich.progress import Progress

    from masklet.evaluate import policy_comparison, report, samples
    from masklet.evaluate.runner import Evaluation
    from masklet.files import atomic_write
    from masklet.synthetic.suites import render

    console, template = Console(), report.load_template()
    predictor = policy_comparison.require_model(spec.load())
    with console.status("rendering the synthetic suites"):
        folders = {CLIPS: data, **render(out / "suites")}
    suites = {
        suite: [clip for clip in samples.find_clips(folder) if names is None or clip.name in names]
        for suite, folder in folders.items()
    }
    by_name = {clip.name: clip for clips in suites.values() for clip in clips}
    protocol = policy_comparison.PolicyComparison()
    evaluation = Evaluation(protocol, spec, str(data.resolve()), out)
    with Progress(console=console) as progress:
        task = progress.add_task(f"policies, {spec.name}", total=len(by_name))
        results = evaluation.run(
            list(by_name.values()), jobs, lambda name: progress.update(task, advance=1, description=name)
        )

    of_suites = {
        suite: [result for result in results if result.sample in {clip.name for clip in clips}]
        for suite, clips in suites.items()
        if clips
    }
    table = policy_comparison.make_markdown(of_suites)
    console.print(table)
    synthetic = [result for suite, some in of_suites.items() if suite != CLIPS for result in some]
    with console.status("painting strips"):
        strips = _write_strips(predictor, synthetic, by_name, out)
    with atomic_write(out / "table.md") as part:
        part.write_text("\n".join([table, *strips, f"Made by `{command}`", ""]))
    report.write_page(
        out / "report.html",
        template,
        f"policies: {spec.name} on {data.name} and synthetic suites",
        command,
        results,
        axis=protocol.axis,
        headline=protocol.headline,
        picture=lambda name, frame: by_name[name].picture(frame),
    )
    console.print(f"{out / 'table.md'}\n{out / 'report.html'}")


def _write_strips(
    predictor: ModelPredictor,
    results: Sequence[ObjectResult],
    clips: Mapping[str, LabelledVideo],
    out: Path,
) -> list[str]:
    """Write OUT/strips; returns the lines of Markdown that show them."""
    import cv2

    from masklet.evaluate.policy_comparison import RECENCY, StripPainter, extremes
    from masklet.files import make_folder

    painter, lines, folder = StripPainter(predictor), list[str](), make_folder(out / "strips")
    for name, difference in extremes(results).items():
        picture = painter.paint(clips[difference.sample], difference.object, (RECENCY, difference.variant))
        path = folder / f"{name}.jpg"
        cv2.imwrite(str(path), picture[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, 80))
        lines += [f"{difference}", "", f"![{difference}](strips/{path.name})", ""]
    return lines
