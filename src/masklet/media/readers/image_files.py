"""Image files, read by Pillow, or by OpenCV if Pillow would reduce them to 8 bits."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import av
import cv2
import numpy as np
import PIL.Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from masklet.errors import MaskletError, MediaError
from masklet.media.readers.intensity import RawImage
from masklet.media.readers.microscopy import PixelSize, StackAxes, read_axes, read_pixel_size
from masklet.media.readers.source import printable

MAX_PIXELS = 2**28  # pixels of one image, unless the caller allows more: about 800 MB as RGB
SIXTEEN_BITS = 65535
_HEAD = 352  # bytes at a file's start that tell its format
TIFF_MAGIC = b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"

# Formats whose pages are frames. In others, further images are previews, depth maps or layers.
_PAGED = {"TIFF", "GIF", "WEBP", "PNG", "AVIF", "FLI", "DCX", "SPIDER", "IM"}
# Pillow lists MPEG among its formats but reads only its header. PyAV reads videos.
_MOVING = {"MPEG", "GIF"}
_HEIF = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"mif2")  # brands of still images
# Common formats that neither Pillow nor FFmpeg reads: their first bytes, and the offset of these.
_UNREAD = (
    ("a CZI file", 0, b"ZISRAWFILE"),
    ("an ND2 file", 0, b"\xda\xce\xbe\x0a"),
    ("a LIF file", 0, b"\x70\0\0\0"),
    ("a DICOM file", 128, b"DICM"),
    ("an NRRD file", 0, b"NRRD0"),
    ("a NIfTI file", 344, b"n+1\0"),
    ("an HDF5 file", 0, b"\x89HDF\r\n\x1a\n"),
)

_ORIENTATION = 0x0112  # EXIF
# Tags of TIFF. In a page's type, bit 0 marks a smaller copy of another page, bit 2 a transparency mask.
_SUBFILE, _BITS, PHOTOMETRIC = 254, 258, 262
_SAMPLES, _PLANES, _SAMPLE_FORMAT, _EXTRA_SAMPLES = 277, 284, 339, 338
WHITE_IS_ZERO, _SIGNED = 0, 2  # values of PHOTOMETRIC and of _SAMPLE_FORMAT
_GREY, _ALPHA = (WHITE_IS_ZERO, 1), (1, 2)  # values of PHOTOMETRIC and of _EXTRA_SAMPLES
File = Path | bytes  # a path, or the whole file in memory

_pillow_limit = Lock()


def is_gif(file: File) -> bool:
    """Whether a file begins like a GIF; what is no file of this machine does not."""
    if isinstance(file, Path):
        if not file.is_file():
            return False
        with file.open("rb") as stream:
            file = stream.read(4)
    return file.startswith(b"GIF8")


def is_image(path: str | os.PathLike[str]) -> bool:
    """Whether the name says that Pillow reads it as a still image."""
    extensions = PIL.Image.registered_extensions()
    kind = extensions.get(Path(path).suffix.lower())
    return (kind in PIL.Image.OPEN or kind == "MPO") and kind not in _MOVING  # an MPO is opened as a JPEG


def is_image_data(data: bytes) -> bool:
    """Whether bytes are a file that Pillow reads as a still image."""
    try:
        return _identify(data).format not in _MOVING
    except Exception:
        return False


def refuse_unread(file: File, name: str) -> None:
    """Report unsupported formats by name, not as damaged files.

    Pillow does not read HEIC; FFmpeg would decode only one tile of it, or not rotate it.

    Raises:
        MediaError: The file is of such a format.
    """
    if isinstance(file, bytes):
        head = file[:_HEAD]
    else:
        with open(file, "rb") as stream:
            head = stream.read(_HEAD)
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF:
        raise MediaError(
            f"{name} is a HEIC image, which is not supported: save it as JPEG or PNG. In Python, "
            "pillow-heif reads it after pillow_heif.register_heif_opener()."
        )
    for kind, start, magic in _UNREAD:
        if head[start : start + len(magic)] == magic:
            raise MediaError(
                f"{name} is {kind}, which is not supported: save it as OME-TIFF, for example with "
                "Bio-Formats in Fiji, or load it in Python and pass an array."
            )


class ImageFile:
    """An open image file. Use it in a `with` block, or call `close`.

    Args:
        file: A path, or the file's bytes.
        max_pixels: Larger images are refused.
    """

    def __init__(self, file: File, *, max_pixels: int | None = None) -> None:
        self.name = printable(file) if isinstance(file, Path) else "the image"
        self._file = file
        self._max_pixels = MAX_PIXELS if max_pixels is None else max_pixels
        self._decoded: list[np.ndarray] = []  # OpenCV reads some TIFFs that Pillow does not
        self._tags: Mapping[int, Any] = {}  # of these
        with self._errors():
            try:
                self._image = _identify(file)
            except PIL.UnidentifiedImageError:
                self._tags = _read_tiff_tags(file)
                self._check_channels(self._tags)
                self._decoded = _read_tiff_with_opencv(file)
                if not self._decoded:
                    raise
                self._image = PIL.Image.new("L", self._decoded[0].shape[1::-1])
            try:
                self._check_channels(_tags(self._image))
                self._check_size()
            except MediaError:
                self.close()
                raise

    def __enter__(self) -> ImageFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self._image.close()

    @property
    def first_page(self) -> int:
        """0; but 1 for an animated PNG that begins with an image for programs that show no animations."""
        is_extra = self._image.format == "PNG" and self._image.info.get("default_image")
        return int(bool(is_extra) and getattr(self._image, "n_frames", 1) > 1)

    def pages(self) -> list[int]:
        """The numbers of the images in this file that are frames; most files have one, 0."""
        image = self._image
        if self._decoded:
            return list(range(len(self._decoded)))
        if image.format not in _PAGED:
            return [0]
        try:
            pages = range(int(getattr(image, "n_frames", 1)))
            if image.format == "TIFF" and len(pages) > 1:
                return [page for page in pages if not self._is_auxiliary(page)] or [0]
        except Exception:  # reading the page reports the error
            return [0]
        return list(pages[self.first_page :])

    def axes(self) -> StackAxes | None:
        """The axes of a TIFF's pages; None if they are not stated, or there is one page."""
        if self._decoded or self._image.format != "TIFF":
            return None
        pages = self.pages()
        with self._errors():
            self._image.seek(0)
            return read_axes(_tags(self._image), len(pages)) if len(pages) > 1 else None

    def pixel_size(self) -> PixelSize | None:
        """The size of a pixel in the sample, if an OME or ImageJ TIFF has it."""
        if self._decoded or self._image.format != "TIFF":
            return None
        with self._errors():
            self._image.seek(0)
            return read_pixel_size(_tags(self._image))

    def durations(self, pages: int) -> list[float] | None:
        """Seconds for which each page of an animation is shown; None if the file does not say."""
        readers = {"WEBP": _webp_durations, "PNG": _apng_durations, "AVIF": _avif_durations}
        reader = readers.get(self._image.format or "")
        if reader is None or pages < 2:
            return None
        try:
            durations = reader(self._file if isinstance(self._file, bytes) else self._file.read_bytes())
        except Exception:  # pages can be used without times
            return None
        return durations if len(durations) == pages and sum(durations) > 0 else None

    def read(self, page: int = 0) -> RawImage:
        """Decode a page, rotated upright by its EXIF orientation."""
        if self._decoded:
            raw = _raw(_correct(self._decoded[page], self._tags))
            return turn_upright(raw, self._tags.get(_ORIENTATION, 1))
        with self._errors():
            if page < self._image.tell() and self._image.format != "TIFF":
                self._image.close()
                self._image = _identify(self._file)  # Pillow does not always seek backwards correctly
            if page != self._image.tell():
                self._image.seek(page)
            self._check_size()
            if is_cut_by_pillow(self._image):
                orientation = self._image.getexif().get(_ORIENTATION, 1)
                raw = _raw(_correct(_load_page(self._file, page), _tags(self._image)))
                return turn_upright(raw, orientation)
            return decode(self._image)

    def read_numbers(self, read: Callable[[PIL.Image.Image], np.ndarray], page: int) -> np.ndarray:
        """A page, rotated upright by its EXIF orientation, with the numbers that are stored.

        Args:
            read: Reads them, unless Pillow would lose some: those are read by OpenCV.
            page: One of `pages`.
        """
        with self._errors():
            if self._decoded:
                stored = _raw(_signed(self._decoded[page], self._tags))
                return turn_upright(stored, self._tags.get(_ORIENTATION, 1)).numbers()
            if page != self._image.tell():
                self._image.seek(page)
            if is_cut_by_pillow(self._image):
                orientation = self._image.getexif().get(_ORIENTATION, 1)
                return turn_upright(_raw(_load_page(self._file, page)), orientation).numbers()
            return read_upright(self._image, read)

    @property
    def is_deep(self) -> bool:
        """Whether its values have more than 8 bits."""
        return bool(self._decoded) or self._image.mode.startswith(("I", "F")) or is_cut_by_pillow(self._image)

    @property
    def image(self) -> PIL.Image.Image:
        """The opened image."""
        return self._image

    def _is_auxiliary(self, page: int) -> bool:
        self._image.seek(page)
        return bool(int(_tags(self._image).get(_SUBFILE, 0)) & 0b101)

    def _check_channels(self, tags: Mapping[int, Any]) -> None:
        """Refuse TIFF layouts that decoders read wrongly without an error."""
        bits, samples = _deepest(tags), int(tags.get(_SAMPLES, 1))
        if samples not in (1, 3) and tags.get(PHOTOMETRIC) in _GREY and not _is_grey_with_alpha(tags):
            raise MediaError(
                f"{self.name} has {samples} channels per pixel, and no colours for them. Save each channel "
                "as a page of an OME-TIFF or ImageJ hyperstack, or as a separate image."
            )
        if bits <= 8 or samples == 1:
            return
        if tags.get(_PLANES) == 2:
            raise MediaError(
                f"{self.name} stores its {samples} channels of {bits} bits one after the other (planar), "
                "which is not supported. Save it with interleaved channels, or each channel as a separate "
                "image."
            )
        if samples not in (3, 4):
            raise MediaError(
                f"{self.name} has {samples} channels of {bits} bits. Expected 1, 3 or 4: save each channel "
                "as a separate image."
            )

    def _check_size(self) -> None:
        width, height = self._image.size
        if width * height > self._max_pixels:
            raise MediaError(
                f"{self.name} is {width} x {height}, {width * height:,} pixels; the limit is "
                f"{self._max_pixels:,} pixels. If you trust the file, raise the limit: "
                f"max_pixels={width * height}, or --max-pixels."
            )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise every decoder error as one sentence."""
        try:
            yield
        except MaskletError:
            raise
        except FileNotFoundError:
            raise MediaError(f"there is no image {self.name}.") from None
        except IsADirectoryError:
            raise MediaError(f"{self.name} is a folder. Expected an image file.") from None
        except PIL.UnidentifiedImageError:
            refuse_unread(self._file, self.name)
            size = len(self._file) if isinstance(self._file, bytes) else self._file.stat().st_size
            problem = "is not an image that Pillow reads" if size else "is empty (0 bytes)"
            raise MediaError(f"{self.name} {problem}.") from None
        except MemoryError:
            raise MediaError(f"{self.name} needs more memory than is available.") from None
        except PermissionError as error:
            raise MediaError(f"{self.name} cannot be read: permission denied.") from error
        except Exception as error:  # damaged files raise nearly every kind of exception in decoders
            reason = str(error) or type(error).__name__
            raise MediaError(f"{self.name} is damaged or cannot be read: {reason.rstrip('.')}.") from error


def read_upright(image: PIL.Image.Image, read: Callable[[PIL.Image.Image], np.ndarray]) -> np.ndarray:
    """An opened image, read by a function; rotated upright by its EXIF orientation."""
    image.load()
    orientation = image.getexif().get(_ORIENTATION, 1)
    return turn_upright(RawImage(read(image)), orientation).values


def decode(image: PIL.Image.Image) -> RawImage:
    """The pixels of an opened image, rotated upright by its EXIF orientation."""
    orientation = image.getexif().get(_ORIENTATION, 1)
    if image.format == "TIFF":
        image.load()  # which turns a TIFF upright
        orientation = image.getexif().get(_ORIENTATION, 1)
    if image.mode.startswith(("I", "F")) or (image.mode == "L" and _is_signed(_tags(image))):
        values = np.asarray(image)
        raw = RawImage(_correct(values.astype(values.dtype.newbyteorder("=")), _tags(image)))
    elif image.has_transparency_data:
        rgba = np.asarray(image.convert("RGBA"))
        raw = RawImage(rgba[..., :3], _opacity(rgba[..., 3], 255))
    elif image.mode in ("L", "1"):
        raw = RawImage(np.array(image.convert("L")))
    else:
        raw = RawImage(np.array(image.convert("RGB")))
    return turn_upright(raw, orientation)


def turn_upright(image: RawImage, orientation: int) -> RawImage:
    """Rotate an image upright by its EXIF orientation."""

    def turn(array: np.ndarray) -> np.ndarray:
        if orientation in (5, 6, 7, 8):
            array = array.swapaxes(0, 1)
        if orientation in (3, 4, 7, 8):
            array = array[::-1]
        if orientation in (2, 3, 6, 7):
            array = array[:, ::-1]
        return array

    if orientation not in range(2, 9):
        return image
    return RawImage(turn(image.values), None if image.alpha is None else turn(image.alpha))


def _identify(file: File) -> PIL.Image.Image:
    """Open without Pillow's own size limit; `ImageFile` has a limit that the caller can set."""
    opened = io.BytesIO(file) if isinstance(file, bytes) else file
    if isinstance(opened, Path) and opened.exists() and not (opened.is_file() or opened.is_dir()):
        raise MediaError(f"{printable(opened.name)} is a pipe or a device. Expected a file.")
    with _pillow_limit:
        limit, PIL.Image.MAX_IMAGE_PIXELS = PIL.Image.MAX_IMAGE_PIXELS, None
        try:
            return PIL.Image.open(opened)
        finally:
            PIL.Image.MAX_IMAGE_PIXELS = limit


def _opacity(alpha: np.ndarray, opaque: int) -> np.ndarray | None:
    return None if (alpha == opaque).all() else alpha.astype(np.float32) / opaque


def _deep_opacity(alpha: np.ndarray) -> np.ndarray | None:
    """Alpha of 16 bits, or of fewer bits stored in 16: then all values are equal, below 65535, and mean
    opaque."""
    return None if (alpha == alpha.flat[0]).all() and alpha.flat[0] else _opacity(alpha, SIXTEEN_BITS)


def is_cut_by_pillow(image: PIL.Image.Image) -> bool:
    """Whether Pillow would read only the upper 8 bits of 16."""
    tiles = getattr(image, "tile", None)
    if image.mode.startswith(("I", "F")) or not tiles:
        return False
    arguments = tiles[0].args
    raw_mode = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return isinstance(raw_mode, str) and ";16" in raw_mode


def _is_grey_with_alpha(tags: Mapping[int, Any]) -> bool:
    extra = tags.get(_EXTRA_SAMPLES, ())
    kinds = extra if isinstance(extra, tuple) else (extra,)
    return int(tags.get(_SAMPLES, 1)) == 2 and len(kinds) == 1 and kinds[0] in _ALPHA


def _tags(image: PIL.Image.Image) -> Mapping[int, Any]:
    """The tags of a TIFF's page; none for other images."""
    tags: Mapping[int, Any] = getattr(image, "tag_v2", None) or {}
    return tags


def _read_tiff_tags(file: File) -> Mapping[int, Any]:
    """The tags of the first page of a TIFF that Pillow does not open; none if it is damaged."""
    data = _load(file)
    if bytes(data[:4]) not in TIFF_MAGIC:
        return {}
    header_bytes = 16 if bytes(data[2:4]) in (b"+\0", b"\0+") else 8
    try:
        tags = ImageFileDirectory_v2(data[:header_bytes].tobytes())
        stream = io.BytesIO(data.tobytes())
        stream.seek(tags.next)
        tags.load(stream)
        return dict(tags)
    except Exception:  # the decoder reports the error
        return {}


def _deepest(tags: Mapping[int, Any]) -> int:
    bits = tags.get(_BITS, 1)
    return int(max(bits) if isinstance(bits, tuple) else bits)


def _is_signed(tags: Mapping[int, Any]) -> bool:
    form = tags.get(_SAMPLE_FORMAT, 1)
    return bool(_SIGNED in form if isinstance(form, tuple) else form == _SIGNED)


def _signed(values: np.ndarray, tags: Mapping[int, Any]) -> np.ndarray:
    """Convert signed bytes, which decoders do not."""
    return values.view(np.int8) if values.dtype == np.uint8 and _is_signed(tags) else values


def _correct(values: np.ndarray, tags: Mapping[int, Any]) -> np.ndarray:
    """Convert what decoders do not: signed bytes, and images in which 0 is white."""
    values = _signed(values, tags)
    is_deep = values.dtype in (np.dtype(np.uint16), np.dtype(np.uint32))
    if is_deep and tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        return np.iinfo(values.dtype).max - values
    return values


def _read_tiff_with_opencv(file: File) -> list[np.ndarray]:
    """The pages of a TIFF as stored, such as one of 32-bit colours; none if it is not one."""
    data = _load(file)
    if bytes(data[:4]) not in TIFF_MAGIC:
        return []
    _, pages = cv2.imdecodemulti(data, cv2.IMREAD_UNCHANGED)
    return list(pages)


def _load_page(file: File, page: int) -> np.ndarray:
    """A page as OpenCV reads it."""
    data = _load(file)
    if page:
        _, images = cv2.imdecodemulti(data, cv2.IMREAD_UNCHANGED, range=(page, page + 1))
        values = images[0] if images else None
    else:
        values = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if values is None:
        raise ValueError("its 16 bits cannot be decoded")
    return values


def _load(file: File) -> np.ndarray:
    return np.frombuffer(file, np.uint8) if isinstance(file, bytes) else np.fromfile(file, np.uint8)


def _raw(values: np.ndarray) -> RawImage:
    """OpenCV's array with its channels in the usual order."""
    if values.ndim == 2:
        return RawImage(values)
    blue_first, alpha = values[..., :3], values[..., 3:]
    return RawImage(
        np.ascontiguousarray(blue_first[..., ::-1]),
        _deep_opacity(alpha[..., 0]) if alpha.shape[2] else None,
    )


def _webp_durations(data: bytes) -> list[float]:
    """From the chunks ANMF: their fifth number of 24 bits is in milliseconds."""
    durations, position = [], 12
    while position + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, position)
        if kind == b"ANMF":
            durations.append(int.from_bytes(data[position + 20 : position + 23], "little") / 1000)
        position += 8 + length + length % 2
    return durations


def _apng_durations(data: bytes) -> list[float]:
    """From the chunks fcTL: a fraction of a second."""
    durations, position = [], 8
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"fcTL":
            numerator, denominator = struct.unpack_from(">HH", data, position + 8 + 20)
            durations.append(numerator / (denominator or 100))
        position += 12 + length
    return durations


def _avif_durations(data: bytes) -> list[float]:
    """From the packets of its track."""
    with av.open(io.BytesIO(data), "r") as container:
        stream = max(container.streams.video, key=lambda stream: stream.frames)
        packets = [packet for packet in container.demux(stream) if packet.size]
        tick = stream.time_base or 0
        return [float((packet.duration or 0) * tick) for packet in packets]
