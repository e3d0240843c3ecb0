"""EfficientNet-Lite in the kernels against torch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from masklet import Sam2
from masklet.backends import fit
from masklet.backends.native import kernels, library
from masklet.backends.native.encoders import (
    LiteBlock,
    LiteStem,
    NativeLinear,
    pad_last,
)
from masklet.backends.native.memory_encoder import Downsampling, NativeMemoryEncoder
from masklet.config import NANO, NANO_LITE2
from masklet.errors import MaskletError
from masklet.nn.layers import LayerNorm2d
from masklet.nn.trunks import EfficientNetLite
from masklet.nn.trunks.efficientnet_lite import InvertedResidual
from toy_models import toy_network

pytestmark = pytest.mark.skipif(library.missing() is not None, reason=f"no kernels: {library.missing()}")

BITS: list[kernels.Bits] = [8, 16, 32]
ERRORS = {8: 0.03, 16: 5e-4, 32: 3e-6}  # that are allowed, as parts of the spread


def error(mine: Tensor, exact: Tensor) -> float:
    """Root of the mean square difference, as a part of the spread."""
    return ((mine - exact).square().mean().sqrt() / exact.std()).item()


def to_cells(x: Tensor) -> Tensor:
    """(b, c, h, w) as the kernels lay maps out: (b, h, w, padded c)."""
    return pad_last(x.permute(0, 2, 3, 1)).contiguous()


def to_map(x: Tensor, channels: int) -> Tensor:
    assert not x[..., channels:].any()
    return x[..., :channels].permute(0, 3, 1, 2)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize(
    "channels, out, kernel, stride, expansion",
    [(32, 16, 3, 1, 1), (16, 24, 3, 2, 6), (24, 24, 3, 1, 6), (24, 40, 5, 2, 6), (40, 40, 5, 1, 6)],
)
@pytest.mark.parametrize("size", [(24, 16), (7, 50), (1, 2), (2, 3), (70, 130)])
def test_inverted_residual_blocks(
    channels: int,
    out: int,
    kernel: int,
    stride: int,
    expansion: int,
    size: tuple[int, int],
    bits: kernels.Bits,
) -> None:
    """Maps of one band and of many, narrower than the kernel, with odd sides; two images at once."""
    if stride == 2 and min(size) < 2:
        pytest.skip("nothing is left of the map")
    block, x = InvertedResidual(channels, out, kernel, stride, expansion), 3 * torch.randn(2, channels, *size)
    with torch.inference_mode():
        exact = block(x)
        mine = to_map(LiteBlock(block, bits)(to_cells(x)), out)
    assert mine.shape == exact.shape
    assert error(mine, exact) < ERRORS[bits]


@pytest.mark.parametrize("size", [(64, 96), (33, 47), (2, 2)])
def test_stem(size: tuple[int, int]) -> None:
    """Padding is zero after the trunk's own normalisation, not before."""
    trunk, image = EfficientNetLite("efficientnet-lite0"), 2 * torch.randn(2, 3, *size)
    with torch.inference_mode():
        exact = F.relu6(trunk.stem(trunk.input_shift + image * trunk.input_scale))
        mine = to_map(LiteStem(trunk)(image), 32)
    torch.testing.assert_close(mine, exact, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("side", [3, 5, 7])
@pytest.mark.parametrize("size", [(9, 20), (3, 1), (1, 5)])
def test_depthwise_convolution(side: int, size: tuple[int, int]) -> None:
    conv, x = nn.Conv2d(48, 48, side, padding=side // 2, groups=48), torch.randn(2, 48, *size)
    with torch.inference_mode():
        kernel = conv.weight[:, 0].permute(1, 2, 0).contiguous()
        mine = kernels.run_depthwise(kernel, conv.bias, to_cells(x))
        torch.testing.assert_close(to_map(mine, 48), conv(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bits", [16, 32])
@pytest.mark.parametrize(("channels", "size"), [(4, (2, 2)), (16, (34, 18)), (20, (6, 50))])
def test_downsampling(channels: int, size: tuple[int, int], bits: kernels.Bits) -> None:
    """A border of zeros at the left and the top; for two images, since a workspace serves many rows."""
    conv, norm = nn.Conv2d(channels, 32, 3, stride=2, padding=1), LayerNorm2d(32)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = torch.randn(2, channels, *size)
    with torch.inference_mode():
        exact = F.gelu(norm(conv(x)))
        mine = to_map(Downsampling(conv, norm, bits)(to_cells(x)[..., :channels]), 32)
    assert error(mine, exact) < ERRORS[bits]


def test_downsampling_refuses_other_maps() -> None:
    halve = Downsampling(nn.Conv2d(16, 32, 3, stride=2, padding=1), LayerNorm2d(32), 32)
    for shape in ((1, 5, 4, 16), (1, 4, 5, 16), (1, 4, 4, 32)):
        with pytest.raises(MaskletError, match="expected an even map of 16 channels"):
            halve(torch.zeros(shape))


def test_layers_of_other_widths_are_refused() -> None:
    """They would write beyond their rows."""
    with pytest.raises(MaskletError, match=r"a multiple of 16 outputs\. Got 8"):
        NativeLinear(nn.Linear(16, 8), bits=32)(torch.zeros(4, 16))


def test_memories_narrower_than_a_register() -> None:
    encoder = toy_network().memory_encoder
    coarse, mask, score = torch.randn(1, 32, 4, 4), torch.randn(2, 64, 64), torch.tensor([1.0, -1.0])
    with torch.inference_mode():
        exact = encoder(coarse, mask, score)
        mine = NativeMemoryEncoder(encoder, 32)(coarse, mask, score)
    assert mine.shape[2] == 8
    torch.testing.assert_close(mine, exact, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("config", [NANO, NANO_LITE2], ids=["lite0", "lite2"])
def test_encode_agrees_with_torch(config: object) -> None:
    """The whole encoder with random weights, in two sizes; affines that are not the identity."""
    network = Sam2(config).eval()  # type: ignore[arg-type]
    assert isinstance(network.image_encoder.trunk, EfficientNetLite)
    for affine in network.image_encoder.trunk.outputs:
        affine.scale.uniform_(0.5, 2)  # type: ignore[union-attr,operator]
        affine.shift.normal_()  # type: ignore[union-attr,operator]
    for image in (torch.randn(2, 3, 64, 64), torch.randn(1, 3, 160, 160)):
        answers = {}
        for engine, setting in (("torch", "exact"), ("kernels", "exact"), ("kernels", "balanced")):
            fit(network, engine, setting)  # type: ignore[arg-type]
            with torch.inference_mode():
                answers[engine, setting] = network.encode(image)
        for name in ("coarse", "middle", "fine"):
            exact = getattr(answers["torch", "exact"], name)
            mine = getattr(answers["kernels", "exact"], name)
            assert mine.shape == exact.shape
            torch.testing.assert_close(mine, exact, rtol=1e-4, atol=1e-4 * exact.abs().max().item())
            assert error(getattr(answers["kernels", "balanced"], name), exact) < 2e-3


def test_images_together_are_images_apart() -> None:
    network = Sam2(NANO).eval()
    fit(network, "kernels", "balanced")
    images = torch.randn(3, 3, 64, 64)
    with torch.inference_mode():
        together = network.encode(images)
        for i, image in enumerate(images):
            assert torch.equal(network.encode(image[None]).coarse, together.coarse[i : i + 1])


def test_changed_affines_are_packed_again() -> None:
    """They are buffers, not parameters; `load_state_dict` changes them in place."""
    network = Sam2(NANO).eval()
    fit(network, "kernels")
    trunk, image = network.image_encoder.trunk, torch.randn(1, 3, 64, 64)
    assert isinstance(trunk, EfficientNetLite)
    with torch.inference_mode(False), torch.no_grad():
        before = network.encode(image).fine
        trunk.outputs[0].scale.mul_(2)  # type: ignore[union-attr,operator]
        after = network.encode(image).fine
    assert error(after, before) > 0.1
