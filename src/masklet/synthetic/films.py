"""Unlabelled videos, shrunk once and kept in memory: real places and camera motion under what is pasted."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy.random import Generator

from masklet.media import open_frames

RATE = 15.0  # frames a second that are kept
SLOWEST, FASTEST = 1, 3  # kept frames from one frame of a clip to the next


@dataclass(frozen=True, eq=False)
class Film:
    """One video.

    name : its file's
    """

    name: str
    frames: UInt8[np.ndarray, "t H W 3"]


@dataclass(frozen=True, eq=False)
class FilmBackdrop:
    """A window of some frames of a film, squeezed to the square; it has no objects of its own."""

    frames: tuple[UInt8[np.ndarray, "H W 3"], ...]
    window: tuple[int, int, int, int]
    mirrored: bool

    def __len__(self) -> int:
        return len(self.frames)

    def draw(self, frame: int, size: int) -> tuple[UInt8[np.ndarray, "s s 3"], list[np.ndarray]]:
        x0, y0, x1, y1 = self.window
        pixels = self.frames[frame][y0:y1, x0:x1]
        way = cv2.INTER_AREA if min(pixels.shape[:2]) >= size else cv2.INTER_LINEAR
        image = cv2.resize(pixels, (size, size), interpolation=way)
        return np.ascontiguousarray(image[:, ::-1] if self.mirrored else image), []


def cut_film(rng: Generator, film: Film, frames: int) -> FilmBackdrop:
    """A stretch of a film, forwards or backwards, at some speed, to and fro where it is too short."""
    pace = int(rng.integers(SLOWEST, FASTEST + 1)) * (1 if rng.random() < 0.5 else -1)
    last = len(film.frames) - 1
    taken = (int(rng.integers(last + 1)) + pace * np.arange(frames)) % max(1, 2 * last)
    height, width = film.frames.shape[1:3]
    high, wide = (int(rng.uniform(0.6, 1.0) * side) for side in (height, width))
    x, y = int(rng.integers(width - wide + 1)), int(rng.integers(height - high + 1))
    shown = tuple(film.frames[index] for index in np.minimum(taken, 2 * last - taken))
    return FilmBackdrop(shown, (x, y, x + wide, y + high), bool(rng.random() < 0.5))


def load_films(files: Sequence[Path], cache: Path, longest: int = 448) -> list[Film]:
    """Videos, their longer side at most `longest` pixels, at some 15 frames a second.

    cache : a folder; each video is packed into it first, unless it is there
    """
    return [_load_film(file, cache, longest) for file in files]


def _load_film(file: Path, cache: Path, longest: int) -> Film:
    stamp = f"{file.resolve()} {file.stat().st_size} {file.stat().st_mtime_ns} {longest}"
    packed = cache / f"film-{hashlib.sha256(stamp.encode()).hexdigest()[:12]}.npy"
    if not packed.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        frames = np.stack(list(_shrunk(file, longest)))
        unfinished = packed.with_suffix(f".{os.getpid()}.npy")
        np.save(unfinished, frames)
        unfinished.replace(packed)
    return Film(file.name, np.load(packed, mmap_mode="r"))


def _shrunk(file: Path, longest: int) -> Iterator[np.ndarray]:
    frames = open_frames(file)
    step = max(1, round(frames.fps / RATE))
    scale = min(1.0, longest / max(frames.size))
    size = round(frames.size[1] * scale), round(frames.size[0] * scale)
    for index, frame in enumerate(frames):
        if index % step == 0:
            yield cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
