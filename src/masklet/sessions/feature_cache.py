"""Caches of a video: the features of its frames, in memory and on disk, and the last answers to prompts."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import NamedTuple

from safetensors.torch import load_file, save_file

from masklet.caches import LruCache
from masklet.errors import OptionError
from masklet.files import make_folder
from masklet.media import Frames
from masklet.model import Sam2
from masklet.types import FrameFeatures, ImageCandidates, Prompt
from masklet.zoom import Zoom, finish

GIB = 2**30
CACHED_PREVIEWS = 4


Key = tuple["weakref.ref[Sam2]", int]  # a network and a frame


class FeatureCache:
    """Caches the features of a video's frames. The least recently used are dropped first.

    Args:
        budget: Bytes held in memory.
        spill: A folder for features that do not fit in memory. The cache creates a subfolder and removes it
            at the end. Without a folder, such features are dropped.
        disk: Bytes to use in that folder. The oldest spilled frames are dropped first.

    Attributes:
        previews: The candidates for the last prompts on these frames.

    Example:
        >>> import torch
        >>> from masklet.config import toy
        >>> model, sizes = Sam2(toy()), ((8, 4), (2, 8), (1, 16))
        >>> features = FrameFeatures(*(torch.zeros(1, c, side, side) for c, side in sizes))
        >>> cache = FeatureCache(budget=2 * features.nbytes)
        >>> for frame in range(3):
        ...     cache.put(frame, features, model)
        >>> [cache.has(frame, model) for frame in range(3)]
        [False, True, True]
    """

    def __init__(self, budget: int = GIB, *, spill: Path | None = None, disk: int = 32 * GIB) -> None:
        self.budget, self.disk, self._folder = budget, disk, spill
        self.previews = PreviewCache()
        self._video: tuple[str, tuple[int, int], int] | None = None
        self._spilled = None if spill is None else SpilledFeatures(spill, disk)
        self._kept: LruCache[Key, FrameFeatures] = LruCache(
            budget,
            size=lambda features: features.nbytes,
            on_evict=None if self._spilled is None else self._spilled.put,
        )

    def __reduce__(self) -> tuple[object, ...]:
        return partial(FeatureCache, spill=self._folder, disk=self.disk), (self.budget,)  # an empty one

    def check_video(self, frames: Frames) -> None:
        """Raise for another video than before, whose frames have the same numbers.

        Args:
            frames: The video whose frames are about to be cached.

        Raises:
            OptionError: The name, the size or the number of frames differs.
        """
        video = frames.name, frames.size, len(frames)
        if self._video not in (None, video):
            raise OptionError(
                f"features must be a cache of {frames.name}. Got one of another video, "
                f"{self._video and self._video[0]}: make a FeatureCache for each video."
            )
        self._video = video

    def has(self, frame: int, model: Sam2) -> bool:
        """Whether the features of a frame are cached, as this network encodes it."""
        key = weakref.ref(model), frame
        return key in self._kept or (self._spilled is not None and key in self._spilled)

    def next_batch(self, model: Sam2, frames: Sequence[int]) -> list[int]:
        """Select the next frames to encode in one call; none if the first one is already cached.

        Args:
            model: The network that encodes.
            frames: The next frames, in the order in which they are needed.
        """
        config, count = model.config, model.backend.frames_per_batch
        if count == 1 or self.has(frames[0], model):
            return []
        # Bytes of one frame's three maps.
        nbytes = 4 * config.channels * config.grid**2 * model.dtype.itemsize
        count = max(1, min(count, self.budget // nbytes))
        return [frame for frame in frames[:count] if not self.has(frame, model)]

    def get(self, frame: int, model: Sam2) -> FrameFeatures | None:
        """Return the features of a frame, or None if they are not cached.

        Args:
            frame: From 0.
            model: The network that encoded it. The features have its dtype, on its device.
        """
        key = weakref.ref(model), frame
        features = self._kept.get(key)
        if features is None and self._spilled is not None:
            features = self._spilled.get(key)
        return None if features is None else features.to(model.device, model.dtype)

    def put(self, frame: int, features: FrameFeatures, model: Sam2) -> None:
        """Cache a frame's features, and remove others if necessary.

        Args:
            frame: From 0.
            features: The features of this one frame.
            model: The network that encoded it.
        """
        self._kept[weakref.ref(model), frame] = features


class SpilledFeatures:
    """Features of frames in files. The oldest are deleted first, and all of them with this object.

    Args:
        folder: Where to create the folder of the files.
        max_bytes: The bytes to use.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="features-", dir=make_folder(folder)))
        self._max_bytes = max_bytes
        self._numbers = count()
        self._files: LruCache[Key, tuple[Path, int]] = LruCache(
            max_bytes, size=lambda file: file[1], on_evict=lambda key, file: file[0].unlink()
        )
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)

    def __contains__(self, key: Key) -> bool:
        return key in self._files

    def get(self, key: Key) -> FrameFeatures | None:
        return FrameFeatures(**load_file(self._files[key][0])) if key in self else None

    def put(self, key: Key, features: FrameFeatures) -> None:
        if key not in self and features.nbytes <= self._max_bytes:
            path = self._folder / f"{next(self._numbers)}.safetensors"
            save_file({name: part.contiguous().cpu() for name, part in vars(features).items()}, path)
            self._files[key] = path, features.nbytes


class PreviewKey(NamedTuple):
    """What an answer depends on: the network, the frame, the prompt in source pixels, and the zoom."""

    model: weakref.ref[Sam2]
    frame: int
    prompt: Prompt
    zoom: Zoom | None


class PreviewCache:
    """The answers to the last prompts on single frames, as in a preview.

    They are cached without the image, so that they are small. The answer to a prompt with a mask is never
    cached.
    """

    def __init__(self) -> None:
        self._previews: LruCache[PreviewKey, ImageCandidates] = LruCache(CACHED_PREVIEWS)
        self._begun: tuple[PreviewKey, Generator[None, None, ImageCandidates]] | None = None

    def get(self, key: PreviewKey, segment: Callable[[], ImageCandidates]) -> ImageCandidates:
        """The answer to a prompt: from the cache, by finishing one that was started in steps, or new.

        Args:
            key: What it depends on.
            segment: Makes a new answer.
        """
        if key.prompt.mask is not None:
            return segment()
        begun, self._begun = self._begun, None
        answer = self._previews.get(key)
        if answer is None:
            answer = finish(begun[1]) if begun is not None and begun[0] == key else segment()
        self._put(key, answer)
        return replace(answer, image=None)

    def make_in_steps(
        self, key: PreviewKey, begin: Callable[[], Generator[None, None, ImageCandidates]]
    ) -> Iterator[None]:
        """Make an answer step by step. If `get` is called for the same answer before the end, it finishes the
        steps.

        Args:
            key: What it depends on.
            begin: Begins the steps, which return the answer.
        """
        if key in self._previews or key.prompt.mask is not None:
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

    def _put(self, key: PreviewKey, answer: ImageCandidates) -> None:
        bare = tuple(map(replace, answer.ranked))  # copies without masks in the image's size, which are large
        self._previews[key] = replace(answer, ranked=bare, image=None)
