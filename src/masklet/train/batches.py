"""The batches of a step, as a function of the step, drawn ahead by other processes.

So a resumed run reaches the same losses without a saved random state.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import cv2
import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from masklet.datasets.types import Clip
from masklet.errors import MediaError
from masklet.files import atomic_write
from masklet.model import Sam2
from masklet.train.recipe import ClipSource, Recipe, Stage
from masklet.train.rollout import Batch, Plan
from masklet.transforms import normalize
from masklet.types import FrameFeatures

T = TypeVar("T")

FEATURES = "features"  # the folder of a run for encoded clips
FRAMES = "frames"  # key of a digest of a clip's frames in its file
MAPS = ("coarse", "middle", "fine")  # the keys of its features
ATTEMPTS = 5  # attempts to read a clip

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PlannedBatch:
    """A batch, and the simulated user's plan for it.

    Attributes:
        seed: The seed of the user's clicks.
        names: The names of the batch's clips; equal names mean equal clips.
        origins: The files that the clips come from, for messages.
    """

    plan: Plan
    batch: Batch
    seed: int
    names: tuple[str, ...]
    origins: tuple[str, ...]


def draw_batch(recipe: Recipe, stage: Stage, step: int, part: int) -> PlannedBatch:
    """Draw one of the batches of a step. All parts share the plan, but have different clips and clicks."""
    shared = np.random.default_rng([recipe.seed, step])
    weights = np.array([source.weight for source in stage.sources])
    kind = int(shared.choice(len(weights), p=weights / weights.sum()))
    source = stage.sources[kind]
    numbers = np.random.default_rng([recipe.seed, step, part]).integers(2**40, size=source.clips).tolist()
    if recipe.distinct_clips is not None:
        numbers = [number % recipe.distinct_clips for number in numbers]
    clips = [_read_clip(source.source, number) for number in numbers]
    batch = Batch.collate(clips)
    plan = Plan.draw(batch.images.shape[1], shared)
    names = tuple(f"{stage.name}-{kind}-{number}".replace(" ", "-") for number in numbers)
    origins = tuple(clip.name or name for clip, name in zip(clips, names, strict=True))
    return PlannedBatch(plan, batch, int(shared.integers(2**40)) + part, names, origins)


def _read_clip(source: ClipSource, number: int) -> Clip:
    """The clip of that number; if it cannot be read, another."""
    for attempt in range(ATTEMPTS):
        try:
            return source(number + attempt * 2**40)
        except MediaError as error:
            log.warning("skipped clip %d: %s", number, error)
            last = error
    raise last


def load_batches(
    recipe: Recipe, stage: Stage, steps: range, parts: range, workers: int
) -> Iterable[list[PlannedBatch]]:
    """The batches of one process for a range of steps.

    Args:
        workers: Processes that draw ahead; 0 draws on request.
    """
    return prefetch(lambda step: [draw_batch(recipe, stage, step, part) for part in parts], steps, workers)


def prefetch(make: Callable[[int], T], steps: range, workers: int) -> Iterable[T]:
    """`make(step)` for every step, in order.

    Args:
        workers: Processes that work ahead; 0 works on request.
    """
    return _Loader(
        _Steps(make, steps),
        batch_size=None,
        collate_fn=_identity,
        num_workers=workers,
        multiprocessing_context="fork" if workers else None,  # sources are closures, which cannot be pickled
    )


class _Loader(DataLoader[T], Generic[T]):
    """A loader whose workers use one thread each for OpenCV.

    They are forked while OpenCV has no other threads: a worker that ends inherited threads would block
    forever.
    """

    def __iter__(self) -> Any:
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        try:
            return super().__iter__()
        finally:
            cv2.setNumThreads(threads)


class _Steps(Dataset[T], Generic[T]):
    def __init__(self, make: Callable[[int], T], steps: range) -> None:
        self.make, self.steps = make, steps

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, index: int) -> T:
        return self.make(self.steps[index])


def _identity(item: T) -> T:
    return item


class FeatureStore:
    """A folder with a file for each clip, in half precision: 8 MB per frame of 1024 pixels."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.writable = True

    def encode(self, model: Sam2, batch: Batch, names: Sequence[str]) -> FrameFeatures:
        """The features of all frames of a batch, one clip after the other.

        Args:
            names: The names of the batch's clips. A clip whose frames differ from its file is encoded again:
                images or labels were changed before the run was resumed.
        """
        clips = [self._encode_clip(model, batch.images[row], name) for row, name in enumerate(names)]
        return FrameFeatures(*(torch.cat(maps).to(model.dtype) for maps in zip(*clips, strict=True)))

    def _encode_clip(self, model: Sam2, images: Tensor, name: str) -> list[Tensor]:
        path, frames = self.folder / f"{name}.safetensors", _digest(images)
        if path.is_file():
            with safe_open(path, "pt", device=str(model.device)) as stored:
                if (stored.metadata() or {}).get(FRAMES) == frames:
                    return [stored.get_tensor(key) for key in MAPS]
        with torch.no_grad():
            maps = [features.half() for features in model.encode(normalize(images))]
        if self.writable:
            self._write(path, maps, frames)
        return maps

    def _write(self, path: Path, maps: Sequence[Tensor], frames: str) -> None:
        tensors = {name: features.cpu().contiguous() for name, features in zip(MAPS, maps, strict=True)}
        try:
            with atomic_write(path) as part:
                save_file(tensors, part, {FRAMES: frames})
        except (MediaError, SafetensorError) as error:
            self.writable = False
            log.warning("cannot store features in %s, continuing without: %s", self.folder, error)


def _digest(images: Tensor) -> str:
    return hashlib.sha256(images.cpu().contiguous().numpy().tobytes()).hexdigest()
