"""Labels clips by a network, and keeps masks that agree in both directions and with optical flow.

python dev/pseudo_labels.py CLIPS OUT --model runs/train/model.safetensors

It takes some short stretches of each clip. Objects that are found on the first frame are tracked to the last
frame, and back. An object is kept if both directions agree on every frame, if optical flow moves its mask
from each frame onto that of the next, and if nearly all of it is one connected piece. That piece is written.
OUT gets NAME/frames and NAME/masks, like labelled videos: name it `videos-pseudo` in a recipe's data.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import torch
import typer
from PIL import Image

import masklet
from masklet import Prompt
from masklet.auto.grid import Grid
from masklet.synthetic.assets import load_unlabelled_videos

GRID = Grid(
    points_per_side=8,
    pred_iou_thresh=0.45,
    stability_score_thresh=0.65,
    stability_score_offset=0.2,
    box_nms_thresh=0.5,
)
SMALLEST, LARGEST = 0.004, 0.6  # minimum and maximum area, as shares of the frame
# Minimum IoU: of both directions on a frame, on the first frame, and with optical flow.
AGREE, AGREE_FIRST, CARRIED = 0.75, 0.8, 0.6
ONE_PIECE = 0.8  # minimum share of the largest piece of a mask, on every frame
MOST = 6  # maximum number of tracked objects in a stretch


def main(
    clips: Path,
    out: Path,
    model: str = "nano",
    frames: int = 16,
    stretches: Annotated[int, typer.Option(help="stretches of each clip")] = 5,
    cache: Path = Path(".cache"),
) -> None:
    """Write pseudo-labelled stretches of all clips in a folder."""
    torch.set_num_threads(1)
    network = masklet.load(model, device="cpu")
    for video in load_unlabelled_videos(sorted(clips.glob("*.mp4")), cache):
        starts = np.linspace(0, len(video.frames) - frames, stretches + 2)[1:-1].astype(int)
        for start in sorted({max(0, int(start)) for start in starts}):
            stretch = np.asarray(video.frames[start : start + frames])
            masks = label(network, stretch)
            name = f"{Path(video.name).stem}-{start}"
            typer.echo(f"{name}: {len(masks)} objects")
            if len(masks):
                write(out / name, stretch, masks)


def label(network: masklet.Sam2, frames: np.ndarray) -> np.ndarray:
    """Masks (n, t, H, W) of the objects that meet all conditions."""
    segments = masklet.everything(network, frames[0], GRID)
    first = {id: segments[id] for id in segments.ids if SMALLEST < segments[id].mean() < LARGEST}
    first = dict(list(first.items())[:MOST])
    if not first:
        return np.zeros((0, *frames.shape[:3]), dtype=bool)
    there = follow(network, frames, first)
    last = {id: masks[-1] for id, masks in there.items() if masks[-1].any()}
    if not last:
        return np.zeros((0, *frames.shape[:3]), dtype=bool)
    back = {id: masks[::-1] for id, masks in follow(network, frames[::-1].copy(), last).items()}
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    kept: list[np.ndarray] = []
    for id, masks in back.items():
        both = [iou(a, b) for a, b in zip(there[id], masks, strict=True)]
        if min(both) < AGREE or both[0] < AGREE_FIRST:
            continue
        merged = there[id] & masks
        pieces = [largest_piece(mask) for mask in merged]
        if any(piece.sum() < ONE_PIECE * mask.sum() for piece, mask in zip(pieces, merged, strict=True)):
            continue
        merged = np.stack(pieces)
        if not all(area.mean() > SMALLEST / 2 for area in merged):
            continue
        if any(iou(merged[0], other[0]) > 0.5 for other in kept):
            continue
        if (
            min(carried(grey[t], grey[t + 1], merged[t], merged[t + 1]) for t in range(len(grey) - 1))
            < CARRIED
        ):
            continue
        kept.append(merged)
    return np.stack(kept) if kept else np.zeros((0, *frames.shape[:3]), dtype=bool)


def largest_piece(mask: np.ndarray) -> np.ndarray:
    """The largest connected part of a mask, without specks at its edge."""
    smooth = cv2.medianBlur(mask.astype(np.uint8), 5)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(smooth)
    if count < 2:
        return np.zeros_like(mask)
    return np.asarray(labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax()))


def follow(network: masklet.Sam2, frames: np.ndarray, first: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
    """Track each object from its mask on the first frame, and return its masks (t, H, W)."""
    prompts = {0: {id: Prompt(mask=mask) for id, mask in first.items()}}
    found: dict[int, list[np.ndarray]] = {id: [] for id in first}
    for masks in masklet.track(network, frames, prompts):
        for id, followed in found.items():
            followed.append(masks[id])
    return {id: np.stack(followed) for id, followed in found.items()}


def carried(before: np.ndarray, after: np.ndarray, mask: np.ndarray, next_mask: np.ndarray) -> float:
    """IoU of a mask, moved by optical flow, with the mask of the next frame."""
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST).calc(after, before, None)
    ys, xs = np.mgrid[: mask.shape[0], : mask.shape[1]].astype(np.float32)
    moved = cv2.remap(mask.astype(np.uint8) * 255, xs + flow[..., 0], ys + flow[..., 1], cv2.INTER_LINEAR)
    return iou(moved > 127, next_mask)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """IoU of two masks; 1 if both are empty."""
    either = (a | b).sum()
    return float((a & b).sum() / either) if either else 1.0


def write(folder: Path, frames: np.ndarray, masks: np.ndarray) -> None:
    """Write frames as JPEGs and masks as palette PNGs. Smaller objects cover larger ones."""
    (folder / "frames").mkdir(parents=True, exist_ok=True)
    (folder / "masks").mkdir(exist_ok=True)
    order = np.argsort(-masks.sum(axis=(1, 2, 3)))
    for t, frame in enumerate(frames):
        labels = np.zeros(frame.shape[:2], dtype=np.uint8)
        for row in order:
            labels[masks[row, t]] = row + 1
        image = Image.fromarray(labels, "P")
        image.putpalette(
            [0, 0, 0, 200, 40, 40, 40, 200, 40, 40, 40, 200, 200, 200, 40, 200, 40, 200, 40, 200, 200]
        )
        image.save(folder / "masks" / f"{t:05d}.png")
        cv2.imwrite(str(folder / "frames" / f"{t:05d}.jpg"), frame[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, 95))


if __name__ == "__main__":
    typer.run(main)
