"""A training run as a value: the network, the stages it goes through, and the numbers of the optimiser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from masklet.config import Sam2Config
from masklet.train.clip import Clip
from masklet.train.losses import FOCAL
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
    rates : learning rate at its start and at its end; a straight line between them
    loss_size : side of the maps on which masks are compared
    corrections : clicks on a corrected frame
    focal : weight of the focal loss
    """

    name: str
    image_size: int
    steps: int
    rates: tuple[float, float]
    shares: tuple[Share, ...]
    loss_size: int
    corrections: int = CORRECTIONS
    focal: float = FOCAL


@dataclass(frozen=True)
class Recipe:
    """Everything that a run is a function of."""

    config: Sam2Config
    stages: tuple[Stage, ...]
    seed: int = 0
    warmup: int = 200  # steps over which the learning rate rises from nothing, at the run's start
    trunk_pace: float = (
        0.2  # the image encoder's learning rate against the rest's, as in the paper (app. C.2)
    )
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    ema: float = 0.999
    layer_scale: float = 0.1  # of the memory encoder's blocks at the start

    def at(self, step: int) -> tuple[Stage, float] | None:
        """The stage of a step and its learning rate, or None past the end."""
        begin = 0
        for stage in self.stages:
            if step < begin + stage.steps:
                first, last = stage.rates
                rate = first + (last - first) * (step - begin) / stage.steps
                return stage, rate * min(1.0, (step + 1) / self.warmup)
            begin += stage.steps
        return None
