"""Masks as label maps: PNG for each frame (DAVIS) or object (SA-V), and TIFF stacks for microscopy."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import PIL.Image
import PIL.PngImagePlugin

from masklet import rle
from masklet.errors import MediaError
from masklet.files import StrPath, atomic_write, make_folder
from masklet.media.readers.mask_files import LABEL_MAP_KEY, SOFTWARE
from masklet.media.readers.microscopy import RESOLUTION_UNIT, X_RESOLUTION, Y_RESOLUTION, PixelSize
from masklet.media.readers.source import Image, frame_file_name, is_stack, metadata_of
from masklet.media.writers.spool import SpooledWriter
from masklet.media.writers.writer import Writer, check_masks
from masklet.types import Masks

OME = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
HIGHEST = 2**16 - 1  # largest id that a pixel can hold


class PalettePngs(Writer):
    """folder/00000.png, ...: each pixel is an object's id, or 0; the highest logit wins.

    A frame with an id above 255, for which the palette has no colour, is 16-bit grey.

    Args:
        path: The folder.

    Raises:
        MediaError: The folder cannot be written to; by `write`, an id is not from 1 to 65,535.
    """

    def __init__(self, path: StrPath) -> None:
        self._folder = make_folder(path)

    def write(self, image: Image, masks: Masks) -> None:
        check_ids(masks.ids)
        check_masks(masks)
        write_label_map(self._folder / frame_file_name(masks.frame, ".png"), masks.label_map())


class ObjectPngs(Writer):
    """folder/001/00000.png, ...: a folder for each object, 0 and 1, with overlaps; the layout of SA-V.

    Args:
        path: The folder.

    Raises:
        MediaError: The folder cannot be written to.
    """

    def __init__(self, path: StrPath) -> None:
        self._folder = make_folder(path)

    def write(self, image: Image, masks: Masks) -> None:
        check_masks(masks)
        for id, mask in masks.items():
            write_label_map(self._folder / f"{id:03d}" / frame_file_name(masks.frame, ".png"), mask)


class LabelTiff(SpooledWriter):
    """A TIFF with a label map on each page, for ImageJ. Its axis is time, or depth if the source is a TIFF.

    It has a page for each frame of the source. Where masks overlap, the highest logit wins. Pages have 8
    bits, or 16 if an id is above 255.

    Its arguments are those of `SpooledWriter`. Classes are ignored: only OME-TIFF can store them.

    Raises:
        MediaError: The file cannot be written; by `write`, an id is not from 1 to 65,535.
    """

    def write(self, image: Image, masks: Masks) -> None:
        check_ids(masks.ids)
        labels = masks.label_map()
        arrays = {id: labels == id for id in masks.ids}
        super().write(image, Masks.from_arrays(masks.frame, arrays, masks.size))

    def write_file(self, part: Path) -> None:
        count = self._length
        if not count:
            return
        dtype = np.uint8 if max(self._spool.ids, default=0) <= 255 else np.uint16
        first = PIL.Image.fromarray(self._labels(0, dtype))
        pages = (PIL.Image.fromarray(self._labels(frame, dtype)) for frame in range(1, count))
        first.save(
            part,
            format="TIFF",
            save_all=True,
            append_images=pages,
            compression="tiff_adobe_deflate",
            description=self.description(count, dtype),
            tiffinfo={SOFTWARE: LABEL_MAP_KEY, **self._resolution()},
        )

    @property
    def _pixel_size(self) -> PixelSize | None:
        return metadata_of(self._source).pixel_size

    def _resolution(self) -> dict[int, float]:
        """Pixels in a micrometre; the description names the unit, which TIFF itself does not have."""
        if (size := self._pixel_size) is None:
            return {}
        return {X_RESOLUTION: 1 / size.x, Y_RESOLUTION: 1 / size.y, RESOLUTION_UNIT: 1}

    def description(self, count: int, dtype: type) -> str:
        """ImageJ's description of the axes.

        Args:
            count: The number of pages.
            dtype: The dtype of the pages: np.uint8 or np.uint16.
        """
        depth, time = self._axes(count)
        sides = [f"{axis}={side}" for axis, side in (("slices", depth), ("frames", time)) if side > 1]
        lines = ["ImageJ=1.54f", f"images={count}", *(sides or ["slices=1"]), "hyperstack=true"]
        lines.append("mode=grayscale")
        if (size := self._pixel_size) is not None:
            lines += ["unit=um", *([f"spacing={size.z:.9g}"] if size.z else [])]
        if interval := self._interval(time):
            lines.append(f"finterval={interval:.9g}")
        return "\n".join([*lines, "loop=false", ""])

    def _axes(self, count: int) -> tuple[int, int]:
        """Depth and time as in the source; if it does not say, pages of a TIFF are depth."""
        axes = metadata_of(self._source).axes
        if axes is not None and axes.depth * axes.time == count:
            return axes.depth, axes.time
        return (count, 1) if is_stack(self._source) else (1, count)

    def _interval(self, times: int) -> float | None:
        """Seconds from one point in time to the next; None if they are unknown or differ."""
        metadata = metadata_of(self._source)
        axes = metadata.axes
        if axes is not None and axes.seconds:
            steps = np.diff(axes.seconds)
            return float(steps.mean()) if len(steps) and np.allclose(steps, steps[0], rtol=1e-3) else None
        is_timed = axes is None and metadata.has_times
        return 1 / self._source.fps if is_timed and times > 1 else None

    def _labels(self, frame: int, dtype: type) -> np.ndarray:
        labels: np.ndarray = np.zeros(self._source.size, dtype=dtype)
        for id, mask in self._spool.masks_on(frame):
            labels[rle.decode(mask["segmentation"])] = id
        return labels


class LabelOmeTiff(LabelTiff):
    """`LabelTiff` with OME's description of the axes, and the objects' classes as annotations."""

    def description(self, count: int, dtype: type) -> str:
        height, width = self._source.size
        depth, time = self._axes(count)
        sides = ("X", "Y", "Z")
        lengths = zip(sides, (size.x, size.y, size.z), strict=True) if (size := self._pixel_size) else ()
        physical = "".join(
            f' PhysicalSize{side}="{length:.9g}" PhysicalSize{side}Unit="&#181;m"'
            for side, length in lengths
            if length
        )
        if interval := self._interval(time):
            physical += f' TimeIncrement="{interval:.9g}" TimeIncrementUnit="s"'
        names = "".join(f'<M K="{id}">{escape(self._categories.name(id))}</M>' for id in self._spool.ids)
        return (
            '<?xml version="1.0" encoding="UTF-8"?>'
            f'<OME xmlns="{OME}"><Image ID="Image:0" Name="labels">'
            f'<Pixels ID="Pixels:0" DimensionOrder="XYZTC" Type="{np.dtype(dtype).name}" SizeX="{width}" '
            f'SizeY="{height}" SizeZ="{depth}" SizeT="{time}" SizeC="1"{physical}>'
            '<Channel ID="Channel:0:0" Name="objects" SamplesPerPixel="1"/><TiffData/></Pixels></Image>'
            '<StructuredAnnotations><MapAnnotation ID="Annotation:0" Namespace="masklet/classes">'
            f"<Value>{names}</Value></MapAnnotation></StructuredAnnotations></OME>"
        )


def check_ids(ids: Iterable[int]) -> None:
    """Raise for ids that a label map's pixels cannot hold.

    Args:
        ids: Ids of objects.

    Raises:
        MediaError: An id is not from 1 to 65,535.
    """
    refused = [id for id in ids if not 1 <= id <= HIGHEST]
    if refused:
        raise MediaError(
            f"a label map can hold object ids 1 to {HIGHEST}. Got {', '.join(map(str, refused))}: choose "
            "other ids, or the format masklets or objects."
        )


def write_label_map(path: StrPath, labels: np.ndarray) -> None:
    """Write a label map as a PNG with DAVIS's palette, or as 16-bit grey if an id is above 255.

    Args:
        path: The file. Its folder is made.
        labels: (H, W), the id of each pixel, 0 where there is none; whole numbers up to 65,535, or bool.

    Raises:
        MediaError: The file cannot be written, or the labels are not such numbers.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from masklet.media import read_label_map
        >>> with TemporaryDirectory() as folder:
        ...     write_label_map(f"{folder}/labels.png", np.array([[0, 300]]))
        ...     read_label_map(f"{folder}/labels.png").tolist()
        [[0, 300]]
    """
    labels = np.asarray(labels)
    if labels.ndim != 2 or not labels.size or labels.dtype.kind not in "bui":
        raise MediaError(
            f"a label map must be (H, W), with one whole number per pixel. Got {labels.dtype} {labels.shape}."
        )
    if labels.min() < 0 or labels.max() > HIGHEST:
        raise MediaError(
            f"a label map can hold 0 and object ids up to {HIGHEST}. Got {labels.min()} to {labels.max()}."
        )
    if labels.max() > 255:
        image = PIL.Image.fromarray(labels.astype(np.uint16))
    else:
        image = PIL.Image.fromarray(labels.astype(np.uint8))
        image.putpalette(PALETTE)
    note = PIL.PngImagePlugin.PngInfo()
    note.add_text(LABEL_MAP_KEY, "1")
    with atomic_write(path) as part:
        image.save(part, format="PNG", pnginfo=note, compress_level=1)  # a label map is small at any level


def davis_palette() -> np.ndarray:
    """DAVIS's colours. An id's bits go to red, green and blue alternately, the lowest as the brightest.

    Returns:
        uint8 (256, 3), RGB by id.

    Example:
        >>> davis_palette()[:4].tolist()
        [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    """
    ids = np.arange(256)[:, None]
    channels = np.arange(3)
    palette = np.zeros((256, 3), dtype=np.uint8)
    for bit in range(8):
        palette |= ((ids >> (3 * bit + channels) & 1) << (7 - bit)).astype(np.uint8)
    return palette


PALETTE = davis_palette().tobytes()
