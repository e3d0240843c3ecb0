"""A hot-air balloon: a solid of revolution, shaded at every pixel. Knows nothing of the landscape.

The envelope is a sphere of radius 1 that goes over into a cone; heights count from the sphere's equator.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from demo_scene.light import SKYLIGHT, SUN, SUNLIGHT, Colour, H, Image, W, blend, cover, hazy, over, ramp

TANGENT = np.radians(38)  # where the cone leaves the sphere, below the equator
JOINT, MOUTH = -np.sin(TANGENT), -1.36  # heights of the cone's ends
GORES, PANELS = 20, 16  # strips of cloth around, and rows of panels down
PITCH = 0.20  # radians by which it is seen from below


@dataclass(frozen=True)
class Paint:
    """The colours of a balloon's cloth."""

    cloth: Colour
    band: Colour
    trim: Colour


RED = Paint(cloth=(0.78, 0.036, 0.016), band=(0.92, 0.80, 0.58), trim=(0.95, 0.42, 0.04))
YELLOW = Paint(cloth=(0.86, 0.55, 0.06), band=(0.02, 0.20, 0.28), trim=(0.02, 0.20, 0.28))
WHITE = Paint(cloth=(0.82, 0.80, 0.76), band=(0.10, 0.20, 0.45), trim=(0.10, 0.20, 0.45))


@dataclass(frozen=True)
class Pose:
    """Where a balloon hangs in the frame. x, y : its equator's middle; radius : there, in pixels"""

    x: float
    y: float
    radius: float
    lean: float = 0.0  # radians, to the right
    spin: float = 0.0  # radians about its axis


def girth(height: np.ndarray) -> np.ndarray:
    """The envelope's radius at a height."""
    sphere = np.sqrt(np.clip(1 - height**2, 0, 1))
    return np.where(height > JOINT, sphere, np.cos(TANGENT) + (height - JOINT) * np.tan(TANGENT))


def balloon(paint: Paint, pose: Pose, *, flame: float = 0.0, haze: float) -> Image:
    """A frame with one balloon and nothing else. flame : 0 to 1, how strongly the burner burns"""
    r = pose.radius
    left, right = max(int(pose.x - 1.3 * r), 0), min(int(pose.x + 1.3 * r), W)
    top, bottom = max(int(pose.y - 1.2 * r), 0), min(int(pose.y + 2.3 * r), H)
    column, row = np.meshgrid(np.arange(left, right), np.arange(top, bottom))
    dx, dy = (column + 0.5 - pose.x) / r, (pose.y - row - 0.5) / r
    u = dx * np.cos(pose.lean) + dy * np.sin(pose.lean)
    v = dy * np.cos(pose.lean) - dx * np.sin(pose.lean)
    image = over(_envelope(paint, u, v, pose, flame), _mouth(paint, u, v, r, flame))
    frame = np.zeros((H, W, 4), np.float32)
    frame[top:bottom, left:right] = hazy(over(_basket(u, v, r, flame), image), haze)
    return frame


def _soft(outside: np.ndarray, radius: float) -> np.ndarray:
    """Coverage from the signed distance to an edge."""
    return np.clip(0.5 - outside * radius, 0, 1)


def _glow(flame: float) -> np.ndarray:
    return np.array([1.5, 0.75, 0.22], np.float32) * flame


def _mouth(paint: Paint, u: np.ndarray, v: np.ndarray, radius: float, flame: float) -> Image:
    """The opening below, through which one looks at the far inner side."""
    wide = float(girth(np.array(MOUTH)))
    high = wide * np.sin(PITCH)
    ring = np.hypot(u / wide, (v - MOUTH * np.cos(PITCH)) / high) - 1
    return cover(np.array(paint.cloth, np.float32) * (0.07 + 1.2 * _glow(flame)), _soft(ring * high, radius))


def _envelope(paint: Paint, u: np.ndarray, v: np.ndarray, pose: Pose, flame: float) -> Image:
    depth = np.zeros_like(u)
    for _ in range(4):  # the near side stands higher than the axis, by as much as it is nearer
        height = (v - depth * np.sin(PITCH)) / np.cos(PITCH)
        depth = np.sqrt(np.clip(girth(height) ** 2 - u**2, 0, None))
    turn = np.arcsin(np.clip(u / np.maximum(girth(height), 1e-3), -1, 1))
    rise = np.clip(height, JOINT, 1)  # of the normal: along the cone it stays as at the joint
    gore = (turn + pose.spin) * GORES / (2 * np.pi)
    puffed = turn + (gore % 1 - 0.5) * 0.55 * ramp(height, 0.99, 0.8)  # each strip bulges between its seams
    flat = np.sqrt(1 - rise**2)
    normal = np.dstack([np.sin(puffed) * flat, rise, -np.cos(puffed) * flat])

    cloth = _cloth(paint, gore, height, 1 / pose.radius)
    facing = normal @ SUN
    direct = np.clip((facing + 0.10) / 1.10, 0, 1)[..., None] * SUNLIGHT
    through = np.clip(0.30 - facing, 0, 1)[..., None] * 0.16 * SUNLIGHT * cloth
    ambient = SKYLIGHT * (0.55 + 0.40 * rise[..., None])
    burner = _glow(flame) * np.exp(-(((height - MOUTH) / 0.85) ** 2))[..., None]
    half = SUN - np.array([0, 0, 1], np.float32)
    sheen = np.clip(normal @ (half / np.linalg.norm(half)), 0, 1)[..., None] ** 24
    colour = cloth * (direct + through + ambient + burner) + 0.10 * sheen * SUNLIGHT
    colour = blend(colour, colour * 0.35, ramp(height, MOUTH + 0.11, MOUTH + 0.09))  # a fireproof skirt
    edge = _soft(np.maximum(np.abs(u) - girth(v), v - 1), pose.radius)
    return cover(colour, edge * _soft(MOUTH - height, pose.radius))


def _cloth(paint: Paint, gore: np.ndarray, height: np.ndarray, pixel: float) -> np.ndarray:
    """What is printed and sewn: a crown, a zigzag band with trims, panels, seams. pixel : size of one"""

    def inside(distance: np.ndarray, reach: float) -> np.ndarray:
        return ramp(distance, reach + pixel / 2, reach - pixel / 2)

    down = (1 - height) / (1 - MOUTH)
    tooth = np.abs(gore % 2 - 1)
    zigzag = np.abs(down - 0.33 - 0.075 * tooth)
    colour = np.full((*gore.shape, 3), np.array(paint.cloth, np.float32))
    colour = blend(colour, paint.band, inside(zigzag, 0.055))
    colour = blend(colour, paint.trim, inside(np.abs(zigzag - 0.085), 0.010))
    colour = blend(colour, paint.trim, inside(down + 0.02 * tooth, 0.105))
    shade = np.sin(np.floor(gore) * 12.99 + np.floor(down * PANELS) * 78.23) * 43758.5 % 1
    along = np.abs(gore - np.round(gore)) * 2 * np.pi / GORES * girth(height)
    across = np.abs(down * PANELS - np.round(down * PANELS)) / PANELS * (1 - MOUTH)
    seams = (0.45 * ramp(along, 0.012 + pixel, 0) + 0.18 * ramp(across, 0.006 + pixel, 0)) * ramp(
        down, 0.01, 0.1
    )
    return colour * ((0.95 + 0.10 * shade) * (1 - seams))[..., None]


def _basket(u: np.ndarray, v: np.ndarray, radius: float, flame: float) -> Image:
    """Ropes, burner, flame, two people and their wicker basket."""

    def box(middle: float, half: float, low: float, high: float) -> np.ndarray:
        return _soft(
            np.maximum(np.abs(u - middle) - half, np.abs(v - (low + high) / 2) - (high - low) / 2), radius
        )

    rim = float(girth(np.array(MOUTH)))
    image = np.zeros((*u.shape, 4), np.float32)
    for start, end in ((-rim, -0.17), (-rim / 2, -0.13), (rim / 2, 0.13), (rim, 0.17)):
        rope = np.abs(u - start - (end - start) * (v - MOUTH) / (-1.80 - MOUTH)) - 0.009
        image = over(
            cover((0.05, 0.04, 0.04), _soft(np.maximum(rope, np.abs(v + 1.56) - 0.22), radius)), image
        )
    image = over(cover((0.10, 0.10, 0.11), box(0, 0.075, -1.585, -1.54)), image)
    fire = _soft((np.hypot(u / 0.035, (v + 1.42) / 0.12) - 1) * 0.035, radius) * min(1.5 * flame, 1)
    image = over(cover((3.0, 1.7, 0.6), fire), image)
    for place, coat in ((-0.085, (0.08, 0.13, 0.27)), (0.07, (0.40, 0.34, 0.10))):
        image = over(cover(coat, box(place, 0.045, -1.85, -1.72)), image)
        image = over(cover((0.50, 0.30, 0.20), _soft(np.hypot(u - place, v + 1.685) - 0.036, radius)), image)
    weave = (0.75 + 0.25 * np.sin(130 * v) * np.sin(110 * u)) * np.clip(0.75 - 2.6 * u, 0.2, 1.2)
    image = over(
        cover(weave[..., None] * np.array([0.50, 0.25, 0.10], np.float32), box(0, 0.175, -2.06, -1.80)),
        image,
    )
    return over(cover((0.16, 0.07, 0.03), box(0, 0.185, -1.825, -1.785)), image)
