"""A training run as a value: the network, the stages it goes through, and the numbers of the optimiser."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from masklet.config import Sam2Config
from masklet.synthetic.clip import Clip
from masklet.train.losses import FOCAL, IOU
from masklet.train.presets import Preset
from masklet.train.rollout import CORRECTIONS

Source = Callable[[int], Clip]  # a clip's number to the clip


@dataclass(frozen=True)
class Share:
    """One kind of batch within a stage.

    source : where the clips come from, all of one length and size
    clips : in a batch, for each process
    weight : how often a batch is of this kind, against the stage's other shares
    """

    source: Source
    clips: int
    weight: float = 1.0


@dataclass(frozen=True)
class Stage:
    """A stretch of training at one image size.

    steps : optimiser steps
    rates : learning rate at its start and at its end
    loss_size : side of the maps on which masks are compared
    corrections : clicks on a corrected frame
    focal, iou : weights of these losses
    decline : how the learning rate goes from its start to its end
    """

    name: str
    image_size: int
    steps: int
    rates: tuple[float, float]
    shares: tuple[Share, ...]
    loss_size: int
    corrections: int = CORRECTIONS
    focal: float = FOCAL
    iou: float = IOU
    decline: Literal["straight", "cosine"] = "straight"

    def rate(self, step: int) -> float:
        """The learning rate at a step of this stage."""
        first, last = self.rates
        if self.decline == "cosine":
            return last + (first - last) * (1 + math.cos(math.pi * step / self.steps)) / 2
        return first + (last - first) * step / self.steps


@dataclass(frozen=True)
class Exam:
    """Held-back clips on which a run is measured while it goes on, all of the run's image size.

    stills : clips of one frame
    clips : longer ones, followed from the first frame's mask
    every : steps between two measurements
    """

    stills: tuple[Clip, ...]
    clips: tuple[Clip, ...] = ()
    every: int = 200


@dataclass(frozen=True)
class Recipe:
    """Everything that a run is a function of.

    warmup : steps over which the learning rate rises from nothing, at the run's start
    trunk_pace : the image encoder's learning rate against the rest's, as in the paper (app. C.2)
    layer_scale : of the memory encoder's blocks at the start
    start : the weights to begin with, as masklet.load takes them; None begins from nothing
    preset : the parts of the network that learn
    layer_decay : each block of the trunk learns slower by this factor than the block after it
    accumulate : batches to a step, for each process; two processes of one batch learn what one of two does
    checkpointed : the trunk's activations are computed again when needed, which takes time and spares memory
    repeat : the clips of a source are that many, over and over; a trunk that does not learn sees each once
    """

    config: Sam2Config
    stages: tuple[Stage, ...]
    seed: int = 0
    warmup: int = 200
    trunk_pace: float = 0.2
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    ema: float = 0.999
    layer_scale: float = 0.1
    start: str | None = None
    preset: Preset = "everything"
    layer_decay: float = 1.0
    accumulate: int = 1
    checkpointed: bool = False
    repeat: int | None = None
    exam: Exam | None = None

    @property
    def steps(self) -> int:
        return sum(stage.steps for stage in self.stages)

    def at(self, step: int) -> tuple[Stage, float] | None:
        """The stage of a step and its learning rate, or None past the end."""
        begin = 0
        for stage in self.stages:
            if step < begin + stage.steps:
                return stage, stage.rate(step - begin) * min(1.0, (step + 1) / self.warmup)
            begin += stage.steps
        return None
