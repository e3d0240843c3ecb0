"""A cache for the features of a video's frames, in memory and on disk."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from masklet.files import make_folder
from masklet.model import Sam2
from masklet.sessions.answer import AnswerCache
from masklet.types import FrameFeatures

GIB = 2**30


class FeatureCache:
    """Caches the features of a video's frames. The least recently used are dropped first.

    Args:
        budget: Bytes held in memory.
        spill: A folder for features that do not fit in memory. The cache creates a subfolder and removes it
            at the end. Without a folder, such features are dropped.
        disk: Bytes to use in that folder. The oldest spilled frames are dropped first.

    Attributes:
        answers: The answers to the last prompts on these frames.

    Example:
        >>> sizes = (8, 4), (2, 8), (1, 16)
        >>> features = FrameFeatures(*(torch.zeros(1, c, side, side) for c, side in sizes))
        >>> cache = FeatureCache(budget=2 * features.nbytes)
        >>> for frame in range(3):
        ...     cache.put(frame, features)
        >>> [frame in cache for frame in range(3)]
        [False, True, True]
    """

    def __init__(self, budget: int = GIB, *, spill: Path | None = None, disk: int = 32 * GIB) -> None:
        self.budget = budget
        self.disk = disk
        self.held = self.spilled = 0  # bytes, in memory and on disk
        self._kept: OrderedDict[int, FrameFeatures] = OrderedDict()
        self._spill: Path | None = None
        self._files: OrderedDict[Path, int] = OrderedDict()
        self.answers = AnswerCache()
        if spill is not None:
            self._spill = Path(tempfile.mkdtemp(prefix="features-", dir=make_folder(spill)))
            weakref.finalize(self, shutil.rmtree, self._spill, ignore_errors=True)

    def __contains__(self, frame: int) -> bool:
        return frame in self._kept or self._path(frame) in self._files

    def next_batch(self, model: Sam2, frames: Sequence[int]) -> list[int]:
        """Select the next frames to encode in one call; none if the first one is already cached.

        Args:
            model: The network that encodes.
            frames: The next frames, in the order in which they are needed.
        """
        config, count = model.config, model.backend.frames_per_batch
        if count == 1 or frames[0] in self:
            return []
        # Bytes of one frame's three maps.
        nbytes = 4 * config.channels * config.grid**2 * model.dtype.itemsize
        count = max(1, min(count, self.budget // nbytes))
        return [frame for frame in frames[:count] if frame not in self]

    def get(self, frame: int, device: torch.device, dtype: torch.dtype) -> FrameFeatures | None:
        """Return the features of a frame, or None if they are not cached.

        Args:
            frame: From 0.
            device: The device on which they are needed.
            dtype: The dtype in which they are needed.
        """
        features = self._kept.get(frame)
        if features is not None:
            self._kept.move_to_end(frame)
            return features.to(device, dtype)
        path = self._path(frame)
        if path is None or path not in self._files:
            return None
        parts = load_file(path)
        return FrameFeatures(parts["coarse"], parts["middle"], parts["fine"]).to(device, dtype)

    def put(self, frame: int, features: FrameFeatures) -> None:
        """Cache a frame's features, and remove others if necessary.

        Args:
            frame: From 0.
            features: The features of this one frame.
        """
        old = self._kept.pop(frame, None)
        self.held += features.nbytes - (old.nbytes if old is not None else 0)
        self._kept[frame] = features
        while self.held > self.budget and self._kept:
            self._give_up(*self._kept.popitem(last=False))

    def _give_up(self, frame: int, features: FrameFeatures) -> None:
        self.held -= features.nbytes
        path = self._path(frame)
        if path is None or path in self._files or features.nbytes > self.disk:
            return
        coarse, middle, fine = (part.contiguous().cpu() for part in features)
        save_file({"coarse": coarse, "middle": middle, "fine": fine}, path)
        self._files[path] = features.nbytes
        self.spilled += features.nbytes
        while self.spilled > self.disk:
            oldest, size = self._files.popitem(last=False)
            oldest.unlink()
            self.spilled -= size

    def _path(self, frame: int) -> Path | None:
        return None if self._spill is None else self._spill / f"{frame:08d}.safetensors"
