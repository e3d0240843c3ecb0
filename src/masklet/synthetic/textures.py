"""Surfaces and outlines from nothing: procedural textures, blobs, polygons and jointed figures."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy.random import Generator


def texture(rng: Generator, height: int, width: int) -> UInt8[np.ndarray, "h w 3"]:
    """Clouds, stripes, checks or a gradient, coloured through a random palette."""
    kind = rng.integers(4)
    level = _clouds(rng, height, width)
    if kind:
        angle, period = rng.uniform(0, np.pi), rng.uniform(0.04, 0.4) * max(height, width)
        xs, ys = np.arange(width, dtype=np.float32)[None], np.arange(height, dtype=np.float32)[:, None]
        across = (np.cos(angle) * xs + np.sin(angle) * ys) * np.float32(2 * np.pi / period)
        along = (np.sin(angle) * xs - np.cos(angle) * ys) * np.float32(2 * np.pi / period)
        bend = level * np.float32(rng.uniform(0, 4))
        wave = (np.sin(across + bend), np.sin(across) * np.sin(along + bend), across / np.abs(across).max())[
            kind - 1
        ]
        level = 0.5 + 0.35 * wave + 0.3 * (level - 0.5)
    return palette(rng)[np.clip(level * 255, 0, 255).astype(np.uint8)]


def palette(rng: Generator) -> UInt8[np.ndarray, "256 3"]:
    """A smooth run through a few random colours, not all of them loud."""
    count = int(rng.integers(2, 6))
    colours = rng.uniform(0, 255, (count, 3))
    grey = colours.mean(axis=1, keepdims=True)
    colours = grey + (colours - grey) * rng.random()
    stops = np.linspace(0, 255, count)
    return np.stack([np.interp(np.arange(256), stops, colours[:, c]) for c in range(3)], axis=1).astype(
        np.uint8
    )


def _clouds(rng: Generator, height: int, width: int) -> np.ndarray:
    """Octaves of smooth noise, about 0 to 1."""
    total = np.full((height, width), 0.5, dtype=np.float32)
    cells, weight, roughness = 3, 0.3, rng.uniform(0.35, 0.75)
    for _ in range(4):
        noise = rng.standard_normal((cells, cells), dtype=np.float32)
        total += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC) * np.float32(weight)
        cells, weight = cells * 2 + 1, weight * roughness
    return total


def blob(rng: Generator, side: int) -> UInt8[np.ndarray, "side side"]:
    """A rounded outline: a circle with waves of a few lengths."""
    turn = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    radius = np.ones_like(turn)
    for wave in range(2, 7):
        radius += (
            rng.standard_normal()
            * rng.uniform(0, 0.5)
            / wave
            * np.cos(wave * turn + rng.uniform(0, 2 * np.pi))
        )
    return _fill(
        np.stack([np.cos(turn), np.sin(turn) * rng.uniform(0.4, 1)], axis=1)
        * np.clip(radius, 0.2, None)[:, None],
        side,
    )


def polygon(rng: Generator, side: int) -> UInt8[np.ndarray, "side side"]:
    """Three to eight corners, star-shaped."""
    corners = int(rng.integers(3, 9))
    turn = (np.arange(corners) + rng.uniform(-0.3, 0.3, corners)) * 2 * np.pi / corners
    return _fill(np.stack([np.cos(turn), np.sin(turn)], axis=1) * rng.uniform(0.4, 1, (corners, 1)), side)


def figure(rng: Generator, side: int, frames: int) -> UInt8[np.ndarray, "t side side"]:
    """A body with limbs that swing about their joints, one outline a frame."""
    body = rng.uniform(0.14, 0.24, 2)
    limbs = int(rng.integers(2, 6))
    rest, phase = rng.uniform(0, 2 * np.pi, limbs), rng.uniform(0, 2 * np.pi, (2, limbs))
    lengths, thick = (
        rng.uniform(0.12, 0.24, (2, limbs)),
        rng.integers(max(2, side // 20), max(3, side // 8), limbs),
    )
    swing, pace = rng.uniform(0.1, 0.9), rng.uniform(0.2, 0.9)
    outlines = np.zeros((frames, side, side), dtype=np.uint8)
    for frame, outline in enumerate(outlines):
        cv2.ellipse(outline, (side // 2, side // 2), tuple(int(r * side) for r in body), 0, 0, 360, 255, -1)
        for limb in range(limbs):
            at = np.array([0.5, 0.5]) + 0.8 * body * (np.cos(rest[limb]), np.sin(rest[limb]))
            angle = rest[limb]
            for joint in range(2):
                angle = angle + swing * np.sin(phase[joint, limb] + pace * frame)
                end = at + lengths[joint, limb] * np.array([np.cos(angle), np.sin(angle)])
                start, stop = (tuple(int(v) for v in point * side) for point in (at, end))
                cv2.line(outline, start, stop, 255, int(thick[limb]), cv2.LINE_AA)
                at = end
    return outlines


def _fill(points: np.ndarray, side: int) -> UInt8[np.ndarray, "side side"]:
    """A closed outline, scaled to just fit."""
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 2
    points = margin + (points - low) / (high - low).max() * (side - 1 - 2 * margin)
    outline = np.zeros((side, side), dtype=np.uint8)
    cv2.fillPoly(outline, [np.round(points * 16).astype(np.int32)], 255, cv2.LINE_AA, shift=4)
    return outline
