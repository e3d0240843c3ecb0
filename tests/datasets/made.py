"""Data sets in the forms that people have them in, written small."""

import json
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from datasets.exports import runs
from masklet import rle
from masklet.datasets import DatasetItem

H, W = 24, 32


def box(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros((H, W), dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


LEFT, RIGHT = box(2, 4, 12, 20), box(18, 4, 30, 16)


def write_image(path: Path, red: int = 200) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((H, W, 3), (red, 0, 0), dtype=np.uint8)).save(path)


def write_labels(path: Path, labels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(labels.astype(np.uint8), mode="P")
    image.putpalette([value for colour in range(256) for value in (colour, 0, 255 - colour)])
    image.save(path)


def write_coco(root: Path, images: str = "", index: str = "instances.json") -> None:
    for number in (1, 2, 3):
        write_image(root / images / f"{number}.png")
    annotations = [
        {"id": 10, "image_id": 1, "segmentation": rle.encode(LEFT), "iscrowd": 0},
        {"id": 11, "image_id": 1, "segmentation": [[18, 4, 30, 4, 30, 16, 18, 16]]},
        {"id": 12, "image_id": 2, "segmentation": {"size": [H, W], "counts": runs(RIGHT)}},
        {"id": 13, "image_id": 2, "segmentation": rle.encode(~RIGHT), "iscrowd": 1},
        {"id": 14, "image_id": 2, "segmentation": []},
    ]
    entries = [{"id": number, "file_name": f"{number}.png", "height": H, "width": W} for number in (1, 2, 3)]
    (root / index).parent.mkdir(parents=True, exist_ok=True)
    (root / index).write_text(json.dumps({"images": entries, "annotations": annotations, "categories": []}))


def only_masks(footage: DatasetItem, frame: int = 0) -> list[np.ndarray]:
    reel = footage.open()
    return list(reel.masks(frame, reel.objects(frame)))


def close(mask: np.ndarray, truth: np.ndarray) -> bool:
    """Outlines become pixels by rules that differ along the edge."""
    return (
        not (mask & ~cv2.dilate(truth.view(np.uint8), np.ones((3, 3))).view(bool)).any()
        and not (truth & ~cv2.dilate(mask.view(np.uint8), np.ones((3, 3))).view(bool)).any()
    )


def write_sa1b(root: Path) -> None:
    write_image(root / "sa_7.jpg")
    said = {"image": {}, "annotations": [{"id": 5, "segmentation": rle.encode(LEFT)}]}
    (root / "sa_7.json").write_text(json.dumps(said))


def write_yolo(root: Path, line: str) -> None:
    write_image(root / "images" / "train" / "a.png")
    label = root / "labels" / "train" / "a.txt"
    label.parent.mkdir(parents=True)
    label.write_text(line)


def write_masked(root: Path) -> None:
    """Two images with masks, a label map and a file for each object; and one without."""
    for name in ("a", "b", "none"):
        write_image(root / "images" / f"{name}.jpg")
    write_labels(root / "masks" / "a.png", LEFT * 3 + RIGHT * 200)
    (root / "masks" / "b").mkdir()
    for name, mask in (("dog", LEFT), ("cat", RIGHT)):
        Image.fromarray(mask.astype(np.uint8) * 255).save(root / "masks" / "b" / f"{name}.png")


def write_video(root: Path, frames: str, masks: str, apart: bool) -> None:
    """Four frames, of which the first and third are labelled; object 2 is gone on the third."""
    for frame in range(4):
        write_image(root / frames / "clip" / f"{frame:05}.jpg", red=50 * frame)
    for frame, right in ((0, RIGHT), (2, np.zeros_like(RIGHT))):
        if not apart:
            write_labels(root / masks / "clip" / f"{frame:05}.png", LEFT * 1 + right * 2)
            continue
        for id, mask in ((0, LEFT), (1, right)):  # as SA-V counts
            if mask.any():
                write_labels(root / masks / "clip" / f"{id:03}" / f"{frame:05}.png", mask)
