"""A model that takes everything of one colour for one object, and its images: black is the background."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from masklet.backends.backend import TorchBackend
from masklet.config import toy
from masklet.model import Sam2
from masklet.nn.layers import IMAGENET_MEAN, IMAGENET_STD
from masklet.types import Candidates, FrameFeatures, MaskPrediction, MemorySelection

SIZE = (48, 64)
RED, GREEN, BLUE, GREY = (255, 0, 0), (0, 255, 0), (0, 0, 255), (150, 150, 150)
Blot = tuple[tuple[int, int, int], tuple[slice, slice]]


def paint(*blots: Blot, size: tuple[int, int] = SIZE) -> np.ndarray:
    """uint8 (H, W, 3); later blots lie on top."""
    image = np.zeros((*size, 3), dtype=np.uint8)
    for color, place in blots:
        image[place] = color
    return image


class Painted(Sam2):
    """Colours, of which there are eight, travel in the fine features and in object pointers.

    It is sure of them, and unsure of black.
    """

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.config, self.memory_dtype = toy(), torch.bfloat16
        self.backend = TorchBackend(self)  # says how many objects and frames go into a call
        self.asked = 0  # points

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32

    def encode(self, image: Tensor) -> FrameFeatures:
        mean, std = (torch.tensor(values)[None, :, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
        c, g = self.config.channels, self.config.grid
        fine = torch.zeros(1, c // 4, 4 * g, 4 * g)
        fine[:, :3] = (
            (image * std + mean)[:, :, 2::4, 2::4] > 0.5
        ).float()  # edges have no colours of their own
        return FrameFeatures(torch.zeros(1, c, g, g), torch.zeros(1, c // 2, 2 * g, 2 * g), fine)

    def attend(self, features: FrameFeatures, selections: Sequence[MemorySelection]) -> Tensor:
        context = torch.zeros(len(selections), *features.coarse.shape[1:])
        for row, selection in zip(context, selections, strict=True):
            if selection.spatial:
                newest = max((memory for _, memory in selection.spatial), key=lambda memory: memory.frame)
                row += newest.pointer[:, None, None]
        return context

    def decode(
        self,
        features: FrameFeatures,
        context: Tensor,
        points: Tensor | None = None,
        labels: Tensor | None = None,
        hint: Tensor | None = None,
        *,
        candidates: int = 3,
        stable: bool = True,
        present: float = 0.0,
    ) -> Candidates:
        color = context[:, :3, 0, 0]
        if points is not None:
            self.asked += len(points)
            cells = (points.mean(dim=1) / 4).long().clamp(0, features.fine.shape[-1] - 1)
            color = features.fine[0, :3, cells[:, 1], cells[:, 0]].T
        inside = (features.fine[:, :3] - color[:, :, None, None]).abs().amax(dim=1) < 0.2
        there = color.amax(dim=1) > 0.2
        b, score = len(context), torch.where(there & inside.flatten(1).any(dim=1), 5.0, -5.0)
        logits = torch.where(inside, 80.0, -80.0)[:, None].expand(-1, candidates, -1, -1)
        quality = torch.where(there, 0.95, 0.2)[:, None] - 0.01 * torch.arange(candidates)
        pointer = F.pad(color, (0, self.config.channels - 3))[:, None].expand(b, candidates, -1)
        return Candidates(logits, quality, pointer, score)

    def adopt(self, features: FrameFeatures, mask: Tensor) -> MaskPrediction:
        logits = F.interpolate(20 * mask[:, None] - 10, (16, 16), mode="area")[:, 0]
        share = (logits > 0).float() / (logits > 0).sum(dim=(1, 2), keepdim=True).clamp(min=1)
        color = torch.einsum("bhw,chw->bc", share, features.fine[0, :3])
        b = len(mask)
        pointer = F.pad(color, (0, self.config.channels - 3))
        return MaskPrediction(logits, torch.ones(b), pointer, torch.full((b,), 10.0))

    def memorize(
        self, features: FrameFeatures, prediction: MaskPrediction, *, binary: bool = False
    ) -> Tensor:
        return torch.zeros(len(prediction.logits), self.config.grid**2, self.config.memory_channels)


class Connected(Painted):
    """Takes the connected piece of one colour around a click."""

    def __init__(self) -> None:
        super().__init__()
        self.config = replace(toy(), image_size=256, windows=(8, 4, 4, 2))

    def decode(self, features, context, points=None, labels=None, hint=None, **options):  # type: ignore[no-untyped-def]
        decoded = super().decode(features, context, points, labels, hint, **options)
        logits = decoded.logits.clone()
        cells = (points.mean(dim=1) / 4).long().clamp(0, features.fine.shape[-1] - 1)
        for row, (x, y) in enumerate(cells.tolist()):
            inside = (logits[row, 0] > 0).numpy().astype(np.uint8)
            _, pieces = cv2.connectedComponents(inside, connectivity=4)
            logits[row, :, torch.from_numpy(pieces != pieces[y, x])] = -80.0
        return replace(decoded, logits=logits)
