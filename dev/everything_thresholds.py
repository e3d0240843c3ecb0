"""Compares thresholds for nano's `everything`: objects found in held-back images, by number of masks.

python dev/everything_thresholds.py IMAGES

IMAGES is the folder of image sets that nano was trained on: only those that docs/nano-held-back.txt names
are used. Each image is segmented once without thresholds, from which the effect of thresholds is computed.
The annotations are incomplete, so a mask that matches none may still be correct.
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
from masklet.auto.contrast import measure_contrasts
from masklet.auto.generator import SURE_IOU, suppress_overlaps
from masklet.auto.grid import NANO_PRESETS
from masklet.evaluate.samples import find_images, read_names

HELD_BACK = Path(__file__).parents[1] / "docs" / "nano-held-back.txt"
IOUS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
STABILITIES = (0.0, 0.35, 0.5, 0.65, 0.8, 0.9)
OVERLAPS = (0.5, 0.7)
CONTRASTS = (0.0, 0.03, 0.05, 0.07, 0.1)
FOUND_IOU = 0.5  # IoU with a true mask from which an object is found


@dataclass(frozen=True)
class ImageMasks:
    """All masks that a grid offers on an image, and how they overlap.

    agreement : (masks, true masks), IoU
    overlaps : (masks, masks), IoU
    contrasts : (masks,), contrast of a mask's colours with those around it
    """

    segments: Segments
    agreement: np.ndarray
    overlaps: np.ndarray
    contrasts: np.ndarray

    def select(self, grid: Grid) -> np.ndarray:
        """The agreement of the masks that pass a grid's thresholds."""
        iou, stability = (part.numpy() for part in (self.segments.iou, self.segments.stability))
        rows = np.flatnonzero((iou > grid.pred_iou_thresh) & (stability >= grid.stability_score_thresh))
        selected = rows[suppress_overlaps(self.overlaps[np.ix_(rows, rows)], grid.box_nms_thresh)]
        is_sure = iou[selected] >= grid.pred_iou_thresh + SURE_IOU
        selected = selected[is_sure | (self.contrasts[selected] >= grid.min_contrast)]
        return np.asarray(self.agreement[selected])


def main(
    images: Path,
    model: str = "nano",
    every: Annotated[int, typer.Option(help="use every N-th image")] = 4,
) -> None:
    """Print a line for each choice of thresholds, sorted by the number of found objects."""
    network, preset = masklet.load(model, device="cpu"), NANO_PRESETS["fast"]
    no_thresholds = replace(
        preset,
        pred_iou_thresh=0,
        stability_score_thresh=0,
        box_nms_thresh=1,
        min_mask_region_area=0,
        min_contrast=0,
    )
    masks = []
    for sample in track(find_images(images, read_names(HELD_BACK)[::every])):
        image, truths = sample.read()
        segments = generate_segments(network, image, no_thresholds)
        codes = [rle.encode(truth) for truth in truths.values()]
        overlaps = [rle.overlaps(segments.codes, others) for others in (codes, segments.codes)]
        masks.append(ImageMasks(segments, *overlaps, measure_contrasts(image, segments.codes)))
    console = Console(highlight=False)
    console.print(f"{len(masks)} images, {sum(of.agreement.shape[1] for of in masks)} objects")
    console.print("| IoU above | stability | overlap | contrast | found | best mask | masks per image |")
    console.print("| --- | --- | --- | --- | --- | --- | --- |")
    lines = [(*score(masks, grid), grid) for grid in make_grids(preset)]
    for recall, best_iou, count, grid in sorted(lines, key=lambda line: -line[0]):
        thresholds = (
            f"{grid.pred_iou_thresh} | {grid.stability_score_thresh} | {grid.box_nms_thresh} | "
            f"{grid.min_contrast}"
        )
        current = " (current)" if grid == preset else ""
        console.print(f"| {thresholds}{current} | {100 * recall:.1f} | {100 * best_iou:.1f} | {count:.0f} |")


def make_grids(preset: Grid) -> Iterator[Grid]:
    """The preset with every combination of thresholds, and with other contrasts."""
    for contrast in CONTRASTS:
        yield replace(preset, min_contrast=contrast)
    preset = replace(preset, min_contrast=0)
    for iou, stability, overlap in product(IOUS, STABILITIES, OVERLAPS):
        yield replace(preset, pred_iou_thresh=iou, stability_score_thresh=stability, box_nms_thresh=overlap)


def score(masks: Sequence[ImageMasks], grid: Grid) -> tuple[float, float, float]:
    """The fraction of objects that are found, their best masks' mean IoU, and masks per image."""
    agreements = [of_image.select(grid) for of_image in masks]
    best = np.concatenate([agreement.max(axis=0, initial=0.0) for agreement in agreements])
    count = float(np.mean([len(agreement) for agreement in agreements]))
    return float((best >= FOUND_IOU).mean()), float(best.mean()), count


if __name__ == "__main__":
    typer.run(main)
