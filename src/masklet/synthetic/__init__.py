"""Composes labelled clips: moving images, pasted cut-outs, procedural shapes, and stills.

A clip depends only on the composer's seed and the clip's number, so any clip of a run can be composed
again. This package does not depend on training. Without images, everything is procedural.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np
from numpy.random import Generator

from masklet.boxes import box_area, tight_box
from masklet.datasets.types import Clip
from masklet.synthetic import scenes
from masklet.synthetic.assets import AssetLibrary, PackedImage
from masklet.synthetic.effects import make_grain
from masklet.synthetic.stills import make_augmented_still


@dataclass(frozen=True)
class ClipMix:
    """How often each kind of clip is composed, as relative weights.

    Attributes:
        still: An augmented crop of one image; only for clips of one frame.
        moved: A moving image whose instances are the objects, sometimes with a distractor in front.
        pasted: Cut-outs that move over an image.
        procedural: Procedural shapes and backgrounds.
        pasted_on_video: Cut-outs that move over a part of a video.
    """

    still: float
    moved: float
    pasted: float
    procedural: float
    pasted_on_video: float = 0.0


THIN = 4  # an object that fills less than a fourth of its box is thin
STILLS = ClipMix(still=0.85, moved=0.0, pasted=0.12, procedural=0.03)
CLIPS = ClipMix(still=0.0, moved=0.45, pasted=0.47, procedural=0.08)


class Composer:
    """Composes clips.

    Args:
        assets: Images, or an `AssetLibrary` with cut-outs and videos too; may be empty.
        size: Side of every frame, in pixels.
        frames: Length of every clip.
        objects: The maximum per clip; at least one is visible on the first frame.
        seed: Determines all clips, together with their numbers.
        mix: How often each kind of clip is composed; by default `STILLS` or `CLIPS`.
        min_area: Share of the first frame that an object must cover to be labelled.
        speed: A factor of the speed of cameras and objects.
    """

    def __init__(
        self,
        assets: AssetLibrary | Sequence[PackedImage],
        size: int,
        frames: int,
        objects: int,
        seed: int,
        mix: ClipMix | None = None,
        min_area: float = 0.002,
        speed: float = 1.0,
    ) -> None:
        self.seed, self.min_area = seed, min_area
        assets = assets if isinstance(assets, AssetLibrary) else AssetLibrary(assets)
        mix = mix or (STILLS if frames == 1 else CLIPS)
        if frames > 1 and mix.still:
            raise ValueError(
                f"stills are clips of one frame. Got frames={frames} and a weight of {mix.still} for stills."
            )
        weights = np.array(astuple(mix)) * (*[bool(assets.images)] * 3, True, bool(assets.videos))
        if weights.sum() <= 0:
            raise ValueError(
                "without images only procedural clips can be made, and the mix gives them no weight."
            )
        self.weights = weights / weights.sum()
        self.assets = assets
        self.spec = scenes.ClipSpec(size, frames, objects, make_grain(size + 128), speed)

    def clip(self, number: int) -> Clip:
        """The clip with this number, always the same."""
        rng = np.random.default_rng([self.seed, number])
        while True:  # a few percent have no object on the first frame
            clip = self._keep_visible(rng, self._compose(rng))
            if clip.objects:
                return clip

    def _compose(self, rng: Generator) -> Clip:
        kind = rng.choice(len(self.weights), p=self.weights)
        if kind == 0:
            image, index = self.assets.draw_instance(rng)
            return make_augmented_still(rng, image, index, self.spec.size, self.spec.grain)
        build = (
            scenes.build_moved,
            scenes.build_pasted,
            scenes.build_procedural,
            scenes.build_pasted_on_video,
        )[kind - 1]
        return build(rng, self.assets, self.spec).render(self.spec.size)

    def _large_enough(self, mask: np.ndarray) -> bool:
        """Whether a mask is large enough to be labelled. The area of a thin mask is that of its box."""
        area = mask.mean()
        if area < self.min_area / THIN:
            return False
        return bool(area >= self.min_area or _box_area(mask) >= THIN * self.min_area)

    def _keep_visible(self, rng: Generator, clip: Clip) -> Clip:
        """The clip with the objects that are large enough on its first frame and do not fill it.

        On later frames a mask of a few pixels counts as hidden.
        """
        area = clip.masks.mean(axis=(2, 3))
        enough = np.array([self._large_enough(mask) for mask in clip.masks[0]], dtype=bool)
        usable = np.flatnonzero(enough & (area[0] <= 0.9))
        if len(usable) > self.spec.objects:
            usable = np.sort(rng.choice(usable, self.spec.objects, replace=False))
        masks = clip.masks[:, usable].copy()
        masks[area[:, usable] < 1e-4] = False
        return Clip(clip.images, masks)


def _box_area(mask: np.ndarray) -> float:
    """The share of a frame that the box around a mask covers."""
    return box_area(tight_box(mask) or (0, 0, 0, 0)) / mask.size
