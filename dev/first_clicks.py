"""Draws good and bad answers of nano to first clicks on images outside its training data.

python dev/first_clicks.py IMAGES --out runs/first-clicks.png

IMAGES is the folder of image sets that nano was trained on; only those that docs/nano-exam.txt names are
used. In each image, the largest object is clicked once in its centre. The answers are sorted by their IoU
with the truth. Twelve answers at equal distances in that order are shown, so that they are not hand-picked.
The sheet shows the click, nano's best candidate (red) and the truth (green). It also prints a table.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer

import masklet
from masklet.evaluate.metrics import jaccard
from masklet.evaluate.samples import ImageSample, find_images, read_names
from masklet.simulated_user import next_click

EXAM = Path(__file__).parents[1] / "docs" / "nano-exam.txt"
SHOWN = 12
COLUMNS = 4
WIDE, HIGH = 320, 240
RED, GREEN = (235, 50, 50), (40, 200, 80)


@dataclass(frozen=True)
class FirstClick:
    """One image, its click, the answer and the truth."""

    name: str
    image: np.ndarray
    point: tuple[float, float]
    answer: np.ndarray
    truth: np.ndarray
    predicted: float

    @property
    def iou(self) -> float:
        return jaccard(self.truth, self.answer)


def main(
    images: Path,
    model: str = "nano",
    out: Annotated[Path, typer.Option(help="A PNG.")] = Path("runs/first-clicks.png"),
) -> None:
    """Click once in each image, and draw twelve of them."""
    network = masklet.load(model)
    answered = [click(network, image) for image in find_images(images, read_names(EXAM))]
    answered.sort(key=lambda one: -one.iou)
    places = [round((index + 0.5) / SHOWN * len(answered) - 0.5) for index in range(SHOWN)]
    shown = [answered[place] for place in places]
    typer.echo("| image | IoU | predicted |\n| --- | --- | --- |")
    for one in shown:
        typer.echo(f"| {one.name} | {one.iou:.2f} | {one.predicted:.2f} |")
    typer.echo(f"| mean of all {len(answered)} | {np.mean([one.iou for one in answered]):.2f} | |")
    rows = [np.hstack([draw(one) for one in shown[i : i + COLUMNS]]) for i in range(0, SHOWN, COLUMNS)]
    out.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(out), np.vstack(rows)[..., ::-1])


def click(network: masklet.Sam2, sample: ImageSample) -> FirstClick:
    """Click on the centre of the largest object of an image."""
    image, masks = sample.read()
    truth = max(masks.values(), key=lambda mask: mask.sum())
    prompt = next_click(None, truth)
    answer = masklet.ImageSession(network, image).segment(prompt)
    return FirstClick(sample.name, image, prompt.positive[0], answer[0], truth, float(answer.iou[0]))


def draw(one: FirstClick) -> np.ndarray:
    """A tile of the sheet."""
    tile = one.image.copy()
    for mask, colour in ((one.truth, GREEN), (one.answer, RED)):
        outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(tile, outlines, -1, colour, 2)
    x, y = (round(value) for value in one.point)
    cv2.circle(tile, (x, y), 6, (255, 255, 255), -1)
    cv2.circle(tile, (x, y), 4, RED, -1)
    scale = min(WIDE / tile.shape[1], HIGH / tile.shape[0])
    size = round(tile.shape[1] * scale), round(tile.shape[0] * scale)
    canvas = np.full((HIGH, WIDE, 3), 32, np.uint8)
    canvas[: size[1], : size[0]] = cv2.resize(tile, size, interpolation=cv2.INTER_AREA)
    text = f"{one.iou:.2f} (says {one.predicted:.2f})"
    cv2.putText(canvas, text, (6, HIGH - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
    return canvas


if __name__ == "__main__":
    typer.run(main)
