"""The decoder in another order against the published one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from masklet.backends.native import library
from masklet.backends.native.decoder import (
    NativeMaskDecoder,
    attend_to_image,
    attend_to_tokens,
    is_cheaper_to_project_cells,
    softmax,
)
from masklet.config import toy
from masklet.nn.layers import Attention
from masklet.nn.mask_decoder import MaskDecoder

needs_kernels = pytest.mark.skipif(library.missing() is not None, reason=f"no kernels: {library.missing()}")


@pytest.mark.parametrize("cells", [4, 1024])
@pytest.mark.parametrize("tokens", [1, 7, 8, 9, 30])
def test_both_orders_show_tokens_and_cells_the_same(tokens: int, cells: int) -> None:
    net = Attention(64, heads=4, inner=32)
    assert is_cheaper_to_project_cells(net, tokens) == (tokens > 8)
    few = torch.randn(2, tokens, 64)
    map, other = torch.randn(2, cells, 64), torch.randn(2, cells, 64)
    torch.testing.assert_close(
        attend_to_image(net, few, map, other), net(few, map, other), atol=1e-5, rtol=1e-5
    )
    answers = torch.randn(2, tokens, 64)
    torch.testing.assert_close(
        attend_to_tokens(net, map, few, answers), net(map, few, answers), atol=1e-5, rtol=1e-5
    )


@needs_kernels
@pytest.mark.parametrize("h, w", [(32, 32), (8, 8), (5, 7)])
@pytest.mark.parametrize("objects", [1, 3])
def test_the_whole_decoder_gives_the_same_numbers(h: int, w: int, objects: int) -> None:
    """Maps of whole and broken blocks; middle and fine maps in either order of channels."""
    config = replace(toy(), channels=128)
    net = MaskDecoder(config).eval()
    for weight in net.parameters():
        weight.data += 0.05 * torch.randn_like(weight)
    shown = (
        torch.randn(objects, 128, h, w),
        torch.randn(objects, 2, 128),
        torch.randn(1, 128, 1, 1),
        torch.randn(h * w, 128),
        torch.randn(1, 32, 2 * h, 2 * w),
        torch.randn(1, 16, 4 * h, 4 * w).contiguous(memory_format=torch.channels_last),
    )
    with torch.no_grad():
        for mine, published in zip(NativeMaskDecoder(net)(*shown), net(*shown), strict=True):
            assert mine.shape == published.shape
            assert (mine - published).abs().max() <= 1e-5 * published.abs().max()


@needs_kernels
def test_narrow_channels_are_enlarged_by_torch() -> None:
    assert NativeMaskDecoder(MaskDecoder(toy()).eval()).layers is None


def test_no_weight_is_a_denormal_number() -> None:
    """With them the first products of a click took six times as long."""
    logits = torch.linspace(-80.0, 70.0, 600).expand(8, -1)
    weights, published = softmax(logits, dim=-1), logits.softmax(dim=-1)
    smallest = torch.finfo(torch.float32).tiny
    assert ((published > 0) & (published < smallest)).any()
    assert not ((weights > 0) & (weights < smallest)).any()
    values = torch.randn(600, 16)
    assert torch.equal(weights @ values, published @ values)
