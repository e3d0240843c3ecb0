"""Names and shapes are those of the original and of transformers, which load what masklet saves for them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
import torch
from safetensors.torch import load_file

from masklet import Sam2, checkpoint
from masklet.checkpoint.layouts import ORIGINAL, TRANSFORMERS, to_theirs
from masklet.config import SIZES, Sam2Config, toy
from parity import original, transformers_reference
from parity.weights import randomise

KINDS = {
    f"{size}-{revision}": replace(SIZES[size], revision=revision)
    for size in original.FILES
    for revision in ("2.0", "2.1")
}
TOYS = {"toy-2.0": toy("2.0"), "toy-2.1": toy("2.1")}


def shapes(tensors: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in tensors.items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("config", (KINDS | TOYS).values(), ids=KINDS | TOYS)
def test_names_and_shapes_are_the_published_ones(config: Sam2Config) -> None:
    with torch.device("meta"):
        weights = Sam2(config).state_dict()
        theirs = transformers_reference.build(config).state_dict()
    assert shapes(to_theirs(weights, TRANSFORMERS)) == shapes(theirs)
    with (
        mock.patch.object(torch.nn.Linear, "reset_parameters"),
        mock.patch.object(torch.nn.modules.conv._ConvNd, "reset_parameters"),
    ):
        theirs = original.build(config).state_dict()
    assert shapes(to_theirs(weights, ORIGINAL)) == shapes(theirs)


@pytest.mark.parametrize("config", TOYS.values(), ids=TOYS)
def test_the_original_loads_what_was_saved_for_it(config: Sam2Config, tmp_path: Path) -> None:
    theirs = original.build(config)
    randomise(theirs, seed=3)
    torch.save({"model": theirs.state_dict()}, tmp_path / "theirs.pt")
    model = checkpoint.load(tmp_path / "theirs.pt", device="cpu", config=config)
    checkpoint.save(model, tmp_path / "ours.pt", layout="original")

    other = original.build(config)
    other.load_state_dict(torch.load(tmp_path / "ours.pt", weights_only=True)["model"], strict=True)
    assert same(other.state_dict(), theirs.state_dict())


@pytest.mark.parametrize("config", TOYS.values(), ids=TOYS)
def test_transformers_loads_what_was_saved_for_it(config: Sam2Config, tmp_path: Path) -> None:
    model = Sam2(config)
    for tensor in model.state_dict().values():
        tensor.normal_()
    checkpoint.save(model, tmp_path / "model.safetensors", layout="transformers")
    theirs = transformers_reference.build(config)
    theirs.load_state_dict(load_file(tmp_path / "model.safetensors"), strict=True)
    theirs.save_pretrained(tmp_path / "folder")
    again = checkpoint.load(tmp_path / "folder", device="cpu", config=config)
    assert same(again.state_dict(), model.state_dict())


@pytest.mark.slow
def test_a_published_size_loads_without_a_config(tmp_path: Path) -> None:
    theirs = original.build(SIZES["tiny"])
    torch.save({"model": theirs.state_dict()}, tmp_path / "fine-tuned.pt")
    model = checkpoint.load(tmp_path / "fine-tuned.pt", device="cpu")
    assert model.config == SIZES["tiny"]
    assert same(to_theirs(model.state_dict(), ORIGINAL), theirs.state_dict())
