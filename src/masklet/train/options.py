"""The options of `masklet train`, and the split of a data set into training and validation."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from masklet import checkpoint
from masklet.config import TRAINABLE, Sam2Config
from masklet.datasets import DatasetItem, find_items
from masklet.errors import MaskletError, MediaError
from masklet.synthetic.pictures import Picture, load_pictures
from masklet.train.parameters import Preset
from masklet.train.recipe import OpenImage

VALIDATION_FRACTION = 0.2
MAX_VALIDATION_ITEMS = 64  # more take longer and hardly change the scores
NEW = "new-"  # before a size: random weights


@dataclass(frozen=True)
class TrainingOptions:
    """The options of `masklet train RECIPE`. None leaves the choice to the recipe.

    data : what to train on, in any form that the recipe reads
    model : weights to start from, as masklet.load takes them; `new-` and a size starts from random weights
    preset : the parts of the network to train
    validation : what to validate on; None holds back a part of the data
    learning_rate : the highest of the schedule
    open_image : opens validation pictures as users do, ImageSession; None validates the network alone
    """

    data: Path
    model: str | None = None
    preset: Preset | None = None
    image_size: int | None = None
    steps: int | None = None
    learning_rate: float | None = None
    validation: Path | None = None
    open_image: OpenImage | None = None

    def resolve_model(self, default: str) -> tuple[Sam2Config, str | None]:
        """The network to train, and the weights to start from; None for random weights.

        default : the model where the options name none
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
    def pictures(self) -> list[Picture]:
        """All pictures of a folder of image sets, each with an instances.json beside its pictures."""
        folders = sorted(path.parent for path in self.data.glob("*/instances.json"))
        if not folders:
            raise MediaError(
                f"{self.data} holds no image set, that is a folder with an instances.json in it."
            )
        return load_pictures(folders, Path(".cache"))

    @cached_property
    def split(self) -> tuple[list[DatasetItem], list[DatasetItem]]:
        """The labelled pictures and videos to train on, and those to validate on."""
        if self.validation is None:
            return split_validation(find_items(self.data))
        return find_items(self.data), find_items(self.validation)[:MAX_VALIDATION_ITEMS]


def split_validation(items: Sequence[DatasetItem]) -> tuple[list[DatasetItem], list[DatasetItem]]:
    """Hold back a fifth of a data set. The hash of an item's name decides, so the split never changes."""
    if len(items) < 2:
        raise MediaError(
            "a data set needs two pictures or videos, one to train on and one to validate on. "
            f"Got {len(items)}."
        )
    count = min(MAX_VALIDATION_ITEMS, max(1, round(VALIDATION_FRACTION * len(items))))
    by_hash = sorted(items, key=lambda item: hashlib.sha256(item.name.encode()).digest())
    names = {item.name for item in by_hash[:count]}
    return [item for item in items if item.name not in names], by_hash[:count]
