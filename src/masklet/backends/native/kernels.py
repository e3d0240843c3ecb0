"""The compiled kernels (kernels.cpp) as functions of tensors, called through ctypes.

All pointers are taken by `address`, which refuses tensors whose dtype, device or strides the kernels cannot
read.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from masklet.backends.native.library import BuildError, library
from masklet.backends.threads import thread_count
from masklet.errors import MaskletError
from masklet.nn.layers import LayerNorm2d

LANES = 16  # channels come in multiples of this
PANEL_PAIR = 32  # packed rows come in multiples of this
MASKED_LOGIT = -1e4  # the bias of keys that are padding
Bits = Literal[8, 16, 32]
PANEL_DTYPES: dict[Bits, torch.dtype] = {8: torch.uint8, 16: torch.int16, 32: torch.float32}
VALUE_DTYPES: dict[Bits, torch.dtype] = {**PANEL_DTYPES, 8: torch.int8}
Activation = Literal["none", "relu", "gelu", "relu6"]
ACTIVATIONS: dict[Activation, int] = {"none": 0, "relu": 1, "gelu": 2, "relu6": 3}
Norm = nn.LayerNorm | LayerNorm2d


class MatrixArguments(ctypes.Structure):
    """`Matrix` of arguments.h, which documents all of these."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("stride", ctypes.c_int64),
        ("rows", ctypes.c_int64),
        ("columns", ctypes.c_int),
    )


class RotationArguments(ctypes.Structure):
    _fields_ = (("cosines", ctypes.c_void_p), ("sines", ctypes.c_void_p), ("count", ctypes.c_int64))


class KeyValueArguments(ctypes.Structure):
    _fields_ = (
        ("keys", ctypes.c_void_p),
        ("key_scale", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("values", ctypes.c_void_p),
        ("value_scale", ctypes.c_void_p),
        ("count", ctypes.c_int64),
        ("value_width", ctypes.c_int),
    )


class LayerArguments(ctypes.Structure):
    _fields_ = (
        ("weight", ctypes.c_void_p),
        ("scale", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("norm_weight", ctypes.c_void_p),
        ("norm_bias", ctypes.c_void_p),
        ("norm_eps", ctypes.c_float),
        ("inputs", ctypes.c_int),
        ("outputs", ctypes.c_int),
        ("activation", ctypes.c_int),
    )


class HieraBlockArguments(ctypes.Structure):
    _fields_ = (
        ("shortcut", LayerArguments),
        ("qkv", LayerArguments),
        ("out", LayerArguments),
        ("mlp", LayerArguments * 2),
        ("heads", ctypes.c_int),
        ("window", ctypes.c_int),
        ("stride", ctypes.c_int),
        ("logit_scale", ctypes.c_float),
    )


class UpscalingArguments(ctypes.Structure):
    _fields_ = (
        ("up1", LayerArguments),
        ("up2", LayerArguments),
        ("middle", ctypes.c_void_p),
        ("fine", ctypes.c_void_p),
        ("mask_weights", ctypes.c_void_p),
        ("height", ctypes.c_int),
        ("width", ctypes.c_int),
        ("masks", ctypes.c_int),
    )


class InvertedResidualArguments(ctypes.Structure):
    _fields_ = (
        ("expand", LayerArguments),
        ("project", LayerArguments),
        ("kernel", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("side", ctypes.c_int),
        ("stride", ctypes.c_int),
        ("hidden", ctypes.c_int),
        ("residual", ctypes.c_int),
    )


class StemArguments(ctypes.Structure):
    _fields_ = (
        ("layer", LayerArguments),
        ("input_scale", ctypes.c_void_p),
        ("input_shift", ctypes.c_void_p),
    )


class DownsamplingArguments(ctypes.Structure):
    _fields_ = (
        ("layer", LayerArguments),
        ("norm_weight", ctypes.c_void_p),
        ("norm_bias", ctypes.c_void_p),
        ("norm_eps", ctypes.c_float),
        ("channels", ctypes.c_int),
    )


STRUCTS = (
    MatrixArguments,
    RotationArguments,
    KeyValueArguments,
    LayerArguments,
    HieraBlockArguments,
    UpscalingArguments,
    InvertedResidualArguments,
    StemArguments,
    DownsamplingArguments,
)


def kernels() -> ctypes.CDLL:
    """The library, set to use as many threads as torch does."""
    checked = _checked_library()
    checked.set_threads(thread_count())
    return checked


@cache
def _checked_library() -> ctypes.CDLL:
    check_layout(library())
    return library()


def check_layout(loaded: ctypes.CDLL) -> None:
    """Raise for a library whose constants or structs differ from this file."""
    expected = [LANES, PANEL_PAIR, *map(ctypes.sizeof, STRUCTS)]
    facts = (ctypes.c_int64 * len(expected))()
    loaded.describe(facts)
    if list(facts) != expected:
        raise BuildError(f"kernels.cpp and kernels.py disagree on sizes: {list(facts)} and {expected}")


def address(tensor: Tensor, dtype: torch.dtype = torch.float32) -> int:
    """The address of a contiguous CPU tensor of a dtype.

    Raises:
        MaskletError: The kernels would misread the tensor.
    """
    if tensor.dtype != dtype or tensor.device.type != "cpu" or not tensor.is_contiguous():
        raise MaskletError(
            f"the native kernels expected a contiguous {dtype} tensor on the CPU. Got {tensor.dtype} on "
            f"{tensor.device} with shape {tuple(tensor.shape)} and strides {tensor.stride()}. Please report "
            "this, and use load(engine='torch') until it is fixed."
        )
    if type(tensor).__torch_dispatch__ is not Tensor.__torch_dispatch__:
        raise MaskletError(
            f"the native kernels need tensors with data in memory, and a {type(tensor).__name__} has none. "
            "Leave the mode that makes such tensors, or use load(engine='torch')."
        )
    return tensor.data_ptr()


def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """A tensor for the kernels to fill, independent of torch's default dtype and device."""
    return torch.empty(shape, dtype=dtype, device="cpu")


def matrix_arguments(x: Float[Tensor, "n d"]) -> MatrixArguments:
    """A matrix whose rows need not be adjacent, such as some columns of a wider one."""
    (rows, columns), stride = x.shape, x.stride(0)
    first_row = x[:1] if rows > 1 else x
    if x.stride(1) != 1 or stride < 0:
        raise MaskletError(f"the native kernels need contiguous rows. Got strides {x.stride()}.")
    return MatrixArguments(address(first_row), stride, rows, columns)


def rotation_arguments(rotation: Float[Tensor, "2 n half"] | None) -> RotationArguments | None:
    if rotation is None:
        return None
    cosines, sines = rotation
    return RotationArguments(address(cosines), address(sines), rotation.shape[1])


def reference(arguments: ctypes.Structure | None) -> object:
    return None if arguments is None else ctypes.byref(arguments)


@dataclass(frozen=True)
class PackedRows:
    """Keys, or the weight of a layer, in panels (packing.h)."""

    panels: Shaped[Tensor, " padded"]
    scale: Float[Tensor, " rows"]
    count: int
    bits: Bits


@dataclass(frozen=True)
class PackedValues:
    """Values in groups (packing.h): integers if the keys are integers, otherwise float32."""

    groups: Shaped[Tensor, " padded"]
    scale: Float[Tensor, " e"]
    columns: int


def pack_rows(
    x: Float[Tensor, "m d"], bits: Bits, rotation: Float[Tensor, "2 n half"] | None = None, rotated: int = 0
) -> PackedRows:
    """Pack keys; the first `rotated` of them are rotated before, by the repeated angles."""
    x = pad_channels(x)
    m, d = x.shape
    panels, scale = empty(padded_rows(m) * d, dtype=PANEL_DTYPES[bits]), empty(padded_rows(m))
    kernels().pack_rows(
        bits,
        reference(matrix_arguments(x)),
        reference(rotation_arguments(rotation)),
        ctypes.c_int64(rotated),
        ctypes.c_void_p(address(panels, PANEL_DTYPES[bits])),
        ctypes.c_void_p(address(scale)),
    )
    return PackedRows(panels, scale, m, bits)


def pack_values(x: Float[Tensor, "m e"], bits: Bits) -> PackedValues:
    """Pack values for keys with this many bits."""
    columns, x = x.shape[1], pad_channels(x)
    m, e = x.shape
    if bits == 32:
        rows = F.pad(x, (0, 0, 0, padded_rows(m) - m)).flatten()
        return PackedValues(rows, torch.ones(e, dtype=torch.float32, device="cpu"), columns)
    groups, scale = empty(padded_rows(m) * e, dtype=VALUE_DTYPES[bits]), empty(e)
    kernels().pack_values(
        bits,
        reference(matrix_arguments(x)),
        ctypes.c_void_p(address(groups, VALUE_DTYPES[bits])),
        ctypes.c_void_p(address(scale)),
    )
    return PackedValues(groups, scale, columns)


def attend(
    q: Float[Tensor, "n d"],
    keys: PackedRows,
    values: PackedValues,
    rotation: Float[Tensor, "2 n half"] | None = None,
    bias: Float[Tensor, " m"] | None = None,
) -> Float[Tensor, "n e"]:
    """Softmax attention of queries over packed keys and values.

    Args:
        rotation: Rotates the queries before.
        bias: Added to the logits of each key.
    """
    logit_scale, q, e = q.shape[1] ** -0.5, pad_channels(q), len(values.scale)
    padded_bias = torch.full((padded_rows(keys.count),), MASKED_LOGIT, dtype=torch.float32, device="cpu")
    padded_bias[: keys.count] = 0 if bias is None else bias
    out = empty(len(q), e)
    arguments = KeyValueArguments(
        address(keys.panels, PANEL_DTYPES[keys.bits]),
        address(keys.scale),
        address(padded_bias),
        address(values.groups, VALUE_DTYPES[keys.bits]),
        address(values.scale),
        keys.count,
        e,
    )
    kernels().attend(
        keys.bits,
        reference(matrix_arguments(q)),
        ctypes.c_float(logit_scale),
        reference(rotation_arguments(rotation)),
        reference(arguments),
        ctypes.c_void_p(address(out)),
    )
    return out[:, : values.columns]


@dataclass(frozen=True)
class PackedLayer:
    """A linear layer with the norm before it and the activation after it."""

    weight: PackedRows
    bias: Float[Tensor, " padded"]
    inputs: int
    norm: Norm | None
    activation: Activation

    def arguments(self) -> LayerArguments:
        norm = (address(self.norm.weight), address(self.norm.bias), self.norm.eps) if self.norm else (0, 0, 0)
        return LayerArguments(
            address(self.weight.panels, PANEL_DTYPES[self.weight.bits]),
            address(self.weight.scale),
            address(self.bias),
            *norm,
            self.inputs,
            self.weight.count,
            ACTIVATIONS[self.activation],
        )


def pack_layer(
    weight: Float[Tensor, "o i"],
    bias: Float[Tensor, " o"],
    bits: Bits,
    norm: Norm | None = None,
    activation: Activation = "none",
) -> PackedLayer:
    """Pack the weight and bias of a layer, in numbers with this many bits."""
    rows = pack_rows(weight.detach().contiguous(), bits)
    padded_bias = F.pad(bias.detach(), (0, -len(bias) % PANEL_PAIR))
    return PackedLayer(rows, padded_bias, round_up(weight.shape[1], LANES), norm, activation)


def run_layers(
    layers: Sequence[PackedLayer], x: Float[Tensor, "*n i"], residual: Float[Tensor, "*n o"] | None = None
) -> Float[Tensor, "*n o"]:
    """Rows through layers with the same number of bits, plus the residual."""
    if outputs := [layer.weight.count for layer in layers if layer.weight.count % LANES]:
        raise MaskletError(f"a layer in the kernels needs a multiple of {LANES} outputs. Got {outputs[0]}.")
    out = empty(*x.shape[:-1], layers[-1].weight.count)
    rows = pad_channels(x.flatten(0, -2)).contiguous()
    residual = None if residual is None else residual.contiguous()
    arguments = (LayerArguments * len(layers))(*(layer.arguments() for layer in layers))
    kernels().linear(
        layers[0].weight.bits,
        arguments,
        len(layers),
        ctypes.c_void_p(address(rows)),
        ctypes.c_int64(len(rows)),
        ctypes.c_void_p(None if residual is None else address(residual)),
        ctypes.c_void_p(address(out)),
    )
    return out


def map_arguments(x: Tensor, count: int, height: int, width: int, out: Tensor) -> tuple[object, ...]:
    """The last arguments of every kernel that makes maps of maps."""
    return (
        ctypes.c_void_p(address(x)),
        ctypes.c_int64(count),
        height,
        width,
        ctypes.c_void_p(address(out)),
    )


def run_hiera_block(
    arguments: HieraBlockArguments, bits: Bits, x: Float[Tensor, "b h w c"]
) -> Float[Tensor, "b h2 w2 d"]:
    """Maps through a windowed block of Hiera."""
    x = x.contiguous()
    b, h, w, _ = x.shape
    out = empty(b, h // arguments.stride, w // arguments.stride, arguments.out.outputs)
    kernels().hiera_block(
        bits,
        reference(arguments),
        *map_arguments(x, b, h, w, out),
    )
    return out


def run_inverted_residual(
    arguments: InvertedResidualArguments, bits: Bits, x: Float[Tensor, "b h w c"]
) -> Float[Tensor, "b h2 w2 d"]:
    """Maps through a block of EfficientNet-Lite, channels padded to a multiple of LANES."""
    x = x.contiguous()
    b, h, w, channels = x.shape
    expected = arguments.expand.inputs if arguments.expand.weight else arguments.hidden
    if channels != expected:
        raise MaskletError(f"a block of EfficientNet-Lite expected {expected} channels. Got {channels}.")
    out = empty(b, h // arguments.stride, w // arguments.stride, arguments.project.outputs)
    kernels().inverted_residual(
        bits,
        reference(arguments),
        *map_arguments(x, b, h, w, out),
    )
    return out


def run_stem(arguments: StemArguments, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b h2 w2 c"]:
    """Images through the first convolution of EfficientNet-Lite."""
    image = image.contiguous()
    b, _, h, w = image.shape
    out = empty(b, h // 2, w // 2, arguments.layer.outputs)
    kernels().stem(
        reference(arguments),
        *map_arguments(image, b, h, w, out),
    )
    return out


def run_downsampling(
    arguments: DownsamplingArguments, bits: Bits, x: Float[Tensor, "b h w c"]
) -> Float[Tensor, "b h2 w2 o"]:
    """Maps of even sides at half their size."""
    x = x.contiguous()
    b, h, w, channels = x.shape
    if channels != arguments.channels or h % 2 or w % 2:
        raise MaskletError(f"expected an even map of {arguments.channels} channels. Got {tuple(x.shape)}.")
    out = empty(b, h // 2, w // 2, arguments.layer.outputs)
    kernels().downsampling(
        bits,
        reference(arguments),
        *map_arguments(x, b, h, w, out),
    )
    return out


def run_depthwise(
    kernel: Float[Tensor, "side side c"], bias: Float[Tensor, " c"], x: Float[Tensor, "b h w c"]
) -> Float[Tensor, "b h w c"]:
    """Maps through a depthwise convolution of side 3, 5 or 7, in float32. c is a multiple of LANES."""
    x = x.contiguous()
    b, h, w, channels = x.shape
    if kernel.shape[2] != channels or channels % LANES or kernel.shape[0] not in (3, 5, 7):
        raise MaskletError(f"a depthwise kernel {tuple(kernel.shape)} does not fit a map {tuple(x.shape)}.")
    out = empty(*x.shape)
    kernels().depthwise(
        ctypes.c_void_p(address(kernel)),
        ctypes.c_void_p(address(bias)),
        kernel.shape[0],
        channels,
        *map_arguments(x, b, h, w, out),
    )
    return out


def run_upscaling(
    up1: PackedLayer,
    up2: PackedLayer,
    image: Float[Tensor, "h w c"],
    middle: Float[Tensor, "h2 w2 c2"],
    fine: Float[Tensor, "h4 w4 c4"],
    mask_weights: Float[Tensor, "m c4"],
) -> Float[Tensor, "m h4 w4"]:
    """The decoder's map, upscaled twice by two and weighted to masks, in float32."""
    (height, width, _), masks = image.shape, len(mask_weights)
    image, middle, fine, mask_weights = (x.contiguous() for x in (image, middle, fine, mask_weights))
    arguments = UpscalingArguments(
        up1.arguments(),
        up2.arguments(),
        address(middle),
        address(fine),
        address(mask_weights),
        height,
        width,
        masks,
    )
    out = empty(masks, 4 * height, 4 * width)
    kernels().upscale(reference(arguments), ctypes.c_void_p(address(image)), ctypes.c_void_p(address(out)))
    return out


def pad_channels(x: Float[Tensor, "n d"]) -> Float[Tensor, "n padded"]:
    """Channels side by side, padded with zeros to a multiple of LANES."""
    extra = -x.shape[1] % LANES
    if extra:
        return F.pad(x, (0, extra))
    return x if x.stride(1) == 1 else x.contiguous()


def padded_rows(count: int) -> int:
    return round_up(count, PANEL_PAIR)


def round_up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple
