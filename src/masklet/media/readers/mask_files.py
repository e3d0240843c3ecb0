"""Masks and label maps from files and from images in memory, by the rules of `masklet.label_maps`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image

from masklet.arrays import to_array
from masklet.errors import MediaError
from masklet.label_maps import NotAMask, to_label_map
from masklet.media.readers.image_files import PHOTOMETRIC, WHITE_IS_ZERO, ImageFile, read_upright
from masklet.media.readers.images import deep_file, find_file, find_images
from masklet.media.readers.source import printable

SAME_COLOUR = 8  # maximum difference of a grey pixel's channels after JPEG compression
LABEL_MAP_KEY = "masklet-label-map"  # the PNG text chunk, or value of a TIFF tag, that marks values as ids
_LOSSY = {"JPEG", "MPO", "AVIF"}
SOFTWARE = 305  # the tag of a TIFF: LABEL_MAP_KEY in those of masklet


def read_label_map(source: object, *, white: int = 1) -> np.ndarray:
    """Read which object each pixel belongs to.

    Label maps keep their ids: the numbers of a palette or grey image. An image in black and white is a
    mask of one object, also if it is RGB or RGBA, has soft edges, or is a JPEG. Where the colours of an RGBA
    image say nothing, its alpha is the mask. See `masklet.label_maps` for all rules. Of a file with several
    pages, the first is read; `read_label_maps` reads all.

    Args:
        source: A path, a file in memory, a URL, a PIL image, or an array (H, W), (H, W, 1), (H, W, 3) or
            (H, W, 4).
        white: The id of the object in an image that is black and white.

    Returns:
        int32 (H, W); 0 is the background.

    Raises:
        MediaError: The source cannot be read, or is neither a label map nor a mask.

    Example:
        >>> read_label_map(np.array([[0, 255], [0, 255]], np.uint8)).tolist()
        [[0, 1], [0, 1]]
    """
    source = to_array(source)
    if isinstance(source, np.ndarray):
        return _label_map(np.ma.filled(source, 0), "the mask", white, is_lossy=False)
    if isinstance(source, PIL.Image.Image) and (content := deep_file(source)) is not None:
        return read_label_map(content, white=white)
    if isinstance(source, PIL.Image.Image):
        is_lossy = _is_lossy(source)
        return _image_label_map(source, read_upright(source, _values), "the mask", white, is_lossy)
    file = find_file(source)
    if file is None:
        raise MediaError(f"a label map must be a path, a PIL image or an array. Got {type(source).__name__}.")
    name = printable(file) if isinstance(file, Path) else "the mask"
    with ImageFile(file) as opened:
        return _page_label_map(opened, opened.first_page, name, white)


def says_ids(path: Path) -> bool:
    """Whether an image file says that its values are ids, as those that masklet writes do."""
    with ImageFile(path) as opened:
        return _says_ids(opened.image)


def may_have_undecided(path: Path) -> bool:
    """Whether 255 can mean undecided pixels: not in label maps of masklet, nor in those of 16 bits."""
    with ImageFile(path) as opened:
        return not (opened.is_deep or _says_ids(opened.image))


def read_label_maps(path: str | os.PathLike[str]) -> Iterator[tuple[str, np.ndarray]]:
    """The label maps of a folder in natural order, each with its file name without the suffix.

    A file with several pages, such as `labels.tif`, has a label map for each: labels_00000, labels_00001 and
    so on.

    Args:
        path: A folder, a file or a glob.

    Raises:
        MediaError: There are no images, or one of them is not a label map.
    """
    return (pair for file in find_images(path) for pair in _pages_of(file))


def _pages_of(file: Path) -> Iterator[tuple[str, np.ndarray]]:
    with ImageFile(file) as opened:
        pages = opened.pages()
        for number, page in enumerate(pages):
            name = file.stem if len(pages) == 1 else f"{file.stem}_{number:05d}"
            yield name, _page_label_map(opened, page, printable(file), 1)


def _page_label_map(opened: ImageFile, page: int, name: str, white: int) -> np.ndarray:
    is_lossy = _is_lossy(opened.image)
    return _image_label_map(opened.image, opened.read_numbers(_values, page), name, white, is_lossy)


def _says_ids(image: PIL.Image.Image) -> bool:
    """Whether masklet wrote an image as a label map."""
    tags = getattr(image, "tag_v2", None) or {}
    return bool(image.info.get(LABEL_MAP_KEY)) or tags.get(SOFTWARE) == LABEL_MAP_KEY


def _values(image: PIL.Image.Image) -> np.ndarray:
    """The numbers of an opened image: indices of a palette, grey, or colours with alpha."""
    if image.mode == "P":
        is_mask = _palette_is_black_and_white(image)
        return np.asarray(image.convert("L") if is_mask else image)
    if image.mode in ("1", "L"):
        values = np.asarray(image.convert("L"))
        return 255 - values if _is_shown_inverted(image) else values
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image)
        return values.astype(values.dtype.newbyteorder("="))
    return np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))


def _is_shown_inverted(image: PIL.Image.Image) -> bool:
    """Whether a TIFF shows 0 as white although 0 is the background: masks and label maps of ImageJ, and
    boolean arrays of tifffile. In other 1-bit images, white is the object."""
    tags = getattr(image, "tag_v2", None) or {}
    if tags.get(PHOTOMETRIC) != WHITE_IS_ZERO:
        return False
    return image.mode == "L" or "tifffile" in str(tags.get(SOFTWARE, ""))


def _palette_is_black_and_white(image: PIL.Image.Image) -> bool:
    palette = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    used = np.unique(np.asarray(image))
    colours = palette[used[used < len(palette)]]
    return (
        len(used) == len(colours) > 0
        and bool(((colours == 0) | (colours == 255)).all())
        and bool((colours == colours[:, :1]).all())
    )


def _image_label_map(
    image: PIL.Image.Image, values: np.ndarray, name: str, white: int, is_lossy: bool
) -> np.ndarray:
    is_palette = image.mode == "P" and not _palette_is_black_and_white(image)
    if is_palette or _says_ids(image):
        return values.astype(np.int32)
    return _label_map(values, name, white, is_lossy=is_lossy)


def _is_lossy(image: PIL.Image.Image) -> bool:
    """Whether the image's file format is lossy. Call it before the image is loaded."""
    file = getattr(image, "fp", None)
    if image.format != "WEBP" or file is None:
        return image.format in _LOSSY
    position = file.tell()
    file.seek(0)
    head = file.read(4096)  # the chunk of lossless images is the first or soon after it
    file.seek(position)
    return b"VP8L" not in head


def _label_map(values: np.ndarray, name: str, white: int, *, is_lossy: bool) -> np.ndarray:
    try:
        return to_label_map(_grey(values), white=white, is_lossy=is_lossy)
    except NotAMask as error:
        raise MediaError(f"{name} is not a mask or label map: {error}.") from error


def _grey(values: np.ndarray) -> np.ndarray:
    """One number per pixel."""
    if values.ndim == 3 and 1 in (values.shape[0], values.shape[2]):
        return values[0] if values.shape[0] == 1 else values[..., 0]
    if values.ndim != 3 or values.shape[2] not in (3, 4):
        return values
    colours = values[..., :3].astype(np.float64)
    if values.shape[2] == 4:
        alpha = values[..., 3].astype(np.float64)
        visible = colours[alpha > 0]
        if (alpha != alpha.flat[0]).any() and (not visible.size or (visible == visible[0]).all()):
            return np.round(alpha * (255 / alpha.max())).astype(np.uint8)  # an object cut out in one colour
        if alpha.any():
            colours *= (alpha / max(1.0, alpha.max()))[..., None]  # transparent pixels are background
    if np.ptp(colours, axis=2).max(initial=0) > SAME_COLOUR:
        raise NotAMask("it is in colour, and colours do not identify objects")
    grey = colours[..., 1]
    return grey if values.dtype.kind == "f" else grey.round().astype(values.dtype)
