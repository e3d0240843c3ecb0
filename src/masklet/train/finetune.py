"""The recipe for teaching a trained model one's own pictures and videos; `recipes/` fills in its numbers."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from masklet.datasets import DatasetItem
from masklet.errors import MediaError
from masklet.synthetic.clip import Clip
from masklet.train.augment import Augmentation
from masklet.train.options import Order
from masklet.train.presets import Preset, trunk_learns
from masklet.train.recipe import Exam, Recipe, Share, Stage
from masklet.train.sampling import Sampler
from masklet.train.validation import held_back_stills

log = logging.getLogger(__name__)

SAME = (0.0, 0.0, 0.0)
PLAIN = Augmentation(flip=0, reverse=0, turn=0, shear=0, colour=SAME, flicker=SAME, grey=0)
RATES: dict[Preset, float] = {"decoder": 1e-4, "memory": 5e-5, "everything": 1e-5, "lora": 2e-4}
FROM_NOTHING = 1e-3  # rate of a network that knows nothing yet
EXAMINED = 8  # clips that are followed in each measurement


@dataclass(frozen=True)
class FineTuning:
    """The numbers of a fine-tune.

    frames : of a clip; 1 learns from stills alone
    stills, clips : in a batch, for each process
    objects : the most that a still or clip labels
    stills_share : how many of the batches are stills, where there are clips at all
    repeat : different stills, and clips; each is encoded once where the trunk does not learn
    """

    preset: Preset = "decoder"
    model: str = "sam2.1-hiera-tiny"
    steps: int = 1000
    frames: int = 1
    stills: int = 2
    clips: int = 1
    objects: int = 3
    stills_share: float = 0.5
    accumulate: int = 1
    repeat: int | None = None
    layer_decay: float = 0.9
    checkpointed: bool = False

    def recipe(self, order: Order) -> Recipe:
        """The recipe for an order, whose words come before these numbers.

        A network that begins from nothing has nothing to keep: all of it learns, and fast.
        """
        config, start = order.beginning(self.model)
        config = replace(config, image_size=order.image_size or config.image_size)
        fresh, steps = start is None, order.steps or self.steps
        preset: Preset = "everything" if fresh else order.preset or self.preset
        rate = order.rate or (FROM_NOTHING if fresh else RATES[preset])
        stage = Stage(
            "fine-tuning",
            config.image_size,
            steps,
            (rate, rate / 10),
            self._shares(order.footage[0], config.image_size),
            loss_size=config.image_size,
            decline="cosine",
        )
        return Recipe(
            config,
            (stage,),
            start=start,
            preset=preset,
            warmup=max(1, min(100, steps // 10)),
            trunk_pace=0.2 if fresh else 0.6,  # as the paper trains, and as the published code fine-tunes
            weight_decay=0.1,
            clip_norm=0.1 if trunk_learns(preset) and not fresh else 1.0,
            ema=1 - 1 / max(2, min(1000, steps // 10)),
            layer_decay=1.0 if fresh else self.layer_decay,
            accumulate=self.accumulate,
            checkpointed=self.checkpointed,
            repeat=None if trunk_learns(preset) else self.repeat,
            exam=make_exam(order.footage[1], config.image_size, self.frames, max(1, steps // 10)),
        )

    def _shares(self, footage: Sequence[DatasetItem], size: int) -> tuple[Share, ...]:
        stills = Share(Sampler(footage, size, 1, self.objects, seed=1).clip, self.stills, self.stills_share)
        if self.frames == 1:
            return (stills,)
        clips = Sampler(footage, size, self.frames, self.objects, seed=2)
        return stills, Share(clips.clip, self.clips, 1 - self.stills_share)


def make_exam(footage: Sequence[DatasetItem], size: int, frames: int, every: int) -> Exam:
    """One plain still of each piece of footage, and where clips are learned a clip of some."""
    stills = [_plain(each, size, 1) for each in footage]
    clips = [_plain(each, size, frames) for each in footage[:EXAMINED]] if frames > 1 else []
    shown = held_back_stills([still for still in stills if still is not None])
    if not shown:
        raise MediaError("nothing that was held back for validation can be read and shows an object.")
    return Exam(shown, tuple(clip for clip in clips if clip is not None), every)


def _plain(footage: DatasetItem, size: int, frames: int) -> Clip | None:
    try:
        return Sampler([footage], size, frames, objects=8, seed=0, augmentation=PLAIN).clip(0)
    except MediaError as error:
        log.warning("%s is left out of validation: %s", footage.name, error)
        return None
