"""Which thresholds `everything` should have for nano: what is found in held-back pictures, by how many masks.

python dev/everything_thresholds.py PICTURES

PICTURES is the folder of image sets that nano was trained on: only those that docs/nano-held-back.txt names
are looked at. Each picture is asked about once, with no threshold at all; what thresholds would have left is
reckoned from that. Not everything is annotated there, so a mask that matches nothing need not be wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import track

import masklet
from masklet import Grid, Segments, rle
from masklet.auto import generate_segments
from masklet.auto.generator import suppress_overlaps
from masklet.auto.grid import NANO_PRESETS
from masklet.evaluate.samples import find_pictures, read_names

HELD_BACK = Path(__file__).parents[1] / "docs" / "nano-held-back.txt"
IOUS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.4)
STABILITIES = (0.0, 0.2, 0.35, 0.5, 0.65)
OVERLAPS = (0.5, 0.7)
FOUND = 0.5  # IoU with a true mask


@dataclass(frozen=True)
class Asked:
    """All that a grid offers on a picture, and how it agrees.

    agreement : (masks, true masks), IoU
    overlaps : (masks, masks), IoU
    """

    segments: Segments
    agreement: np.ndarray
    overlaps: np.ndarray

    def left(self, grid: Grid) -> np.ndarray:
        """The agreement of the masks that a grid's thresholds leave."""
        iou, stability = (part.numpy() for part in (self.segments.iou, self.segments.stability))
        rows = np.flatnonzero((iou > grid.pred_iou_thresh) & (stability >= grid.stability_score_thresh))
        kept = suppress_overlaps(self.overlaps[np.ix_(rows, rows)], grid.box_nms_thresh)
        return np.asarray(self.agreement[rows[kept]])


def main(
    pictures: Path,
    model: str = "nano",
    every: Annotated[int, typer.Option(help="take one picture of so many")] = 4,
) -> None:
    """A line for each choice of thresholds, the one that finds most first."""
    network, preset = masklet.load(model, device="cpu"), NANO_PRESETS["fast"]
    anything = replace(
        preset, pred_iou_thresh=0, stability_score_thresh=0, box_nms_thresh=1, min_mask_region_area=0
    )
    asked = []
    for each in track(find_pictures(pictures, read_names(HELD_BACK)[::every])):
        image, truths = each.read()
        segments = generate_segments(network, image, anything)
        codes = [rle.encode(truth) for truth in truths.values()]
        overlaps = [rle.overlaps(segments.codes, others) for others in (codes, segments.codes)]
        asked.append(Asked(segments, *overlaps))
    console = Console(highlight=False)
    console.print(f"{len(asked)} pictures, {sum(each.agreement.shape[1] for each in asked)} objects")
    console.print("| IoU above | stability | overlap | found | best mask, mean IoU | masks a picture |")
    console.print("| --- | --- | --- | --- | --- | --- |")
    lines = sorted(((*measured(asked, grid), grid) for grid in choices(preset)), key=lambda line: -line[0])
    for found, best, masks, grid in lines:
        knobs = f"{grid.pred_iou_thresh} | {grid.stability_score_thresh} | {grid.box_nms_thresh}"
        now = " as it is" if grid == preset else ""
        console.print(f"| {knobs}{now} | {100 * found:.1f} | {100 * best:.1f} | {masks:.0f} |")


def choices(preset: Grid) -> Iterator[Grid]:
    for iou, stability, overlap in product(IOUS, STABILITIES, OVERLAPS):
        yield replace(preset, pred_iou_thresh=iou, stability_score_thresh=stability, box_nms_thresh=overlap)


def measured(asked: Sequence[Asked], grid: Grid) -> tuple[float, float, float]:
    """The share of objects that are found, their best masks' mean IoU, and masks a picture."""
    left = [each.left(grid) for each in asked]
    best = np.concatenate([each.max(axis=0, initial=0.0) for each in left])
    return float((best >= FOUND).mean()), float(best.mean()), float(np.mean([len(each) for each in left]))


if __name__ == "__main__":
    typer.run(main)
