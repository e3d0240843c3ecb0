"""Random scenes, each a background with moving layers over it. Four functions build them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy.random import Generator

from masklet.datasets.types import Clip
from masklet.synthetic import motion, sprites
from masklet.synthetic.assets import (
    MIN_MOVED_BOX,
    AssetLibrary,
    PackedImage,
    UnlabelledVideo,
    resize_to_square,
)
from masklet.synthetic.effects import CameraEffects
from masklet.synthetic.sprites import Layer, Sprite, blur_motion, cast_shadow, paste

LONG_CLIP = 6  # frames; in longer clips objects leave and return more often
STEPS = 1, 3  # minimum and maximum frames of a background video per frame of a clip


@dataclass(frozen=True, eq=False)
class ImageBackground:
    """A moving image, and the masks of those of its instances that are objects."""

    pixels: UInt8[np.ndarray, "h w 3"]
    masks: tuple[UInt8[np.ndarray, "h w"], ...]
    path: Float[np.ndarray, "t 3 3"]  # image to view
    elastic: motion.Elastic | None
    shutter: float

    def __len__(self) -> int:
        return len(self.path)

    def middle(self, index: int) -> Float[np.ndarray, " 2"]:
        """The centre of an object in the view on the first frame."""
        moments = cv2.moments(self.masks[index], binaryImage=True)
        centre = np.array([moments["m10"], moments["m01"], moments["m00"]]) / moments["m00"]
        return (self.path[0] @ centre)[:2]

    def render(
        self, frame: int, size: int
    ) -> tuple[UInt8[np.ndarray, "s s 3"], list[Bool[np.ndarray, "s s"]]]:
        field = None if self.elastic is None else self.elastic.field(frame, size, size)
        maps = motion.remap_grid(self.path[frame], (0, 0, size, size), field)
        image = cv2.remap(self.pixels, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        masks = [cv2.remap(mask, *maps, cv2.INTER_LINEAR) > 127 for mask in self.masks]
        middle = self.pixels.shape[1] / 2, self.pixels.shape[0] / 2
        return blur_motion(image, self.shutter * motion.velocity(self.path, frame, middle)), masks


@dataclass(frozen=True, eq=False)
class Scene:
    """A background, layers over it, and the camera's effects.

    Attributes:
        layers: From far to near.
        labelled: The layers that are labelled as objects, besides those of the background.
    """

    background: ImageBackground | VideoBackground
    layers: tuple[Layer, ...]
    labelled: tuple[int, ...]
    camera: CameraEffects

    def render(self, size: int) -> Clip:
        images, masks = zip(
            *(self._render_frame(frame, size) for frame in range(len(self.background))), strict=True
        )
        return Clip(np.stack(images), np.stack(masks))

    def _render_frame(self, frame: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        image, masks = self.background.render(frame, size)
        for index, layer in enumerate(self.layers):
            mask = np.zeros((size, size), dtype=bool)
            drawn = layer.render(frame, size)
            if drawn is not None:
                window, rgba = drawn
                x0, y0, x1, y1 = window
                if layer.shadow:
                    cast_shadow(image, window, rgba[..., 3], layer.shadow)
                paste(image, window, rgba)
                solid = rgba[..., 3] > 127
                for behind in masks:
                    behind[y0:y1, x0:x1] &= ~solid
                mask[y0:y1, x0:x1] = solid
            if index in self.labelled:
                masks.append(mask)
        stacked = np.stack(masks) if masks else np.zeros((0, size, size), dtype=bool)
        return self.camera.apply(image, frame), stacked


@dataclass(frozen=True, eq=False)
class VideoBackground:
    """A window of some frames of a video, resized to the square. It has no labelled objects."""

    frames: tuple[UInt8[np.ndarray, "H W 3"], ...]
    window: tuple[int, int, int, int]
    mirrored: bool

    def __len__(self) -> int:
        return len(self.frames)

    def render(self, frame: int, size: int) -> tuple[UInt8[np.ndarray, "s s 3"], list[np.ndarray]]:
        x0, y0, x1, y1 = self.window
        pixels = self.frames[frame][y0:y1, x0:x1]
        image = resize_to_square(pixels, size)
        return np.ascontiguousarray(image[:, ::-1] if self.mirrored else image), []


@dataclass(frozen=True, eq=False)
class ClipSpec:
    """The format of a clip.

    Attributes:
        size: Side of every frame, in pixels.
        objects: The maximum number of labelled objects.
        grain: The camera's noise; see `make_grain`.
        speed: A factor of the speed of cameras and objects.
    """

    size: int
    frames: int
    objects: int
    grain: np.ndarray
    speed: float = 1.0


def build_moved(rng: Generator, assets: AssetLibrary, spec: ClipSpec) -> Scene:
    """Build a scene of a moving image whose instances are the objects.

    In half of the scenes a distractor passes in front, sometimes a copy of one of the objects.
    """
    image, index = assets.draw_large_instance(rng)
    view = motion.camera_motion(rng, spec.frames, spec.size, spec.speed)
    others = [other for other in image.instances_covering(MIN_MOVED_BOX) if other != index]
    labelled = [index, *rng.permutation(others)[: spec.objects - 1].tolist()]
    background = _image_background(rng, image, labelled, view, spec.size, around=index)
    layers: tuple[Layer, ...] = ()
    if rng.random() < 0.5:
        positions = _random_path(rng, spec, meet=background.middle(0) if rng.random() < 0.6 else None)
        double = rng.random() < 0.3
        sprite = (
            sprites.make_cutout(rng, image, index, spec.size) if double else _random_sprite(rng, assets, spec)
        )
        layers = (_make_layer(rng, sprite, positions, view, spec.size),)
    return Scene(background, layers, (), CameraEffects(rng, spec.frames, spec.size, spec.grain))


def build_pasted(rng: Generator, assets: AssetLibrary, spec: ClipSpec) -> Scene:
    """Build a scene of cut-outs that move over an image, with look-alikes and distractors in front."""
    view = motion.camera_motion(rng, spec.frames, spec.size, spec.speed)
    return _add_sprites(
        rng, assets, _image_background(rng, assets.draw_image(rng), [], view, spec.size), view, spec
    )


def build_pasted_on_video(rng: Generator, assets: AssetLibrary, spec: ClipSpec) -> Scene:
    """Build a scene of cut-outs that move over a part of a video, which has real camera motion."""
    still = np.tile(np.eye(3), (spec.frames, 1, 1))
    return _add_sprites(
        rng, assets, _video_background(rng, assets.draw_video(rng), spec.frames), still, spec, real=0.95
    )


def build_procedural(rng: Generator, assets: AssetLibrary, spec: ClipSpec) -> Scene:
    """Build a scene of procedural shapes and background. Some get their texture from images, if any."""
    view = motion.camera_motion(rng, spec.frames, spec.size, spec.speed)
    surface = sprites.make_texture(rng, spec.size, spec.size)
    background = ImageBackground(
        surface, (), view, _random_elastic(rng, spec.frames, 0.02 * spec.size), _random_shutter(rng)
    )
    return _add_sprites(rng, assets, background, view, spec, real=0.0)


def _add_sprites(
    rng: Generator,
    assets: AssetLibrary,
    background: ImageBackground | VideoBackground,
    view: np.ndarray,
    spec: ClipSpec,
    real: float = 0.85,
) -> Scene:
    """Add sprites over a background, in random order from far to near.

    Args:
        real: The share of cut-outs among the sprites.
    """
    subjects = [
        _random_sprite(rng, assets, spec, real) for _ in range(int(rng.integers(1, spec.objects + 1)))
    ]
    if rng.random() < 0.4:
        subjects.append(subjects[0])  # a look-alike
    if rng.random() < 0.3:
        subjects.append(_random_sprite(rng, assets, spec, real))
    paths = [_random_path(rng, spec)]
    for _ in subjects[1:]:
        paths.append(_random_path(rng, spec, meet=paths[0][0] if rng.random() < 0.35 else None))
    layers = [
        _make_layer(rng, subjects[row], paths[row], view, spec.size) for row in rng.permutation(len(subjects))
    ]
    mirrored = [_reflect(rng, layer, view, spec.size) for layer in layers] if rng.random() < 0.2 else []
    labelled = range(len(mirrored), len(mirrored) + len(layers))
    return Scene(
        background,
        (*mirrored, *layers),
        tuple(labelled),
        CameraEffects(rng, spec.frames, spec.size, spec.grain),
    )


def _random_sprite(rng: Generator, assets: AssetLibrary, spec: ClipSpec, real: float = 0.85) -> Sprite:
    if not assets.images:
        return sprites.make_procedural(rng, spec.size, spec.frames, None)
    if rng.random() >= real:
        return sprites.make_procedural(rng, spec.size, spec.frames, assets.draw_image(rng))
    image, index = assets.draw_cutout(rng)
    return sprites.make_cutout(rng, image, index, spec.size)


def _random_path(rng: Generator, spec: ClipSpec, meet: np.ndarray | None = None) -> Float[np.ndarray, "t 2"]:
    """The centre of a sprite on each frame. It moves, stands, or leaves and returns.

    Args:
        meet: A point (x, y) that it passes on one of the frames.
    """
    speed = 0.0 if rng.random() < 0.1 else motion.log_uniform(rng, 0.002, 0.1) * spec.speed * spec.size
    positions = motion.random_walk(rng, spec.frames, 2, speed)
    if meet is not None:
        return meet + positions - positions[int(rng.integers(spec.frames))]
    positions += rng.uniform(0.15, 0.85, 2) * spec.size
    if spec.frames > 2 and rng.random() < (0.2 if spec.frames > LONG_CLIP else 0.1):
        positions += _leave_and_return(rng, spec.frames, spec.size)
    return positions


def _make_layer(rng: Generator, sprite: Sprite, positions: np.ndarray, view: np.ndarray, size: int) -> Layer:
    """Move a sprite along a path, with random rotation, scale and deformation."""
    height, width = sprite.rgba.shape[1:3]
    side = motion.log_uniform(rng, 0.12, 0.6) * size
    scale = min(side / max(1.0, sprite.extent), 2.0)
    angle = rng.normal(0, 0.3) + motion.random_walk(rng, len(positions), 1, 0.12 * rng.random() ** 2)[:, 0]
    growth = np.exp(motion.random_walk(rng, len(positions), 1, 0.06 * rng.random() ** 2)[:, 0])
    stretch = motion.log_uniform(rng, 0.8, 1.25)
    middle = motion.translation(-width / 2, -height / 2)
    path = [
        seen @ motion.similarity(x, y, turn, scale * grown, stretch) @ middle
        for seen, (x, y), turn, grown in zip(view, positions, angle, growth, strict=True)
    ]
    shadow = rng.uniform(0.2, 0.6) if rng.random() < 0.3 else 0.0
    return Layer(
        sprite,
        np.stack(path),
        _random_elastic(rng, len(positions), 0.06 * side),
        _random_shutter(rng),
        shadow,
    )


def _reflect(rng: Generator, layer: Layer, view: np.ndarray, size: int) -> Layer:
    """The reflection of a layer in water: upside down, dimmer, rippling. It is not part of the object."""
    height, width = layer.sprite.rgba.shape[1:3]
    corners = layer.path[0] @ np.array([[0, width, 0, width], [0, 0, height, height], [1.0] * 4])
    # The height of the water line on the first frame; later it moves with the view.
    shore = corners[1].max() + rng.uniform(-0.02, 0.1) * size
    flip = np.array([[1.0, 0.0, 0.0], [0.0, -1.0, 2 * shore], [0.0, 0.0, 1.0]])
    still = view[0]
    flips = view @ np.linalg.inv(still) @ flip @ still @ np.linalg.inv(view)
    light = np.array([rng.uniform(0.6, 1.0)] * 3 + [1.0]) * rng.uniform(0.6, 1.0)
    dimmed = Sprite((layer.sprite.rgba * light).astype(np.uint8))
    ripple = motion.Elastic(rng, len(view), 0.01 * size * rng.random(), cells=6)
    return Layer(dimmed, flips @ layer.path, ripple, layer.shutter, 0.0)


def _leave_and_return(rng: Generator, frames: int, size: int) -> np.ndarray:
    """Displacements out of the frame and back: (frames, 2), zero at both ends."""
    turn = rng.uniform(0, 2 * np.pi)
    away = np.sin(np.linspace(0, np.pi, frames)) ** rng.uniform(0.5, 1.5) * 1.2 * size
    return away[:, None] * (np.cos(turn), np.sin(turn))


def _random_elastic(rng: Generator, frames: int, amplitude: float) -> motion.Elastic | None:
    if rng.random() < 0.25:
        return None
    return motion.Elastic(rng, frames, amplitude * rng.random(), cells=int(rng.integers(3, 6)))


def _random_shutter(rng: Generator) -> float:
    return float(rng.uniform(0.2, 0.7)) if rng.random() < 0.3 else 0.0


def _image_background(
    rng: Generator,
    image: PackedImage,
    objects: Sequence[int],
    camera: np.ndarray,
    size: int,
    around: int | None = None,
) -> ImageBackground:
    """A window of an image, resized to the square. The camera never shows anything outside the image.

    Pixels outside would be mirrored, and the mirror image of an object would have no mask.

    Args:
        around: An instance that must be in view on the first frame.
    """
    height, width = image.pixels.shape[:2]
    low, high = _visible_bounds(camera, size)
    zoom = motion.log_uniform(rng, 0.55, 1.0) * np.exp(rng.normal(0, 0.1, 2))
    if around is not None:
        x0, y0, x1, y1 = image.boxes[around]
        zoom = np.maximum(zoom, 1.1 * np.array([(x1 - x0) / width, (y1 - y0) / height]))
    window = np.minimum(np.clip(zoom, 0.4, 1.0), size / (high - low)) * (width, height)
    per_pixel = window / size  # of the view, in pixels of the image
    room = (width, height) - (high - low) * per_pixel
    corner = rng.random(2) * room
    mirror = rng.random() < 0.5
    if around is not None:
        middle = np.array([width - (x0 + x1) / 2 if mirror else (x0 + x1) / 2, (y0 + y1) / 2])
        corner = np.clip(middle - (rng.uniform(0.25, 0.75, 2) * size - low) * per_pixel, 0, room)
    framing = np.diag([*(1 / per_pixel), 1.0]) @ motion.translation(*(low * per_pixel - corner))
    pixels, masks = image.pixels, [image.mask(row).view(np.uint8) * 255 for row in objects]
    if per_pixel.min() > 1.33:  # reducing would cause aliasing
        shape = round(width / per_pixel.min()), round(height / per_pixel.min())
        pixels = cv2.resize(pixels, shape, interpolation=cv2.INTER_AREA)
        masks = [np.asarray(cv2.resize(mask, shape, interpolation=cv2.INTER_AREA)) for mask in masks]
        framing = framing @ np.diag([width / shape[0], height / shape[1], 1.0])
    if mirror:
        pixels, masks = pixels[:, ::-1], [mask[:, ::-1] for mask in masks]
    sway = _random_elastic(rng, len(camera), 0.02 * size)
    return ImageBackground(pixels, tuple(masks), camera @ framing, sway, _random_shutter(rng))


def _visible_bounds(camera: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The bounds (low, high) of all that a camera shows, in coordinates of the view of a fixed camera."""
    margin = 0.03 * size  # room for the sway of the background
    reach = np.array([[-margin, size + margin] * 2, [-margin] * 2 + [size + margin] * 2, [1.0] * 4])
    corners = (np.linalg.inv(camera) @ reach)[:, :2]
    return corners.min(axis=(0, 2)), corners.max(axis=(0, 2))


def _video_background(rng: Generator, video: UnlabelledVideo, frames: int) -> VideoBackground:
    """A part of a video, forwards or backwards, at a random speed. A short video is reflected in time."""
    step = int(rng.integers(STEPS[0], STEPS[1] + 1)) * (1 if rng.random() < 0.5 else -1)
    last = len(video.frames) - 1
    taken = (int(rng.integers(last + 1)) + step * np.arange(frames)) % max(1, 2 * last)
    height, width = video.frames.shape[1:3]
    high, wide = (int(rng.uniform(0.6, 1.0) * side) for side in (height, width))
    x, y = int(rng.integers(width - wide + 1)), int(rng.integers(height - high + 1))
    shown = tuple(video.frames[index] for index in np.minimum(taken, 2 * last - taken))
    return VideoBackground(shown, (x, y, x + wide, y + high), bool(rng.random() < 0.5))
