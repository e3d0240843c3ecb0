"""The compiled kernels, called through ctypes.

What they compute is said in kernels.cpp. Tensors are float32 on the CPU, channels side by side.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from masklet.backends.build import library
from masklet.errors import MaskletError
from masklet.nn.layers import LayerNorm2d
from masklet.nn.mask_decoder import as_linear
from masklet.nn.trunks.hiera import Block

WIDTH = 16  # channels come in multiples of this
TOGETHER = 32  # keys, and a layer's outputs, come in multiples of this
NOT_THERE = -1e4  # what is added to the logits of keys that only fill up
Bits = Literal[8, 16, 32]
KEPT: dict[Bits, torch.dtype] = {8: torch.uint8, 16: torch.int16, 32: torch.float32}  # of rows in panels
WEIGHED: dict[Bits, torch.dtype] = {**KEPT, 8: torch.int8}  # of values
Activation = Literal["none", "relu", "gelu"]
READABLE = {torch.float32, torch.int16, torch.int8, torch.uint8}
ACTIVATIONS: dict[Activation, int] = {"none": 0, "relu": 1, "gelu": 2}


@dataclass(frozen=True)
class Rows:
    """Keys, or a layer's weight, as the kernels read them."""

    codes: Shaped[Tensor, " padded"]
    scale: Float[Tensor, " rows"]
    count: int
    bits: Bits


@dataclass(frozen=True)
class Values:
    """Values as the kernels read them: integers beside keys that are integers, else float32."""

    codes: Shaped[Tensor, " padded"]
    scale: Float[Tensor, " e"]
    columns: int


def pack_rows(
    x: Float[Tensor, "m d"], bits: Bits, turn: Float[Tensor, "2 n half"] | None = None, placed: int = 0
) -> Rows:
    """Pack keys; the first `placed` of them are turned before, by the angles over and over."""
    x = _widened(x)
    m, d = x.shape
    codes, scale = empty(_padded(m) * d, dtype=KEPT[bits]), empty(_padded(m))
    cos, sin = (None, None) if turn is None else turn
    angles = 1 if turn is None else turn.shape[1]
    library().pack_rows(
        bits, _at(x), _long(x.stride(0)), _long(m), d,
        _at(cos), _at(sin), _long(angles), _long(placed), _at(codes), _at(scale),
    )  # fmt: skip
    return Rows(codes, scale, m, bits)


def pack_values(x: Float[Tensor, "m e"], bits: Bits) -> Values:
    """Pack values for keys of so many bits."""
    columns, x = x.shape[1], _widened(x)
    m, e = x.shape
    if bits == 32:
        return Values(
            F.pad(x, (0, 0, 0, _padded(m) - m)).flatten(),
            torch.ones(e, dtype=torch.float32, device="cpu"),
            columns,
        )
    codes, scale = empty(_padded(m) * e, dtype=WEIGHED[bits]), empty(e)
    library().pack_values(bits, _at(x), _long(x.stride(0)), _long(m), e, _at(codes), _at(scale))
    return Values(codes, scale, columns)


def attend(
    q: Float[Tensor, "n d"],
    keys: Rows,
    values: Values,
    turn: Float[Tensor, "2 n half"] | None = None,
    bias: Float[Tensor, " m"] | None = None,
) -> Float[Tensor, "n e"]:
    """Softmax attention; queries are turned before. bias : is added to the logits of each key"""
    by, q, e = q.shape[1] ** -0.5, _widened(q), len(values.scale)
    n, d = q.shape
    added = torch.full((_padded(keys.count),), NOT_THERE, dtype=torch.float32, device="cpu")
    added[: keys.count] = 0 if bias is None else bias
    out = empty(n, e)
    cos, sin = (None, None) if turn is None else turn
    library().attend(
        keys.bits, _at(q), _long(q.stride(0)), _long(n), d, ctypes.c_float(by), _at(cos), _at(sin),
        _at(keys.codes), _at(keys.scale), _at(added), _long(keys.count),
        _at(values.codes), _at(values.scale), e, _at(out),
    )  # fmt: skip
    return out[:, : values.columns]


class ToldLayer(ctypes.Structure):
    """A packed layer, as the kernels are told of it."""

    _fields_ = (
        ("weight", ctypes.c_void_p),
        ("scale", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("norm_weight", ctypes.c_void_p),
        ("norm_bias", ctypes.c_void_p),
        ("eps", ctypes.c_float),
        ("inputs", ctypes.c_int),
        ("outputs", ctypes.c_int),
        ("activation", ctypes.c_int),
    )


class ToldHiera(ctypes.Structure):
    """A block of Hiera, as the kernels are told of it."""

    _fields_ = (
        ("shortcut", ToldLayer),
        ("qkv", ToldLayer),
        ("out", ToldLayer),
        ("mlp", ToldLayer * 2),
        ("heads", ctypes.c_int),
        ("side", ctypes.c_int),
        ("step", ctypes.c_int),
        ("by", ctypes.c_float),
    )


class ToldUpscaling(ctypes.Structure):
    """The decoder's way from its map to masks, as the kernels are told of it."""

    _fields_ = (
        ("up1", ToldLayer),
        ("up2", ToldLayer),
        ("h", ctypes.c_int),
        ("w", ctypes.c_int),
        ("middle", ctypes.c_void_p),
        ("fine", ctypes.c_void_p),
        ("weights", ctypes.c_void_p),
        ("masks", ctypes.c_int),
    )


@dataclass(frozen=True)
class Layer:
    """A linear layer as the kernels read it, with the norm before it and the activation after it."""

    weight: Rows
    bias: Float[Tensor, " padded"]
    inputs: int
    norm: nn.LayerNorm | LayerNorm2d | None
    activation: Activation

    def told(self) -> ToldLayer:
        weight, bias, eps = (
            (self.norm.weight, self.norm.bias, self.norm.eps) if self.norm else (None, None, 0)
        )
        return ToldLayer(
            _at(self.weight.codes), _at(self.weight.scale), _at(self.bias),
            _at(weight), _at(bias), eps,
            self.inputs, self.weight.count, ACTIVATIONS[self.activation],
        )  # fmt: skip


def pack_layer(
    layer: nn.Linear, bits: Bits, norm: nn.LayerNorm | None = None, activation: Activation = "none"
) -> Layer:
    """Pack a layer, in numbers of so many bits."""
    return _packed(layer.weight, layer.bias, bits, norm, activation)


def _packed(
    weight: Float[Tensor, "o i"],
    bias: Float[Tensor, " o"],
    bits: Bits,
    norm: nn.LayerNorm | LayerNorm2d | None,
    activation: Activation = "none",
) -> Layer:
    rows = pack_rows(weight.detach().float().contiguous(), bits)
    bias = F.pad(bias.detach().float(), (0, -len(bias) % TOGETHER))
    return Layer(rows, bias, _rounded(weight.shape[1], WIDTH), norm, activation)


class Linear(nn.Module):
    """A linear layer, or several with an activation between them, in numbers of so many bits.

    norm : what comes before the first
    """

    def __init__(
        self,
        *layers: nn.Linear,
        bits: Bits,
        between: Activation = "none",
        norm: nn.LayerNorm | None = None,
    ) -> None:
        super().__init__()
        self.bits, self.outputs = bits, layers[-1].out_features
        last = len(layers) - 1
        self.layers = [
            pack_layer(layer, bits, None if i else norm, between if i < last else "none")
            for i, layer in enumerate(layers)
        ]

    def forward(
        self, x: Float[Tensor, "*n i"], added: Float[Tensor, "*n o"] | None = None
    ) -> Float[Tensor, "*n o"]:
        """added : to what comes out"""
        out = empty(*x.shape[:-1], self.outputs)
        rows, added = _widened(x.flatten(0, -2)).contiguous(), None if added is None else added.contiguous()
        told = (ToldLayer * len(self.layers))(*(layer.told() for layer in self.layers))
        library().linear(self.bits, told, len(told), _at(rows), _long(len(rows)), _at(added), _at(out))
        return out


class WindowBlock(nn.Module):
    """A block of Hiera whose attention stays within windows, in numbers of so many bits."""

    def __init__(self, block: Block, bits: Bits) -> None:
        super().__init__()
        attention, heads = block.attention, block.attention.heads
        self.bits, self.heads, self.side, self.step = bits, heads, block.window, 2 if block.pooled else 1
        # Heads are filled up with zeros, to be as wide as the kernels want.
        width = attention.out.in_features // heads
        fill = -width % WIDTH
        qkv = F.pad(attention.qkv.weight.unflatten(0, (-1, width)), (0, 0, 0, fill)).flatten(0, 1)
        bias = F.pad(attention.qkv.bias.unflatten(0, (-1, width)), (0, fill)).flatten()
        out = F.pad(attention.out.weight.unflatten(1, (-1, width)), (0, fill)).flatten(1)
        self.by = width**-0.5
        self.qkv = _packed(qkv, bias, bits, block.norm1)
        self.out = _packed(out, attention.out.bias, bits, None)
        first, second = block.mlp.linears
        self.mlp = pack_layer(first, bits, block.norm2, "gelu"), pack_layer(second, bits)
        self.shortcut = block.shortcut and pack_layer(block.shortcut, bits, block.norm1)

    def forward(self, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h2 w2 d"]:
        x = x.contiguous()
        b, h, w, _ = x.shape
        out = empty(b, h // self.step, w // self.step, self.out.weight.count)
        told = ToldHiera(
            self.shortcut.told() if self.shortcut else ToldLayer(),
            self.qkv.told(),
            self.out.told(),
            (ToldLayer * 2)(*(layer.told() for layer in self.mlp)),
            self.heads, self.side, self.step, self.by,
        )  # fmt: skip
        library().windows(self.bits, ctypes.byref(told), _at(x), _long(b), h, w, _at(out))
        return out


class Upscale(nn.Module):
    """The decoder's map, doubled twice, and weighed to masks, in float32."""

    def __init__(self, up1: nn.ConvTranspose2d, norm: LayerNorm2d, up2: nn.ConvTranspose2d) -> None:
        super().__init__()
        self.up1 = _packed(*as_linear(up1), 32, None)
        self.up2 = _packed(*as_linear(up2), 32, norm)

    def forward(
        self,
        image: Float[Tensor, "h w c"],
        middle: Float[Tensor, "h2 w2 c2"],
        fine: Float[Tensor, "h4 w4 c4"],
        weights: Float[Tensor, "m c4"],
    ) -> Float[Tensor, "m h4 w4"]:
        (h, w, _), m = image.shape, len(weights)
        image, middle, fine, weights = (each.contiguous() for each in (image, middle, fine, weights))
        told = ToldUpscaling(self.up1.told(), self.up2.told(), h, w, _at(middle), _at(fine), _at(weights), m)
        out = empty(m, 4 * h, 4 * w)
        library().upscale(ctypes.byref(told), _at(image), _at(out))
        return out


def _widened(x: Float[Tensor, "n d"]) -> Float[Tensor, "n wide"]:
    """Channels side by side, and as many as the kernels want."""
    extra = -x.shape[1] % WIDTH
    if extra:
        return F.pad(x, (0, extra))
    return x if x.stride(1) == 1 else x.contiguous()


def _padded(count: int) -> int:
    return _rounded(count, TOGETHER)


def _rounded(count: int, to: int) -> int:
    return -(-count // to) * to


def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """An array for the kernels to fill, whatever torch's default dtype and device are."""
    return torch.empty(shape, dtype=dtype, device="cpu")


def _at(tensor: Tensor | None) -> ctypes.c_void_p:
    """The one door to the kernels: where an array lies, if it is one that they read."""
    if tensor is None:
        return ctypes.c_void_p(None)
    if (
        tensor.device.type != "cpu"
        or tensor.dtype not in READABLE
        or (tensor.dim() and tensor.stride(-1) != 1)
    ):
        raise MaskletError(
            "the kernels read float32, int16, int8 and uint8 on the CPU, neighbours side by side. Got "
            f"{tensor.dtype} of shape {tuple(tensor.shape)}, strides {tensor.stride()}, on {tensor.device}."
        )
    return ctypes.c_void_p(tensor.data_ptr())


def _long(number: int) -> ctypes.c_int64:
    return ctypes.c_int64(number)
