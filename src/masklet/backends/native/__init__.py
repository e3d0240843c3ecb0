"""The native backend: verbs in kernels compiled for this CPU, in float32 or rounded to integers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from masklet.backends.backend import OBJECTS_PER_BATCH, Explanation, Network, TorchBackend
from masklet.backends.native.attention import NativeMemoryAttention
from masklet.backends.native.decoder import NativeMaskDecoder
from masklet.backends.native.encoders import NativeImageEncoder, NativeLiteEncoder
from masklet.backends.native.kernels import Bits
from masklet.backends.native.memory_encoder import NativeMemoryEncoder
from masklet.nn.layers import WeightCache
from masklet.nn.memory_attention import MemoryTensors

__all__ = ["NativeBackend", "Precision"]


@dataclass(frozen=True)
class Precision:
    """The bits of the numbers that are multiplied, in linear layers and in attention."""

    layers: Bits
    attention: Bits

    def __str__(self) -> str:
        return "float32" if self.layers == 32 else f"{self.layers} bits (attention {self.attention})"


class NativeBackend:
    """Runs the verbs of a network in the kernels.

    Weights are packed when a verb first runs, and again when they have changed. Where they are not float32 on
    the CPU, because the network was moved, torch runs the verb.

    Args:
        network: Whose weights are packed.
        precision: Of encode, attend and memorize. Decoding is so little work that rounding would not show.
        reason: Why this backend was chosen, for `explain`.
    """

    objects_per_batch = OBJECTS_PER_BATCH
    frames_per_batch = 1

    def __init__(self, network: Network, precision: Precision, reason: str) -> None:
        self.network, self.precision, self.reason = network, precision, reason
        self.torch = TorchBackend(network)
        self._encoder = WeightCache[NativeImageEncoder | NativeLiteEncoder]()
        self._attention = WeightCache[NativeMemoryAttention]()
        self._decoder = WeightCache[NativeMaskDecoder]()
        self._memory_encoder = WeightCache[NativeMemoryEncoder]()

    def encode(self, image: Float[Tensor, "b 3 H W"]) -> tuple[Tensor, Tensor, Tensor]:
        weights = list_weights(self.network.image_encoder)
        if not are_packable(weights):
            return self.torch.encode(image)
        return self._encoder.get(weights, self._pack_encoder)(image)

    def _pack_encoder(self) -> NativeImageEncoder | NativeLiteEncoder:
        encoder, precision = self.network.image_encoder, self.precision
        if self.network.config.trunk == "hiera":
            return NativeImageEncoder(encoder, precision.layers, precision.attention)
        return NativeLiteEncoder(encoder, precision.layers)

    def attend(self, coarse: Float[Tensor, "#b c h w"], memories: MemoryTensors) -> Float[Tensor, "b c h w"]:
        attention, precision = self.network.memory_attention, self.precision
        weights = list_weights(attention)
        if not are_packable(weights):
            return self.torch.attend(coarse, memories)
        packed = self._attention.get(
            weights, lambda: NativeMemoryAttention(attention, precision.layers, precision.attention)
        )
        return packed(coarse, memories)

    def decode(
        self,
        context: Float[Tensor, "b c h w"],
        tokens: Float[Tensor, "b q c"],
        dense: Float[Tensor, "#b c #h #w"],
        position: Float[Tensor, "hw c"],
        middle: Float[Tensor, "#b c2 h2 w2"],
        fine: Float[Tensor, "#b c4 h4 w4"],
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        decoder = self.network.mask_decoder
        weights = list_weights(decoder)
        if not are_packable(weights):
            return self.torch.decode(context, tokens, dense, position, middle, fine)
        packed = self._decoder.get(weights, lambda: NativeMaskDecoder(decoder))
        return packed(context, tokens, dense, position, middle, fine)

    def memorize(
        self, coarse: Float[Tensor, "#b c h w"], mask: Float[Tensor, "b H W"], score: Float[Tensor, " b"]
    ) -> Float[Tensor, "b n d"]:
        encoder, precision = self.network.memory_encoder, self.precision
        weights = list_weights(encoder)
        if not are_packable(weights):
            return self.torch.memorize(coarse, mask, score)
        packed = self._memory_encoder.get(weights, lambda: NativeMemoryEncoder(encoder, precision.layers))
        return packed(coarse, mask, score)

    def explain(self) -> list[Explanation]:
        rounded, reason = f"kernels, {self.precision}", self.reason
        return [
            Explanation("encode", rounded, reason),
            Explanation("attend", rounded, reason),
            Explanation("decode", "kernels, float32", reason),
            Explanation("memorize", rounded, reason),
        ]


def list_weights(module: nn.Module) -> list[Tensor]:
    """A module's parameters and buffers. `Module.parameters` and `buffers` take five times as long."""
    weights: list[Tensor | None] = []
    modules: list[nn.Module | None] = [module]
    while modules:
        if (current := modules.pop()) is not None:
            weights += current._parameters.values()
            weights += current._buffers.values()
            modules += current._modules.values()
    return [weight for weight in weights if weight is not None]


def are_packable(weights: Sequence[Tensor]) -> bool:
    """Whether the kernels can read a module's weights."""
    return all(weight.is_cpu and weight.dtype == torch.float32 for weight in weights)
