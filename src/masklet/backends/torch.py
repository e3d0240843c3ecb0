"""The reading copy: every verb computed by the network's own modules, on any device and with gradients."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor

from masklet.backends.backend import OBJECTS_PER_BATCH, VERBS, Explanation, Network


class TorchBackend:
    """Runs a network's own modules.

    Args:
        network: Whose modules run.
        reason: Why this backend was chosen, for `explain`.
    """

    objects_per_batch = OBJECTS_PER_BATCH
    frames_per_batch = 1

    def __init__(self, network: Network, reason: str = "as asked") -> None:
        self.network, self.reason = network, reason

    def encode(self, image: Float[Tensor, "b 3 H W"]) -> tuple[Tensor, Tensor, Tensor]:
        features: tuple[Tensor, Tensor, Tensor] = self.network.image_encoder(image)
        return features

    def attend(
        self,
        coarse: Float[Tensor, "#b c h w"],
        tokens: Float[Tensor, "b k n d"],
        rows: Int[Tensor, "b k"],
        pointers: Float[Tensor, "b p c"],
        ages: Float[Tensor, "b p"],
        weights: Float[Tensor, "b kp"] | None,
    ) -> Float[Tensor, "b c h w"]:
        context: Tensor = self.network.memory_attention(coarse, tokens, rows, pointers, ages, weights)
        return context

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
        answer: tuple[Tensor, Tensor, Tensor, Tensor] = decoder(
            context, tokens, dense, position, middle, fine
        )
        return answer

    def memorize(
        self, coarse: Float[Tensor, "#b c h w"], mask: Float[Tensor, "b H W"], score: Float[Tensor, " b"]
    ) -> Float[Tensor, "b n d"]:
        tokens: Tensor = self.network.memory_encoder(coarse, mask, score)
        return tokens

    def explain(self) -> list[Explanation]:
        dtype = str(self.network.dtype).removeprefix("torch.")
        return [Explanation(verb, f"torch, {dtype}", self.reason) for verb in VERBS]
