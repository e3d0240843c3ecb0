"""The compiled kernels against the same sums in float32."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from masklet.backends.native import kernels, library
from masklet.backends.native.encoders import NativeLinear, WindowBlock
from masklet.nn.layers import rotate, rotation
from masklet.nn.trunks.hiera import Block

pytestmark = pytest.mark.skipif(library.missing() is not None, reason=f"no kernels: {library.missing()}")


def error(mine: Tensor, exact: Tensor) -> float:
    """Root of the mean square difference, as a part of the spread."""
    return ((mine - exact).square().mean().sqrt() / exact.std()).item()


BITS: list[kernels.Bits] = [8, 16, 32]
ATTENDING = {8: 0.05, 16: 2e-3, 32: 1e-5}  # errors that are allowed
LAYERED = {8: 0.02, 16: 3e-4, 32: 2e-6}


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize(
    "n, m, d, e", [(64, 512, 64, 64), (70, 333, 32, 8), (5, 1, 56, 56), (200, 777, 256, 64)]
)
def test_attention(n: int, m: int, d: int, e: int, bits: kernels.Bits) -> None:
    """Whole blocks and broken ones, and widths that must be filled up; keys have scales of their own."""
    q, k, v = torch.randn(n, d), torch.randn(m, d) * (0.5 + torch.rand(m, 1)), torch.randn(m, e)
    exact = (q @ k.T * d**-0.5).softmax(dim=1) @ v
    mine = kernels.attend(q, kernels.pack_rows(k, bits), kernels.pack_values(v, bits))
    assert mine.shape == exact.shape
    assert (mine - exact).abs().max() < ATTENDING[bits] * exact.abs().max()


@pytest.mark.parametrize("bits", BITS)
def test_small_weights_are_not_lost_beside_a_large_one(bits: kernels.Bits) -> None:
    """A thousand keys that weigh as much together as the one that each of them is a thousandth of."""
    q, k = torch.zeros(1, 16), torch.zeros(2048, 16)
    bias = torch.zeros(2048)
    bias[0] = math.log(2047)
    v = torch.zeros(2048, 16)
    v[1:] = 1
    mine = kernels.attend(q, kernels.pack_rows(k, bits), kernels.pack_values(v, bits), bias=bias)
    # In 8 bits those of the large one's own block are.
    assert (mine - 0.5).abs().max() < (0.08 if bits == 8 else 1e-5)


@pytest.mark.parametrize("bits", BITS)
def test_keys_are_turned_by_their_places_and_pointers_are_not(bits: kernels.Bits) -> None:
    rope, pointers = rotation(32, 4, 4), 5
    q, k, v = torch.randn(n := 16, 32), torch.randn(3 * n + pointers, 32), torch.randn(3 * n + pointers, 16)
    maps = rotate(k[:-pointers].unflatten(0, (3, n)), rope).flatten(0, 1)
    exact = (rotate(q, rope) @ torch.cat([maps, k[-pointers:]]).T * 32**-0.5).softmax(dim=1) @ v
    values = kernels.pack_values(v, bits)
    assert error(kernels.attend(q, kernels.pack_rows(k, bits, rope, 48), values, rope), exact) < 0.02
    assert error(kernels.attend(q, kernels.pack_rows(k, bits), values, rope), exact) > 0.2


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("n, i, o", [(130, 96, 288), (1, 16, 16), (65, 48, 144), (7, 400, 32)])
def test_linear(n: int, i: int, o: int, bits: kernels.Bits) -> None:
    layer, x = nn.Linear(i, o), 100 * torch.randn(2, n, i)
    assert error(NativeLinear(layer, bits=bits)(x), layer(x)) < LAYERED[bits]


@pytest.mark.parametrize("activation", ["none", "relu", "gelu"])
@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("n, widths", [(130, (96, 384, 96)), (1, (16, 16, 16)), (65, (48, 144, 32))])
def test_layers_with_an_activation_between_them(
    n: int, widths: tuple[int, int, int], bits: kernels.Bits, activation: kernels.Activation
) -> None:
    first, second = nn.Linear(*widths[:2]), nn.Linear(*widths[1:])
    x = 100 * torch.randn(2, n, widths[0])
    between = {"none": nn.Identity(), "relu": nn.ReLU(), "gelu": nn.GELU()}[activation]
    mine = NativeLinear(first, second, bits=bits, between=activation)(x)
    assert error(mine, second(between(first(x)))) < 2 * LAYERED[bits]


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize(
    "width, out, heads, side, pooled",
    [(32, 32, 2, 4, False), (48, 96, 4, 6, True), (64, 64, 1, 14, False), (112, 112, 2, 3, False)],
)
def test_windows(width: int, out: int, heads: int, side: int, pooled: bool, bits: kernels.Bits) -> None:
    """Windows within the map and across its edge, and heads that must be filled up; two maps at once."""
    block, x = Block(width, out, heads, side, pooled=pooled), torch.randn(2, 10, 16, width)
    for norm in (block.norm1, block.norm2):
        norm.weight.data.uniform_(0.5, 2)
        norm.bias.data.normal_()
    with torch.inference_mode():
        exact = block(x)
        mine = WindowBlock(block, bits)(x)
    assert mine.shape == exact.shape
    assert error(mine, exact) < 2 * LAYERED[bits]


def test_gelu_of_huge_numbers() -> None:
    first, second = nn.Linear(16, 16), nn.Linear(16, 16)
    x = torch.tensor([[1e12], [-1e12], [1e4], [-1e4], [0.0]]).expand(5, 16).contiguous()
    exact = second(F.gelu(first(x)))
    mine = NativeLinear(first, second, bits=32, between="gelu")(x)
    torch.testing.assert_close(mine, exact, rtol=1e-4, atol=1e-4)


def test_integers_do_not_overflow() -> None:
    """Rows that are longest for their largest value, and rows of one value alone, times themselves."""
    for x in (torch.full((4, 512), 1e6), 1e6 * torch.eye(512)[:4], -torch.full((4, 512), 1e-6)):
        layer = nn.Linear(512, 16)
        layer.weight.data = x[:1].expand(16, -1).contiguous()
        layer.bias.data.zero_()
        torch.testing.assert_close(NativeLinear(layer, bits=16)(x), layer(x), rtol=1e-3, atol=0)


def test_attention_in_float32_knows_far_keys() -> None:
    """Logits in the hundreds, whose exponents differ by more than float32 holds."""
    q, k, v = 30 * torch.randn(9, 64), 30 * torch.randn(500, 64), torch.randn(500, 16)
    exact = F.scaled_dot_product_attention(*(x.double()[None, None] for x in (q, k, v)))[0, 0]
    mine = kernels.attend(q, kernels.pack_rows(k, 32), kernels.pack_values(v, 32))
    assert (mine - exact).abs().max() < 1e-3
