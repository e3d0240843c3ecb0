"""Masks for Label Studio: tasks with brushes for images, and with boxes for videos."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool

from masklet import rle
from masklet.media.writers.spool import CocoMask, SpooledJson

MODEL_VERSION = "masklet"
RUN_BITS = (4, 8, 12, 16)  # the four bit widths that a run's length may have in a brush


class LabelStudioBrushes(SpooledJson):
    """A task for each frame: its image's name, and each mask as a brush.

    For a project with `<Image name="image" value="$image"/>` and `<BrushLabels name="tag" toName="image">`.

    Its arguments are those of `SpooledWriter`.
    """

    def content(self) -> Iterator[Mapping[str, Any]]:
        for frame in self._spool.frames:
            masks = dict(self._spool.masks_on(frame))
            yield {
                "data": {
                    "image": self._source.file_name(frame),
                    "frame": frame,
                    "video": self._source.name,
                },
                "predictions": [
                    {
                        "model_version": MODEL_VERSION,
                        "score": min((mask["score"] for mask in masks.values()), default=0.0),
                        "result": [self._region(id, frame, mask) for id, mask in masks.items()],
                    }
                ],
            }

    def _region(self, id: int, frame: int, mask: CocoMask) -> dict[str, Any]:
        region = brush_region(
            rle.decode(mask["segmentation"]), self._categories.name(id), from_name="tag", to_name="image"
        )
        return {
            "id": f"object{id}-{frame}",
            **region,
            "score": mask["score"],
            "meta": {"text": [f"object {id}"]},
        }


class LabelStudioVideo(SpooledJson):
    """One task for the video: a box for each object, on every frame on which it is visible.

    Label Studio has no masks in videos. For a project with `<Video name="video" value="$video"/>`,
    `<VideoRectangle name="box" toName="video"/>` and `<Labels name="labels" toName="video">`.

    Its arguments are those of `SpooledWriter`.
    """

    def content(self) -> Iterator[Mapping[str, Any]]:
        regions = [self._region(id) for id in self._spool.ids]
        result = [region for region in regions if region["value"]["sequence"]]
        yield {
            "data": {"video": self._source.name},
            "predictions": [{"model_version": MODEL_VERSION, "result": result}],
        }

    def _region(self, id: int) -> dict[str, Any]:
        last, length = self._spool.frames[-1], self._length
        sequence: list[dict[str, Any]] = []
        for frame in range(last + 1):
            mask = self._spool.get(id, frame)
            if mask:
                sequence.append(self._keyframe(frame, mask["bbox"]))
            elif sequence:
                sequence[-1]["enabled"] = False  # the box does not show after this frame
        if sequence and last + 1 < length:
            sequence[-1]["enabled"] = False
        duration = round(length / self._source.fps, 6)
        value = {"framesCount": length, "duration": duration, "sequence": sequence}
        return {
            "id": f"object{id}",
            "type": "videorectangle",
            "from_name": "box",
            "to_name": "video",
            "origin": "prediction",
            "value": {**value, "labels": [self._categories.name(id)]},
        }

    def _keyframe(self, frame: int, box: list[float]) -> dict[str, Any]:
        x, y, width, height = box
        tall, wide = self._source.size
        shares = {"x": x / wide, "y": y / tall, "width": width / wide, "height": height / tall}
        return {
            **{name: round(100 * share, 4) for name, share in shares.items()},
            "rotation": 0,
            "enabled": True,
            "frame": frame + 1,  # Label Studio counts from 1
            "time": round((frame + 1) / self._source.fps, 6),
        }


def brush_region(
    mask: Bool[np.ndarray, "H W"], label: str, *, from_name: str, to_name: str
) -> dict[str, Any]:
    """A mask as one region of an annotation or a prediction.

    Args:
        mask: bool (H, W).
        label: The object's class.
        from_name: The name of the BrushLabels in the project's labelling interface.
        to_name: The name of its Image.

    Returns:
        A dict as Label Studio's JSON has it.
    """
    height, width = mask.shape
    return {
        "type": "brushlabels",
        "from_name": from_name,
        "to_name": to_name,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {"format": "rle", "rle": brush_rle(mask), "brushlabels": [label]},
    }


def brush_rle(mask: Bool[np.ndarray, "H W"]) -> list[int]:
    """A mask as the bytes of Label Studio's brush: runs of an RGBA image whose channels all are the mask.

    The bits are: the number of values (32), the bits per value minus 1 (5), and four sizes minus 1 (4 each).
    Then for each run a 1, the index of its length's size (2), its length minus 1 (that size), and its value
    (8).

    Args:
        mask: bool (H, W).

    Returns:
        The bytes, as numbers from 0 to 255.
    """
    pixels = mask.ravel()
    ends = np.append(np.flatnonzero(pixels[1:] != pixels[:-1]) + 1, pixels.size)
    lengths = 4 * np.diff(ends, prepend=0)
    values = np.where(pixels[ends - 1], 255, 0)
    longest = 2 ** RUN_BITS[-1]
    chunks = -(-lengths // longest)
    last = np.cumsum(chunks) - 1
    values = np.repeat(values, chunks)
    split = np.full(len(values), longest)
    split[last] = lengths - (chunks - 1) * longest
    size = np.searchsorted(2 ** np.array(RUN_BITS), split)
    width = np.array(RUN_BITS)[size]
    codes = (0b100 | size) << (width + 8) | (split - 1) << 8 | values
    head = f"{4 * pixels.size:032b}{8 - 1:05b}" + "".join(f"{bits - 1:04b}" for bits in RUN_BITS)
    bits = np.concatenate([np.array(list(head), dtype=np.uint8), _bits(codes, 11 + width)])
    return np.packbits(bits).tolist()


def _bits(codes: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """The lowest bits of each code, one code after the other."""
    places = np.arange(32)
    bits = np.unpackbits(codes.astype(">u4").view(np.uint8)).reshape(-1, 32)
    return bits[places >= 32 - widths[:, None]]
