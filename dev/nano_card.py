"""Measures the numbers of docs/nano.md with the shipped weights, and prints its tables.

python dev/nano_card.py IMAGES CLIPS

IMAGES is the folder of image sets that nano was trained on: only those that docs/nano-exam.txt names
are evaluated. CLIPS is a folder of NAME/frames beside NAME/masks, or DAVIS. Results are stored
by weights in runs/card, so that an interrupted run can be resumed and baselines run once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console

import masklet
from masklet import Prompt, rle
from masklet.evaluate.predictors import ModelPredictor
from masklet.evaluate.protocols import ImageClicks, SemiSupervised
from masklet.evaluate.report import ObjectResult, TableRow, summarize, summarize_groups
from masklet.evaluate.runner import Evaluation, PredictorSpec
from masklet.evaluate.samples import find_clips, find_images, read_names

REPO = Path(__file__).parents[1]
EXAM = REPO / "docs" / "nano-exam.txt"
SETTINGS = ("1 click", "3 clicks", "box")
ResultsByName = Mapping[str, Sequence[ObjectResult]]


def main(
    images: Path,
    clips: Path,
    model: str = "nano",
    out: Path = Path("runs/card"),
    jobs: Annotated[int, typer.Option(help="processes")] = 2,
) -> None:
    """Measure nano and baselines without learning."""
    console = Console(highlight=False)
    nano, without_zoom = PredictorSpec(model), PredictorSpec(model, zoom=False)
    predictor = nano.load()
    assert isinstance(predictor, ModelPredictor)
    digest = predictor.digest

    samples = find_images(images, read_names(EXAM))
    on_images = {
        name: Evaluation(ImageClicks((1, 3)), spec, str(images.resolve()), out / f"images-{folder}").run(
            samples, jobs
        )
        for name, spec, folder in (
            ("nano", nano, digest),
            ("without zoom", without_zoom, f"{digest}-without-zoom"),
        )
    }
    console.print(*_image_table(on_images), sep="\n", end="\n\n", soft_wrap=True)
    for row in summarize(on_images["nano"]):
        error, bias = row.scores["IoU error"], row.scores["IoU bias"]
        console.print(f"predicted IoU, {row.label}: mean error {error:.3f}, bias {bias:+.3f}")

    videos = find_clips(clips)
    on_clips: dict[str, Sequence[ObjectResult]] = {}
    for name, spec, folder in (
        ("nano", nano, digest),
        ("repeat", PredictorSpec("repeat"), "repeat"),
        ("flow", PredictorSpec("flow"), "flow"),
    ):
        protocol = SemiSupervised(("mask", "1 click")) if spec is nano else SemiSupervised()
        evaluation = Evaluation(protocol, spec, str(clips.resolve()), out / f"clips-{folder}")
        on_clips[name] = evaluation.run(videos, jobs)
    console.print(*_clip_table(on_clips), sep="\n", end="\n\n", soft_wrap=True)

    card = {**_scores(on_images), **_scores(on_clips), "demo, 1 click": score_demo(model)}
    console.print(f"| demo clip, from one click: mean J | {card['demo, 1 click']:.3f} |")
    (out / f"card-{digest}.json").write_text(json.dumps(card, indent=1))


def _image_table(by_name: ResultsByName) -> list[str]:
    """The table of images: the mean over all objects, and the mean over sets."""
    heads = (
        "",
        "nano, 1 click, best of 3",
        *(f"{name}, {setting}" for name in by_name for setting in SETTINGS),
    )
    groups = {
        (name, setting): {row.label: row for row in summarize_groups(results, setting)}
        for name, results in by_name.items()
        for setting in SETTINGS
    }
    table = [_format_row(heads), _format_row(["---"] * len(heads))]
    for label, row in groups["nano", "box"].items():
        scores = [groups["nano", "1 click"][label].scores["best of 3"]]
        scores += [groups[name, setting][label].scores["IoU"] for name in by_name for setting in SETTINGS]
        table.append(_format_row([f"{label} ({row.objects})", *map(_percent, scores)]))
    overall = {(name, row.label): row for name, results in by_name.items() for row in summarize(results)}
    scores = [overall["nano", "1 click"].scores["best of 3"]]
    scores += [overall[name, setting].scores["IoU"] for name in by_name for setting in SETTINGS]
    return [*table, _format_row(["mean over objects", *map(_percent, scores)])]


def _clip_table(by_name: ResultsByName) -> list[str]:
    columns: dict[str, list[TableRow]] = {
        "nano": summarize_groups(by_name["nano"], "mask"),
        "nano, 1 click": summarize_groups(by_name["nano"], "1 click"),
        "repeat": summarize_groups(by_name["repeat"], "mask"),
        "flow": summarize_groups(by_name["flow"], "mask"),
    }
    table = [_format_row(["J&F", *columns]), _format_row(["---"] * (1 + len(columns)))]
    for rows in zip(*columns.values(), strict=True):
        table.append(_format_row([rows[0].label, *(_percent(row.scores["J&F"]) for row in rows)]))
    return table


def _scores(by_name: ResultsByName) -> dict[str, float]:
    return {
        f"{name}, {row.label}, {score}": value
        for name, results in by_name.items()
        for row in summarize(results)
        for score, value in row.scores.items()
    }


def _format_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _percent(score: float) -> str:
    return f"{100 * score:.1f}"


def score_demo(model: str) -> float:
    """The mean J over the demo clip's frames after the click."""
    demo = json.loads((REPO / "examples" / "demo_masks.json").read_text())
    prompts = {0: {1: Prompt(positive=[tuple(demo["point"])])}}
    overlaps = []
    for masks in masklet.track(masklet.load(model), REPO / "examples" / "demo.mp4", prompts):
        truth = rle.decode(demo["masks"][masks.frame])
        overlaps.append((masks[1] & truth).sum() / (masks[1] | truth).sum())
    return float(np.mean(overlaps[1:]))


if __name__ == "__main__":
    torch.set_num_threads(2)
    typer.run(main)
