"""Photometric effects of a camera: light, colour, defocus, noise, compression. Masks do not change."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Int16, UInt8
from numpy.random import Generator

from masklet.synthetic import motion

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
GRAIN = 32


def recolour(rng: Generator, image: np.ndarray, strength: float = 1.0) -> UInt8[np.ndarray, "h w 3"]:
    """Shift contrast, brightness, gamma, tint and saturation of one image."""
    return _saturate(cv2.LUT(image, _tone(rng, strength)), 1 + strength * rng.uniform(-0.4, 0.4))


def _tone(rng: Generator, strength: float) -> UInt8[np.ndarray, "1 256 3"]:
    """A look-up table for each channel."""
    level = np.linspace(0, 1, 256)[:, None]
    gamma, contrast, shift = (
        np.exp(strength * rng.uniform(-0.3, 0.3)),
        1 + strength * rng.uniform(-0.25, 0.25),
        0.1,
    )
    gains = contrast * (1 + 0.08 * strength * rng.uniform(-1, 1, 3))
    toned = (level**gamma - 0.5) * gains + 0.5 + shift * strength * rng.uniform(-1, 1)
    return (np.clip(toned, 0, 1) * 255).astype(np.uint8)[None]


def _saturate(image: np.ndarray, amount: float) -> np.ndarray:
    matrix = np.eye(3, dtype=np.float32) * amount + (1 - amount) * LUMA
    return cv2.transform(image, matrix)


class CameraEffects:
    """The effects of one clip, drawn once and applied to each frame."""

    def __init__(self, rng: Generator, frames: int, size: int, grain: np.ndarray) -> None:
        self.tone = _tone(rng, 0.8) if rng.random() < 0.7 else None
        self.saturation = 0.0 if rng.random() < 0.05 else rng.uniform(0.6, 1.3) if rng.random() < 0.4 else 1.0
        self.light = np.exp(motion.random_walk(rng, frames, 1, motion.log_uniform(rng, 0.01, 0.08))[:, 0])
        self.has_constant_light = rng.random() < 0.6
        self.defocus = rng.uniform(0.4, 1.6) * size / 256 if rng.random() < 0.25 else 0.0
        self.noise = motion.log_uniform(rng, 1.5, 12) if rng.random() < 0.35 else 0.0
        self.quality = int(rng.integers(20, 85)) if rng.random() < 0.3 else None
        self.starts = rng.integers(len(grain) - size + 1, size=(frames, 2))
        self.grain = grain

    def apply(self, image: np.ndarray, frame: int) -> UInt8[np.ndarray, "h w 3"]:
        if self.tone is not None:
            image = cv2.LUT(image, self.tone)
        if self.saturation != 1.0:
            image = _saturate(image, self.saturation)
        if not self.has_constant_light:
            image = cv2.convertScaleAbs(image, alpha=float(self.light[frame]))
        if self.defocus:
            image = cv2.GaussianBlur(image, (0, 0), self.defocus)
        if self.noise:
            x, y = self.starts[frame]
            grain = self.grain[y : y + image.shape[0], x : x + image.shape[1]]
            image = cv2.addWeighted(image, 1.0, grain, self.noise / GRAIN, 0.0, dtype=cv2.CV_8U)
        if self.quality is not None:
            coded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, self.quality])[1]
            image = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR_RGB))
        return image


def make_grain(side: int) -> Int16[np.ndarray, "side side 3"]:
    """Noise of standard deviation GRAIN, drawn once. Each noisy frame uses a random part of it."""
    return (np.random.default_rng(0).standard_normal((side, side, 3)) * GRAIN).astype(np.int16)
