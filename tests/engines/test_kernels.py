"""The compiled kernels against the same sums in float32."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from masklet.engines import kernels
from masklet.nn.layers import rotate, rotation

pytestmark = pytest.mark.skipif(kernels.missing() is not None, reason=f"no kernels: {kernels.missing()}")


def error(mine: Tensor, exact: Tensor) -> float:
    """Root of the mean square difference, as a part of the spread."""
    return ((mine - exact).square().mean().sqrt() / exact.std()).item()


@pytest.mark.parametrize(
    "n, m, d, e", [(64, 512, 64, 64), (70, 333, 32, 8), (5, 1, 56, 56), (200, 777, 256, 64)]
)
def test_attention(n: int, m: int, d: int, e: int) -> None:
    """Whole blocks and broken ones, and widths that must be filled up; keys have scales of their own."""
    q, k, v = torch.randn(n, d), torch.randn(m, d) * (0.5 + torch.rand(m, 1)), torch.randn(m, e)
    exact = (q @ k.T * d**-0.5).softmax(dim=1) @ v
    mine = kernels.attend(q, kernels.pack_rows(k), kernels.pack_values(v))
    assert mine.shape == exact.shape
    assert (mine - exact).abs().max() < 0.05 * exact.abs().max()


def test_small_weights_are_not_lost_beside_a_large_one() -> None:
    """A thousand keys that weigh as much together as the one that each of them is a thousandth of."""
    q, k = torch.zeros(1, 16), torch.zeros(2048, 16)
    bias = torch.zeros(2048)
    bias[0] = math.log(2047)
    v = torch.zeros(2048, 16)
    v[1:] = 1
    mine = kernels.attend(q, kernels.pack_rows(k), kernels.pack_values(v), bias=bias)
    assert (mine - 0.5).abs().max() < 0.08  # those of the large one's own block are


def test_keys_are_turned_by_their_places_and_pointers_are_not() -> None:
    turn, pointers = rotation(32, 4, 4), 5
    q, k, v = torch.randn(16, 32), torch.randn(3 * 16 + pointers, 32), torch.randn(3 * 16 + pointers, 16)
    maps = rotate(k[:-pointers].unflatten(0, (3, 16)), turn).flatten(0, 1)
    exact = (rotate(q, turn) @ torch.cat([maps, k[-pointers:]]).T * 32**-0.5).softmax(dim=1) @ v
    mine = kernels.attend(q, kernels.pack_rows(k, turn, 48), kernels.pack_values(v), turn)
    assert error(mine, exact) < 0.02
    unturned = kernels.attend(q, kernels.pack_rows(k), kernels.pack_values(v), turn)
    assert error(unturned, exact) > 0.2


@pytest.mark.parametrize("activation", ["none", "relu", "gelu"])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("n, i, o", [(130, 96, 288), (1, 16, 16), (65, 48, 144)])
def test_linear(n: int, i: int, o: int, bits: kernels.Bits, activation: kernels.Activation) -> None:
    if bits == 16 and not kernels.half_at_hand():
        pytest.skip("the CPU does not multiply half floats")
    layer, x = nn.Linear(i, o), 100 * torch.randn(2, n, i)
    exact = layer(x)
    exact = {"none": exact, "relu": F.relu(exact), "gelu": F.gelu(exact)}[activation]
    assert error(kernels.Linear(layer, bits, activation)(x), exact) < {8: 0.02, 16: 0.003}[bits]


def test_half_floats_do_not_overflow() -> None:
    if not kernels.half_at_hand():
        pytest.skip("the CPU does not multiply half floats")
    layer, x = nn.Linear(64, 64), torch.full((1, 64), 1e6)
    assert error(kernels.Linear(layer, 16)(x), layer(x)) < 0.003
