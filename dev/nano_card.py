"""Measure the numbers of docs/nano.md again, from the shipped weights, and print its table.

python dev/nano_card.py PICTURES CLIPS

PICTURES is the folder of image sets that nano was trained on: only those that docs/nano-held-back.txt names
are measured. CLIPS is a folder of NAME/frames beside NAME/masks, or DAVIS. What was measured of the same
weights stays in runs/card, so a killed run goes on, and baselines are measured once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console

import masklet
from masklet import Prompt, rle
from masklet.evaluate import layouts
from masklet.evaluate.image_clicks import ImageClicks
from masklet.evaluate.report import Line, group_lines, lines
from masklet.evaluate.rows import Row
from masklet.evaluate.runner import Named, Run
from masklet.evaluate.semi_supervised import SemiSupervised
from masklet.evaluate.subjects import Network

REPO = Path(__file__).parents[1]
HELD_BACK = REPO / "docs" / "nano-held-back.txt"
SETTINGS = ("1 click", "3 clicks", "box")


def main(
    pictures: Path,
    clips: Path,
    model: str = "nano",
    out: Path = Path("runs/card"),
    jobs: Annotated[int, typer.Option(help="processes")] = 2,
) -> None:
    """Nano beside what a program without learning reaches."""
    console = Console(highlight=False)
    ours, from_afar = Named(model), Named(model, closer=False)
    network = ours()
    assert isinstance(network, Network)
    digest = network.digest

    stills = layouts.pictures(pictures, layouts.listed(HELD_BACK))
    measured = {
        name: Run(ImageClicks((1, 3)), opened, str(pictures.resolve()), out / f"pictures-{place}")
        for name, opened, place in (
            ("nano", ours, digest),
            ("from afar", from_afar, f"{digest}-from-afar"),
            ("grabcut", Named("grabcut"), "grabcut"),
        )
    }
    found = {name: run.rows(stills, jobs) for name, run in measured.items()}
    console.print(*_picture_lines(found), sep="\n", end="\n\n", soft_wrap=True)

    films = layouts.clips(clips)
    followed: dict[str, Sequence[Row]] = {}
    for name, opened, place in (
        ("nano", ours, digest),
        ("repeat", Named("repeat"), "repeat"),
        ("flow", Named("flow"), "flow"),
    ):
        given = SemiSupervised(("mask", "1 click")) if opened is ours else SemiSupervised()
        followed[name] = Run(given, opened, str(clips.resolve()), out / f"clips-{place}").rows(films, jobs)
    console.print(*_clip_lines(followed), sep="\n", end="\n\n", soft_wrap=True)

    said = {**_scores(found), **_scores(followed), "demo, 1 click": demo(model)}
    console.print(f"| demo clip, from one click: mean J | {said['demo, 1 click']:.3f} |")
    (out / f"card-{digest}.json").write_text(json.dumps(said, indent=1))


def _picture_lines(found: dict[str, list[Row]]) -> list[str]:
    """The pictures' table: over all objects, and over the sets, each of which counts once."""
    heads = (
        "",
        *(f"nano, {each}" for each in ("1 click, best", *SETTINGS)),
        *(f"from afar, {s}" for s in SETTINGS),
        *(f"GrabCut, {s}" for s in SETTINGS),
    )
    groups = {
        (name, setting): {line.label: line for line in group_lines(rows, setting)}
        for name, rows in found.items()
        for setting in SETTINGS
    }
    table = [_row(heads), _row(["---"] * len(heads))]
    for label, line in groups["nano", "box"].items():
        scores = [groups["nano", "1 click"][label].scores["best"]]
        scores += [groups[name, setting][label].scores["chosen"] for name in found for setting in SETTINGS]
        table.append(_row([f"{label} ({line.objects})", *map(_percent, scores)]))
    whole = {(name, line.label): line for name, rows in found.items() for line in lines(rows)}
    scores = [whole["nano", "1 click"].scores["best"]]
    scores += [whole[name, setting].scores["chosen"] for name in found for setting in SETTINGS]
    return [*table, _row(["mean over objects", *map(_percent, scores)])]


def _clip_lines(followed: dict[str, Sequence[Row]]) -> list[str]:
    columns: dict[str, list[Line]] = {
        "nano": group_lines(followed["nano"], "mask"),
        "nano, 1 click": group_lines(followed["nano"], "1 click"),
        "repeat": group_lines(followed["repeat"], "mask"),
        "flow": group_lines(followed["flow"], "mask"),
    }
    table = [_row(["J&F", *columns]), _row(["---"] * (1 + len(columns)))]
    for each in zip(*columns.values(), strict=True):
        table.append(_row([each[0].label, *(_percent(line.scores["J&F"]) for line in each)]))
    return table


def _scores(found: dict[str, Any]) -> dict[str, float]:
    return {
        f"{name}, {line.label}, {score}": value
        for name, rows in found.items()
        for line in lines(rows)
        for score, value in line.scores.items()
    }


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _percent(score: float) -> str:
    return f"{100 * score:.1f}"


def demo(model: str) -> float:
    """Mean J over the frames of the demo clip after the click."""
    said = json.loads((REPO / "examples" / "demo_masks.json").read_text())
    prompts = {0: {1: Prompt(positive=[tuple(said["point"])])}}
    overlaps = []
    for masks in masklet.track(masklet.load(model), REPO / "examples" / "demo.mp4", prompts):
        truth = rle.decode(said["masks"][masks.frame])
        overlaps.append((masks[1] & truth).sum() / (masks[1] | truth).sum())
    return float(np.mean(overlaps[1:]))


if __name__ == "__main__":
    torch.set_num_threads(2)
    typer.run(main)
