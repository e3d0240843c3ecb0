"""What CVAT and Label Studio put into an export in COCO form, as their own exporters write it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

Scene = tuple[np.ndarray, np.ndarray]  # an image, and the mask of the one object in it


def write_cvat(root: Path, scenes: Sequence[Scene]) -> None:
    """CVAT's COCO 1.0 of a task, with images: `images/default/` and `annotations/instances_default.json`.

    Images keep the folders that they were uploaded in. Every other object is brushed, the others outlined;
    the first image has a rectangle besides.
    """
    images, annotations = [], []
    for number, (image, mask) in enumerate(scenes, 1):
        name = f"upload/frame_{number:06}.png"
        _write(root / "images" / "default" / name, image)
        height, width = mask.shape
        stamps = {"license": 0, "flickr_url": "", "coco_url": "", "date_captured": 0}
        images.append({"id": number, "width": width, "height": height, "file_name": name, **stamps})
        brushed = number % 2 == 0
        segmentation = {"counts": runs(mask), "size": [height, width]} if brushed else [outline(mask)]
        annotations.append(_cvat_annotation(number, number, mask, segmentation, iscrowd=int(brushed)))
    annotations.append(_cvat_annotation(len(scenes) + 1, 1, scenes[0][1], [], iscrowd=0))
    said = {
        "licenses": [{"name": "", "id": 0, "url": ""}],
        "info": dict.fromkeys(("contributor", "date_created", "description", "url", "version", "year"), ""),
        "categories": [{"id": 1, "name": "thing", "supercategory": ""}],
        "images": images,
        "annotations": annotations,
    }
    index = root / "annotations" / "instances_default.json"
    index.parent.mkdir()
    index.write_text(json.dumps(said))


def _cvat_annotation(
    id: int, image: int, mask: np.ndarray, segmentation: Any, iscrowd: int
) -> dict[str, Any]:
    return {
        "id": id,
        "image_id": image,
        "category_id": 1,
        "segmentation": segmentation,
        "area": float(mask.sum()),
        "bbox": _bbox(mask),
        "iscrowd": iscrowd,
        "attributes": {"occluded": False},
    }


def write_label_studio(root: Path, scenes: Sequence[Scene]) -> None:
    """Label Studio's COCO with images: `result.json` and `images/`. All ids begin with 0.

    Outlines run between pixels. The last image is not labelled, the first has a rectangle besides.
    """
    images, annotations = [], []
    for number, (image, mask) in enumerate(scenes):
        name = f"images/{number:08x}-photo_{number}.png"
        _write(root / name, image)
        images.append({"width": mask.shape[1], "height": mask.shape[0], "id": number, "file_name": name})
        for segmentation in [[outline(mask, shift=0.25)]] * (number < len(scenes) - 1) + [[]] * (number == 0):
            annotations.append(
                {
                    "id": len(annotations),
                    "image_id": number,
                    "category_id": 0,
                    "segmentation": segmentation,
                    "bbox": _bbox(mask),
                    "ignore": 0,
                    "iscrowd": 0,
                    "area": float(mask.sum()),
                }
            )
    said = {
        "images": images,
        "categories": [{"id": 0, "name": "thing"}],
        "annotations": annotations,
        "info": {"year": 2026, "version": "1.0", "description": "", "contributor": "Label Studio", "url": ""},
    }
    (root / "result.json").write_text(json.dumps(said, indent=2))


def runs(mask: np.ndarray) -> list[int]:
    """COCO's run lengths: down the columns, beginning with a run outside the mask."""
    flat = mask.flatten(order="F").astype(int)
    ends = np.flatnonzero(np.diff(np.concatenate([[0], flat, [1 - flat[-1]]])))
    return [int(length) for length in np.diff(np.concatenate([[0], ends]))]


def outline(mask: np.ndarray, shift: float = 0.0) -> list[float]:
    """x, y, x, y, ... around a mask of one piece, `shift` to the right and down."""
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return [float(each) + shift for each in outlines[0].reshape(-1)]


def _bbox(mask: np.ndarray) -> list[float]:
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return [float(x), float(y), float(width), float(height)]


def _write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
