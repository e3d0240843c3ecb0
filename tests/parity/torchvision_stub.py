"""The handful of torchvision that the original imports, since torchvision has no build for every torch.

Where torchvision is installed the original uses that instead.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ToTensor:
    def __call__(self, image: object) -> Tensor:
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float() / 255


class Resize(nn.Module):
    def __init__(self, size: Sequence[int]) -> None:
        super().__init__()
        self.height, self.width = size

    def forward(self, image: Tensor) -> Tensor:
        size = [self.height, self.width]
        return F.interpolate(image[None], size, mode="bilinear", align_corners=False, antialias=True)[0]


class Normalize(nn.Module):
    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])

    def forward(self, image: Tensor) -> Tensor:
        return (image - self.mean) / self.std


def box_area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """Rows to keep, best first: none overlaps a better one of its group by more than the threshold."""
    keep: list[int] = []
    for row in scores.argsort(descending=True, stable=True).tolist():
        rivals = torch.tensor([other for other in keep if idxs[other] == idxs[row]], dtype=torch.long)
        low = torch.maximum(boxes[row, :2], boxes[rivals, :2])
        high = torch.minimum(boxes[row, 2:], boxes[rivals, 2:])
        shared = (high - low).clamp(min=0).prod(dim=1)
        union = box_area(boxes[row][None]) + box_area(boxes[rivals]) - shared
        if not (shared / union > iou_threshold).any():
            keep.append(row)
    return torch.tensor(keep, dtype=torch.long)


@contextmanager
def torchvision_or_stub() -> Iterator[None]:
    """While the block runs, `import torchvision` succeeds."""
    if importlib.util.find_spec("torchvision") is not None:
        yield
        return
    names = ("torchvision", "torchvision.transforms", "torchvision.ops", "torchvision.ops.boxes")
    stub = {name: ModuleType(name) for name in names}
    vars(stub["torchvision.transforms"]).update(ToTensor=ToTensor, Resize=Resize, Normalize=Normalize)
    vars(stub["torchvision.ops.boxes"]).update(batched_nms=batched_nms, box_area=box_area)
    sys.modules.update(stub)
    try:
        yield
    finally:
        for name in stub:
            del sys.modules[name]
