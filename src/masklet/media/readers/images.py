"""One image of any kind as an RGB array: arrays, tensors, PIL images, paths, bytes, URLs."""

from __future__ import annotations

import glob
import http.client
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import torch

from masklet.arrays import to_array
from masklet.errors import MaskletError, MediaError
from masklet.media.readers.image_files import File, ImageFile, decode, is_cut_by_pillow, is_image
from masklet.media.readers.intensity import RawImage, RgbConverter
from masklet.media.readers.microscopy import Channel, mix_channels, take_optical_channel
from masklet.media.readers.source import Image, IntensityRange

URL_SECONDS = 20.0
URL_BYTES = 2**30


def read_image(
    source: object,
    *,
    channel: Channel | None = None,
    intensity_range: IntensityRange | None = None,
    max_pixels: int | None = None,
) -> Image:
    """Read one image as RGB.

    Images of 8 bits keep their values. Deeper ones, such as 12 bits of a camera, signed CT values or
    floats, are scaled as `estimate_intensity_range` chooses. What is transparent becomes white. From a file
    with several images, the first is read. Files and PIL images are turned upright as their EXIF
    orientation says.

    Args:
        source: An array (H, W, 3), (H, W, 4), (H, W, 1) or (H, W) of any real type, in which NaN and what a
            masked array hides become black; a torch tensor, which may also be (3, H, W); a PIL image; a
            path; a file in memory, as bytes or a file object; or an http URL.
        channel: Of a file with channels: one by its name or number from 0, a list of them, or a dict that
            gives each a colour. By default all, each in the colour that the file says or Fiji would choose.
        intensity_range: The intensities that become black and white, in place of the chosen ones.
        max_pixels: Allow files with more pixels than 2**28.

    Returns:
        uint8 (H, W, 3). An array that has this form already is returned as it is.

    Raises:
        MediaError: The source is not an image, is damaged, is too large, or cannot be fetched.

    Example:
        >>> read_image(np.zeros((48, 64), np.uint16)).shape
        (48, 64, 3)
    """
    raw = read_raw(source, channel=channel, intensity_range=intensity_range, max_pixels=max_pixels)
    return RgbConverter(intensity_range).convert(raw)


class ImageReader:
    """Reads the images of a source in order, with the same intensity range.

    Args:
        intensity_range: The intensities that become black and white; by default the first image of more than
            8 bits decides for all.
    """

    def __init__(self, intensity_range: IntensityRange | None = None) -> None:
        self._converter = RgbConverter(intensity_range)

    def read(self, source: object) -> Image:
        """Read an image, of any kind that `read_image` takes."""
        if isinstance(source, np.ndarray) and not (self._converter.is_stated or np.ma.is_masked(source)):
            has_rgb = source.dtype == np.uint8 and source.ndim == 3 and source.shape[2] == 3
            if has_rgb and source.size:
                return np.ascontiguousarray(source)
        return self._converter.convert(read_raw(source))


def read_raw(
    source: object,
    *,
    channel: Channel | None = None,
    intensity_range: IntensityRange | None = None,
    max_pixels: int | None = None,
) -> RawImage:
    """Read one image as it is stored: grey or RGB, of any depth, with its alpha.

    Several channels become 8-bit RGB, each with its own intensity range.
    """
    if channel is not None and isinstance(source, torch.Tensor | np.ndarray | PIL.Image.Image):
        raise MediaError(
            "channel selects a channel of an image file. For an array, pass array[..., channel]."
        )
    if isinstance(source, torch.Tensor):
        return _raw_array(_channels_last(to_array(source)))
    if isinstance(source, np.ndarray):
        return _raw_array(source)
    if isinstance(source, PIL.Image.Image):
        return _decode_pil(source)
    found = find_file(source)
    if found is None:
        raise MediaError(
            "an image must be an array (H, W, 3), a tensor, a PIL image, a path, bytes, a file object or "
            f"a URL. Got {type(source).__name__}."
        )
    with ImageFile(found, max_pixels=max_pixels) as file:
        return _read_first(file, channel, intensity_range)


def _read_first(file: ImageFile, channel: Channel | None, intensity_range: IntensityRange | None) -> RawImage:
    """The first image of a file."""
    axes = file.axes()
    if axes is None or (len(axes.channels) == 1 and channel is None):
        raw = file.read(file.first_page)
        if channel is None:
            return raw
        return RawImage(take_optical_channel(raw.values, channel, file.name), raw.alpha)
    chosen = axes.choose(channel, file.name)
    if isinstance(chosen, int):
        return file.read(file.pages()[axes.pages(chosen)[0]])
    greys = [
        RgbConverter(intensity_range).convert(file.read(file.pages()[axes.pages(row)[0]]))[..., 0]
        for row in chosen
    ]
    return RawImage(mix_channels(greys, list(chosen.values())))


def find_images(source: str | os.PathLike[str]) -> list[Path]:
    """The images of a folder or glob in natural order: 1, 2, 10. Hidden and other files are left out."""
    source = Path(source)
    paths = source.iterdir() if source.is_dir() else map(Path, glob.glob(str(source), recursive=True))
    named = [path for path in paths if is_image(path) and path.name[0] != "."]
    missing = [path for path in named if path.is_symlink() and not path.exists()]
    if missing:
        others = f", as are {len(missing) - 1} more" if len(missing) > 1 else ""
        raise MediaError(
            f"{missing[0]} is a link to a missing file{others}: frames would be lost. Restore the files, or "
            "remove the links."
        )
    images = [path for path in named if path.is_file()]
    if not images:
        raise MediaError(f"{source} contains no images that Pillow reads, such as .jpg, .png or .tiff.")
    return sorted(images, key=natural_key)


def is_single_array(array: np.ndarray | torch.Tensor) -> bool:
    """Whether an array is one image, (H, W) or (H, W, C), and not several."""
    return array.ndim == 2 or (
        array.ndim == 3 and (array.shape[-1] in (1, 3, 4) or _is_channels_first(array))
    )


def is_url(source: object) -> bool:
    """Whether a source is an address such as http://..., and not a path."""
    return isinstance(source, str | os.PathLike) and "://" in os.fspath(source)


def is_image_url(url: str) -> bool:
    """Whether a web address names an image."""
    parts = urllib.parse.urlsplit(url)
    return parts.scheme in ("http", "https") and is_image(parts.path)


def find_file(source: object) -> File | None:
    """The path that a source is, or the content of bytes, file objects and URLs; None for everything else."""
    if isinstance(source, str | os.PathLike):
        return fetch(os.fspath(source)) if is_url(source) else Path(source)
    return read_bytes(source)


def read_bytes(source: object) -> bytes | None:
    """The content of bytes or of a file object, whose position is kept; None for everything else."""
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    read = getattr(source, "read", None)
    if read is None:
        return None
    seek = getattr(source, "seek", None)
    start = source.tell() if seek is not None else 0  # type: ignore[attr-defined]
    data = read()
    if seek is not None:
        seek(start)
    if not isinstance(data, bytes):
        raise MediaError("a file object must return bytes. Open the file in binary mode: open(path, 'rb').")
    return data


def fetch(url: str) -> bytes:
    """Download an image over http or https."""
    try:
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            raise MediaError(f"an image's URL must begin with http:// or https://. Got {url:.80}.")
        with urllib.request.urlopen(url, timeout=URL_SECONDS) as response:
            data: bytes = response.read(URL_BYTES + 1)
    except MediaError:
        raise
    except (
        OSError,
        ValueError,
        http.client.HTTPException,
    ) as error:  # HTTP status codes and timeouts are OSErrors
        reason = str(getattr(error, "reason", None) or error).partition("\n")[0].rstrip(".:")
        shown = re.sub("//[^/@]*@", "//", url)  # without a password
        raise MediaError(f"{shown!r:.200} cannot be fetched: {reason}.") from error
    if len(data) > URL_BYTES:
        raise MediaError(
            f"{url} is larger than the limit of {URL_BYTES >> 20} MiB. Download it and pass its path."
        )
    return data


def split_sequence(
    images: np.ndarray | torch.Tensor | list[object] | tuple[object, ...],
) -> Iterator[object]:
    """The single images of an array (T, H, W, C) or (T, H, W), or of a list."""
    if isinstance(images, torch.Tensor):
        array = to_array(images)
        return iter([_channels_last(image) for image in array] if array.ndim == 4 else array)
    return iter(images)


def deep_file(image: PIL.Image.Image) -> bytes | None:
    """The file of an opened image of which Pillow would read only the upper 8 of 16 bits; None for others."""
    file = getattr(image, "fp", None)
    if file is None or not is_cut_by_pillow(image):
        return None
    position = file.tell()
    file.seek(0)
    content: bytes = file.read()
    file.seek(position)
    return content


def _decode_pil(image: PIL.Image.Image) -> RawImage:
    try:
        if (content := deep_file(image)) is None:
            return decode(image)
        with ImageFile(content) as file:
            return file.read(image.tell())
    except MaskletError:
        raise
    except Exception as error:  # a lazily opened file may be damaged
        raise MediaError(f"the PIL image cannot be read: {str(error).rstrip('.')}.") from error


def _raw_array(array: np.ndarray) -> RawImage:
    channels_fit = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    if array.dtype.kind not in "buif" or not channels_fit or array.size == 0:
        raise MediaError(
            "an image array must be (H, W, 3) RGB, (H, W, 4) RGBA, (H, W, 1) or (H, W) grey. "
            f"Got {array.dtype} {array.shape}."
        )
    array = _fill_hidden(array) if np.ma.is_masked(array) else np.asarray(array)
    if array.dtype == np.float16 or (array.dtype.kind in "iu" and array.dtype.itemsize == 1):
        array = array if array.dtype == np.uint8 else array.astype(np.float32)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.ndim == 3 and array.shape[2] == 1:
        return RawImage(array[..., 0])
    if array.ndim == 2 or array.shape[2] == 3:
        return RawImage(array)
    opaque = np.iinfo(array.dtype).max if array.dtype.kind in "iu" else 1.0 if array.max() <= 1 else 255.0
    alpha = (array[..., 3].astype(np.float32) / opaque).clip(0, 1)
    return RawImage(array[..., :3], None if (alpha == 1).all() else alpha)


def _fill_hidden(array: np.ndarray) -> np.ndarray:
    """An array whose masked values are ignored, like NaN: pixels of a map without data."""
    if array.dtype.itemsize == 1:
        return np.asarray(np.ma.filled(array, 0))
    fits = array.dtype.kind == "f" or array.dtype.itemsize > 2
    return np.asarray(np.ma.filled(array.astype(np.float64 if fits else np.float32), np.nan))


def _is_channels_first(array: np.ndarray | torch.Tensor) -> bool:
    return isinstance(array, torch.Tensor) and array.ndim == 3 and array.shape[0] in (1, 3, 4)


def _channels_last(array: np.ndarray) -> np.ndarray:
    """Convert torch's (C, H, W) to (H, W, C); an array with its channels last is not changed."""
    if array.ndim == 3 and array.shape[0] in (1, 3, 4) and array.shape[2] not in (1, 3, 4):
        return np.moveaxis(array, 0, 2)
    return array


def natural_key(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Sorts paths in natural order: numbers by value, letters without regard to case.

    Paths that this does not tell apart, such as 1.png and 01.png, are sorted by their text: folders list
    them in any order.
    """
    parts = re.findall(r"\d+|\D+", str(path).lower())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], str(path)
