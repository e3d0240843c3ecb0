"""Sky, mountains, trees and water, made from seeded noise. Knows nothing of balloons.

Panoramas are made once, wider than the frame by MARGIN on both sides; the camera slides them past.
"""

from __future__ import annotations

import cv2
import numpy as np
from demo_scene.light import (
    EYE,
    FOCAL,
    HAZE,
    HORIZON,
    MARGIN,
    SKYLIGHT,
    SUN,
    SUNLIGHT,
    WATERLINE,
    H,
    Image,
    W,
    blend,
    cover,
    hazy,
    over,
    ramp,
)

WIDE = W + 2 * MARGIN


def noise(
    rng: np.random.Generator, height: int, width: int, blob: tuple[float, float], octaves: int
) -> np.ndarray:
    """Smooth noise around 0. blob : height and width in pixels of its largest lumps"""
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        rows = min(int(height / blob[0] * 2**octave) + 3, height)
        columns = min(int(width / blob[1] * 2**octave) + 3, width)
        lattice = rng.standard_normal((rows, columns)).astype(np.float32)
        total += cv2.resize(lattice, (width, height), interpolation=cv2.INTER_CUBIC) * 0.5**octave
    return total


def sky(rng: np.random.Generator) -> Image:
    """A panorama of the morning sky with streaks of high cloud; the sun is beyond its left edge."""
    x = np.linspace(0, 1, WIDE, dtype=np.float32)[None, :]
    up = ((HORIZON - np.arange(H, dtype=np.float32)) / HORIZON)[:, None]
    colour = np.ones((H, WIDE, 3), np.float32) * np.array([1.25, 0.66, 0.36], np.float32)
    colour = blend(colour, (0.34, 0.44, 0.62), ramp(up, 0.10, 0.70))
    colour = blend(colour, (0.055, 0.20, 0.46), ramp(up, 0.35, 1.1))
    glow = np.exp(-((x * 2.2) ** 2) - (up * 1.6 - 0.25) ** 2)[..., None]
    colour += glow * np.array([0.95, 0.36, 0.06], np.float32)
    streaks = noise(rng, H, WIDE, (90, 520), 7) + 0.5 * noise(rng, H, WIDE, (40, 700), 5)
    clouds = np.array([1.45, 0.95, 0.78], np.float32) * (0.8 + 0.5 * glow)
    return cover(
        blend(colour, clouds, ramp(streaks, 0.15, 2.1) * ramp(up, 0.05, 0.5) * 0.75), np.ones((H, WIDE))
    )


def mountains(rng: np.random.Generator) -> Image:
    """A panorama of snowy mountains: a height field, lit once, then met by one ray for each half pixel."""
    cells, cell = 2048, 4.5
    away = np.linspace(0, 1, cells, dtype=np.float32)[:, None]
    height = _worn(rng, cells) * (80 + 560 * ramp(away, 0, 0.75)) - 110 * (1 - ramp(away, 0, 0.25))
    ground = _lit(rng, height, cell)

    fine = 2
    distance = np.geomspace(1000, 9800, 1600, dtype=np.float32)[:, None]
    sideways = (np.arange(WIDE * fine, dtype=np.float32) / fine - WIDE / 2)[None, :] / FOCAL
    x, z = sideways * distance / cell + cells / 2, (distance - 900) / cell * np.ones_like(sideways)
    profile = cv2.remap(height, x, z, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    skyline = np.maximum.accumulate(
        (profile - EYE) / distance, axis=0
    )  # what hides everything behind it, by distance
    rays = (HORIZON - np.arange((HORIZON + 10) * fine, dtype=np.float32) / fine) / FOCAL
    first = np.stack([np.searchsorted(column, rays) for column in skyline.T], axis=1)
    met = (first < len(distance)).astype(np.float32)
    at = np.minimum(first, len(distance) - 1), np.arange(WIDE * fine)[None, :]
    image = cv2.remap(ground, x[at], z[at], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    image = cover(blend(image, HAZE, 1 - np.exp(-distance[at[0], 0] / 9000)), met)
    return cv2.resize(image, (WIDE, len(rays) // fine), interpolation=cv2.INTER_AREA)


def _worn(rng: np.random.Generator, cells: int) -> np.ndarray:
    """Relief around 1 whose steep slopes are plain, as if water had worn them."""
    relief, tilt_z, tilt_x = (np.zeros((cells, cells), np.float32) for _ in range(3))
    for octave in range(10):
        blob = cells / 4.65 / 2**octave
        lumps = noise(rng, cells, cells, (blob, blob), 1) * 0.5**octave
        dz, dx = np.gradient(lumps, 17 / cells)
        tilt_z, tilt_x = tilt_z + dz, tilt_x + dx
        relief += lumps / (1 + 1.1 * (tilt_z**2 + tilt_x**2))
    return relief + 0.9


def _lit(rng: np.random.Generator, height: np.ndarray, cell: float) -> np.ndarray:
    """Woods, rock and snow on a height field under the sun, with the shadows that ridges throw."""
    slope_z, slope_x = np.gradient(height, cell)
    normal = np.dstack([-slope_x, np.ones_like(height), -slope_z])
    normal /= np.linalg.norm(normal, axis=2, keepdims=True)
    ray = height + SUN[1] / -SUN[0] * cell * np.arange(height.shape[1], dtype=np.float32)
    sunny = 1 - ramp(np.maximum.accumulate(ray, axis=1) - ray, 0, 25)
    grain = noise(rng, height.shape[0], height.shape[1], (24, 24), 5)
    colour = blend(
        np.array([0.17, 0.15, 0.15], np.float32), (0.035, 0.065, 0.035), ramp(height - 40 * grain, 320, 170)
    )
    snow = ramp(height + 45 * grain + np.clip(2400 * (normal[..., 1] - 0.86), -420, 0), 240, 350)
    colour = blend(colour, (0.76, 0.79, 0.88), snow) * (1 + 0.10 * grain[..., None])
    direct = (np.clip(normal @ SUN, 0, 1) * sunny)[..., None] * SUNLIGHT
    return (colour * (direct + SKYLIGHT * (0.4 + 0.4 * normal[..., 1:2]))).astype(np.float32)


def pine(rng: np.random.Generator, height: int) -> Image:
    """A spruce, needle by needle from the back to the front, light on the sunny side."""
    width, branches, unit = int(height * 0.46), 340, height / 900
    image = np.zeros((height, width, 4), np.float32)
    trunk = ((width // 2, height), (width // 2, int(height * 0.03)))
    cv2.line(image, *trunk, (0.030, 0.021, 0.016, 1), int(10 * unit))
    down = np.linspace(0.015, 1, branches) ** 0.9
    turn = rng.uniform(0, 2 * np.pi, branches)
    for place, angle in sorted(
        zip(down, turn, strict=True), key=lambda branch: (round(2 * np.cos(branch[1])), branch[0])
    ):
        side, front = np.sin(angle), np.cos(angle)
        reach = (0.016 + 0.46 * place**0.8) * width * rng.uniform(0.75, 1.1)
        light = np.clip(0.45 - 0.6 * side + 0.25 * front, 0.05, 1) * rng.uniform(0.7, 1.2)
        for out in np.repeat(np.linspace(0, 1, 14), 4):
            x = width / 2 + side * reach * out
            y = place * height * 0.97 + reach * ((0.42 + 0.16 * front) * out - 0.24 * out**2)
            length = reach * 0.17 * (1.15 - out) + 5.4 * unit
            needle = length * np.sign(side) * rng.uniform(-0.25, 1), length * rng.uniform(0.05, 0.9)
            shine = light * rng.uniform(0.1, 1) * (0.35 + 0.65 * out)
            colour = [0.016 + 0.140 * shine, 0.032 + 0.118 * shine, 0.022 + 0.034 * shine, 1]
            cv2.line(
                image,
                (int(x), int(y)),
                (int(x + needle[0]), int(y + needle[1])),
                colour,
                round(2 * unit) or 1,
            )
    return image


def forest(rng: np.random.Generator, trees: list[Image], low: float, high: float, haze: float) -> Image:
    """A panorama of pines on a far shore, its last row at the water. low, high : heights in pixels"""
    rows = 240
    image = np.zeros((rows, WIDE, 4), np.float32)
    swell = noise(rng, 1, WIDE, (1, 420), 3)[0]
    for x in rng.permutation(np.arange(60, WIDE - 60, 7)):
        size = int(np.clip(rng.uniform(low, high) + 14 * swell[x], 16, rows))
        tree = cv2.resize(
            trees[rng.integers(len(trees))], (int(size * 0.46), size), interpolation=cv2.INTER_AREA
        )
        tree[..., :3] = tree[..., :3] * np.float32(rng.uniform(0.7, 1.3))
        left = x - tree.shape[1] // 2 + rng.integers(-3, 4)
        place = image[rows - size :, left : left + tree.shape[1]]
        place[:] = over(hazy(tree, haze), place)
    above_water = np.arange(rows, 0, -1, dtype=np.float32)[:, None]
    bank = ramp(12 + 5 * swell - above_water + 3 * noise(rng, rows, WIDE, (4, 6), 2), -4, 4)
    return over(hazy(cover((0.030, 0.036, 0.026), bank), haze), image)


# length in metres, direction, steepness
WAVES = (
    (9, 0.2, 0.6),
    (5.1, -0.5, 0.8),
    (2.9, 0.9, 0.9),
    (1.7, -0.2, 1.0),
    (1.0, 0.45, 0.8),
    (0.55, -0.8, 0.6),
)


def water(scene: Image, eye_x: float, second: float) -> Image:
    """The scene with its lake: a mirror broken by ripples, darker where one looks into it."""
    top = int(WATERLINE)
    column, row = np.meshgrid(np.arange(W, dtype=np.float32), np.arange(top, H, dtype=np.float32))
    z = FOCAL * EYE / (row - HORIZON)
    x = eye_x + (column - W / 2) * z / FOCAL
    pixel = z * z / (FOCAL * EYE)  # metres of water in one row: shorter waves are not seen
    slope = np.zeros_like(z)
    for length, angle, steep in WAVES:
        speed = 0.7 * np.sqrt(9.81 * 2 * np.pi / length)
        phase = 2 * np.pi / length * (x * np.sin(angle) + z * np.cos(angle)) + second * speed
        slope += steep * np.sin(phase) * np.exp(-2 * (pixel / length) ** 2)
    above = 2 * WATERLINE - 1 - row + slope * (2 + 0.06 * (row - WATERLINE))
    mirrored = cv2.remap(scene, column + 2 * slope, above, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    look = np.clip((row - HORIZON) / FOCAL * 1.6 + 0.022 * slope, 0.005, 1)
    fresnel = 0.02 + 0.98 * (1 - np.sin(look)) ** 5
    lake = blend(
        np.full((*z.shape, 3), np.array([0.012, 0.055, 0.068], np.float32)), mirrored[..., :3] * 0.92, fresnel
    )
    return np.vstack([scene[:top], cover(lake, np.ones_like(z))])
