"""The five verbs as modules that torch's exporter can trace: tensors in, tensors out, no state.

Each wraps the network's own modules, and includes steps that a client would otherwise need: the normalisation
of images, the context of an object without memories, the single mask that replaces an unstable one, the
rounding of memories. Inputs are float32 and int32, which every runtime takes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int32
from torch import Tensor, nn

from masklet.model import STABLE_MARGIN, STABLE_RATIO, Sam2, hold_clicks
from masklet.nn.layers import IMAGENET_MEAN, IMAGENET_STD
from masklet.nn.memory_attention import MemoryTensors
from masklet.types import CERTAIN

BFLOAT16_SPLIT = 2.0**16 + 1  # float32 has 16 bits more than bfloat16


class Encode(nn.Module):
    """Encodes pixels as features, and computes the context of an object without memories."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: Sam2) -> None:
        super().__init__()
        self.encoder, self.attention = network.image_encoder, network.memory_attention
        for name, values in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32, device="cpu")[:, None, None])

    def forward(self, image: Float[Tensor, "f 3 S S"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """image : RGB, from 0 to 255"""
        coarse, middle, fine = self.encoder((image / 255 - self.mean) / self.std)
        return coarse, middle, fine, self.attention.without_memory(coarse)


class Attend(nn.Module):
    """Computes the context from features and memories."""

    def __init__(self, network: Sam2) -> None:
        super().__init__()
        self.attention = network.memory_attention

    def forward(
        self,
        coarse: Float[Tensor, "1 c h w"],
        tokens: Float[Tensor, "b k n d"],
        rows: Int32[Tensor, "b k"],
        pointers: Float[Tensor, "b p c"],
        ages: Float[Tensor, "b p"],
    ) -> Float[Tensor, "b c h w"]:
        context: Tensor = self.attention(coarse, MemoryTensors(tokens, rows, pointers, ages))
        return context


class Decode(nn.Module):
    """Decodes context and prompt to four masks: one for an unambiguous prompt, then three candidates."""

    position: Tensor

    def __init__(self, network: Sam2) -> None:
        super().__init__()
        self.prompts, self.decoder = network.prompt_encoder, network.mask_decoder
        self.config = network.config
        self.register_buffer("position", network.prompt_encoder.image_position().clone())

    def forward(
        self,
        context: Float[Tensor, "b c h w"],
        middle: Float[Tensor, "1 c2 h2 w2"],
        fine: Float[Tensor, "1 c4 h4 w4"],
        points: Float[Tensor, "b p 2"],
        labels: Int32[Tensor, "b p"],
        hint: Float[Tensor, "b h4 w4"],
        has_hint: Float[Tensor, " b"],
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        dense = torch.where(
            (has_hint > 0)[:, None, None, None],
            self.prompts.hint(hint[:, None]),
            self.prompts.no_hint.weight[:, :, None, None],
        )
        tokens = self.prompts.points(points, labels)
        logits, iou, pointers, score = self.decoder(context, tokens, dense, self.position, middle, fine)
        logits, iou = replace_unstable(logits, iou)
        if self.config.holds_clicks:
            held = hold_clicks(logits[:, 0], points, labels, self.config.image_size)
            logits = torch.cat([held[:, None], logits[:, 1:]], dim=1)
        return logits, iou, self.decoder.pointers(pointers, score), score


class Adopt(nn.Module):
    """Converts a user's mask to logits, and to the hint from which the decoder makes the object pointer."""

    shrink: Tensor

    def __init__(self, network: Sam2) -> None:
        super().__init__()
        side, size = network.config.image_size, network.config.mask_size
        self.to_hint, self.absent = network.prompt_encoder.mask_to_hint, network.mask_decoder.absent_pointer
        # Antialiased resizing is a product with a constant matrix, once for each side.
        unit = torch.eye(side, dtype=torch.float32)[None, None]
        resized = F.interpolate(unit, (size, side), mode="bilinear", align_corners=False, antialias=True)
        self.register_buffer("shrink", resized[0, 0])

    def forward(self, mask: Float[Tensor, "b S S"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """mask : 0 or 1"""
        logits = self.shrink @ ((2 * mask - 1) * CERTAIN) @ self.shrink.T
        score = (2 * mask.amax(dim=(1, 2)) - 1) * CERTAIN
        return logits, self.to_hint(mask[:, None])[:, 0], score, self.absent.clone()


class Memorize(nn.Module):
    """Encodes features and an answer as memory tokens, rounded as the network's memories are."""

    def __init__(self, network: Sam2) -> None:
        super().__init__()
        self.encoder, self.side = network.memory_encoder, network.config.image_size
        self.is_rounded = network.memory_dtype == torch.bfloat16

    def forward(
        self,
        coarse: Float[Tensor, "1 c h w"],
        logits: Float[Tensor, "b h4 w4"],
        score: Float[Tensor, " b"],
        prompted: Float[Tensor, " b"],
    ) -> Float[Tensor, "b n d"]:
        full = F.interpolate(logits[:, None], size=self.side, mode="bilinear", align_corners=False)[:, 0]
        mask = torch.where((prompted > 0)[:, None, None], (full > 0).float(), full.sigmoid())
        # One row for each object: OpenVINO cannot add one frame's features to the masks of several.
        coarse = coarse.expand(logits.shape[0], -1, -1, -1)
        tokens: Tensor = self.encoder(coarse, 20 * mask - 10, score)
        return round_to_bfloat16(tokens) if self.is_rounded else tokens


def replace_unstable(logits: Float[Tensor, "b 4 h w"], iou: Float[Tensor, "b 4"]) -> tuple[Tensor, Tensor]:
    """Replace single masks whose area changes much with the threshold by the best of the three candidates.

    As in `masklet.model`, but with comparisons instead of indexing, which not every runtime supports.
    """
    single = logits[:, 0]
    inner = (single > STABLE_MARGIN).float().sum(dim=(1, 2))
    outer = (single > -STABLE_MARGIN).float().sum(dim=(1, 2))
    is_stable = inner >= STABLE_RATIO * outer
    is_first = (iou[:, 1] >= iou[:, 2]) & (iou[:, 1] >= iou[:, 3])
    is_second = iou[:, 2] >= iou[:, 3]

    def best(values: Tensor) -> Tensor:
        shape = (-1, *[1] * (values.dim() - 2))
        later = torch.where(is_second.view(shape), values[:, 2], values[:, 3])
        chosen = torch.where(is_first.view(shape), values[:, 1], later)
        single = torch.where(is_stable.view(shape), values[:, 0], chosen)
        return torch.cat([single[:, None], values[:, 1:]], dim=1)

    return best(logits), best(iou)


def round_to_bfloat16(x: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Rounds to bfloat16 in float32 by Veltkamp's split, which every runtime can compute."""
    high = x * BFLOAT16_SPLIT
    return high - (high - x)


@dataclass(frozen=True)
class Graph:
    """A verb, with the names of its inputs and outputs.

    Attributes:
        module: Makes the module that is exported, of a network.
        inputs: By name, each dimension's name or size.
        outputs: The same of what it returns.
        integers: The inputs that are int32; the others are float32.
    """

    module: Callable[[Sam2], nn.Module]
    inputs: dict[str, tuple[str | int, ...]]
    outputs: dict[str, tuple[str | int, ...]]
    integers: Sequence[str] = ()


def describe_graphs(network: Sam2) -> dict[str, Graph]:
    """The five graphs of a network, by the verb."""
    config = network.config
    c, d, side, size, g = (
        config.channels,
        config.memory_channels,
        config.image_size,
        config.mask_size,
        config.grid,
    )
    coarse, middle, fine = (c, g, g), (c // 4, 2 * g, 2 * g), (c // 8, 4 * g, 4 * g)
    features: dict[str, tuple[str | int, ...]] = {"coarse": coarse, "middle": middle, "fine": fine}
    return {
        "encode": Graph(
            Encode,
            {"image": ("frames", 3, side, side)},
            {name: ("frames", *shape) for name, shape in {**features, "context": coarse}.items()},
        ),
        "attend": Graph(
            Attend,
            {
                "coarse": (1, *coarse),
                "tokens": ("objects", "memories", g * g, d),
                "rows": ("objects", "memories"),
                "pointers": ("objects", "pointers", c),
                "ages": ("objects", "pointers"),
            },
            {"context": ("objects", *coarse)},
            integers=("rows",),
        ),
        "decode": Graph(
            Decode,
            {
                "context": ("objects", *coarse),
                "middle": (1, *middle),
                "fine": (1, *fine),
                "points": ("objects", "points", 2),
                "labels": ("objects", "points"),
                "hint": ("objects", size, size),
                "has_hint": ("objects",),
            },
            {
                "logits": ("objects", 4, size, size),
                "iou": ("objects", 4),
                "pointers": ("objects", 4, c),
                "score": ("objects",),
            },
            integers=("labels",),
        ),
        "adopt": Graph(
            Adopt,
            {"mask": ("objects", side, side)},
            {
                "logits": ("objects", size, size),
                "hint": ("objects", size, size),
                "score": ("objects",),
                "absent_pointer": (1, c),
            },
        ),
        "memorize": Graph(
            Memorize,
            {
                "coarse": (1, *coarse),
                "logits": ("objects", size, size),
                "score": ("objects",),
                "prompted": ("objects",),
            },
            {"tokens": ("objects", g * g, d)},
        ),
    }
