"""Metadata of microscopy TIFFs, as written by ImageJ, OME and tifffile: axes, channels, pixel sizes."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, product
from typing import Any
from xml.etree import ElementTree

import numpy as np
import PIL.ImageColor
from jaxtyping import UInt8

from masklet.errors import MediaError

# One channel by name or number, several in their usual colours, or each with a colour.
Channel = int | str | Sequence[int | str] | Mapping[int | str, str]
Color = tuple[int, int, int]

USUAL = ("red", "lime", "blue", "white", "cyan", "magenta", "yellow")  # Fiji's colours of channels
OPTICAL = ("red", "green", "blue")  # the channels of an image in colours

X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT, DESCRIPTION = 282, 283, 296, 270  # tags of a TIFF

# Micrometres in a unit of length. Micro has two signs in Unicode.
MICROMETRES = {
    **dict.fromkeys(("µm", "μm", "um", "micron", "microns", "micrometer", "micrometre"), 1.0),
    **dict.fromkeys(("nm", "nanometer", "nanometre"), 1e-3),
    **dict.fromkeys(("å", "angstrom"), 1e-4),
    "pm": 1e-6,
    **dict.fromkeys(("mm", "millimeter", "millimetre"), 1e3),
    **dict.fromkeys(("cm", "centimeter", "centimetre"), 1e4),
    **dict.fromkeys(("m", "meter", "metre"), 1e6),
    **dict.fromkeys(("in", "inch"), 25_400.0),
}
SECONDS = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("µs", "μs", "us", "microsecond", "microseconds"), 1e-6),
    **dict.fromkeys(("min", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86_400.0),
}
UNITS = ("pm", "nm", "um", "mm", "cm", "m", "in")  # names in messages
SMALLEST, LARGEST = 1e-6, 1e9  # micrometres that a TIFF's resolution can hold: a picometre, a kilometre
LENGTH = re.compile(r"\s*([\d.]+(?:e[+-]?\d+)?)\s*([^\d\s]*)\s*", re.IGNORECASE)


@dataclass(frozen=True)
class StackAxes:
    """The axes of a TIFF's pages.

    Attributes:
        channels: The channels' names; an empty string for a channel without one.
        depth: Slices (Z).
        time: Points in time (T).
        page_of: The page of each (channel, slice, time).
        colors: The colours in the file, by channel.
        seconds: When each point in time was taken, from the first; empty if the file does not say it.
    """

    channels: Sequence[str]
    depth: int
    time: int
    page_of: Mapping[tuple[int, int, int], int]
    colors: Mapping[int, Color] = field(default_factory=dict)
    seconds: Sequence[float] = ()

    def pages(self, channel: int) -> list[int]:
        """The pages of a channel: all slices of the first point in time, then of the next."""
        return [self.page_of[channel, z, t] for t, z in product(range(self.time), range(self.depth))]

    def find(self, channel: int | str, name: str) -> int:
        """The number of a channel, given by name or number.

        Args:
            channel: Its name or number.
            name: The file's name, for the error message.
        """
        if isinstance(channel, str) and not channel.isdecimal():
            names = [name.casefold() for name in self.channels]
            if names.count(channel.casefold()) == 1:
                return names.index(channel.casefold())
        elif 0 <= int(channel) < len(self.channels):
            return int(channel)
        raise MediaError(f"{name} has no such channel. Its channels are {self.describe()}. Got {channel!r}.")

    def describe(self) -> str:
        return ", ".join(f"{row} ({name})" if name else str(row) for row, name in enumerate(self.channels))

    def choose(self, channel: Channel | None, name: str) -> int | dict[int, Color]:
        """One channel's number, or the colours of several. Without a choice, all channels in colours."""
        if isinstance(channel, int | str):
            return self.find(channel, name)
        if channel is None:
            channel = list(range(len(self.channels)))
        rows = {self.find(chosen, name): chosen for chosen in channel}
        given = channel if isinstance(channel, Mapping) else {}
        return {
            row: parse_color(given[chosen]) if chosen in given else self._color(row, number)
            for number, (row, chosen) in enumerate(rows.items())
        }

    def _color(self, row: int, number: int) -> Color:
        return self.colors.get(row) or parse_color(USUAL[number % len(USUAL)])


@dataclass(frozen=True)
class PixelSize:
    """The size of a pixel, in micrometres.

    Attributes:
        x: Width.
        y: Height.
        z: Distance between slices; None if not known.

    Raises:
        MediaError: One is not from 1e-6 (a picometre) to 1e9 (a kilometre).
    """

    x: float
    y: float
    z: float | None = None

    def __post_init__(self) -> None:
        for length in (self.x, self.y, *([] if self.z is None else [self.z])):
            if not SMALLEST <= length <= LARGEST:
                raise MediaError(
                    f"a pixel size must be from {SMALLEST:g} to {LARGEST:g} micrometres. Got {length:g}."
                )

    def __str__(self) -> str:
        """The size as `parse` takes it."""
        lengths = (self.x, self.y) if self.z is None else (self.x, self.y, self.z)
        return f"{'x'.join(f'{length:.6g}' for length in lengths)}um"

    @classmethod
    def of(cls, size: PixelSize | str) -> PixelSize:
        """Return a size as it is, or parse a text; anything else is a MediaError."""
        return size if isinstance(size, PixelSize) else cls.parse(str(size))

    @classmethod
    def parse(cls, text: str) -> PixelSize:
        """Parse a size: WIDTHxHEIGHTxDEPTH with a unit, or one length for width and height.

        Args:
            text: For example "0.65um", "0.2x0.2x1um" or "200nm x 200nm x 1um"; a length without a unit has
                that of the last.

        Raises:
            MediaError: The text is of another form, or a length is out of range.

        Example:
            >>> PixelSize.parse("650nm"), PixelSize.parse("0.2x0.3x1um")
            (PixelSize(x=0.65, y=0.65, z=None), PixelSize(x=0.2, y=0.3, z=1.0))
        """
        parts = [LENGTH.fullmatch(part) for part in re.split("[x\u00d7]", text)]
        pairs = [part.groups() for part in parts if part is not None]
        last = pairs[-1][1] if pairs else ""
        lengths = [_micrometres(_number(number), unit or last) for number, unit in pairs]
        known = [length for length in lengths if length is not None]
        if not 1 <= len(known) == len(parts) <= 3:
            raise MediaError(
                "a pixel size must be a length with its unit, such as 0.65um, or width x height x depth, "
                f"such as 0.2x0.2x1um; units are {', '.join(UNITS)}. Got {text!r:.60}."
            )
        return cls(*(known * 2 if len(known) == 1 else known))


def parse_color(text: str) -> Color:
    """A colour by its name or #rrggbb.

    Raises:
        MediaError: There is no such colour.
    """
    try:
        red, green, blue = PIL.ImageColor.getrgb(text)[:3]
    except ValueError:
        raise MediaError(f"a channel's colour must be a name or #rrggbb. Got {text!r}.") from None
    return red, green, blue


def parse_channels(texts: Sequence[str]) -> Channel | None:
    """NAME, several of them, or NAME=COLOUR; None of none.

    >>> parse_channels(["DAPI"]), parse_channels(["DAPI=blue", "1"])
    ('DAPI', {'DAPI': 'blue', '1': 'lime'})
    """
    if not texts:
        return None
    if len(texts) == 1 and "=" not in texts[0]:
        return texts[0]
    if not any("=" in text for text in texts):
        return list(texts)
    parts = [text.partition("=") for text in texts]
    return {name: color or USUAL[row % len(USUAL)] for row, (name, _, color) in enumerate(parts)}


def take_optical_channel(values: np.ndarray, channel: Channel, name: str) -> np.ndarray:
    """One channel of an image in colours.

    Raises:
        MediaError: The image is grey, or the channel is not red, green or blue.
    """
    if values.ndim == 2:
        if channel in (0, "0"):
            return values
        raise MediaError(
            f"{name} has no channel metadata. Save it as OME-TIFF or as an ImageJ hyperstack, or pass an "
            "array of one channel."
        )
    if isinstance(channel, str) and channel.casefold() in OPTICAL:
        return values[..., OPTICAL.index(channel.casefold())]
    if isinstance(channel, int | str) and str(channel) in ("0", "1", "2"):
        return values[..., int(channel)]
    raise MediaError(f"{name} has the channels 0 (red), 1 (green) and 2 (blue). Got {channel!r}.")


def mix_channels(
    images: Sequence[UInt8[np.ndarray, "H W"]], colors: Sequence[Color]
) -> UInt8[np.ndarray, "H W 3"]:
    """The sum of grey images, each in its colour."""
    mixed = np.zeros((*images[0].shape, 3), dtype=np.float32)
    for image, color in zip(images, colors, strict=True):
        mixed += image[..., None] * (np.array(color, dtype=np.float32) / 255)
    return mixed.clip(0, 255).round().astype(np.uint8)


def read_axes(tags: Mapping[int, Any], pages: int) -> StackAxes | None:
    """The axes of a TIFF by the tags of its first page; None if they do not describe its pages."""
    text = _description(tags)
    if text.startswith("ImageJ="):
        return _axes_of_imagej(text, pages)
    if text.startswith("{"):
        return _axes_of_tifffile(text, pages)
    return _axes_of_ome(text, pages)


def read_pixel_size(tags: Mapping[int, Any]) -> PixelSize | None:
    """The size of a pixel by the tags of a TIFF's first page; None if they have none in units of length.

    The resolution of a TIFF without a description by OME or ImageJ is for printers, and is not read.
    """
    text = _description(tags)
    return _pixel_size_of_imagej(text, tags) if text.startswith("ImageJ=") else _pixel_size_of_ome(text)


def _description(tags: Mapping[int, Any]) -> str:
    """Pillow reads a description as Latin-1; OME and tifffile write UTF-8."""
    text = str(tags.get(DESCRIPTION, "")).strip()
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


def _imagej_fields(text: str) -> dict[str, str]:
    return dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))


def _ome_pixels(text: str) -> ElementTree.Element | None:
    """The element of an OME description that describes the pages; None for any other text."""
    if "<OME" not in text[:2000] or "<!DOCTYPE" in text.upper() or "<!ENTITY" in text.upper():
        return None  # entities of a document type can expand without limit
    try:
        elements = ElementTree.fromstring(text).iter()
    except ElementTree.ParseError:
        return None
    return next((element for element in elements if element.tag.endswith("}Pixels")), None)


def _number_pages(order: str, sizes: Mapping[str, int], pages: int) -> dict[tuple[int, int, int], int] | None:
    """The page of each (channel, slice, time), for the given order of axes, the fastest first."""
    if math.prod(sizes.values()) != pages:
        return None
    steps = {axis: math.prod(sizes[before] for before in order[:row]) for row, axis in enumerate(order)}
    return {
        (c, z, t): c * steps["C"] + z * steps["Z"] + t * steps["T"]
        for c, z, t in product(*(range(sizes[axis]) for axis in "CZT"))
    }


def _axes_of_imagej(text: str, pages: int) -> StackAxes | None:
    fields = _imagej_fields(text)
    names = {"C": "channels", "Z": "slices", "T": "frames"}
    given = {axis: fields.get(name, "") for axis, name in names.items()}
    sizes = {axis: int(size) if size.isdecimal() else 1 for axis, size in given.items()}
    page_of = _number_pages("CZT", sizes, pages)
    if page_of is None:
        return None
    interval = _seconds(_number(fields.get("finterval")), fields.get("tunit", "s").replace("\\u00B5", "µ"))
    seconds = _regular_times(interval, sizes["T"])
    return StackAxes(("",) * sizes["C"], sizes["Z"], sizes["T"], page_of, seconds=seconds)


def _axes_of_tifffile(text: str, pages: int) -> StackAxes | None:
    try:
        content = json.loads(text)
        axes, shape = str(content["axes"]).removesuffix("S"), [int(side) for side in content["shape"]]
    except (ValueError, TypeError, KeyError):
        return None
    slow = axes.removesuffix("YX")
    if slow == axes or len(set(slow)) < len(slow) or not set(slow) <= set("CZT"):
        return None
    sizes = {axis: 1 for axis in "CZT"} | dict(zip(slow, shape, strict=False))
    order = slow[::-1] + "".join(axis for axis in "CZT" if axis not in slow)
    page_of = _number_pages(order, sizes, pages)
    return StackAxes(("",) * sizes["C"], sizes["Z"], sizes["T"], page_of) if page_of else None


def _axes_of_ome(text: str, pages: int) -> StackAxes | None:
    pixels = _ome_pixels(text)
    if pixels is None:
        return None
    try:
        samples = [element for element in pixels if element.tag.endswith("}Channel")]
        per_page = max((int(channel.get("SamplesPerPixel", 1)) for channel in samples), default=1)
        sizes = {axis: int(pixels.get(f"Size{axis}", 1)) for axis in "CZT"}
        sizes["C"] = max(1, sizes["C"] // per_page)
        order = str(pixels.get("DimensionOrder", "XYCZT")).removeprefix("XY")
        page_of = _number_pages(order, sizes, pages) if set(order) == set("CZT") else None
        planes = [element for element in pixels if element.tag.endswith("}TiffData")]
        if page_of is not None and len(planes) > 1:
            page_of = {
                tuple(int(plane.get(f"First{axis}", 0)) for axis in "CZT"): int(plane.get("IFD", row))  # type: ignore[misc]
                for row, plane in enumerate(planes)
            }
            fits = len(page_of) == pages == len({*page_of.values()}) and max(page_of.values()) < pages
            page_of = page_of if fits and math.prod(sizes.values()) == pages else None
        names = [str(channel.get("Name", "")) for channel in samples[: sizes["C"]]]
        colors = {
            row: _ome_color(int(channel.get("Color", "0")))
            for row, channel in enumerate(samples[: sizes["C"]])
            if "Color" in channel.attrib
        }
    except (ValueError, ZeroDivisionError):
        return None
    if page_of is None:
        return None
    names += [""] * (sizes["C"] - len(names))
    return StackAxes(tuple(names), sizes["Z"], sizes["T"], page_of, colors, _times_of_ome(pixels, sizes["T"]))


def _times_of_ome(pixels: ElementTree.Element, count: int) -> tuple[float, ...]:
    """The times of the planes if all points in time have one, otherwise regular times by the increment."""
    begun: dict[str | None, float] = {}
    for plane in pixels:
        if plane.tag.endswith("}Plane"):
            delta = _seconds(_finite(plane.get("DeltaT")), plane.get("DeltaTUnit", "s"))
            if delta is not None:  # the first slice or channel taken at a point in time
                begun[plane.get("TheT")] = min(delta, begun.get(plane.get("TheT"), math.inf))
    deltas = [begun.get(str(time)) for time in range(count)]
    known = [delta - deltas[0] for delta in deltas if delta is not None and deltas[0] is not None]
    if len(known) == count and all(earlier < later for earlier, later in pairwise(known)):
        return tuple(known)
    increment = _seconds(_number(pixels.get("TimeIncrement")), pixels.get("TimeIncrementUnit", "s"))
    return _regular_times(increment, count)


def _regular_times(interval: float | None, count: int) -> tuple[float, ...]:
    return () if interval is None else tuple(interval * time for time in range(count))


def _ome_color(value: int) -> Color:
    """OME's signed 32 bits: red, green, blue and alpha, 8 bits each."""
    return value >> 24 & 255, value >> 16 & 255, value >> 8 & 255


def _pixel_size_of_imagej(text: str, tags: Mapping[int, Any]) -> PixelSize | None:
    fields = _imagej_fields(text)
    unit = fields.get("unit", "").replace("\\u00B5", "µ")
    per_unit = tags.get(X_RESOLUTION), tags.get(Y_RESOLUTION)
    x, y = (_micrometres(1 / value if (value := _number(text)) else None, unit) for text in per_unit)
    z = _micrometres(_number(fields.get("spacing")), fields.get("zunit", unit).replace("\\u00B5", "µ"))
    return PixelSize(x, y, z) if x and y else None


def _pixel_size_of_ome(text: str) -> PixelSize | None:
    pixels = _ome_pixels(text)
    if pixels is None:
        return None
    x, y, z = (
        _micrometres(_number(pixels.get(f"PhysicalSize{axis}")), pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        for axis in "XYZ"
    )
    return PixelSize(x, y, z) if x and y else None


def _number(value: Any) -> float | None:
    """A finite number above 0; None for anything else."""
    number = _finite(value)
    return abs(number) if number else None  # ImageJ may write a negative spacing


def _finite(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _seconds(duration: float | None, unit: str) -> float | None:
    unit = unit.strip()
    scale = SECONDS.get(unit if len(unit) < 3 else unit.casefold())  # a Ms is a million seconds
    return None if duration is None or scale is None else duration * scale


def _micrometres(length: float | None, unit: str) -> float | None:
    scale = MICROMETRES.get(unit.strip().casefold())
    if length is None or scale is None or not SMALLEST <= length * scale <= LARGEST:
        return None
    return length * scale
