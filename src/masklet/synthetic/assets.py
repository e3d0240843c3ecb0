"""Assets of synthetic clips: labelled images, cut-outs and videos, reduced once and cached."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
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

INSTANCE_AREA = 0.0005, 0.9  # minimum and maximum share of the image
VALIDATION_SHARE = 21 / 256
ALPHA = {".png", ".webp"}  # files that may have an alpha channel
DUPLICATES = {"coco-more/00115.jpg"}  # the same photo as coco-person/00343.jpg, a held-back image

MIN_CUTOUT_BOX = 0.02  # share of the image; smaller instances are too coarse to be enlarged
MIN_MOVED_BOX = 0.008  # the same where the whole image moves; smaller instances are hardly visible
CUTOUT_SHARE = 0.3  # share of assets with an alpha channel among cut-outs, if there are any
RATE = 15.0  # frames per second that are stored


@dataclass(frozen=True, eq=False)
class PackedImage:
    """An image and the masks of its instances, each stored as packed bits within its box.

    Attributes:
        name: "set/file", from which `is_for_validation` decides.
        boxes: x0, y0, x1, y1 of each instance.
    """

    name: str
    pixels: UInt8[np.ndarray, "H W 3"]
    boxes: tuple[tuple[int, int, int, int], ...]
    bits: tuple[np.ndarray, ...]

    def __len__(self) -> int:
        return len(self.boxes)

    def cropped_mask(self, index: int) -> Bool[np.ndarray, "h w"]:
        """An instance's mask within its box."""
        x0, y0, x1, y1 = self.boxes[index]
        return (
            np.unpackbits(self.bits[index], count=(y1 - y0) * (x1 - x0)).reshape(y1 - y0, x1 - x0).view(bool)
        )

    def mask(self, index: int) -> Bool[np.ndarray, "H W"]:
        """An instance's mask over the whole image."""
        mask = np.zeros(self.pixels.shape[:2], dtype=bool)
        x0, y0, x1, y1 = self.boxes[index]
        mask[y0:y1, x0:x1] = self.cropped_mask(index)
        return mask

    def instances_covering(self, share: float) -> list[int]:
        """The instances whose boxes cover at least a share of the image."""
        least = share * self.pixels.shape[0] * self.pixels.shape[1]
        return [i for i, (x0, y0, x1, y1) in enumerate(self.boxes) if (x1 - x0) * (y1 - y0) >= least]

    @property
    def nbytes(self) -> int:
        return self.pixels.nbytes + sum(bits.nbytes for bits in self.bits)


def pack_image(name: str, pixels: np.ndarray, masks: Sequence[np.ndarray]) -> PackedImage:
    """Pack an image with its masks, except those that are tiny or cover nearly all of it."""
    usable = [mask for mask in masks if INSTANCE_AREA[0] <= mask.mean() <= INSTANCE_AREA[1]]
    boxes = [box for mask in usable if (box := tight_box(mask))]
    bits = tuple(
        np.packbits(mask[y0:y1, x0:x1]) for mask, (x0, y0, x1, y1) in zip(usable, boxes, strict=True)
    )
    return PackedImage(name, pixels, tuple(boxes), bits)


def is_for_validation(name: str) -> bool:
    """Whether an image is held back for validation: about a twelfth of every set, by the hash of its name.

    The result for an image does not change when its set grows.

    Args:
        name: "set/file", as in PackedImage.name.
    """
    return name in DUPLICATES or is_held_back(name, VALIDATION_SHARE, "masklet held back ")


def hold_back_images(images: Sequence[PackedImage]) -> tuple[list[PackedImage], list[PackedImage]]:
    """Split images into those for training and those held back."""
    train = [image for image in images if not is_for_validation(image.name)]
    return train, [image for image in images if is_for_validation(image.name)]


def read_shrunk_image(item: DatasetItem, max_side: int) -> PackedImage:
    """Read an image of a data set, reduced to a longer side of at most `max_side` pixels."""
    video = item.open()
    pixels, masks = video.image(0), video.masks(0, video.objects(0))
    scale = min(1.0, max_side / max(pixels.shape[:2]))
    size = round(pixels.shape[1] * scale), round(pixels.shape[0] * scale)
    shrunk = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return pack_image(item.name, shrunk, [resize_mask(mask, size) for mask in masks])


def resize_mask(mask: np.ndarray, size: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
    """Resize a mask to (width, height). A pixel is inside if at least half of it is covered."""
    return cv2.resize(mask.astype(np.uint8) * 255, size, interpolation=cv2.INTER_AREA) > 127


def resize_to_square(pixels: np.ndarray, size: int) -> UInt8[np.ndarray, "s s *channels"]:
    """Resize pixels to a square: reduced by averaging, enlarged by interpolation."""
    shrinks = min(pixels.shape[:2]) >= size
    return np.asarray(
        cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    )


def load_images(folders: Sequence[Path], cache: Path, max_side: int = 512) -> list[PackedImage]:
    """Load all images of some sets that have usable instances.

    Args:
        folders: Sets of images, in any form that `masklet.datasets` reads.
        cache: A folder; the sets are packed into it first, unless it holds exactly these.
    """
    key = hashlib.sha256("\n".join([str(max_side), *map(_stamp, folders)]).encode()).hexdigest()[:12]
    data, index = cache / f"pictures-{key}.npy", cache / f"pictures-{key}.json"
    if not index.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        shrunk = (read_shrunk_image(item, max_side) for folder in folders for item in find_items(folder))
        _pack([image for image in shrunk if len(image)], data, index)
    return _unpack(data, index)


def load_cutouts(folders: Sequence[Path], cache: Path, max_side: int = 192) -> list[PackedImage]:
    """Load objects with an alpha channel, each as an image of one instance without background.

    Args:
        folders: Each holds PNG or WebP files.
    """
    files = [file for folder in folders for file in sorted(folder.iterdir()) if file.suffix in ALPHA]
    key = hashlib.sha256("\n".join([str(max_side), *map(_stamp, folders), str(len(files))]).encode())
    data, index = (cache / f"cutouts-{key.hexdigest()[:12]}.{end}" for end in ("npy", "json"))
    if not index.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        read = [_read_cutout(file, max_side) for file in files]
        _pack([image for image in read if image is not None and len(image)], data, index)
    return _unpack(data, index)


def _read_cutout(file: Path, max_side: int) -> PackedImage | None:
    rgba = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    if rgba is None or rgba.ndim != 3 or rgba.shape[2] != 4:
        return None
    scale = min(1.0, max_side / max(rgba.shape[:2]))
    size = round(rgba.shape[1] * scale), round(rgba.shape[0] * scale)
    shrunk = np.pad(cv2.resize(rgba, size, interpolation=cv2.INTER_AREA), ((4, 4), (4, 4), (0, 0)))
    pixels = cv2.cvtColor(shrunk, cv2.COLOR_BGRA2RGB)
    return pack_image(f"{file.parent.name}/{file.name}", pixels, [shrunk[..., 3] > 127])


def _stamp(folder: Path) -> str:
    """A text that changes when the entries of a set change, or its labels if they are one file."""
    labels = folder / "instances.json"
    status = (labels if labels.is_file() else folder).stat()
    return f"{folder.resolve()} {status.st_size} {status.st_mtime_ns}"


def _pack(images: Sequence[PackedImage], data: Path, index: Path) -> None:
    entries = [
        {
            "name": image.name,
            "size": image.pixels.shape[:2],
            "boxes": image.boxes,
            "bits": [len(bits) for bits in image.bits],
        }
        for image in images
    ]
    size = max(1, sum(image.nbytes for image in images))
    with atomic_write(data) as part:
        flat = np.lib.format.open_memmap(part, "w+", np.uint8, (size,))
        start = 0
        for image in images:
            for values in (image.pixels, *image.bits):
                flat[start : start + values.size] = values.reshape(-1)
                start += values.size
        flat.flush()
    with atomic_write(index) as part:  # written last, because it marks the data as complete
        part.write_text(json.dumps(entries))


def _unpack(data: Path, index: Path) -> list[PackedImage]:
    flat = np.asarray(np.load(data, mmap_mode="r"))
    images, start = [], 0

    def take(count: int) -> np.ndarray:
        nonlocal start
        start += count
        return flat[start - count : start]

    for entry in json.loads(index.read_text()):
        height, width = entry["size"]
        pixels = take(height * width * 3).reshape(height, width, 3)
        bits = tuple(take(count) for count in entry["bits"])
        images.append(PackedImage(entry["name"], pixels, tuple(tuple(box) for box in entry["boxes"]), bits))
    return images


@dataclass(frozen=True, eq=False)
class UnlabelledVideo:
    """A video without labels, used as a moving background.

    Attributes:
        name: The name of its file.
    """

    name: str
    frames: UInt8[np.ndarray, "t H W 3"]


def load_unlabelled_videos(files: Sequence[Path], cache: Path, max_side: int = 448) -> list[UnlabelledVideo]:
    """Load videos at about 15 frames per second, reduced to a longer side of at most `max_side` pixels.

    Args:
        cache: A folder; each video is packed into it first, unless it is there.
    """
    return [_load_unlabelled_video(file, cache, max_side) for file in files]


def _load_unlabelled_video(file: Path, cache: Path, max_side: int) -> UnlabelledVideo:
    stamp = f"{file.resolve()} {file.stat().st_size} {file.stat().st_mtime_ns} {max_side}"
    packed = cache / f"film-{hashlib.sha256(stamp.encode()).hexdigest()[:12]}.npy"
    if not packed.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        frames = np.stack(list(_read_shrunk(file, max_side)))
        unfinished = packed.with_suffix(f".{os.getpid()}.npy")
        np.save(unfinished, frames)
        unfinished.replace(packed)
    return UnlabelledVideo(file.name, np.load(packed, mmap_mode="r"))


def _read_shrunk(file: Path, max_side: int) -> Iterator[np.ndarray]:
    frames = open_frames(file)
    step = max(1, round(frames.fps / RATE))
    scale = min(1.0, max_side / max(frames.size))
    size = round(frames.size[1] * scale), round(frames.size[0] * scale)
    for index, frame in enumerate(frames):
        if index % step == 0:
            yield cv2.resize(frame, size, interpolation=cv2.INTER_AREA)


class AssetLibrary:
    """Images, cut-outs and videos, from which the parts of a clip are drawn at random.

    An instance of an image is also a cut-out if it is large and no edge of the image cuts it off.

    Args:
        images: Images with labelled instances.
        cutouts: Objects with an alpha channel, each an image of one instance.
        videos: Unlabelled videos.
        weights: How often the images of a set are drawn, by the set's name; by default 1.
    """

    def __init__(
        self,
        images: Sequence[PackedImage],
        cutouts: Sequence[PackedImage] = (),
        videos: Sequence[UnlabelledVideo] = (),
        weights: Mapping[str, float] | None = None,
    ) -> None:
        self.images, self.cutouts, self.videos = images, cutouts, videos
        shares = [(weights or {}).get(image.name.split("/")[0], 1.0) for image in images]
        self._images = InstanceSampler([(image, list(range(len(image)))) for image in images], shares)
        instance_weights = [weight * len(image) ** 0.5 for image, weight in zip(images, shares, strict=True)]
        self._instances = InstanceSampler(self._images.items, instance_weights)
        self._cutouts = InstanceSampler([(image, _whole_instances(image)) for image in images], shares)
        self._large = InstanceSampler(
            [(image, image.instances_covering(MIN_MOVED_BOX)) for image in images], shares
        )

    def draw_image(self, rng: Generator) -> PackedImage:
        return self._images.draw(rng)[0]

    def draw_video(self, rng: Generator) -> UnlabelledVideo:
        return self.videos[int(rng.integers(len(self.videos)))]

    def draw_instance(self, rng: Generator) -> tuple[PackedImage, int]:
        """Draw any instance of any image. Images with many instances are drawn more often."""
        return self._instances.draw(rng)

    def draw_cutout(self, rng: Generator) -> tuple[PackedImage, int]:
        if rng.random() < CUTOUT_SHARE and self.cutouts:
            return self.cutouts[int(rng.integers(len(self.cutouts)))], 0
        return self._cutouts.draw(rng) if self._cutouts.items else self.draw_instance(rng)

    def draw_large_instance(self, rng: Generator) -> tuple[PackedImage, int]:
        """Draw an instance that is large enough to be visible when its whole image moves."""
        return self._large.draw(rng) if self._large.items else self.draw_instance(rng)


class InstanceSampler:
    """Draws an instance of an image: the image by its weight, the instance uniformly."""

    def __init__(self, items: Sequence[tuple[PackedImage, list[int]]], weights: Sequence[float]) -> None:
        usable = [(item, weight) for item, weight in zip(items, weights, strict=True) if item[1]]
        self.items = [item for item, _ in usable]
        self._sums = np.cumsum([weight for _, weight in usable])

    def draw(self, rng: Generator) -> tuple[PackedImage, int]:
        place = int(np.searchsorted(self._sums, rng.random() * self._sums[-1], side="right"))
        image, instances = self.items[min(place, len(self.items) - 1)]
        return image, instances[int(rng.integers(len(instances)))]


def _whole_instances(image: PackedImage) -> list[int]:
    height, width = image.pixels.shape[:2]
    return [
        index
        for index, (x0, y0, x1, y1) in enumerate(image.boxes)
        if min(x0, y0, width - x1, height - y1) > 1
        and (x1 - x0) * (y1 - y0) > 2 * MIN_CUTOUT_BOX * height * width
    ]
