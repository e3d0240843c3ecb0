"""Features of recurring clips, stored on disk, so that a frozen trunk encodes each clip once.

Fine-tuning a decoder then costs little more than the decoder, and fits on a small GPU.
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
from masklet.train.rollout import Batch, normalize
from masklet.types import FrameFeatures

log = logging.getLogger(__name__)

PARTS = ("coarse", "middle", "fine")


class FeatureStore:
    """A folder with a file for each clip, in half precision: 8 MB a frame of 1024 pixels."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.writable = True

    def encode(self, model: Sam2, batch: Batch, names: Sequence[str]) -> FrameFeatures:
        """The features of all frames of a batch, one clip after the other.

        names : of the batch's clips; a clip of the same name must have the same frames
        """
        clips = [self._encode_clip(model, batch.images[row], name) for row, name in enumerate(names)]
        return FrameFeatures(*(torch.cat(maps).to(model.dtype) for maps in zip(*clips, strict=True)))

    def _encode_clip(self, model: Sam2, images: Tensor, name: str) -> list[Tensor]:
        path = self.folder / f"{name}.safetensors"
        if path.is_file():
            stored = load_file(path, device=str(model.device))
            return [stored[part] for part in PARTS]
        with torch.no_grad():
            maps = [part.half() for part in model.encode(normalize(images))]
        if self.writable:
            self._write(path, maps)
        return maps

    def _write(self, path: Path, maps: Sequence[Tensor]) -> None:
        tensors = {name: part.cpu().contiguous() for name, part in zip(PARTS, maps, strict=True)}
        try:
            with atomic_write(path) as part:
                save_file(tensors, part)
        except (MediaError, SafetensorError) as error:
            self.writable = False
            log.warning("cannot store features in %s, continuing without: %s", self.folder, error)
