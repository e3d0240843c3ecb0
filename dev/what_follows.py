"""Measures the gain of held clicks and removed specks, for docs/nano.md, section "Post-processing".

python dev/what_follows.py IMAGES

IMAGES is the folder of image sets that nano was trained on. It segments up to three objects of
each held-back image that is not in docs/nano-exam.txt.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Annotated
from unittest import mock

import numpy as np
import typer

import masklet
from masklet import Prompt
from masklet.boxes import tight_box
from masklet.evaluate.metrics import measure_agreement
from masklet.evaluate.samples import find_images, read_names
from masklet.sessions.image import ImageSession
from masklet.simulated_user import click_image, select_closest, select_first

DOCS = Path(__file__).parents[1] / "docs"
CLICKS = (1, 3, 5)
SETTINGS = {  # whether clicks are held, whether specks are removed
    "as the network answers": (False, False),
    "clicks hold": (True, False),
    "and specks go": (True, True),
}


def main(
    images: Path,
    model: str = "nano",
    objects: Annotated[int, typer.Option(help="maximum number of objects of an image")] = 3,
) -> None:
    """Print J, F and the error of the predicted IoU of each setting."""
    network = masklet.load(model)
    exam = set(read_names(DOCS / "nano-exam.txt"))
    names = [name for name in read_names(DOCS / "nano-held-back.txt") if name not in exam]
    scores: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    iou_errors: list[float] = []
    for sample in find_images(images, names):
        image, masks = sample.read()
        ids = [id for id, mask in masks.items() if mask.any()]
        random.Random(sample.name).shuffle(ids)
        session = ImageSession(network, image)
        for id in ids[:objects]:
            for setting, (holds, tidies) in SETTINGS.items():
                network.config = replace(network.config, holds_clicks=holds)
                with mock.patch("masklet.zoom.remove_specks", _keep_specks) if not tidies else nullcontext():
                    for prompt, mask, predicted_iou in _answers(session, masks[id]):
                        agreement = measure_agreement(masks[id], mask)
                        scores[prompt, setting].append((agreement.j, agreement.f))
                        if tidies and prompt == "1 click":
                            iou_errors.append(predicted_iou - agreement.j)
    prompts = list(dict.fromkeys(prompt for prompt, _ in scores))
    typer.echo(f"{len(scores[prompts[0], 'clicks hold'])} objects, J and F")
    typer.echo(f"| | {' | '.join(SETTINGS)} |\n| --- |{' --- |' * len(SETTINGS)}")
    for prompt in prompts:
        means = [np.mean(scores[prompt, setting], axis=0) for setting in SETTINGS]
        typer.echo(f"| {prompt} | {' | '.join(f'{j:.3f}, {f:.3f}' for j, f in means)} |")
    error, bias = np.abs(iou_errors).mean(), np.mean(iou_errors)
    typer.echo(f"predicted IoU of a first click: {error:.3f} off, bias {bias:+.3f}")


def _answers(session: ImageSession, truth: np.ndarray) -> Iterator[tuple[str, np.ndarray, float]]:
    """The name, mask and predicted IoU of each prompt."""
    turns = click_image(session, truth, max(CLICKS), select_first)
    for step, (masks, mask) in enumerate(turns, start=1):
        if step in CLICKS:
            yield f"{step} click{'s' if step > 1 else ''}", mask, float(masks.iou[0])
        if step == 1:
            closest = select_closest(masks, truth)
            yield "1 click, best of three", masks[closest], float(masks.iou[closest])
    box = tight_box(truth)
    assert box is not None
    answer = session.segment(Prompt(box=box))
    yield "box", answer[0], float(answer.iou[0])


def _keep_specks(mask: np.ndarray, *cells: object) -> np.ndarray:
    return mask


if __name__ == "__main__":
    typer.run(main)
