"""Layers that several modules of the network share."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, Generic, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Value = TypeVar("Value")

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # means of red, green and blue, from 0 to 1, for normalisation
IMAGENET_STD = (0.229, 0.224, 0.225)
FEW_KEYS = 32  # for example the keys of a prompt


class WeightCache(Generic[Value]):
    """A value computed from weights, cached until they change; not cached if gradients are recorded."""

    def __init__(self) -> None:
        self._cached: tuple[list[Tensor], object, Value] | None = None

    def get(self, weights: Iterable[Tensor], make: Callable[[], Value], *also: object) -> Value:
        """The value, computed again if the weights changed.

        Args:
            weights: All weights on which the value depends.
            make: Computes the value.
            *also: Other values on which it depends.
        """
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return make()
        weights = list(weights)
        written = [(weight.data_ptr(), 0 if weight.is_inference() else weight._version) for weight in weights]
        # An inference tensor cannot be used outside inference mode.
        made_of = written, torch.is_inference_mode_enabled(), also
        cached = self._cached
        if cached is None or cached[1] != made_of or any(map(operator.is_not, cached[0], weights)):
            self._cached = cached = weights, made_of, make()
        return cached[2]


def to_device(tensor: Tensor, device: torch.device | str) -> Tensor:
    """Copy a tensor from the host to a device, without waiting for a CUDA device."""
    kind = torch.device(device).type
    if kind == "cuda":  # a copy from unpinned memory waits
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=kind != "mps")  # MPS may read after the tensor is freed


def tensor_on(device: torch.device | str, values: Sequence[Any], dtype: torch.dtype) -> Tensor:
    """Numbers as a tensor on a device, without waiting for it."""
    return to_device(torch.tensor(values, dtype=dtype, device="cpu"), device)


class LayerNorm2d(nn.Module):
    """Layer norm over the channels of a map."""

    eps = 1e-6

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        x = F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class MLP(nn.Module):
    """Linear layers with an activation between them."""

    def __init__(self, widths: Sequence[int], activation: type[nn.Module] = nn.ReLU) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise(widths))
        self.activation = activation()

    @property
    def linears(self) -> list[nn.Linear]:
        return [layer for layer in self.layers if isinstance(layer, nn.Linear)]

    def forward(self, x: Float[Tensor, "*n i"]) -> Float[Tensor, "*n o"]:
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)


def attend(
    q: Float[Tensor, "b heads n d"],
    k: Float[Tensor, "b heads m d"],
    v: Float[Tensor, "b heads m e"],
    bias: Float[Tensor, " m"] | None = None,
) -> Float[Tensor, "b heads n e"]:
    """Softmax attention.

    Args:
        bias: Is added to the logits of each key.
    """
    if q.device.type == "cpu" and torch.is_grad_enabled() and q.requires_grad:
        # On a CPU, two plain products train a fifth faster than the fused call, whose backward is slow there.
        # With few keys, transposed products take a quarter of that time, since a softmax over short rows is
        # slow.
        if k.shape[-2] <= FEW_KEYS < q.shape[-2] and bias is None:
            weights = ((k * k.shape[-1] ** -0.5) @ q.transpose(-2, -1)).softmax(dim=-2)
            return (v.transpose(-2, -1) @ weights).transpose(-2, -1)
        weights = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
        return (weights if bias is None else weights + bias).softmax(dim=-1) @ v
    return F.scaled_dot_product_attention(q, k, v, None if bias is None else bias.expand(1, 1, 1, -1))


class Attention(nn.Module):
    """Multi-head attention with separate projections.

    Args:
        inner: Width of queries, keys and values; the mask decoder halves it.
    """

    def __init__(self, width: int, heads: int, inner: int | None = None) -> None:
        super().__init__()
        inner = inner or width
        self.heads = heads
        self.q = nn.Linear(width, inner)
        self.k = nn.Linear(width, inner)
        self.v = nn.Linear(width, inner)
        self.out = nn.Linear(inner, width)

    def split(self, x: Float[Tensor, "b n c"]) -> Float[Tensor, "b heads n d"]:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(
        self, q: Float[Tensor, "b n c"], k: Float[Tensor, "b m d"], v: Float[Tensor, "b m d"]
    ) -> Float[Tensor, "b n c"]:
        x = attend(self.split(self.q(q)), self.split(self.k(k)), self.split(self.v(v)))
        return self.out(x.transpose(1, 2).flatten(-2))


def on_meta_device() -> bool:
    """Whether modules are made on the meta device, where tensors have only shapes.

    There, torch would compute constants in Python and import its compiler, which takes a second.
    """
    return torch.get_default_device().type == "meta"


def sine_map(channels: int, height: int, width: int) -> Float[Tensor, "c h w"]:
    """Fixed position encoding of a map: half the channels for y, half for x, each axis scaled to 2 pi."""
    if on_meta_device():
        return torch.empty(channels, height, width)
    ys = torch.arange(1, height + 1, dtype=torch.float32) / (height + 1e-6) * 2 * math.pi
    xs = torch.arange(1, width + 1, dtype=torch.float32) / (width + 1e-6) * 2 * math.pi
    y = _interleaved_sines(ys, channels // 2)[:, None].expand(-1, width, -1)
    x = _interleaved_sines(xs, channels // 2)[None].expand(height, -1, -1)
    return torch.cat([y, x], dim=-1).permute(2, 0, 1).contiguous()


def _interleaved_sines(angles: Float[Tensor, " n"], channels: int) -> Float[Tensor, "n c"]:
    phases = angles[:, None] / _periods(channels, angles.device)
    return torch.stack([phases[:, 0::2].sin(), phases[:, 1::2].cos()], dim=-1).flatten(1)


def sine_age(ages: Float[Tensor, "*n"], channels: int) -> Float[Tensor, "*n c"]:
    """Fixed encoding of a scalar: sines in the first half of the channels, cosines in the second."""
    phases = ages[..., None] / _periods(channels // 2, ages.device)
    return torch.cat([phases.sin(), phases.cos()], dim=-1)


def _periods(channels: int, device: torch.device) -> Float[Tensor, " c"]:
    pairs = torch.arange(channels, dtype=torch.float32, device=device).div(2, rounding_mode="floor")
    return 10000.0 ** (2 * pairs / channels)


def rotation(channels: int, height: int, width: int, stride: int = 1) -> Float[Tensor, "2 n half"]:
    """Cosines and sines of the 2D rotary embedding: half of the channels rotate with x, half with y.

    In real numbers, so that it exports (RoFormer, 3.2.2, applied to each axis).

    Args:
        stride: Cells that represent squares of this side rotate by the centres of the squares.
    """
    if on_meta_device():
        return torch.empty(2, height * width, channels // 2)
    speeds = 10000.0 ** -(torch.arange(0, channels, 4, dtype=torch.float32)[: channels // 4] / channels)
    xs, ys = (
        torch.arange(length, dtype=torch.float32) * stride + (stride - 1) / 2 for length in (width, height)
    )
    x = xs.repeat(height)[:, None] * speeds
    y = ys.repeat_interleave(width)[:, None] * speeds
    angles = torch.cat([x, y], dim=-1)
    return torch.stack([angles.cos(), angles.sin()])


def rotate(x: Float[Tensor, "*b n c"], rope: Float[Tensor, "2 n half"]) -> Float[Tensor, "*b n c"]:
    """Rotate neighbouring pairs of channels by the token's angles."""
    cos, sin = rope.to(x.dtype)
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)
