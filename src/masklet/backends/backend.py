"""The interface between the network and its backends: one method for each verb.

`Sam2` prepares a verb's arguments and wraps its results; a backend computes in between. A backend may round
numbers, and reports in `explain` which. `TorchBackend` is the reference: the network's own modules, on any
device and with gradients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from masklet.config import Sam2Config
from masklet.nn.image_encoder import ImageEncoder
from masklet.nn.mask_decoder import MaskDecoder
from masklet.nn.memory_attention import MemoryAttention, MemoryTensors
from masklet.nn.memory_encoder import MemoryEncoder

Verb = Literal["encode", "attend", "decode", "memorize"]
VERBS: tuple[Verb, ...] = ("encode", "attend", "decode", "memorize")
OBJECTS_PER_BATCH = 16  # default number, so that memory is bounded


@dataclass(frozen=True)
class Explanation:
    """What computes one verb, in which precision, and why."""

    verb: Verb
    runs_on: str
    reason: str


class Backend(Protocol):
    """Computes the verbs of one network; every method corresponds to a module of the network.

    `b` is the number of objects, and `#b` may be 1 if a frame is shared by all of them. Tensors are in the
    network's dtype and on its device.

    Attributes:
        objects_per_batch: The maximum number of objects that a caller passes in one call.
        frames_per_batch: The best number of frames of a stored video to encode in one call.
    """

    objects_per_batch: int
    frames_per_batch: int

    def encode(
        self, image: Float[Tensor, "b 3 H W"]
    ) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b c2 h2 w2"], Float[Tensor, "b c4 h4 w4"]]:
        """Image to features at strides 16, 8 and 4 (`nn.image_encoder`)."""

    def attend(self, coarse: Float[Tensor, "#b c h w"], memories: MemoryTensors) -> Float[Tensor, "b c h w"]:
        """Features and memories to the context (`nn.memory_attention`)."""

    def decode(
        self,
        context: Float[Tensor, "b c h w"],
        tokens: Float[Tensor, "b q c"],
        dense: Float[Tensor, "#b c #h #w"],
        position: Float[Tensor, "hw c"],
        middle: Float[Tensor, "#b c2 h2 w2"],
        fine: Float[Tensor, "#b c4 h4 w4"],
    ) -> tuple[Float[Tensor, "b 4 h4 w4"], Float[Tensor, "b 4"], Float[Tensor, "b 4 c"], Float[Tensor, " b"]]:
        """Context and prompt to mask logits, predicted IoU, object pointers and object score
        (`nn.mask_decoder`)."""

    def memorize(
        self, coarse: Float[Tensor, "#b c h w"], mask: Float[Tensor, "b H W"], score: Float[Tensor, " b"]
    ) -> Float[Tensor, "b n d"]:
        """Features and mask to memory tokens (`nn.memory_encoder`)."""

    def explain(self) -> list[Explanation]:
        """What computes each verb."""


def summarize(backend: Backend) -> str:
    """What computes the verbs, and why, in one line."""
    explanations = backend.explain()
    verbs: dict[str, list[str]] = {}
    for explanation in explanations:
        verbs.setdefault(explanation.runs_on, []).append(explanation.verb)
    parts = [f"{', '.join(names)} in {runs_on}" for runs_on, names in verbs.items()]
    reasons = dict.fromkeys(explanation.reason for explanation in explanations)
    return f"{'; '.join(parts)} ({'; '.join(reasons)})"


class Network(Protocol):
    """The attributes of `Sam2` that a backend reads, and where the backend is set."""

    config: Sam2Config
    image_encoder: ImageEncoder
    memory_attention: MemoryAttention
    mask_decoder: MaskDecoder
    memory_encoder: MemoryEncoder
    backend: Backend

    @property
    def device(self) -> torch.device: ...

    @property
    def dtype(self) -> torch.dtype: ...


class TorchBackend:
    """Runs a network's own modules.

    Args:
        network: The network whose modules run.
        reason: Why this backend was chosen, for `explain`.
    """

    objects_per_batch = OBJECTS_PER_BATCH
    frames_per_batch = 1

    def __init__(self, network: Network, reason: str = "as asked") -> None:
        self.network, self.reason = network, reason

    def encode(self, image: Float[Tensor, "b 3 H W"]) -> tuple[Tensor, Tensor, Tensor]:
        features: tuple[Tensor, Tensor, Tensor] = self.network.image_encoder(image)
        return features

    def attend(self, coarse: Float[Tensor, "#b c h w"], memories: MemoryTensors) -> Float[Tensor, "b c h w"]:
        context: Tensor = self.network.memory_attention(coarse, memories)
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
