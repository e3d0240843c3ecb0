"""masklets.json, masklet's own record of a video: every mask with what the model thinks of it; and back."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from masklet import rle
from masklet.files import StrPath
from masklet.media.readers.source import Image, Source
from masklet.media.writers.jsonlist import JsonList, read_list
from masklet.media.writers.writer import Writer
from masklet.types import Masks


class MaskletsJson(Writer):
    """Per frame and object: COCO RLE, predicted IoU, object score, box (x0, y0, x1, y1). Always valid."""

    def __init__(self, path: StrPath, source: Source) -> None:
        self._source = source
        head = {"version": 1, "source": source.name, "size": list(source.size), "fps": source.fps}
        self._list = JsonList(path, head)

    def write(self, image: Image, masks: Masks) -> None:
        iou, score = masks.iou.tolist(), masks.score.tolist()
        objects = [
            {"id": id, "iou": round(iou[row], 4), "score": round(score[row], 3), "box": box, "rle": code}
            for row, (id, box, code) in enumerate(
                zip(masks.ids, masks.boxes.tolist(), masks.rle(), strict=True)
            )
        ]
        seconds = round(self._source.time(masks.frame), 6)
        self._list.write(masks.frame, {"time": seconds, "objects": objects})

    def close(self) -> None:
        self._list.close()


def read_masklets(path: StrPath) -> Iterator[Masks]:
    """The frames of a masklets.json, in its order, with the masks that were written."""
    head, records = read_list(path)
    height, width = head["size"]
    for record in records:
        objects = record["objects"]
        masks = [rle.decode(each["rle"]) for each in objects]
        inside = torch.from_numpy(np.stack(masks) if masks else np.zeros((0, height, width), dtype=bool))
        yield Masks(
            frame=record["frame"],
            ids=tuple(each["id"] for each in objects),
            low_res=torch.where(inside, 1.0, -1.0),  # all that is known of the logits is their sign
            size=(height, width),
            iou=torch.tensor([float(each["iou"]) for each in objects]),
            score=torch.tensor([float(each["score"]) for each in objects]),
        )
