"""What was computed of a video's frames, kept while there is room: features, and a few answers."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections import OrderedDict
from collections.abc import Callable, Generator, Hashable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from masklet.files import make_folder
from masklet.masks import ImageCandidates
from masklet.model import Sam2
from masklet.prompts import Prompt
from masklet.types import FrameFeatures
from masklet.zoom import Zoom, finish

GIB = 2**30
ANSWERS = 4  # kept of first clicks


class FeatureCache:
    """Caches the features of a video's frames, and a few answers. The least recently used are dropped first.

    Args:
        budget: Bytes held in memory.
        half: Keep features in half precision: twice as many frames, and numbers that differ in the fourth
            digit.
        spill: A folder for features that do not fit in memory. The cache creates a subfolder and removes it
            at the end. Without a folder, such features are dropped.
        disk: Bytes to use in that folder. The frames spilled first are dropped first.

    Example:
        >>> sizes = (8, 4), (2, 8), (1, 16)
        >>> features = FrameFeatures(*(torch.zeros(1, c, side, side) for c, side in sizes))
        >>> cache = FeatureCache(budget=2 * features.nbytes)
        >>> for frame in range(3):
        ...     cache.put(frame, features)
        >>> [frame in cache for frame in range(3)]
        [False, True, True]
    """

    def __init__(
        self, budget: int = GIB, *, half: bool = False, spill: Path | None = None, disk: int = 32 * GIB
    ) -> None:
        self.budget = budget
        self.disk = disk
        self.held = self.spilled = 0  # bytes, in memory and on disk
        self._half = half
        self._kept: OrderedDict[int, FrameFeatures] = OrderedDict()
        self._spill = None if spill is None else _own_folder(spill)
        self._files: OrderedDict[Path, int] = OrderedDict()
        self._answers: OrderedDict[Hashable, tuple[Zoom | None, ImageCandidates]] = OrderedDict()
        self._begun: tuple[Hashable, Zoom | None, Generator[None, None, ImageCandidates]] | None = None
        if self._spill is not None:
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
        nbytes = 4 * config.channels * config.grid**2 * model.dtype.itemsize  # of one frame's three maps
        count = max(1, min(count, self.budget // nbytes))
        return [frame for frame in frames[:count] if frame not in self]

    def get(self, frame: int, device: torch.device, dtype: torch.dtype) -> FrameFeatures | None:
        """Return the features of a frame, or None if they are not cached.

        Args:
            frame: From 0.
            device: Where they are needed.
            dtype: The numbers in which they are needed.
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
        """Cache a frame's features, and make room for them.

        Args:
            frame: From 0.
            features: Of this one frame.
        """
        if self._half:
            features = features.to(torch.float16)
        old = self._kept.pop(frame, None)
        self.held += features.nbytes - (old.nbytes if old is not None else 0)
        self._kept[frame] = features
        while self.held > self.budget and self._kept:
            self._give_up(*self._kept.popitem(last=False))

    def answer(
        self, frame: int, prompt: Prompt, zoom: Zoom | None, segment: Callable[[], ImageCandidates]
    ) -> ImageCandidates:
        """Segment a prompt on a frame, as in a picture. The last answers are cached.

        Args:
            frame: From 0.
            prompt: In source pixels. Prompts with a mask are not cached.
            zoom: How small objects are zoomed; answers made with another zoom are not used.
            segment: Called if the answer is not cached.

        Returns:
            The ranked masks, without the picture, so that the cache stays small.
        """
        if prompt.mask is not None:
            return segment()
        key = _key(frame, prompt)
        begun, self._begun = self._begun, None
        used, answer = self._answers.pop(key, (None, None))
        if answer is None or used != zoom:
            is_begun = begun is not None and begun[:2] == (key, zoom)
            answer = replace(finish(begun[2]) if begun and is_begun else segment(), image=None)
        self._keep(key, zoom, answer)
        return replace(answer)  # a copy: what it computes in the picture's size goes with it

    def answer_in_steps(
        self, frame: int, prompt: Prompt, zoom: Zoom | None, steps: Generator[None, None, ImageCandidates]
    ) -> Iterator[None]:
        """Compute an answer step by step. `answer` finishes it if called for the same prompt before the end.

        Args:
            frame: From 0.
            prompt: In source pixels, without a mask.
            zoom: How small objects are zoomed.
            steps: Returns the answer.
        """
        key = _key(frame, prompt)
        if key in self._answers and self._answers[key][0] == zoom:
            return
        begun = self._begun = key, zoom, steps
        try:
            while self._begun is begun:
                next(steps)
                yield
        except StopIteration as end:
            self._keep(key, zoom, replace(end.value, image=None))
        finally:
            if self._begun is begun:
                self._begun = None

    def _keep(self, key: Hashable, zoom: Zoom | None, answer: ImageCandidates) -> None:
        self._answers[key] = zoom, answer
        if len(self._answers) > ANSWERS:
            self._answers.popitem(last=False)

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


def _key(frame: int, prompt: Prompt) -> Hashable:
    return frame, tuple(prompt.positive), tuple(prompt.negative), prompt.box


def _own_folder(parent: Path) -> Path:
    return Path(tempfile.mkdtemp(prefix="features-", dir=make_folder(parent)))
