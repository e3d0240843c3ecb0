"""A backdrop and the layers over it, drawn frame by frame, with what stays visible of each object."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from masklet.synthetic import motion
from masklet.synthetic.clip import Clip
from masklet.synthetic.effects import Camera
from masklet.synthetic.films import FilmBackdrop
from masklet.synthetic.sprites import Layer, darken, paste, smear


@dataclass(frozen=True, eq=False)
class Backdrop:
    """A picture moved whole, and the masks of those of its instances that are objects."""

    pixels: UInt8[np.ndarray, "h w 3"]
    masks: tuple[UInt8[np.ndarray, "h w"], ...]
    path: Float[np.ndarray, "t 3 3"]  # picture to view
    elastic: motion.Elastic | None
    shutter: float

    def __len__(self) -> int:
        return len(self.path)

    def middle(self, index: int) -> Float[np.ndarray, " 2"]:
        """Where an object's middle is in the view on the first frame."""
        moments = cv2.moments(self.masks[index], binaryImage=True)
        centre = np.array([moments["m10"], moments["m01"], moments["m00"]]) / moments["m00"]
        return (self.path[0] @ centre)[:2]

    def draw(self, frame: int, size: int) -> tuple[UInt8[np.ndarray, "s s 3"], list[Bool[np.ndarray, "s s"]]]:
        field = None if self.elastic is None else self.elastic.field(frame, size, size)
        maps = motion.lookup(self.path[frame], (0, 0, size, size), field)
        image = cv2.remap(self.pixels, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        masks = [cv2.remap(mask, *maps, cv2.INTER_LINEAR) > 127 for mask in self.masks]
        middle = self.pixels.shape[1] / 2, self.pixels.shape[0] / 2
        return smear(image, self.shutter * motion.speed(self.path, frame, middle)), masks


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything in front of the camera.

    layers : from far to near
    chosen : the layers that are objects, besides those of the backdrop
    """

    backdrop: Backdrop | FilmBackdrop
    layers: tuple[Layer, ...]
    chosen: tuple[int, ...]
    camera: Camera

    def film(self, size: int) -> Clip:
        images, masks = zip(*(self._shoot(frame, size) for frame in range(len(self.backdrop))), strict=True)
        return Clip(np.stack(images), np.stack(masks))

    def _shoot(self, frame: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        image, masks = self.backdrop.draw(frame, size)
        for index, layer in enumerate(self.layers):
            mask = np.zeros((size, size), dtype=bool)
            drawn = layer.draw(frame, size)
            if drawn is not None:
                window, rgba = drawn
                x0, y0, x1, y1 = window
                if layer.shadow:
                    darken(image, window, rgba[..., 3], layer.shadow)
                paste(image, window, rgba)
                solid = rgba[..., 3] > 127
                for behind in masks:
                    behind[y0:y1, x0:x1] &= ~solid
                mask[y0:y1, x0:x1] = solid
            if index in self.chosen:
                masks.append(mask)
        kept = np.stack(masks) if masks else np.zeros((0, size, size), dtype=bool)
        return self.camera.record(image, frame), kept
