"""Segments cut so that every pixel of a picture belongs to exactly one."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import torch

from masklet import rle
from masklet.auto.segments import Segments, masks_to_low_res

CRUMB = 1 / 2000  # of the picture; smaller pieces go to their neighbour


def partition_segments(segments: Segments, least: int | None = None) -> Segments:
    """Segments that cover every pixel once: of those that overlap, the smallest lies on top.

    What no mask covers becomes segments of its own, one for each connected piece, with an IoU and stability
    of 0. Pieces of less than `least` pixels, by default a 2000th of the picture, go to the nearest segment.
    """
    height, width = segments.size
    least = max(1, round(height * width * CRUMB) if least is None else least)
    segments = segments.rows(range(len(segments)))  # so that ids are 1 to n
    labels = _spread(_without_crumbs(segments, least))
    masks = {label: labels == label for label in np.unique(labels).tolist()}
    covered = [label for label in masks if label <= len(segments)]
    rest = [mask for label, mask in masks.items() if label > len(segments)]
    kept = segments.rows([label - 1 for label in covered])
    kept = replace(kept, codes=tuple(rle.encode(masks[label]) for label in covered))
    return Segments.joined_rows([kept, _uncovered_segments(rest, segments)])


def _without_crumbs(segments: Segments, least: int) -> np.ndarray:
    """A label map without small pieces, which become 0; large pieces that were 0 are numbered on."""
    labels = segments.label_map()
    kept, count = np.zeros_like(labels), len(segments)
    for label, (x0, y0, x1, y1) in enumerate(segments.boxes.astype(int), start=1):
        window = np.s_[y0:y1, x0:x1]
        for piece in _pieces(labels[window] == label, least):
            kept[window][piece] = label
    for piece in _pieces(labels == 0, least):
        count += 1
        kept[piece] = count
    if not kept.any():  # nothing but crumbs
        kept[:] = count + 1
    return kept


def _pieces(mask: np.ndarray, least: int) -> list[np.ndarray]:
    """The connected pieces of a mask that have at least so many pixels."""
    if mask.size == 0:
        return []
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    large = np.flatnonzero(stats[1:, cv2.CC_STAT_AREA] >= least) + 1
    return [pieces == piece for piece in large]


def _spread(labels: np.ndarray) -> np.ndarray:
    """Give each pixel that is 0 to the nearest that is not."""
    empty = (labels == 0).astype(np.uint8)
    if not empty.any():
        return labels
    _, nearest = cv2.distanceTransformWithLabels(
        empty, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    owner = np.zeros(nearest.max() + 1, dtype=labels.dtype)
    owner[nearest[labels > 0]] = labels[labels > 0]
    return owner[nearest]


def _uncovered_segments(masks: list[np.ndarray], like: Segments) -> Segments:
    """Pieces of the picture that no mask covered, as segments without scores."""
    count, (height, width) = len(masks), like.size
    nothing = torch.zeros(count, dtype=torch.float32, device="cpu")
    return Segments(
        frame=like.frame,
        ids=tuple(range(1, count + 1)),
        low_res=masks_to_low_res(masks, like.low_res.shape[-1]).to(like.low_res.device),
        size=like.size,
        iou=nothing.to(like.iou),
        score=nothing.to(like.score),
        codes=tuple(map(rle.encode, masks)),
        stability=nothing.to(like.stability),
        points=np.full((count, 2), np.nan),
        crops=np.tile([0, 0, width, height], (count, 1)),
    )
