"""Random calls of the kernels, beside the same in torch: a program, for a library under AddressSanitizer.

    python tests/backends/fuzz.py LIBRARY CASES

`test_fuzz.py` builds the library and runs it. Shapes, alignments, strides, bits and threads vary.
"""

from __future__ import annotations

import ctypes
import sys
from dataclasses import replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from masklet.backends.native import kernels
from masklet.backends.native.encoders import (
    LiteBlock,
    LiteStem,
    NativeLinear,
    WindowBlock,
    pad_last,
)
from masklet.backends.native.memory_encoder import Downsampling, NativeMemoryEncoder
from masklet.config import toy
from masklet.nn.layers import LayerNorm2d, rotate, rotation
from masklet.nn.memory_encoder import MemoryEncoder
from masklet.nn.trunks import EfficientNetLite
from masklet.nn.trunks.efficientnet_lite import InvertedResidual
from masklet.nn.trunks.hiera import Block

ERRORS = {8: 0.1, 16: 5e-3, 32: 1e-4}  # of the largest number; a block has several layers one after the other
bits = st.sampled_from([8, 16, 32])
counts = st.integers(1, 150)
channels = st.integers(1, 12).map(lambda count: 16 * count)
sides = st.integers(1, 24)


def misaligned(x: Tensor, offset: int) -> Tensor:
    """The same numbers, contiguous, `offset` floats behind an aligned address; nothing follows them."""
    storage = torch.empty(offset + x.numel())
    storage[offset:] = x.flatten()
    return storage[offset:].view(x.shape)


def assert_close(mine: Tensor, exact: Tensor, bits: int, scale: float | None = None) -> None:
    """scale : what the error is a part of, where that is not the largest number"""
    assert mine.shape == exact.shape, (mine.shape, exact.shape)
    assert mine.isfinite().all()
    assert (mine - exact).abs().max() <= ERRORS[bits] * max(scale or float(exact.abs().max()), 1e-3)


def check_layers(draw: st.DrawFn, offset: int, bits: kernels.Bits) -> None:
    activation = draw(st.sampled_from(["none", "relu", "gelu", "relu6"]))
    widths = [draw(st.integers(1, 80)), *draw(st.lists(channels, min_size=1, max_size=2))]
    layers = [nn.Linear(i, o) for i, o in pairwise(widths)]
    has_norm = widths[0] % 16 == 0 and draw(st.booleans())
    norm = nn.LayerNorm(widths[0]) if has_norm else None
    x, residual = torch.randn(draw(counts), widths[0]), None
    if draw(st.booleans()):
        residual = misaligned(torch.randn(len(x), widths[-1]), offset)
    exact = x if norm is None else norm(x)
    for i, layer in enumerate(layers):
        exact = layer(exact)
        if i + 1 < len(layers):
            act = {"none": nn.Identity(), "relu": F.relu, "gelu": F.gelu, "relu6": F.relu6}[activation]
            exact = act(exact)
    exact = exact if residual is None else exact + residual
    native = NativeLinear(*layers, bits=bits, between=activation, norm=norm)
    assert_close(native(misaligned(x, offset), residual), exact, bits)


def check_attention(draw: st.DrawFn, offset: int, bits: kernels.Bits) -> None:
    side, maps, pointers = draw(st.integers(1, 6)), draw(st.integers(1, 9)), draw(st.integers(0, 20))
    d, e, extra = 4 * draw(st.integers(1, 24)), draw(st.integers(1, 90)), draw(st.integers(0, 40))
    rotated = draw(st.booleans()) and d % 16 == 0
    n, m = side * side, side * side * maps + pointers
    # Columns of wider matrices: rows lie apart.
    q, k = (misaligned(torch.randn(rows, d + extra), offset)[:, extra:] for rows in (n, m))
    v, bias = misaligned(torch.randn(m, e + extra), offset)[:, :e], torch.randn(m)
    rope = rotation(d, side, side) if rotated else None
    rotated_q, rotated_k = q, k
    if rope is not None:
        rotated_q = rotate(q, rope)
        on_maps = rotate(k[: m - pointers].unflatten(0, (maps, n)), rope).flatten(0, 1)
        rotated_k = torch.cat([on_maps, k[m - pointers :]])
    weights = (rotated_q @ rotated_k.T * d**-0.5 + bias).softmax(dim=1)
    exact = weights @ v
    keys = kernels.pack_rows(k, bits, rope, m - pointers)
    mine = kernels.attend(q, keys, kernels.pack_values(v, bits), rope, bias)
    # The values of a query may cancel out; their rounding errors do not.
    spread = (weights.square() @ v.square()).sqrt()
    assert_close(mine, exact, bits, scale=2 * max(float(spread.max()), float(exact.abs().max())))


def check_window_block(draw: st.DrawFn, offset: int, bits: kernels.Bits) -> None:
    heads, pooled = draw(st.integers(1, 3)), draw(st.booleans())
    width = 16 * heads * draw(st.integers(1, 2))
    window = draw(st.integers(1, 4)) * 2 if pooled else draw(st.integers(1, 9))
    h, w = (2 * draw(st.integers(1, 9)) for _ in range(2))
    block = Block(width, 2 * width if pooled else width, heads, window, pooled=pooled)
    x = torch.randn(draw(st.integers(1, 2)), h, w, width)
    assert_close(WindowBlock(block, bits)(misaligned(x, offset)), block(x), bits)


def check_residual_block(draw: st.DrawFn, offset: int, bits: kernels.Bits) -> None:
    side, stride = draw(st.sampled_from([3, 5])), draw(st.integers(1, 2))
    width, out = (8 * draw(st.integers(1, 8)) for _ in range(2))
    expansion = draw(st.sampled_from([1, 6])) if width % 16 == 0 else 6
    width = 16 if expansion == 6 and width * 6 % 16 else width
    h, w = (stride * draw(st.integers(1, 60)) + draw(st.integers(0, stride - 1)) for _ in range(2))
    block = InvertedResidual(width, draw(st.sampled_from([width, out])), side, stride, expansion)
    x = torch.randn(draw(st.integers(1, 2)), width, h, w)
    cells = misaligned(pad_last(x.permute(0, 2, 3, 1)), offset)
    mine, exact = LiteBlock(block, bits)(cells), block(x).permute(0, 2, 3, 1)
    assert not mine[..., exact.shape[-1] :].any()
    assert_close(mine[..., : exact.shape[-1]], exact, bits)


def check_stem(draw: st.DrawFn, offset: int, bits: kernels.Bits) -> None:
    trunk = EfficientNetLite("efficientnet-lite0")
    image = misaligned(torch.randn(draw(st.integers(1, 2)), 3, *(1 + draw(counts) for _ in range(2))), offset)
    exact = F.relu6(trunk.stem(trunk.input_shift + image * trunk.input_scale)).permute(0, 2, 3, 1)
    assert_close(LiteStem(trunk)(image), exact, 32)


def check_depthwise(draw: st.DrawFn, offset: int, bits: kernels.Bits) -> None:
    side, width = draw(st.sampled_from([3, 5, 7])), draw(channels)
    conv = nn.Conv2d(width, width, side, padding=side // 2, groups=width)
    x = torch.randn(draw(st.integers(1, 2)), width, draw(sides), draw(sides))
    kernel = misaligned(conv.weight[:, 0].permute(1, 2, 0), offset)
    assert conv.bias is not None
    mine = kernels.run_depthwise(kernel, conv.bias, misaligned(x.permute(0, 2, 3, 1), offset))
    assert_close(mine, conv(x).permute(0, 2, 3, 1), 32)


def check_downsampling(draw: st.DrawFn, offset: int, bits: kernels.Bits) -> None:
    width, out = draw(st.integers(1, 70)), draw(channels)
    conv, norm = nn.Conv2d(width, out, 3, stride=2, padding=1), LayerNorm2d(out)
    x = torch.randn(draw(st.integers(1, 2)), width, *(2 * draw(sides) for _ in range(2)))
    mine = Downsampling(conv, norm, bits)(misaligned(x.permute(0, 2, 3, 1), offset))
    assert_close(mine, F.gelu(norm(conv(x))).permute(0, 2, 3, 1), bits)


def check_memory_encoder(draw: st.DrawFn, offset: int, bits: kernels.Bits) -> None:
    """Memories may be narrower than what the kernels take at a time."""
    width, side = draw(st.sampled_from([16, 32, 64])), 16 * draw(st.integers(1, 6))
    config = replace(toy(), channels=width, memory_channels=draw(st.sampled_from([4, 8, 16])))
    encoder, objects = MemoryEncoder(config), draw(st.integers(1, 3))
    coarse, mask = torch.randn(1, width, side // 16, side // 16), 10 * torch.randn(objects, side, side)
    shown = misaligned(coarse, offset), misaligned(mask, offset), torch.randn(objects)
    assert_close(NativeMemoryEncoder(encoder, bits)(*shown), encoder(*shown), bits)


def check_upscaling(draw: st.DrawFn, offset: int, bits: kernels.Bits) -> None:
    c, c2, c4 = (16 * draw(st.integers(1, 4)) for _ in range(3))
    h, w, masks = draw(st.integers(1, 12)), draw(st.integers(1, 12)), draw(st.integers(1, 6))
    up1, up2 = nn.ConvTranspose2d(c, c2, 2, 2), nn.ConvTranspose2d(c2, c4, 2, 2)
    norm = nn.LayerNorm(c2)
    image = torch.randn(h, w, c)
    middle, fine, weights = (
        torch.randn(2 * h, 2 * w, c2),
        torch.randn(4 * h, 4 * w, c4),
        torch.randn(masks, c4),
    )
    x = up1(image.permute(2, 0, 1)[None])[0].permute(1, 2, 0) + middle
    x = up2(F.gelu(norm(x)).permute(2, 0, 1)[None])[0].permute(1, 2, 0) + fine
    exact = torch.einsum("hwc,mc->mhw", F.gelu(x), weights)
    packed = []
    for up, before in ((up1, None), (up2, norm)):
        assert up.bias is not None
        weight = up.weight.permute(2, 3, 1, 0).flatten(0, 2)
        packed.append(kernels.pack_layer(weight, up.bias.repeat(4), 32, before))
    finer = (misaligned(x, offset) for x in (image, middle, fine))
    assert_close(kernels.run_upscaling(*packed, *finer, weights), exact, 32)


CHECKS = (
    check_layers,
    check_attention,
    check_window_block,
    check_residual_block,
    check_stem,
    check_depthwise,
    check_downsampling,
    check_memory_encoder,
    check_upscaling,
)


@torch.inference_mode()
def check_case(data: st.DataObject) -> None:
    check = data.draw(st.sampled_from(CHECKS))
    torch.manual_seed(data.draw(st.integers(0, 1000)))
    torch.set_num_threads(data.draw(st.integers(1, 2)))
    check(data.draw, data.draw(st.integers(0, 15)), data.draw(bits))


def main() -> None:
    path, cases = sys.argv[1], int(sys.argv[2])
    library = ctypes.CDLL(path)
    kernels.check_layout(library)
    kernels._checked_library = lambda: library  # type: ignore[assignment]
    profile = settings(
        max_examples=cases,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    profile(given(st.data())(check_case))()
    sys.stdout.write(f"{cases} cases\n")


if __name__ == "__main__":
    main()
