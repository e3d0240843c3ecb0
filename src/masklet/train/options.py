"""What a person asks of a recipe, and what of their data may be learned from."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from masklet import checkpoint
from masklet.config import TRAINABLE, Sam2Config
from masklet.datasets import DatasetItem, find_items
from masklet.errors import MaskletError, MediaError
from masklet.synthetic.pictures import Picture, load_pictures
from masklet.train.presets import Preset

log = logging.getLogger(__name__)

VALIDATION = 0.2  # of a data set of one's own
NEW = "new-"  # before a size: random weights
MOST = 64  # more pieces for validation than these take longer and say little more


@dataclass(frozen=True)
class Order:
    """The words after `masklet train RECIPE`. None leaves a number to the recipe.

    data : what to learn from, in any form that the recipe knows
    model : what to start from, as masklet.load takes it; or `new-` and a size, which begins from nothing
    validation : what to measure on; None holds a part of the data back
    rate : the learning rate at its highest
    """

    data: Path
    model: str | None = None
    preset: Preset | None = None
    image_size: int | None = None
    steps: int | None = None
    rate: float | None = None
    validation: Path | None = None

    def beginning(self, default: str) -> tuple[Sam2Config, str | None]:
        """The network to train, and the weights that it starts with; None where it begins from nothing.

        default : the model where none was asked for
        """
        name = self.model or default
        if not name.startswith(NEW):
            return checkpoint.load(name, device="cpu").config, name
        if (size := name.removeprefix(NEW)) not in TRAINABLE:
            known = ", ".join(NEW + each for each in TRAINABLE)
            raise MaskletError(f"there is no size {size} to begin from nothing. Known are {known}.")
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
    def footage(self) -> tuple[list[DatasetItem], list[DatasetItem]]:
        """What to train on, and what to measure on, of a data set in any form that is known."""
        if self.validation is None:
            return divide(find_items(self.data))
        return find_items(self.data), find_items(self.validation)[:MOST]


def divide(footage: Sequence[DatasetItem]) -> tuple[list[DatasetItem], list[DatasetItem]]:
    """A fifth of a data set is held back, always the same: by the hash of the names."""
    if len(footage) < 2:
        raise MediaError(
            "a data set needs two pictures or videos, one to learn from and one to measure on. "
            f"Got {len(footage)}."
        )
    count = min(MOST, max(1, round(VALIDATION * len(footage))))
    by_hash = sorted(footage, key=lambda each: hashlib.sha256(each.name.encode()).digest())
    held = {each.name for each in by_hash[:count]}
    return [each for each in footage if each.name not in held], by_hash[:count]
