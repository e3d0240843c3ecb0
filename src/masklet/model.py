"""Sam2: the whole network behind five verbs.

It does not depend on videos, object ids or files, and has no state: memories are arguments and return values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from typing import Any, TypeVar, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from masklet.backends.backend import Backend, TorchBackend
from masklet.config import Sam2Config
from masklet.errors import OptionError
from masklet.nn.image_encoder import ImageEncoder
from masklet.nn.layers import tensor_on
from masklet.nn.mask_decoder import MaskDecoder
from masklet.nn.memory_attention import MemoryAttention, MemoryTensors
from masklet.nn.memory_encoder import MemoryEncoder
from masklet.nn.prompt_encoder import PromptEncoder
from masklet.prompts import NEGATIVE, PADDING, POSITIVE
from masklet.types import CERTAIN, Candidates, FrameFeatures, MaskPrediction, MemorySelection

Verb = TypeVar("Verb", bound=Callable[..., Any])

STABLE_MARGIN, STABLE_RATIO = 0.05, 0.98
HELD_LOGIT = 2.0  # minimum logit at a held click
HELD_REACH = 1 / 20  # standard deviation of a held click's effect, as a part of the image's side
HELD_ROUNDS = 3  # all clicks are applied in each round; nearby ones of both kinds undo a part of one another


def in_own_precision(verb: Verb) -> Verb:
    """Compute a verb in the precision of the weights, ignoring `torch.autocast`.

    With gradients, autocast is kept, as the training loop expects.
    """

    @wraps(verb)
    def run(model: Sam2, *args: Any, **kwargs: Any) -> Any:
        device = model.device.type
        has_autocast = torch.amp.is_autocast_available(device)  # `meta` has no autocast
        if torch.is_grad_enabled() or not (has_autocast and torch.is_autocast_enabled(device)):
            return verb(model, *args, **kwargs)
        with torch.autocast(device, enabled=False):
            return verb(model, *args, **kwargs)

    return cast(Verb, run)


class Sam2(nn.Module):
    """Segment Anything 2 (arXiv 2408.00714): encode, attend, decode, adopt, memorize.

    Images and masks are squares of `config.image_size`, S pixels a side, and points are in its pixels. `b` is
    the number of objects; features of one frame serve them all.

    Args:
        config: The sizes of the network. Its weights are random until a checkpoint is loaded.

    Attributes:
        memory_dtype: The dtype to which memory tokens are rounded, as the config says: bfloat16, as in the
            published predictor, or float32, which does not round. Set it to compare two runtimes exactly.

    Example:
        >>> from masklet.config import toy
        >>> model = Sam2(toy()).eval().requires_grad_(False)
        >>> features = model.encode(torch.zeros(1, 3, 64, 64))
        >>> context = model.attend(features, [MemorySelection()])
        >>> points, labels = torch.tensor([[[20.0, 24.0]]]), torch.tensor([[1]])
        >>> candidates = model.decode(features, context, points, labels)
        >>> prediction = candidates.pick(candidates.iou.argmax(dim=1))
        >>> prediction.logits.shape, model.memorize(features, prediction).shape
        (torch.Size([1, 16, 16]), torch.Size([1, 16, 8]))
    """

    memory_dtype: torch.dtype

    def __init__(self, config: Sam2Config) -> None:
        super().__init__()
        self.config = config
        self.memory_dtype = getattr(torch, config.memory_dtype)
        self.image_encoder = ImageEncoder(config)
        self.prompt_encoder = PromptEncoder(config)
        self.mask_decoder = MaskDecoder(config)
        self.memory_attention = MemoryAttention(config)
        self.memory_encoder = MemoryEncoder(config)
        self.backend: Backend = TorchBackend(self)  # masklet.backends.fit chooses another
        self.float()  # independent of torch's default dtype

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.memory_attention.age.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        return self.memory_attention.age.dtype

    @property
    def _active(self) -> Backend:
        """The backend; plain torch if gradients are recorded, since only torch supports them."""
        return TorchBackend(self) if torch.is_grad_enabled() else self.backend

    @in_own_precision
    def encode(self, image: Float[Tensor, "b 3 S S"]) -> FrameFeatures:
        """Encode a frame, once for all objects and prompts.

        Args:
            image: (b, 3, S, S), normalised by ImageNet's mean and deviation; see `masklet.transforms`.

        Returns:
            Maps at strides 16, 8 and 4.
        """
        return FrameFeatures(*self._active.encode(image.to(self.dtype)))

    @in_own_precision
    def attend(
        self, features: FrameFeatures, selections: Sequence[MemorySelection]
    ) -> Float[Tensor, "b c h w"]:
        """Attend to the memories of each object.

        Args:
            features: The features of one frame, for all objects.
            selections: The memories of each of the b objects, all of the same shape.

        Returns:
            The context (b, c, S/16, S/16): the coarse features, with what the memories add to them.
        """
        if not selections[0].spatial:
            return self.memory_attention.without_memory(features.coarse).expand(len(selections), -1, -1, -1)
        p, c = len(selections[0].pointers), self.config.channels
        tokens = [torch.stack([memory.tokens for _, memory in selection.spatial]) for selection in selections]
        rows = [[row for row, _ in selection.spatial] for selection in selections]
        pointers = [pointer for selection in selections for _, pointer in selection.pointers]
        ages = [[age / max(selection.span, 1) for age, _ in selection.pointers] for selection in selections]
        stacked = torch.stack(pointers) if pointers else features.coarse.new_zeros(0, c)
        weights = [selection.weights for selection in selections]
        memories = MemoryTensors(
            torch.stack(tokens).to(self.dtype),
            tensor_on(self.device, rows, torch.int64),
            stacked.to(self.dtype).view(len(selections), p, c),
            tensor_on(self.device, ages, torch.float32),
            tensor_on(self.device, weights, self.dtype) if weights[0] else None,
        )
        return self._active.attend(features.coarse, memories)

    @in_own_precision
    def decode(
        self,
        features: FrameFeatures,
        context: Float[Tensor, "b c h w"],
        points: Float[Tensor, "b p 2"] | None = None,
        labels: Int[Tensor, "b p"] | None = None,
        hint: Float[Tensor, "b h4 w4"] | None = None,
        *,
        candidates: int = 3,
        stable: bool = True,
        present: float = 0.0,
    ) -> Candidates:
        """Predict candidate masks from points, or from the context alone if there are no points.

        Args:
            features: The features of one frame, for all objects.
            context: What `attend` returned.
            points: (b, p, 2), x and y in pixels of the model's square.
            labels: (b, p): 1 on the object, 0 outside it, 2 and 3 the corners of a box, -1 for padding.
            hint: Low-res logits (b, S/4, S/4) of an earlier answer.
            candidates: 3, or 1 if the prompt is not ambiguous.
            stable: Replace an unstable single mask with the best of the three (SAM 2, app. D.1), and hold its
                clicks if the config says so.
            present: The object score above which an object is in the frame and gets its own pointer.

        Returns:
            The candidate masks (b, m, S/4, S/4) with their IoU and pointers, and the object score.
        """
        if points is None or labels is None:
            points = context.new_zeros(len(context), 1, 2, dtype=torch.float32)
            labels = torch.full((len(context), 1), PADDING, dtype=torch.int64, device=context.device)
        hint = None if hint is None else hint.to(self.dtype)
        tokens, dense = self.prompt_encoder(points, labels, hint)
        position = self.prompt_encoder.image_position()
        logits, iou, pointer, score = self._active.decode(
            context, tokens, dense, position, features.middle, features.fine
        )
        logits, iou, score = logits.float(), iou.float(), score.float()
        pointer = self.mask_decoder.pointers(pointer, score - present)
        if candidates == 3:
            return Candidates(logits[:, 1:], iou[:, 1:], pointer[:, 1:], score)
        one = Candidates(logits[:, :1], iou[:, :1], pointer[:, :1], score)
        if not stable:
            return one
        one = _replace_unstable(one, logits[:, 1:], iou[:, 1:])
        if self.config.holds_clicks:
            held = hold_clicks(one.logits[:, 0], points, labels, self.config.image_size)
            one = replace(one, logits=held[:, None])
        return one

    @in_own_precision
    def adopt(self, features: FrameFeatures, mask: Float[Tensor, "b S S"]) -> MaskPrediction:
        """Use a person's mask as the answer. The decoder only adds the object pointer.

        Args:
            features: The features of one frame, for all objects.
            mask: (b, S, S), 0 or 1.

        Returns:
            The masks at stride 4, with an IoU of 1.
        """
        logits = fill_mask(mask, self.config.mask_size)
        hint = self.prompt_encoder.mask_to_hint(mask.to(self.dtype)[:, None])[:, 0]
        # Here the published code passes the features to the decoder without the no-memory embedding.
        context = features.coarse.expand(len(mask), -1, -1, -1)
        decoded = self.decode(features, context, hint=hint, candidates=1, stable=False)
        score = logits.new_full((), CERTAIN).where(mask.flatten(1).any(dim=1), -CERTAIN)
        pointer = self.mask_decoder.pointers(decoded.pointer, score)[:, 0]
        return MaskPrediction(logits, torch.ones_like(score), pointer, score)

    @in_own_precision
    def memorize(
        self, features: FrameFeatures, prediction: MaskPrediction, *, binary: bool = False
    ) -> Float[Tensor, "b n d"]:
        """Encode an answer as memory tokens.

        Args:
            features: The features of one frame, for all objects.
            prediction: The answer for each of the b objects.
            binary: Use the binary mask, not its probabilities, as for prompted frames.

        Returns:
            Tokens (b, n, d) of the coarse map, row by row: n = S/16 * S/16.
        """
        logits = F.interpolate(
            prediction.logits[:, None], size=self.config.image_size, mode="bilinear", align_corners=False
        )[:, 0]
        mask = (logits > 0).float() if binary else logits.sigmoid()
        return self._active.memorize(features.coarse, (20 * mask - 10).to(self.dtype), prediction.score)


def fill_mask(mask: Float[Tensor, "b S S"], size: int) -> Float[Tensor, "b h4 w4"]:
    """A user's mask as low-res logits: `CERTAIN` inside, `-CERTAIN` outside, values in between at its
    edge."""
    sides = (2 * mask.float() - 1)[:, None] * CERTAIN
    return F.interpolate(sides, (size, size), mode="bilinear", align_corners=False, antialias=True)[:, 0]


def _replace_unstable(
    one: Candidates, logits: Float[Tensor, "b 3 h w"], iou: Float[Tensor, "b 3"]
) -> Candidates:
    """Replace single masks whose area changes much with the threshold by the best of the three candidates."""
    inner = (one.logits > STABLE_MARGIN).sum(dim=(-2, -1)).float()
    outer = (one.logits > -STABLE_MARGIN).sum(dim=(-2, -1)).float()
    is_stable = (inner >= STABLE_RATIO * outer)[:, 0]
    best = iou.argmax(dim=1)
    rows = torch.arange(len(best), dtype=torch.int64, device=best.device)
    return Candidates(
        torch.where(is_stable[:, None, None], one.logits[:, 0], logits[rows, best])[:, None],
        torch.where(is_stable, one.iou[:, 0], iou[rows, best])[:, None],
        one.pointer,
        one.score,
    )


def hold_clicks(
    logits: Float[Tensor, "b h4 w4"], points: Float[Tensor, "b p 2"], labels: Int[Tensor, "b p"], side: int
) -> Float[Tensor, "b h4 w4"]:
    """Raise or lower a mask around clicks that it contradicts, so that a correction always has an effect.

    A click adds a bump as high as the error of the logit there: if the error is small, a larger part of the
    surroundings changes with it.

    Args:
        logits: The single mask of each object.
        points: x and y in pixels of the model's square.
        labels: 1 on the object, 0 outside it; others are not clicks.
        side: The side of the model's square.

    Returns:
        The logits, unchanged if no click is contradicted.
    """
    size = logits.shape[-1]
    cells = torch.arange(size, dtype=logits.dtype, device=logits.device)
    away = cells - (points * (size / side) - 0.5).clamp(0, size - 1)[..., None]  # b, p, 2, size
    x_weights, y_weights = (1 - away.abs()).clamp(min=0).unbind(dim=2)  # bilinear
    x_bump, y_bump = torch.exp(-((away / (size * HELD_REACH)) ** 2) / 2).unbind(dim=2)
    sign = (labels == POSITIVE).to(logits.dtype) - (labels == NEGATIVE).to(logits.dtype)
    for _ in range(HELD_ROUNDS):
        at_clicks = ((y_weights @ logits) * x_weights).sum(dim=-1)
        missing = sign * (HELD_LOGIT - sign * at_clicks).clamp(min=0)
        logits = logits + (y_bump * missing[..., None]).transpose(1, 2) @ x_bump
    return logits


def check_model(model: object) -> Sam2:
    """A network.

    Raises:
        OptionError: It is not a network, such as a path.
    """
    if not isinstance(model, Sam2):
        raise OptionError(f"model must be a network from masklet.load(...). Got {type(model).__name__}.")
    return model


def check_features(model: Sam2, features: object) -> FrameFeatures:
    """The features of one frame, encoded by this network.

    Raises:
        OptionError: They are not features, or are from another network.
    """
    config = model.config
    expected = (1, config.channels, config.grid, config.grid)
    if not isinstance(features, FrameFeatures):
        raise OptionError(f"features must be FrameFeatures of one frame. Got {type(features).__name__}.")
    if tuple(features.coarse.shape) != expected:
        raise OptionError(
            f"features must be from this network, with a coarse map of {expected}. Got "
            f"{tuple(features.coarse.shape)}."
        )
    return features
