"""Still pictures: one as an array, and many as the frames of a source. Pillow reads the files."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps

from masklet.errors import MediaError
from masklet.media.readers.source import STILLS_FPS, Image, NoSuchFrame, numbered

# Pillow counts MPEG among its formats but only reads its header; what moves belongs to PyAV.
_MOVING = {"MPEG", "GIF"}


def read_image(source: object) -> Image:
    """One picture as (H, W, 3) uint8 RGB.

    source : uint8 array (H, W, 3), (H, W, 4) or (H, W); PIL image; or a path, whose EXIF rotation is applied

    What is transparent becomes white. Pictures of more than 8 bits are scaled by the highest bit in use.
    """
    if isinstance(source, np.ndarray):
        return _array(source)
    if isinstance(source, PIL.Image.Image):
        return _rgb(source)
    if isinstance(source, str | os.PathLike):
        return _page(Path(source), 0)
    raise MediaError(
        f"a picture is a uint8 array (H, W, 3), a PIL image or a path. Got {type(source).__name__}."
    )


def is_picture(path: Path) -> bool:
    """Whether the name says that Pillow reads it as a still picture."""
    known = PIL.Image.registered_extensions()
    kind = known.get(path.suffix.lower())
    return kind in PIL.Image.OPEN and kind not in _MOVING


def find_pictures(source: str | os.PathLike[str]) -> list[Path]:
    """The pictures of a folder or glob in natural order: 1, 2, 10. Other and hidden files are passed over."""
    source = Path(source)
    found = source.iterdir() if source.is_dir() else map(Path, glob.glob(str(source), recursive=True))
    pictures = [path for path in found if is_picture(path) and not path.name.startswith(".")]
    if not pictures:
        raise MediaError(f"{source} holds no pictures that Pillow reads, such as .jpg, .png or .tiff.")
    return sorted(pictures, key=_natural)


def _natural(path: Path) -> list[tuple[int, str]]:
    parts = re.findall(r"\d+|\D+", str(path).lower())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


class Pictures:
    """Pictures as frames: files, the pages of one file such as a TIFF stack, or what lies in memory.

    pages : loads each frame when it is asked for
    files : the frames' own file names, where they have them
    """

    fps = STILLS_FPS

    def __init__(self, name: str, pages: Sequence[Callable[[], Image]], files: Sequence[str] = ()) -> None:
        self.name = name
        self._pages = pages
        self._files = files
        first = pages[0]()
        self.size = first.shape[0], first.shape[1]

    @classmethod
    def of_files(cls, paths: Sequence[Path], name: str) -> Pictures:
        pages = _count_pages(paths[0]) if len(paths) == 1 else 1
        if pages > 1:
            return cls(name, [partial(_page, paths[0], page) for page in range(pages)])
        return cls(name, [partial(_page, path, 0) for path in paths], [path.name for path in paths])

    @classmethod
    def of_sequence(cls, pictures: np.ndarray | Sequence[object]) -> Pictures:
        if isinstance(pictures, np.ndarray) and pictures.ndim != 4:
            raise MediaError(
                f"frames must be an array (T, H, W, 3) or a list of pictures. Got shape {pictures.shape}."
            )
        if len(pictures) == 0:
            raise MediaError("frames must hold at least one picture. Got an empty sequence.")
        return cls("the sequence", [partial(read_image, picture) for picture in pictures])

    def count(self) -> int:
        return len(self._pages)

    def time(self, frame: int) -> float:
        return frame / self.fps

    def file_name(self, frame: int) -> str:
        return self._files[frame] if self._files else numbered(frame, ".jpg")

    def read(self, wanted: Sequence[int]) -> Mapping[int, Image]:
        frame = wanted[-1]
        if not 0 <= frame < self.count():
            raise NoSuchFrame(self.name, frame, self.count())
        image = self._pages[frame]()
        if image.shape[:2] != self.size:
            raise MediaError(
                f"the pictures of {self.name} must have one size, (H, W) = {self.size}, that of the first. "
                f"Frame {frame} ({self.file_name(frame)}) has {image.shape[:2]}."
            )
        return {frame: image}

    def play(self, start: int) -> Iterator[Image]:
        return (self.read([frame])[frame] for frame in range(start, self.count()))


def _array(array: np.ndarray) -> Image:
    shape_fits = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if array.dtype != np.uint8 or not shape_fits or array.size == 0:
        raise MediaError(
            f"an image array must be uint8 RGB, (H, W, 3). Got {array.dtype} {array.shape}"
            + (": multiply by 255 and cast, if it runs from 0 to 1." if array.dtype.kind == "f" else ".")
        )
    return array if array.ndim == 3 and array.shape[2] == 3 else _rgb(PIL.Image.fromarray(array))


def _page(path: Path, page: int) -> Image:
    """One page of a picture file, upright."""
    try:
        with PIL.Image.open(path) as picture:
            picture.seek(page)
            return _rgb(PIL.ImageOps.exif_transpose(picture))
    except FileNotFoundError:
        raise MediaError(f"there is no picture {path}.") from None
    except IsADirectoryError:
        raise MediaError(f"{path} is a folder, where one picture was expected.") from None
    except PIL.UnidentifiedImageError:
        problem = "is not a picture that Pillow reads" if path.stat().st_size else "is empty (0 bytes)"
        raise MediaError(f"{path} {problem}.") from None
    except (OSError, SyntaxError, ValueError, EOFError, PIL.Image.DecompressionBombError) as error:
        raise MediaError(f"{path} is damaged or cannot be read: {error}.") from error


def _count_pages(path: Path) -> int:
    try:
        with PIL.Image.open(path) as picture:
            return int(getattr(picture, "n_frames", 1))
    except (OSError, SyntaxError, ValueError):
        return 1  # reading the page says what is wrong


def _rgb(picture: PIL.Image.Image) -> Image:
    if picture.mode.startswith(("I", "F")):
        return np.repeat(_eight_bits(np.asarray(picture))[..., None], 3, axis=2)
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        white = PIL.Image.new("RGBA", layer.size, "white")
        picture = PIL.Image.alpha_composite(white, layer)
    return np.array(picture.convert("RGB"))


def _eight_bits(values: np.ndarray) -> np.ndarray:
    # By a power of two: a 12-bit camera's 16-bit files are not black, and a stack does not flicker, as it
    # would with each picture stretched to its own range.
    values = np.nan_to_num(values.astype(np.float32), posinf=0, neginf=0).clip(min=0)
    white = 2.0 ** np.ceil(np.log2(max(values.max(), 1.0)))
    return (values * (255 / white)).round().astype(np.uint8)
