"""A training run as a value: the network, the stages of training, and the optimizer's settings."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from masklet import checkpoint
from masklet.config import TRAINABLE, Sam2Config
from masklet.datasets import DatasetItem, find_items
from masklet.datasets.types import Clip
from masklet.errors import MaskletError, MediaError, OptionError, check_count
from masklet.model import Sam2
from masklet.rle import RLE
from masklet.simulated_user import ImagePredictor
from masklet.synthetic.assets import PackedImage, load_images
from masklet.train.parameters import Preset
from masklet.train.rollout import CORRECTIONS, FOCAL, IOU
from masklet.train.validation_split import MAX_VALIDATION_ITEMS, leave_out, split_validation

ClipSource = Callable[[int], Clip]  # maps a clip's number to the clip
# ImageSession, which zooms into small objects if the config says so; training does not depend on sessions.
OpenImage = Callable[[Sam2, UInt8[np.ndarray, "H W 3"]], ImagePredictor]

SIDE_STEP = 32  # step of the square's side: the trunk's coarsest stride
NEW = "new-"  # prefix of a size: random weights


@dataclass(frozen=True)
class BatchSource:
    """One kind of batch within a stage.

    Attributes:
        source: The source of the clips, all of one length and size.
        clips: Clips per batch and process.
        weight: How often a batch is drawn from it, relative to the stage's other sources.
    """

    source: ClipSource
    clips: int
    weight: float = 1.0


@dataclass(frozen=True)
class Stage:
    """A part of the run at one image size.

    Attributes:
        steps: Optimizer steps.
        learning_rates: The learning rates at the start and end of the stage.
        loss_size: Side of the maps for comparing masks.
        corrections: The number of clicks on a corrected frame.
        focal, iou: Weights of these losses.
        schedule: How the learning rate changes from start to end.
    """

    name: str
    image_size: int
    steps: int
    learning_rates: tuple[float, float]
    sources: tuple[BatchSource, ...]
    loss_size: int
    corrections: int = CORRECTIONS
    focal: float = FOCAL
    iou: float = IOU
    schedule: Literal["linear", "cosine"] = "linear"

    def learning_rate(self, step: int) -> float:
        """The learning rate at a step of this stage."""
        first, last = self.learning_rates
        if self.schedule == "cosine":
            return last + (first - last) * (1 + math.cos(math.pi * step / self.steps)) / 2
        return first + (last - first) * step / self.steps


@dataclass(frozen=True, eq=False)
class ValidationImage:
    """A labelled image at its own size.

    Attributes:
        masks: The objects' masks, encoded.
    """

    name: str
    image: UInt8[np.ndarray, "H W 3"]
    masks: tuple[RLE, ...]


@dataclass(frozen=True)
class ValidationSet:
    """Held-back images and clips for validation.

    Attributes:
        stills: Clips of one frame in the model's square, for the network without sessions: fast.
        clips: Longer clips of the run's image size, tracked from the first frame's mask.
        images: Segmented like a user's images, at their own size, by the sessions of `open_image`.
        every: Steps between two validations.
    """

    stills: tuple[Clip, ...] = ()
    clips: tuple[Clip, ...] = ()
    images: tuple[ValidationImage, ...] = ()
    open_image: OpenImage | None = None
    every: int = 200


@dataclass(frozen=True)
class Recipe:
    """Everything that determines a run.

    Attributes:
        warmup: Steps over which the learning rate rises from zero, at the run's start.
        trunk_lr_scale: The image encoder's learning rate relative to the rest's, as in the paper (app. C.2).
        ema: Decay of the running average of the weights.
        layer_scale: Initial layer scale of the memory encoder's blocks.
        start: The weights to start from, as for masklet.load; None starts from random weights.
        preset: The parts of the network to train.
        layer_decay: Factor between the learning rates of a block of the trunk and the block after it.
        accumulate: Batches per step and process; one process with two batches equals two processes with one.
        checkpoint_activations: Compute the trunk's activations twice, which is slower and saves memory.
        distinct_clips: The number of different clips of a source; a frozen trunk encodes each of them once.
    """

    config: Sam2Config
    stages: tuple[Stage, ...]
    seed: int = 0
    warmup: int = 200
    trunk_lr_scale: float = 0.2
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    ema: float = 0.999
    layer_scale: float = 0.1
    start: str | None = None
    preset: Preset = "everything"
    layer_decay: float = 1.0
    accumulate: int = 1
    checkpoint_activations: bool = False
    distinct_clips: int | None = None
    validation: ValidationSet | None = None

    @property
    def steps(self) -> int:
        return sum(stage.steps for stage in self.stages)

    def stage_at(self, step: int) -> tuple[Stage, float] | None:
        """The stage of a step and its learning rate; None after the last step."""
        begin = 0
        for stage in self.stages:
            if step < begin + stage.steps:
                return stage, stage.learning_rate(step - begin) * min(1.0, (step + 1) / self.warmup)
            begin += stage.steps
        return None


@dataclass(frozen=True)
class TrainingOptions:
    """The options of `masklet train RECIPE`. None uses the recipe's choice.

    Attributes:
        data: The training data, in any form that the recipe reads.
        model: Weights to start from, as for masklet.load; `new-` and a size starts from random weights.
        preset: The parts of the network to train.
        validation: The validation data; None holds back a part of the data.
        learning_rate: The peak of the schedule.
        open_image: Opens validation images like a user (ImageSession); None validates the network without
            sessions.
        is_validated: Whether the recipe validates.

    Raises:
        OptionError: A number is out of its range.
    """

    data: Path
    model: str | None = None
    preset: Preset | None = None
    image_size: int | None = None
    steps: int | None = None
    learning_rate: float | None = None
    validation: Path | None = None
    open_image: OpenImage | None = None
    is_validated: bool = True

    def __post_init__(self) -> None:
        if self.steps is not None:
            check_count(self.steps, "steps")
        if self.image_size is not None and (check_count(self.image_size, "size") % SIDE_STEP):
            raise OptionError(f"size must be a multiple of {SIDE_STEP}. Got {self.image_size}.")
        if self.learning_rate is not None and not 0 < self.learning_rate < math.inf:
            raise OptionError(f"the learning rate must be a number above 0. Got {self.learning_rate}.")

    def resolve_model(self, default: str) -> tuple[Sam2Config, str | None]:
        """The network to train, and the weights to start from; None for random weights.

        Args:
            default: The model if the options have none.
        """
        name = self.model or default
        if not name.startswith(NEW):
            return checkpoint.load(name, device="cpu").config, name
        if (size := name.removeprefix(NEW)) not in TRAINABLE:
            choices = ", ".join(NEW + size for size in TRAINABLE)
            raise MaskletError(
                f"there is no size {size} to train from random weights. Choose from {choices}."
            )
        return TRAINABLE[size], None

    @cached_property
    def images(self) -> list[PackedImage]:
        """All images of a folder of image sets, each with an instances.json next to its images."""
        folders = sorted(path.parent for path in self.data.glob("*/instances.json"))
        if not folders:
            raise MediaError(f"{self.data} contains no image set, which is a folder with an instances.json.")
        return load_images(folders, Path(".cache"))

    @cached_property
    def split(self) -> tuple[list[DatasetItem], list[DatasetItem]]:
        """The labelled images and videos for training, and those for validation; none is in both."""
        items = find_items(self.data)
        if not self.is_validated:
            return items, []
        if self.validation is None:
            return split_validation(items)
        held_back = find_items(self.validation)
        return leave_out(items, held_back), held_back[:MAX_VALIDATION_ITEMS]
