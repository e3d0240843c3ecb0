"""Caches of a video: the features of its frames, in memory and on disk, and the last answers to prompts."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Generator, Hashable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from masklet.caches import LruCache
from masklet.files import make_folder
from masklet.model import Sam2
from masklet.types import FrameFeatures, ImageCandidates, Prompt
from masklet.zoom import Zoom, finish

GIB = 2**30
CACHED_ANSWERS = 4


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
        self.answers = AnswerCache()
        self._spilled = None if spill is None else SpilledFeatures(spill, disk)
        self._kept: LruCache[int, FrameFeatures] = LruCache(
            budget,
            size=lambda features: features.nbytes,
            on_evict=None if self._spilled is None else self._spilled.put,
        )

    def __contains__(self, frame: int) -> bool:
        return frame in self._kept or (self._spilled is not None and frame in self._spilled)

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
        if features is None and self._spilled is not None:
            features = self._spilled.get(frame)
        return None if features is None else features.to(device, dtype)

    def put(self, frame: int, features: FrameFeatures) -> None:
        """Cache a frame's features, and remove others if necessary.

        Args:
            frame: From 0.
            features: The features of this one frame.
        """
        self._kept[frame] = features


class SpilledFeatures:
    """Features of frames in files. The oldest are deleted first, and all of them with this object.

    Args:
        folder: Where to create the folder of the files.
        max_bytes: The bytes to use.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="features-", dir=make_folder(folder)))
        self._max_bytes = max_bytes
        self._files: LruCache[Path, int] = LruCache(
            max_bytes, size=int, on_evict=lambda path, nbytes: path.unlink()
        )
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)

    def __contains__(self, frame: int) -> bool:
        return self._path(frame) in self._files

    def get(self, frame: int) -> FrameFeatures | None:
        return FrameFeatures(**load_file(self._path(frame))) if frame in self else None

    def put(self, frame: int, features: FrameFeatures) -> None:
        if frame not in self and features.nbytes <= self._max_bytes:
            parts = {name: part.contiguous().cpu() for name, part in vars(features).items()}
            save_file(parts, self._path(frame))
            self._files[self._path(frame)] = features.nbytes

    def _path(self, frame: int) -> Path:
        return self._folder / f"{frame:08d}.safetensors"


class AnswerCache:
    """The answers to the last prompts on single frames, as in a preview.

    They are cached without the image, so that they are small. The answer to a prompt with a mask is never
    cached.
    """

    def __init__(self) -> None:
        self._answers: LruCache[Hashable, ImageCandidates] = LruCache(CACHED_ANSWERS)
        self._begun: tuple[Hashable, Generator[None, None, ImageCandidates]] | None = None

    def get(
        self, frame: int, prompt: Prompt, zoom: Zoom | None, segment: Callable[[], ImageCandidates]
    ) -> ImageCandidates:
        """The answer to a prompt: from the cache, by finishing one that was started in steps, or new.

        Args:
            frame: From 0.
            prompt: In source pixels.
            zoom: How small objects are zoomed.
            segment: Makes a new answer.
        """
        if prompt.mask is not None:
            return segment()
        key = frame, prompt, zoom
        begun, self._begun = self._begun, None
        answer = self._answers.get(key)
        if answer is None:
            answer = finish(begun[1]) if begun is not None and begun[0] == key else segment()
        self._put(key, answer)
        return replace(answer, image=None)

    def make_in_steps(
        self,
        frame: int,
        prompt: Prompt,
        zoom: Zoom | None,
        begin: Callable[[], Generator[None, None, ImageCandidates]],
    ) -> Iterator[None]:
        """Make an answer step by step. If `get` is called for the same answer before the end, it finishes the
        steps.

        Args:
            frame: From 0.
            prompt: In source pixels, without a mask.
            zoom: How small objects are zoomed.
            begin: Begins the steps, which return the answer.
        """
        key = frame, prompt, zoom
        if key in self._answers:
            return
        begun = self._begun = key, begin()
        try:
            while self._begun is begun:
                next(begun[1])
                yield
        except StopIteration as end:
            self._put(key, end.value)
        finally:
            if self._begun is begun:
                self._begun = None

    def _put(self, key: Hashable, answer: ImageCandidates) -> None:
        bare = tuple(candidate.bare() for candidate in answer.ranked)  # masks in the image's size are large
        self._answers[key] = replace(answer, ranked=bare, image=None)
