"""Images of any bit depth as 8-bit RGB, with one intensity range, from black to white, for a whole
source."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from masklet.errors import MediaError
from masklet.media.readers.source import Image, IntensityRange

BACKGROUND = 255  # the colour behind transparent pixels: white
TAILS = 0.1, 99.9  # percentiles; values outside them are clipped
NATURAL_SHARE = 0.25  # the part of a natural range (0 to 4095 for 12 bits) that a source must use to keep it
PADDING_SHARES = 0.01, 0.5  # the part of the pixels above which an outlying value counts as padding
PADDING_GAP = 2.0  # how far it must lie from the other values, in units of their range
SAMPLE_PIXELS = 2**20  # pixels of each image that are sampled


@dataclass(frozen=True)
class RawImage:
    """An image as it is stored.

    Attributes:
        values: (H, W) grey or (H, W, 3) RGB, of any real dtype.
        alpha: float32 (H, W), 0 to 1; None if all pixels are opaque.
    """

    values: np.ndarray
    alpha: np.ndarray | None = None

    @property
    def size(self) -> tuple[int, int]:
        return self.values.shape[0], self.values.shape[1]

    def numbers(self) -> np.ndarray:
        """The values, with alpha as a fourth channel if there is one, in their scale."""
        if self.alpha is None:
            return self.values
        white = np.iinfo(self.values.dtype).max if self.values.dtype.kind in "iu" else 1
        return np.dstack([self.values, (self.alpha * white).astype(self.values.dtype)])

    @property
    def is_deep(self) -> bool:
        """Whether it has more than 8 bits, and so needs an intensity range."""
        return self.values.dtype not in (np.dtype(np.uint8), np.dtype(np.bool_))


class RgbConverter:
    """Converts the images of one source to RGB, all with the same intensity range.

    Args:
        intensity_range: The intensities that become black and white. By default, 8-bit images are not
            changed, and the range is estimated from the first deeper image (see
            `estimate_intensity_range`).
    """

    def __init__(self, intensity_range: IntensityRange | None = None) -> None:
        self.intensity_range = None if intensity_range is None else check_intensity_range(intensity_range)
        self.is_stated = intensity_range is not None

    def convert(self, image: RawImage) -> Image:
        if image.is_deep and self.intensity_range is None:
            self.intensity_range = estimate_intensity_range([image.values])
        scaled = image.is_deep or self.is_stated
        return to_rgb(image, self.intensity_range if scaled else None)


def check_intensity_range(intensity_range: IntensityRange) -> IntensityRange:
    try:
        low, high = map(float, intensity_range)
    except (TypeError, ValueError):
        raise MediaError(
            f"intensity_range must be (black, white), such as (0, 4095). Got {intensity_range!r:.60}."
        ) from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise MediaError(
            f"intensity_range must be (black, white), two numbers with black below white. Got ({low:g}, "
            f"{high:g})."
        )
    return low, high


def estimate_intensity_range(images: Iterable[np.ndarray]) -> IntensityRange:
    """Choose which intensities become black and white, from some images of a source.

    A sensor's or file's own range (0 to 4095 for 12 bits, 0 to 65535, 0 to 1 for floats) is kept if the
    images use a quarter of it or more. Otherwise, and if there are negative values, the range is from the
    0.1th to the 99.9th percentile. Single bright or dark pixels, NaN and infinity are ignored.

    >>> ramp = np.arange(3000, dtype=np.uint16).reshape(50, 60)
    >>> estimate_intensity_range([ramp])
    (0.0, 4095.0)
    >>> low, high = estimate_intensity_range([ramp / 300_000])
    >>> 0 <= low < 0.001 and 0.009 < high < 0.01
    True
    """
    samples = [sample for image in images if (sample := _sample_intensities(image)).size]
    if not samples:
        raise MediaError("an image needs finite values. Got one in which every value is NaN or infinite.")
    values = _drop_padding(np.concatenate(samples))
    low, high = (float(value) for value in np.percentile(values, TAILS))
    if low == high:  # nearly all pixels are background
        low, high = float(values.min()), float(values.max())
    white = _natural_white(values, high)
    if low >= 0 and high - low >= white * NATURAL_SHARE:
        return 0.0, white
    if low < high:
        return low, high
    return (0.0, white) if low >= 0 else (low, low + max(1.0, -low))


def to_rgb(image: RawImage, intensity_range: IntensityRange | None) -> Image:
    """Convert an image to 8-bit RGB; transparent pixels become white."""
    values = image.values
    if values.dtype == np.bool_:
        values = values.astype(np.uint8) * 255
    if intensity_range is not None:
        values = _scale(values, *intensity_range)
    rgb = np.repeat(values[..., None], 3, axis=2) if values.ndim == 2 else values
    if image.alpha is not None:
        alpha = image.alpha[..., None]
        rgb = (rgb * alpha + BACKGROUND * (1 - alpha)).round().astype(np.uint8)
    return np.ascontiguousarray(rgb)


def _scale(values: np.ndarray, low: float, high: float) -> np.ndarray:
    if values.dtype in (np.uint8, np.uint16):  # a lookup table is ten times as fast
        table = np.arange(np.iinfo(values.dtype).max + 1, dtype=np.float64)
        return np.asarray(_scale(table, low, high)[values])
    is_single = values.dtype in (np.float16, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        scaled: np.ndarray = np.subtract(values, low, dtype=np.float32 if is_single else np.float64)
        scaled *= 255 / (high - low)
    return np.nan_to_num(scaled, nan=0, posinf=255, neginf=0).clip(0, 255).round().astype(np.uint8)


def _sample_intensities(image: np.ndarray) -> np.ndarray:
    """Finite intensities of an image, at most a million pixels, after a 3 x 3 median."""
    step = max(1, math.ceil(math.sqrt(image.shape[0] * image.shape[1] / SAMPLE_PIXELS)))
    with np.errstate(over="ignore"):
        thinned = np.ascontiguousarray(image[::step, ::step], dtype=np.float32)
    finite = np.isfinite(thinned)
    if not finite.any():  # nothing, or doubles beyond the range of float32
        return image[np.isfinite(image)]
    if not finite.all():
        thinned = np.where(finite, thinned, np.median(thinned[finite]))
    smooth = cv2.medianBlur(thinned, 3)
    return smooth[finite.reshape(smooth.shape)]


def _drop_padding(values: np.ndarray) -> np.ndarray:
    """Values without those that mean "no data", such as -9999, or -2000 around the circle of a CT.

    That is the lowest or highest value if many pixels have it and its distance from the other values exceeds
    their range.
    """
    for extreme in (values.min(), values.max()):
        others = values[values != extreme]
        share = 1 - others.size / values.size
        if not PADDING_SHARES[0] <= share <= PADDING_SHARES[1]:
            continue
        low, high = (float(value) for value in np.percentile(others, TAILS))
        gap = low - float(extreme) if extreme < low else float(extreme) - high
        if low < high and gap > PADDING_GAP * (high - low):
            values = others
    return values


def _natural_white(values: np.ndarray, high: float) -> float:
    """The upper end of the smallest natural range that contains `high`: 1 for floats, 255, 511, ... 65535,
    ..."""
    is_fraction = high <= 1 and bool((values != np.floor(values)).any())
    if is_fraction:
        return 1.0
    bits = 8
    while 2.0**bits < high:
        bits += 1
    return 2.0**bits - 1
