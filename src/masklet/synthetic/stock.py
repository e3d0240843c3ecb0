"""Real pictures and videos, shrunk once and kept in memory: what stills and composed clips are made of."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, UInt8
from numpy.random import Generator

from masklet.boxes import tight_box
from masklet.datasets import DatasetItem, find_items
from masklet.files import atomic_write
from masklet.media import open_frames
from masklet.splits import is_held_back

SMALLEST = 0.0005  # of the picture; smaller instances are dropped
LARGEST = 0.9
HELD_BACK = 21 / 256
ALPHA = {".png", ".webp"}  # files that may have an alpha channel
TWINS = {"coco-more/00115.jpg"}  # the same photo as coco-person/00343.jpg, which is held back

RATE = 15.0  # frames a second that are kept
SLOWEST, FASTEST = 1, 3  # kept frames from one frame of a clip to the next


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture and the masks of its instances, each kept as the bits inside its box.

    Attributes:
        name: "set/file", what `is_for_validation` looks at.
        boxes: x0, y0, x1, y1 of each instance.
    """

    name: str
    pixels: UInt8[np.ndarray, "H W 3"]
    boxes: tuple[tuple[int, int, int, int], ...]
    bits: tuple[np.ndarray, ...]

    def __len__(self) -> int:
        return len(self.boxes)

    def inside(self, index: int) -> Bool[np.ndarray, "h w"]:
        """An instance's mask within its box."""
        x0, y0, x1, y1 = self.boxes[index]
        return (
            np.unpackbits(self.bits[index], count=(y1 - y0) * (x1 - x0)).reshape(y1 - y0, x1 - x0).view(bool)
        )

    def mask(self, index: int) -> Bool[np.ndarray, "H W"]:
        """An instance's mask over the whole picture."""
        mask = np.zeros(self.pixels.shape[:2], dtype=bool)
        x0, y0, x1, y1 = self.boxes[index]
        mask[y0:y1, x0:x1] = self.inside(index)
        return mask

    def covering(self, smallest: float) -> list[int]:
        """The instances whose boxes cover at least that part of the picture."""
        least = smallest * self.pixels.shape[0] * self.pixels.shape[1]
        return [i for i, (x0, y0, x1, y1) in enumerate(self.boxes) if (x1 - x0) * (y1 - y0) >= least]

    @property
    def nbytes(self) -> int:
        return self.pixels.nbytes + sum(bits.nbytes for bits in self.bits)


def make_picture(name: str, pixels: np.ndarray, masks: Sequence[np.ndarray]) -> Picture:
    """Pack a picture and those of its masks that are neither specks nor the whole of it."""
    usable = [mask for mask in masks if SMALLEST <= mask.mean() <= LARGEST]
    boxes = [box for mask in usable if (box := tight_box(mask))]
    bits = tuple(
        np.packbits(mask[y0:y1, x0:x1]) for mask, (x0, y0, x1, y1) in zip(usable, boxes, strict=True)
    )
    return Picture(name, pixels, tuple(boxes), bits)


def is_for_validation(name: str) -> bool:
    """Whether a picture is kept for validation: a fixed twelfth or so of every set, by the hash of its name.

    So sets that grow change nothing for the pictures that they had.

    Args:
        name: "set/file", as in Picture.name.
    """
    return name in TWINS or is_held_back(name, HELD_BACK, "masklet held back ")


def split(pictures: Sequence[Picture]) -> tuple[list[Picture], list[Picture]]:
    """The pictures to train on, and those held back."""
    train = [picture for picture in pictures if not is_for_validation(picture.name)]
    return train, [picture for picture in pictures if is_for_validation(picture.name)]


def shrink(item: DatasetItem, longest: int) -> Picture:
    """A picture of a data set, its longer side at most `longest` pixels."""
    video = item.open()
    pixels, masks = video.image(0), video.masks(0, video.objects(0))
    scale = min(1.0, longest / max(pixels.shape[:2]))
    size = round(pixels.shape[1] * scale), round(pixels.shape[0] * scale)
    shrunk = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return make_picture(item.name, shrunk, [resize_mask(mask, size) for mask in masks])


def resize_mask(mask: np.ndarray, size: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
    """A mask at another size (width, height): a pixel belongs to it when half of it does."""
    return cv2.resize(mask.astype(np.uint8) * 255, size, interpolation=cv2.INTER_AREA) > 127


def load_pictures(folders: Sequence[Path], cache: Path, longest: int = 512) -> list[Picture]:
    """All pictures of some sets that have usable instances.

    Args:
        folders: Sets of pictures, in any form that `masklet.datasets` reads.
        cache: A folder; the sets are packed into it first, unless it holds exactly these.
    """
    key = hashlib.sha256("\n".join([str(longest), *map(_stamp, folders)]).encode()).hexdigest()[:12]
    data, index = cache / f"pictures-{key}.npy", cache / f"pictures-{key}.json"
    if not index.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        shrunk = (shrink(item, longest) for folder in folders for item in find_items(folder))
        _pack([picture for picture in shrunk if len(picture)], data, index)
    return _unpack(data, index)


def load_cutouts(folders: Sequence[Path], cache: Path, longest: int = 192) -> list[Picture]:
    """Things with an alpha channel, each as a picture of one instance with nothing around it.

    Args:
        folders: Each holds PNG or WebP files.
    """
    files = [file for folder in folders for file in sorted(folder.iterdir()) if file.suffix in ALPHA]
    key = hashlib.sha256("\n".join([str(longest), *map(_stamp, folders), str(len(files))]).encode())
    data, index = (cache / f"cutouts-{key.hexdigest()[:12]}.{end}" for end in ("npy", "json"))
    if not index.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        read = [_read_cutout(file, longest) for file in files]
        _pack([picture for picture in read if picture is not None and len(picture)], data, index)
    return _unpack(data, index)


def _read_cutout(file: Path, longest: int) -> Picture | None:
    rgba = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    if rgba is None or rgba.ndim != 3 or rgba.shape[2] != 4:
        return None
    scale = min(1.0, longest / max(rgba.shape[:2]))
    size = round(rgba.shape[1] * scale), round(rgba.shape[0] * scale)
    shrunk = np.pad(cv2.resize(rgba, size, interpolation=cv2.INTER_AREA), ((4, 4), (4, 4), (0, 0)))
    pixels = cv2.cvtColor(shrunk, cv2.COLOR_BGRA2RGB)
    return make_picture(f"{file.parent.name}/{file.name}", pixels, [shrunk[..., 3] > 127])


def _stamp(folder: Path) -> str:
    """What changes when a set does: its own entries, or its labels where they are one file."""
    labels = folder / "instances.json"
    status = (labels if labels.is_file() else folder).stat()
    return f"{folder.resolve()} {status.st_size} {status.st_mtime_ns}"


def _pack(pictures: Sequence[Picture], data: Path, index: Path) -> None:
    entries = [
        {
            "name": picture.name,
            "size": picture.pixels.shape[:2],
            "boxes": picture.boxes,
            "bits": [len(bits) for bits in picture.bits],
        }
        for picture in pictures
    ]
    size = max(1, sum(picture.nbytes for picture in pictures))
    with atomic_write(data) as part:
        flat = np.lib.format.open_memmap(part, "w+", np.uint8, (size,))
        start = 0
        for picture in pictures:
            for values in (picture.pixels, *picture.bits):
                flat[start : start + values.size] = values.reshape(-1)
                start += values.size
        flat.flush()
    with atomic_write(index) as part:  # last: it says that the data is complete
        part.write_text(json.dumps(entries))


def _unpack(data: Path, index: Path) -> list[Picture]:
    flat = np.asarray(np.load(data, mmap_mode="r"))
    pictures, start = [], 0

    def take(count: int) -> np.ndarray:
        nonlocal start
        start += count
        return flat[start - count : start]

    for entry in json.loads(index.read_text()):
        height, width = entry["size"]
        pixels = take(height * width * 3).reshape(height, width, 3)
        bits = tuple(take(count) for count in entry["bits"])
        pictures.append(Picture(entry["name"], pixels, tuple(tuple(box) for box in entry["boxes"]), bits))
    return pictures


@dataclass(frozen=True, eq=False)
class UnlabelledVideo:
    """A video whose objects nobody labelled: a background that moves.

    Attributes:
        name: Its file's.
    """

    name: str
    frames: UInt8[np.ndarray, "t H W 3"]


@dataclass(frozen=True, eq=False)
class VideoBackdrop:
    """A window of some frames of a video, squeezed to the square; it has no objects of its own."""

    frames: tuple[UInt8[np.ndarray, "H W 3"], ...]
    window: tuple[int, int, int, int]
    mirrored: bool

    def __len__(self) -> int:
        return len(self.frames)

    def draw(self, frame: int, size: int) -> tuple[UInt8[np.ndarray, "s s 3"], list[np.ndarray]]:
        x0, y0, x1, y1 = self.window
        pixels = self.frames[frame][y0:y1, x0:x1]
        interpolation = cv2.INTER_AREA if min(pixels.shape[:2]) >= size else cv2.INTER_LINEAR
        image = cv2.resize(pixels, (size, size), interpolation=interpolation)
        return np.ascontiguousarray(image[:, ::-1] if self.mirrored else image), []


def cut_video(rng: Generator, video: UnlabelledVideo, frames: int) -> VideoBackdrop:
    """A stretch of a video, forwards or backwards, at some speed, to and fro where it is too short."""
    pace = int(rng.integers(SLOWEST, FASTEST + 1)) * (1 if rng.random() < 0.5 else -1)
    last = len(video.frames) - 1
    taken = (int(rng.integers(last + 1)) + pace * np.arange(frames)) % max(1, 2 * last)
    height, width = video.frames.shape[1:3]
    high, wide = (int(rng.uniform(0.6, 1.0) * side) for side in (height, width))
    x, y = int(rng.integers(width - wide + 1)), int(rng.integers(height - high + 1))
    shown = tuple(video.frames[index] for index in np.minimum(taken, 2 * last - taken))
    return VideoBackdrop(shown, (x, y, x + wide, y + high), bool(rng.random() < 0.5))


def load_unlabelled_videos(files: Sequence[Path], cache: Path, longest: int = 448) -> list[UnlabelledVideo]:
    """Videos, their longer side at most `longest` pixels, at some 15 frames a second.

    Args:
        cache: A folder; each video is packed into it first, unless it is there.
    """
    return [_load_unlabelled_video(file, cache, longest) for file in files]


def _load_unlabelled_video(file: Path, cache: Path, longest: int) -> UnlabelledVideo:
    stamp = f"{file.resolve()} {file.stat().st_size} {file.stat().st_mtime_ns} {longest}"
    packed = cache / f"film-{hashlib.sha256(stamp.encode()).hexdigest()[:12]}.npy"
    if not packed.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        frames = np.stack(list(_shrunk(file, longest)))
        unfinished = packed.with_suffix(f".{os.getpid()}.npy")
        np.save(unfinished, frames)
        unfinished.replace(packed)
    return UnlabelledVideo(file.name, np.load(packed, mmap_mode="r"))


def _shrunk(file: Path, longest: int) -> Iterator[np.ndarray]:
    frames = open_frames(file)
    step = max(1, round(frames.fps / RATE))
    scale = min(1.0, longest / max(frames.size))
    size = round(frames.size[1] * scale), round(frames.size[0] * scale)
    for index, frame in enumerate(frames):
        if index % step == 0:
            yield cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
