"""Sprites: cut-outs of real instances and procedural, textured shapes; and the layers that move them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numpy.random import Generator

from masklet.synthetic import motion
from masklet.synthetic.assets import PackedImage
from masklet.synthetic.effects import recolour

Window = tuple[int, int, int, int]
# A blurred mask would include old background: these factors make its edge steeper and move it inwards.
EDGE = np.clip(np.arange(256) * 2 - 175, 0, 255).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class Sprite:
    """Pixels to paste: premultiplied colours and opacity, as one image or one per frame."""

    rgba: UInt8[np.ndarray, "t h w 4"]

    def at(self, frame: int) -> UInt8[np.ndarray, "h w 4"]:
        return self.rgba[min(frame, len(self.rgba) - 1)]

    @property
    def extent(self) -> float:
        """The side of a square with the area of its opaque pixels."""
        return float(np.sqrt(np.count_nonzero(self.rgba[0, ..., 3] > 127)))


@dataclass(frozen=True, eq=False)
class Layer:
    """A moving sprite: its placement on each frame, its deformation and its motion blur."""

    sprite: Sprite
    path: Float[np.ndarray, "t 3 3"]  # sprite to view
    elastic: motion.Elastic | None
    shutter: float  # share of a frame's motion that is blurred
    shadow: float

    def render(self, frame: int, size: int) -> tuple[Window, UInt8[np.ndarray, "h w 4"]] | None:
        """The window that it covers on a frame, and its pixels there; None if it is out of view."""
        sprite, matrix = self.sprite.at(frame), self.path[frame]
        moved = self.shutter * motion.velocity(self.path, frame, (sprite.shape[1] / 2, sprite.shape[0] / 2))
        sway = 0.0 if self.elastic is None else self.elastic.reach(frame)
        box = _bounding_box(matrix, sprite.shape, room=2 + sway + np.hypot(*moved) / 2)
        window = max(0, box[0]), max(0, box[1]), min(size, box[2]), min(size, box[3])
        if window[0] >= window[2] or window[1] >= window[3]:
            return None
        field = None if self.elastic is None else _crop_field(self.elastic, frame, box, window)
        drawn = cv2.remap(sprite, *motion.remap_grid(matrix, window, field), cv2.INTER_LINEAR)
        return window, blur_motion(drawn, moved)


def _bounding_box(matrix: np.ndarray, shape: tuple[int, ...], room: float) -> Window:
    """A sprite's bounding box in coordinates of the view. It may lie outside the view."""
    height, width = shape[:2]
    corners = (matrix @ np.array([[0, width, 0, width], [0, 0, height, height], [1, 1, 1, 1]]))[:2]
    x0, y0 = np.floor(corners.min(axis=1) - room)
    x1, y1 = np.ceil(corners.max(axis=1) + room)
    return int(x0), int(y0), int(x1), int(y1)


def _crop_field(elastic: motion.Elastic, frame: int, box: Window, part: Window) -> Float[np.ndarray, "h w 2"]:
    """The displacement field of a deformation of a box, for a part of the box."""
    x0, y0, x1, y1 = box
    field = elastic.field(frame, x1 - x0, y1 - y0)
    return field[part[1] - y0 : part[3] - y0, part[0] - x0 : part[2] - x0]


def blur_motion(image: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """Blur along the motion (x, y) during the exposure, in pixels."""
    reach = min(float(np.hypot(*moved)), 0.1 * max(image.shape[:2]), 15.0)
    side = int(reach) // 2 * 2 + 1
    if side < 3:
        return image
    kernel = np.zeros((side, side), dtype=np.float32)
    dx, dy = moved / np.hypot(*moved) * (side // 2)
    centre = side // 2
    ends = ((round(centre - dx), round(centre - dy)), (round(centre + dx), round(centre + dy)))
    cv2.line(kernel, *ends, 1.0)
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)


def make_cutout(rng: Generator, image: PackedImage, index: int, size: int) -> Sprite:
    """Cut an instance out along its mask. Half of them are mirrored; all are at most 0.7 `size` large."""
    x0, y0, x1, y1 = image.boxes[index]
    pixels, alpha = image.pixels[y0:y1, x0:x1], _trim(image.cropped_mask(index).astype(np.uint8) * 255)
    scale = min(1.0, 0.7 * size / max(alpha.shape))
    if scale < 1.0:
        shape = max(2, round(alpha.shape[1] * scale)), max(2, round(alpha.shape[0] * scale))
        pixels, alpha = (cv2.resize(layer, shape, interpolation=cv2.INTER_AREA) for layer in (pixels, alpha))
    if rng.random() < 0.5:
        pixels, alpha = pixels[:, ::-1], alpha[:, ::-1]
    margin = 2
    pixels = cv2.copyMakeBorder(pixels, margin, margin, margin, margin, cv2.BORDER_REPLICATE)
    alpha = cv2.copyMakeBorder(alpha, margin, margin, margin, margin, cv2.BORDER_CONSTANT)
    alpha = np.asarray(cv2.LUT(cv2.GaussianBlur(alpha, (0, 0), 0.8), EDGE))
    return Sprite(_multiply(recolour(rng, pixels, strength=0.5), alpha)[None])


def _trim(alpha: np.ndarray) -> np.ndarray:
    """Erode a mask if it is thick enough, because annotated outlines are often too wide."""
    padded = np.pad(alpha, 1)
    area = np.count_nonzero(alpha)
    side = 2 * round(0.025 * area**0.5) + 1
    trimmed = cv2.erode(padded, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))[1:-1, 1:-1]
    return trimmed if np.count_nonzero(trimmed) > 0.8 * area else alpha


def make_procedural(rng: Generator, size: int, frames: int, photo: PackedImage | None) -> Sprite:
    """A blob, polygon or jointed figure, with a procedural texture or that of a patch of a photo."""
    side = round(size * rng.uniform(0.25, 0.5))
    kind = rng.integers(3)
    outlines = (
        make_jointed_figure(rng, side, frames)
        if kind == 0
        else (make_blob if kind == 1 else make_polygon)(rng, side)[None]
    )
    surface = (
        make_texture(rng, side, side)
        if photo is None or rng.random() < 0.5
        else random_patch(rng, photo, side)
    )
    if rng.random() < 0.5:  # shading of a round surface that is lit from one side
        depth = np.asarray(cv2.GaussianBlur(outlines[0], (0, 0), side / 10), dtype=np.float32) / 255
        slope = 0.3 * rng.uniform(-1, 1) * np.linspace(-1, 1, side, dtype=np.float32)
        light = np.clip(0.4 + 0.8 * depth + slope, 0, 1.3)
        surface = np.clip(surface * light[..., None], 0, 255).astype(np.uint8)
    return Sprite(np.stack([_multiply(surface, outline) for outline in outlines]))


def random_patch(rng: Generator, photo: PackedImage, side: int) -> UInt8[np.ndarray, "side side 3"]:
    """A random square patch of a photo."""
    height, width = photo.pixels.shape[:2]
    reach = int(min(height, width) * rng.uniform(0.3, 1.0))
    x, y = rng.integers(width - reach + 1), rng.integers(height - reach + 1)
    return cv2.resize(photo.pixels[y : y + reach, x : x + reach], (side, side), interpolation=cv2.INTER_AREA)


def _multiply(pixels: np.ndarray, alpha: np.ndarray) -> UInt8[np.ndarray, "h w 4"]:
    return cv2.merge([cv2.multiply(pixels, cv2.merge([alpha] * 3), scale=1 / 255), alpha])


def paste(image: np.ndarray, window: Window, drawn: np.ndarray) -> None:
    """Draw a sprite over part of an image, in place."""
    x0, y0, x1, y1 = window
    under = image[y0:y1, x0:x1]
    clear = cv2.merge([cv2.bitwise_not(drawn[..., 3])] * 3)
    under[:] = cv2.add(cv2.multiply(under, clear, scale=1 / 255), drawn[..., :3])


def cast_shadow(image: np.ndarray, window: Window, alpha: np.ndarray, depth: float) -> None:
    """Draw a soft shadow below and beside a sprite, in place."""
    x0, y0, x1, y1 = window
    reach = max(2, (y1 - y0) // 12)
    soft = cv2.blur(alpha, (2 * reach + 1, 2 * reach + 1))
    top, left = min(reach, image.shape[0] - y0), min(reach // 2, image.shape[1] - x0)
    under = image[y0 + top : y1 + top, x0 + left : x1 + left]
    if under.size == 0:
        return
    soft = soft[: under.shape[0], : under.shape[1]]
    light = 255 - (soft * np.float32(depth)).astype(np.uint8)
    under[:] = cv2.multiply(under, cv2.merge([light] * 3), scale=1 / 255)


def make_texture(rng: Generator, height: int, width: int) -> UInt8[np.ndarray, "h w 3"]:
    """Clouds, stripes, checks or a gradient, coloured with a random palette."""
    kind = rng.integers(4)
    level = make_clouds(rng, height, width)
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
    return make_palette(rng)[np.clip(level * 255, 0, 255).astype(np.uint8)]


def make_palette(rng: Generator) -> UInt8[np.ndarray, "256 3"]:
    """A smooth gradient through a few random colours of random saturation."""
    count = int(rng.integers(2, 6))
    colours = rng.uniform(0, 255, (count, 3))
    grey = colours.mean(axis=1, keepdims=True)
    colours = grey + (colours - grey) * rng.random()
    stops = np.linspace(0, 255, count)
    return np.stack([np.interp(np.arange(256), stops, colours[:, c]) for c in range(3)], axis=1).astype(
        np.uint8
    )


def make_clouds(rng: Generator, height: int, width: int) -> np.ndarray:
    """Octaves of smooth noise, from about 0 to 1."""
    total = np.full((height, width), 0.5, dtype=np.float32)
    cells, weight, roughness = 3, 0.3, rng.uniform(0.35, 0.75)
    for _ in range(4):
        noise = rng.standard_normal((cells, cells), dtype=np.float32)
        total += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC) * np.float32(weight)
        cells, weight = cells * 2 + 1, weight * roughness
    return total


def make_blob(rng: Generator, side: int) -> UInt8[np.ndarray, "side side"]:
    """A rounded outline: a circle deformed by a few waves."""
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


def make_polygon(rng: Generator, side: int) -> UInt8[np.ndarray, "side side"]:
    """A star-shaped polygon of three to eight corners."""
    corners = int(rng.integers(3, 9))
    turn = (np.arange(corners) + rng.uniform(-0.3, 0.3, corners)) * 2 * np.pi / corners
    return _fill(np.stack([np.cos(turn), np.sin(turn)], axis=1) * rng.uniform(0.4, 1, (corners, 1)), side)


def make_jointed_figure(rng: Generator, side: int, frames: int) -> UInt8[np.ndarray, "t side side"]:
    """A body with limbs that swing about their joints, as an outline for each frame."""
    body = rng.uniform(0.14, 0.24, 2)
    limbs = int(rng.integers(2, 6))
    rest, phase = rng.uniform(0, 2 * np.pi, limbs), rng.uniform(0, 2 * np.pi, (2, limbs))
    lengths, thick = (
        rng.uniform(0.12, 0.24, (2, limbs)),
        rng.integers(max(2, side // 20), max(3, side // 8), limbs),
    )
    swing, speed = rng.uniform(0.1, 0.9), rng.uniform(0.2, 0.9)
    outlines = np.zeros((frames, side, side), dtype=np.uint8)
    for frame, outline in enumerate(outlines):
        cv2.ellipse(outline, (side // 2, side // 2), tuple(int(r * side) for r in body), 0, 0, 360, 255, -1)
        for limb in range(limbs):
            at = np.array([0.5, 0.5]) + 0.8 * body * (np.cos(rest[limb]), np.sin(rest[limb]))
            angle = rest[limb]
            for joint in range(2):
                angle = angle + swing * np.sin(phase[joint, limb] + speed * frame)
                end = at + lengths[joint, limb] * np.array([np.cos(angle), np.sin(angle)])
                start, stop = (tuple(int(v) for v in point * side) for point in (at, end))
                cv2.line(outline, start, stop, 255, int(thick[limb]), cv2.LINE_AA)
                at = end
    return outlines


def _fill(points: np.ndarray, side: int) -> UInt8[np.ndarray, "side side"]:
    """Fill a closed outline, scaled to fit the image."""
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 2
    points = margin + (points - low) / (high - low).max() * (side - 1 - 2 * margin)
    outline = np.zeros((side, side), dtype=np.uint8)
    cv2.fillPoly(outline, [np.round(points * 16).astype(np.int32)], 255, cv2.LINE_AA, shift=4)
    return outline
