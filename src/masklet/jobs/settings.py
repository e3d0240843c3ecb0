"""The settings of a job, which decide its results, and the cluster that it runs on, which does not."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from masklet.errors import MaskletError, OptionError, check_count
from masklet.media.readers.microscopy import Channel

PARQUET = "parquet"
LATER_SETTINGS = frozenset(  # than the first jobs
    ("image_size", "channel", "intensity_range", "patience", "pixel_size")
)


@dataclass(frozen=True)
class JobSettings:
    """The settings that determine the results.

    Attributes:
        model: A name, path or hub id that every machine can load.
        dtype: The precision of the weights.
        setting: How much a backend may round: exact, balanced, fast.
        formats: "parquet" or names of `masklet.media.FORMATS`.
        fps: Sample this many frames per second.
        policy: The memory policy.
        cuts: Detect scene cuts while tracking.
        exclusive: Remove overlaps between masks.
        split: Videos with more frames are split at scene cuts into parts of at most about so many frames.
        preset: The grid of `everything`.
        every: For `everything`: frames between key frames.
        max_objects: For `everything`: maximum number of objects tracked at once.
        max_pixels: Allow images with more pixels than 2**28.
        image_size: Side of the network's square; None for the size of training.
        channel: Of microscope files; see `masklet.media.read_image`.
        intensity_range: The intensities that become black and white, for more than 8 bits; None chooses them
            for each source.
        patience: For `everything`: frames after which a lost object is dropped.
        pixel_size: Micrometres along x, y and z, None for an unknown one; None for each source's own pixel
            size.
    """

    model: str = "nano"
    dtype: str = "float32"
    setting: Literal["exact", "balanced", "fast"] = "exact"
    formats: tuple[str, ...] = (PARQUET,)
    fps: float | None = None
    policy: str = "recency"
    cuts: bool = False
    exclusive: bool = False
    split: int | None = None
    preset: str = "balanced"
    every: int | None = None
    max_objects: int = 32
    max_pixels: int | None = None
    image_size: int | None = None
    channel: Channel | None = None
    intensity_range: tuple[float, float] | None = None
    patience: int | None = None
    pixel_size: tuple[float, float, float | None] | None = None

    def check(self) -> None:
        """Raise an error if a name is unknown, before anything is started."""
        from masklet.auto import PRESETS
        from masklet.media import find_format
        from masklet.tracking.policies import find_policy

        find_policy(self.policy)
        for name in self.formats:
            if name != PARQUET:
                find_format(name)
        if self.preset not in PRESETS:
            raise MaskletError(f"there is no preset '{self.preset}'. Choose from {', '.join(PRESETS)}.")
        if self.split is not None and self.split < 1:
            raise MaskletError(f"split must be a number of frames from 1. Got {self.split}.")
        if self.fps is not None and not 0 < self.fps < math.inf:
            raise MaskletError(f"fps must be a number above 0. Got {self.fps}.")
        for name in ("every", "patience", "max_objects"):
            if (value := getattr(self, name)) is not None:
                check_count(value, name)

    def to_json(self) -> dict[str, Any]:
        """As JSON. Newer settings are left out if they are not used, so that earlier jobs can resume."""
        content: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return {
            name: value for name, value in content.items() if value is not None or name not in LATER_SETTINGS
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> JobSettings:
        fields = {**content, "formats": tuple(content["formats"])}
        for name in ("intensity_range", "pixel_size"):
            if content.get(name) is not None:
                fields[name] = tuple(content[name])
        return cls(**fields)


@dataclass(frozen=True)
class Cluster:
    """The machines and workers of a job; none of these settings changes a result.

    Attributes:
        address: The address of a Ray cluster, such as "auto" or "ray://head:10001"; None starts Ray on this
            machine.
        actors: The number of models that run at the same time; None for as many as fit.
        cpus_per_actor: CPU cores for each.
        gpus_per_actor: GPUs for each, such as 0.5; None for 1 if there are GPUs.
        attempts: How often an item may fail in one run for other reasons than its input, such as a killed
            worker.
        timeout: Seconds after which an item counts as failed.
        retry_errors: Run items again that earlier runs could not read.
        object_store_bytes: The size of Ray's object store on this machine. Videos do not use it.
    """

    address: str | None = None
    actors: int | None = None
    cpus_per_actor: float = 1
    gpus_per_actor: float | None = None
    attempts: int = 3
    timeout: float | None = None
    retry_errors: bool = False
    object_store_bytes: int = 100 * 2**20

    def check(self) -> None:
        """Raise an error if a number is out of its range."""
        if self.actors is not None:
            check_count(self.actors, "actors")
        check_count(self.attempts, "attempts")
        for name in ("cpus_per_actor", "timeout"):
            if (value := getattr(self, name)) is not None and not 0 < value < math.inf:
                raise OptionError(f"{name} must be a number above 0. Got {value}.")
        if self.gpus_per_actor is not None and not 0 <= self.gpus_per_actor < math.inf:
            raise OptionError(f"gpus_per_actor must be a number from 0. Got {self.gpus_per_actor}.")
