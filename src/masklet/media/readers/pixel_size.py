"""The size of a pixel in a sample, as OME and ImageJ write it into a TIFF."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

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


@dataclass(frozen=True)
class PixelSize:
    """The size of a pixel, in micrometres.

    Attributes:
        x: Its width.
        y: Its height.
        z: The distance from slice to slice; None where the file does not say it.
    """

    x: float
    y: float
    z: float | None = None


def read_pixel_size(tags: Mapping[int, Any]) -> PixelSize | None:
    """The size of a pixel by the tags of a TIFF's first page; None where they say none in units of length.

    The resolution of a TIFF without a description by OME or ImageJ is for printers, and is not read.
    """
    text = _as_utf8(str(tags.get(DESCRIPTION, ""))).strip()
    if text.startswith("ImageJ="):
        return _read_imagej(text, tags)
    if "<OME" in text[:2000]:
        return _read_ome(text)
    return None


def _as_utf8(text: str) -> str:
    """Pillow reads a description as Latin-1."""
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


def _read_imagej(text: str, tags: Mapping[int, Any]) -> PixelSize | None:
    fields = dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))
    unit = fields.get("unit", "").replace("\\u00B5", "µ")
    per_unit = tags.get(X_RESOLUTION), tags.get(Y_RESOLUTION)
    x, y = (_micrometres(1 / value if (value := _number(text)) else None, unit) for text in per_unit)
    z = _micrometres(_number(fields.get("spacing")), fields.get("zunit", unit).replace("\\u00B5", "µ"))
    return PixelSize(x, y, z) if x and y else None


def _read_ome(text: str) -> PixelSize | None:
    if "<!DOCTYPE" in text.upper() or "<!ENTITY" in text.upper():  # these can grow without end
        return None
    try:
        pixels = next(
            element for element in ElementTree.fromstring(text).iter() if element.tag.endswith("}Pixels")
        )
    except (ElementTree.ParseError, StopIteration):
        return None
    x, y, z = (
        _micrometres(_number(pixels.get(f"PhysicalSize{axis}")), pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        for axis in "XYZ"
    )
    return PixelSize(x, y, z) if x and y else None


def _number(value: Any) -> float | None:
    """A finite number above 0; None of anything else."""
    try:
        number = abs(float(value))  # ImageJ may write a negative spacing
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return number if 0 < number < math.inf else None


def _micrometres(length: float | None, unit: str) -> float | None:
    scale = MICROMETRES.get(unit.strip().casefold())
    return None if length is None or scale is None else length * scale
