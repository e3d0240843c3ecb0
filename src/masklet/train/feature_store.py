"""Features of clips that come again, kept on disk: a trunk that does not learn need not see them twice.

So fine-tuning a decoder costs little more than the decoder, and fits on a small GPU.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from masklet.errors import MediaError
from masklet.files import atomic_write
from masklet.model import Sam2
from masklet.train.rollout import Batch, normalised
from masklet.types import FrameFeatures

log = logging.getLogger(__name__)

PARTS = ("coarse", "middle", "fine")


class Shelf:
    """A folder with a file for each clip, in half precision: 8 MB a frame of 1024 pixels."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.writable = True

    def fetch(self, model: Sam2, batch: Batch, names: Sequence[str]) -> FrameFeatures:
        """The features of all frames of a batch, one clip after the other.

        names : of the batch's clips; a clip of the same name must have the same frames
        """
        parts = [self._clip(model, batch.images[row], name) for row, name in enumerate(names)]
        return FrameFeatures(*(torch.cat(each).to(model.dtype) for each in zip(*parts, strict=True)))

    def _clip(self, model: Sam2, images: Tensor, name: str) -> list[Tensor]:
        path = self.folder / f"{name}.safetensors"
        if path.is_file():
            kept = load_file(path, device=str(model.device))
            return [kept[part] for part in PARTS]
        with torch.no_grad():
            made = [part.half() for part in model.encode(normalised(images))]
        if self.writable:
            self._keep(path, made)
        return made

    def _keep(self, path: Path, made: Sequence[Tensor]) -> None:
        tensors = {name: part.cpu().contiguous() for name, part in zip(PARTS, made, strict=True)}
        try:
            with atomic_write(path) as part:
                save_file(tensors, part)
        except (MediaError, SafetensorError) as error:
            self.writable = False
            log.warning("features are no longer kept in %s: %s", self.folder, error)
