"""The sizes and options in which SAM 2 networks differ.

The published networks differ only in the trunk's sizes and the revision. Nano, the embedded
model, is the same network with smaller sizes and another trunk.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

from masklet.errors import OptionError

Revision = Literal["2.0", "2.1"]
AGES = 7  # ages of memories: six for tracked frames and one for prompted frames
TrunkName = Literal["hiera", "efficientnet-lite0", "efficientnet-lite2"]
MemoryDtype = Literal["bfloat16", "float32"]


@dataclass(frozen=True)
class Sam2Config:
    """The sizes and options of a SAM 2 network. Defaults are the published values.

    The six fields from `embed_dim` to `background` apply to Hiera only; those of an EfficientNet-Lite follow
    from its name.

    Args:
        embed_dim: Channels of the first stage of Hiera.
        stages: Blocks of Hiera's four stages.
        global_blocks: Blocks that attend over the whole map.
        heads: Attention heads of the first stage.
        windows: Side of the attention windows of the four stages.
        background: Height and width of the position table that is stretched over the image.
        revision: "2.0" or "2.1", as published.
        image_size: Side of the network's square in pixels; a multiple of 32.
        channels: Channels of features, context and object pointers.
        memory_channels: Channels of memory tokens.
        memory_layers: Layers of the memory attention.
        feedforward: Hidden width in memory attention and mask decoder.
        memories: Rows of the age table: six for tracked frames and one for prompted frames.
        pointers: The number of object pointers to attend to.
        zoom: Whether sessions zoom by default (`masklet.zoom`). The network is the same.
        trunk: The image encoder's trunk.
        holds_clicks: Correct single masks around clicks that they contradict.
        memory_dtype: The dtype to which memory tokens are rounded: bfloat16, as published, or float32, which
            does not round them.

    Raises:
        OptionError: The values do not fit together.

    Example:
        >>> config = Sam2Config(trunk="efficientnet-lite0", image_size=384)
        >>> config.grid, config.mask_size, Sam2Config.from_json(config.to_json()) == config
        (24, 96, True)
    """

    embed_dim: int = 0
    stages: tuple[int, int, int, int] = (0, 0, 0, 0)
    global_blocks: tuple[int, ...] = ()
    heads: int = 1
    windows: tuple[int, int, int, int] = (8, 4, 14, 7)
    background: tuple[int, int] = (7, 7)
    revision: Revision = "2.1"
    image_size: int = 1024
    channels: int = 256
    memory_channels: int = 64
    memory_layers: int = 4
    feedforward: int = 2048
    memories: int = AGES
    pointers: int = 16
    zoom: bool = False
    trunk: TrunkName = "hiera"
    holds_clicks: bool = False
    memory_dtype: MemoryDtype = "bfloat16"

    def __post_init__(self) -> None:
        if self.trunk not in get_args(TrunkName):
            raise OptionError(f"trunk must be one of {', '.join(get_args(TrunkName))}. Got {self.trunk!r}.")
        if self.memory_dtype not in get_args(MemoryDtype):
            raise OptionError(
                f"memory_dtype must be one of {', '.join(get_args(MemoryDtype))}. Got {self.memory_dtype!r}."
            )
        if (self.trunk == "hiera") != (self.embed_dim > 0):
            raise OptionError(
                "embed_dim, stages and global_blocks must be given for Hiera, and not for other trunks. "
                f"Got embed_dim={self.embed_dim} for {self.trunk}."
            )
        for name in ("heads", "image_size", "channels", "memory_channels", "feedforward"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} must be at least 1. Got {getattr(self, name)}.")
        if self.embed_dim % self.heads:
            raise OptionError(
                f"embed_dim must be a multiple of heads. Got {self.embed_dim} and {self.heads}."
            )
        if self.image_size % 32:
            raise OptionError(
                f"image_size must be a multiple of 32, the trunk's coarsest stride. Got {self.image_size}."
            )
        if self.memories < AGES:
            raise OptionError(f"memories must be at least {AGES}, one for each age. Got {self.memories}.")
        # Channels are divided among heads and halved; those of memories are sines and cosines of two axes.
        for name, factor in (("channels", 16), ("memory_channels", 4)):
            if getattr(self, name) % factor:
                raise OptionError(f"{name} must be a multiple of {factor}. Got {getattr(self, name)}.")
        if self.channels % self.memory_channels:
            raise OptionError(
                "channels must be a multiple of memory_channels, since a pointer is split into memory "
                f"tokens. Got {self.channels} and {self.memory_channels}."
            )
        if self.trunk == "hiera":
            self._check_hiera()

    def _check_hiera(self) -> None:
        for name, values in (("stages", self.stages), ("background", self.background)):
            if min(values) < 1:
                raise OptionError(f"{name} must be whole numbers from 1. Got {values}.")
        if self.windows[0] < 1:
            raise OptionError(f"the first of windows must be at least 1. Got {self.windows}.")
        opening, side = 0, self.image_size // 4
        for depth, window in zip(self.stages[:3], self.windows[:3], strict=True):
            opening += depth
            # The first block of a stage pools the windows of the previous stage.
            if window and opening not in self.global_blocks:
                pooled = window // 2
                if not pooled or -(-side // window) != -(-side // 2 // pooled):
                    raise OptionError(
                        "windows must be even in all stages but the last, and fit their maps. Got "
                        f"{self.windows}: {window} does not fit a map of {side} x {side}, at image_size "
                        f"{self.image_size}."
                    )
            side //= 2

    @property
    def grid(self) -> int:
        """Side of the coarse map, at stride 16."""
        return self.image_size // 16

    @property
    def mask_size(self) -> int:
        """Side of the low-res logits, at stride 4."""
        return self.image_size // 4

    def to_json(self) -> str:
        """All fields as JSON, as stored in checkpoints."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Sam2Config:
        """Read a config from JSON.

        Args:
            text: JSON, as `to_json` writes it.

        Raises:
            ValueError: A field is unknown, has a wrong type, or is out of range.
        """
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError(f"a config must be an object of fields. Got {type(values).__name__}")
        if "closer" in values:  # the name of `zoom` in checkpoints of earlier versions
            values["zoom"] = values.pop("closer")
        defaults = {field.name: field.default for field in fields(cls)}
        for name, value in values.items():
            if name not in defaults:
                raise ValueError(
                    f"a config has no field {name[:40]!r}. The file may be from a newer version of masklet"
                )
            _check_field(name, value, defaults[name])
        checked: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        return cls(**checked)


LARGEST = 4096  # limit of every whole number in a config; the largest published one is 2048
LONGEST = 64  # fields that list blocks


def _check_field(name: str, value: object, default: object) -> None:
    """Check a field's type against its default, and its range."""
    if isinstance(default, tuple):
        fits = isinstance(value, list) and len(value) <= LONGEST and all(map(_is_count, value))
        fits = fits and (not default or len(value) == len(default))  # type: ignore[arg-type]
        expected = f"{len(default) or f'at most {LONGEST}'} whole numbers from 0 to {LARGEST}"
    elif isinstance(default, bool):
        fits, expected = isinstance(value, bool), "true or false"
    elif isinstance(default, int):
        fits, expected = _is_count(value), f"a whole number from 0 to {LARGEST}"
    else:
        choices = get_args({"trunk": TrunkName, "memory_dtype": MemoryDtype}.get(name, Revision))
        fits, expected = value in choices, f"one of {', '.join(choices)}"
    if not fits:
        raise ValueError(f"{name} must be {expected}. Got {str(value)[:40]}")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST


TINY = Sam2Config(embed_dim=96, stages=(1, 2, 7, 2), global_blocks=(5, 7, 9))
SMALL = replace(TINY, stages=(1, 2, 11, 2), global_blocks=(7, 10, 13))
BASE_PLUS = Sam2Config(
    embed_dim=112, heads=2, stages=(2, 3, 16, 3), global_blocks=(12, 16, 20), background=(14, 14)
)
LARGE = Sam2Config(
    embed_dim=144, heads=2, stages=(2, 6, 36, 4), global_blocks=(23, 33, 43), windows=(8, 4, 16, 8)
)
NANO_HIERA = Sam2Config(  # nano's sizes with SAM 2's own trunk
    embed_dim=48,
    stages=(1, 2, 8, 1),
    global_blocks=(6, 8, 10),
    windows=(8, 4, 8, 4),
    image_size=256,
    channels=128,
    memory_layers=2,
    feedforward=512,
    zoom=True,
)
NANO = Sam2Config(
    trunk="efficientnet-lite0",
    image_size=384,
    channels=128,
    memory_layers=2,
    feedforward=512,
    zoom=True,
    holds_clicks=True,
    memory_dtype="float32",
)
NANO_LITE2 = replace(NANO, trunk="efficientnet-lite2")

SIZES = {
    "tiny": TINY,
    "small": SMALL,
    "base-plus": BASE_PLUS,
    "large": LARGE,
    "nano": NANO,
}
TRAINABLE = SIZES | {
    "nano-lite2": NANO_LITE2,
    "nano-hiera": NANO_HIERA,
}  # for random weights


def toy(revision: Revision = "2.1") -> Sam2Config:
    """A network that runs in milliseconds, for tests: one block per stage, 32 channels."""
    return Sam2Config(
        embed_dim=16,
        stages=(1, 1, 2, 1),
        global_blocks=(3,),
        windows=(8, 4, 3, 2),
        revision=revision,
        image_size=64,
        channels=32,
        memory_channels=8,
        memory_layers=2,
        feedforward=64,
    )
