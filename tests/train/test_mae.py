"""Masked auto-encoding: hidden units stay hidden, the trunk is the one that segments, and the loss falls."""

import logging
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from masklet import checkpoint
from masklet.config import LARGE, NANO, NANO_HIERA, TINY, Sam2Config, toy
from masklet.errors import CheckpointError, MaskletError, MediaError
from masklet.nn.trunks.hiera import Hiera
from masklet.train.loop import LAST
from masklet.train.masked_autoencoder import UNIT, MaskedAutoencoder, UnitGrid
from masklet.train.pretraining import PretrainingRecipe, PretrainingState, pretrain
from masklet.train.recipe import Recipe, TrainingOptions
from masklet.train.recipes.mae import Crops, split_images
from masklet.train.report import read_log
from masklet.train.run import TrainingRun
from masklet.train.state import STATE, TrainingState
from train.toy_data import discs, stage

SMALL = replace(toy(), image_size=128, windows=(8, 4, 4, 2))  # two by two windows of two by two units


def images(count: int, size: int = 128) -> np.ndarray:
    return np.concatenate([discs(1, 3, size)(number).images for number in range(count)])


def network(config: Sam2Config = SMALL) -> MaskedAutoencoder:
    torch.manual_seed(0)
    return MaskedAutoencoder(config, width=32, depth=1)


def recipe(steps: int, **changes: object) -> PretrainingRecipe:
    default = PretrainingRecipe(
        SMALL,
        lambda number: images(8)[number % 8],
        images=8,
        validation=list(images(2)),
        steps=steps,
        learning_rate=3e-3,
        warmup=1,
        width=64,
        depth=1,
        every=5,
    )
    return replace(default, **changes)


def losses(run: PretrainingState, out: Path, **options: int) -> list[float]:
    return [row["loss"] for row in pretrain(run, out, **options) if "loss" in row]


@pytest.mark.parametrize(
    "config", [SMALL, replace(TINY, image_size=448), replace(NANO_HIERA, image_size=256)]
)
def test_a_cut_map_is_joined_again(config: Sam2Config) -> None:
    grid = UnitGrid.of(config)
    pixels = torch.arange(2 * config.image_size**2 * 2.0).view(2, config.image_size, config.image_size, 2)
    assert torch.equal(grid.join(grid.cut(pixels)), pixels)
    assert grid.cut(pixels).shape == (2, grid.units, UNIT, UNIT, 2)


@pytest.mark.parametrize("config", [SMALL, replace(TINY, image_size=448), replace(LARGE, image_size=256)])
def test_every_window_hides_as_many_units(config: Sam2Config) -> None:
    grid = UnitGrid.of(config)
    hidden = grid.hide(3, torch.Generator().manual_seed(0))
    by_window = hidden.unflatten(1, (-1, grid.reach**2)).sum(dim=2)
    assert (by_window == by_window[0, 0]).all()
    assert hidden.float().mean() == pytest.approx(0.6, abs=0.11)  # of four units two are hidden
    assert not torch.equal(hidden[0], hidden[1])


def test_windows_that_cut_units_are_refused() -> None:
    with pytest.raises(ValueError, match=r"windows must be \(8, 4"):
        UnitGrid.of(toy())
    with pytest.raises(ValueError, match="multiple of 224"):
        UnitGrid.of(replace(TINY, image_size=256))


@pytest.mark.parametrize(
    "config", [SMALL, replace(NANO_HIERA, image_size=256, stages=(1, 1, 4, 1), global_blocks=(4,))]
)
def test_with_nothing_hidden_it_is_the_trunk_itself(config: Sam2Config) -> None:
    auto = network(config)
    trunk = Hiera(config)
    trunk.load_state_dict(auto.trunk.state_dict())
    image = torch.randn(2, 3, config.image_size, config.image_size)
    with torch.no_grad():
        cut = auto.encode_visible(image, torch.zeros(2, auto.grid.units, dtype=torch.bool))
        for expected, units in zip(trunk(image), cut, strict=True):
            joined = auto.grid.join(units.unflatten(0, (2, -1))).permute(0, 3, 1, 2)
            torch.testing.assert_close(joined, expected, atol=1e-4, rtol=1e-4)


def test_gradients_reach_visible_units_only() -> None:
    auto = network()
    hidden = auto.grid.hide(2, torch.Generator().manual_seed(0))
    image = torch.randn(2, 3, 128, 128, requires_grad=True)
    sum(maps.square().sum() for maps in auto.encode_visible(image, hidden)).backward()
    assert image.grad is not None
    reached = auto.grid.cut(image.grad.permute(0, 2, 3, 1)).flatten(2).abs().sum(dim=2) > 0
    assert torch.equal(reached, ~hidden)


def test_only_hidden_units_have_a_loss() -> None:
    auto = network()
    hidden = auto.grid.hide(1, torch.Generator().manual_seed(0))
    image = torch.randn(1, 3, 128, 128)
    pixels = auto.targets(image)[0]
    assert pixels.mean(dim=2).abs().max() < 1e-5 and (pixels.var(dim=2) - 1).abs().max() < 1e-3
    pixels.requires_grad_()
    auto.targets = lambda image: (pixels, None, None)  # type: ignore[method-assign, assignment]
    auto.loss(image, hidden).backward()
    assert pixels.grad is not None
    assert torch.equal(pixels.grad.abs().sum(dim=2) > 0, hidden)


def test_reconstructions_keep_visible_units() -> None:
    auto = network()
    hidden = auto.grid.hide(1, torch.Generator().manual_seed(0))
    image = torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        same = (auto.reconstruct(image, hidden) - image).abs().permute(0, 2, 3, 1) < 1e-4
    assert torch.equal(auto.grid.cut(same.float()).flatten(2).mean(dim=2) == 1, ~hidden)


def test_the_loss_falls_and_the_trunk_starts_interactive_training(tmp_path: Path) -> None:
    run = PretrainingState.begin(recipe(40))
    values = losses(run, tmp_path)
    assert np.mean(values[-5:]) < 0.8 * np.mean(values[:3])

    start = str(tmp_path / LAST)
    trained = run.network.trunk.state_dict()
    interactive = TrainingState.begin(Recipe(SMALL, (stage("only", 1, size=128),), start=start))
    handed = interactive.model.image_encoder.trunk.state_dict()
    assert all(torch.equal(handed[name], trained[name]) for name in trained)
    again = PretrainingState.begin(recipe(1, start=start)).network.trunk.state_dict()
    assert all(torch.equal(again[name], trained[name]) for name in trained)


def test_a_resumed_run_reaches_the_same_losses(tmp_path: Path) -> None:
    uninterrupted = losses(PretrainingState.begin(recipe(6)), tmp_path / "whole")
    rows = pretrain(PretrainingState.begin(recipe(6)), tmp_path / "stopped", save_every=2)
    first = [next(rows) for _ in range(4)]
    assert first[-1]["step"] == 3
    rows.close()
    resumed = PretrainingState.begin(recipe(6))
    resumed.resume(tmp_path / "stopped" / STATE)
    assert resumed.step == 2
    assert losses(resumed, tmp_path / "stopped") == uninterrupted[2:]
    with pytest.raises(CheckpointError, match="a new folder"):
        PretrainingState.begin(recipe(6, depth=2)).resume(tmp_path / "stopped" / STATE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "images" / "deep"
    place.mkdir(parents=True)
    for number, image in enumerate(images(4)):
        cv2.imwrite(str(place / f"{number}.png"), image)
    return tmp_path / "images"


def test_crops_are_functions_of_their_number(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    learn, held = split_images(folder)
    assert len(learn) >= 2 and held and {*learn, *held} == {*(folder / "deep").iterdir()}
    crops = Crops(learn, 64, seed=1)
    assert (crops.crop(5) == crops.crop(5)).all() and (crops.crop(5) != crops.crop(6)).any()
    learn[0].write_text("no image")
    with caplog.at_level(logging.WARNING):
        assert all(crops.crop(number).shape == (64, 64, 3) for number in range(24))
    assert str(learn[0]) in caplog.text
    with pytest.raises(MediaError, match="in a row could not be read"):
        Crops(learn[:1], 64, seed=1).crop(0)


def test_the_recipe_runs_and_reports_reconstructions(folder: Path, tmp_path: Path) -> None:
    checkpoint.save(
        TrainingState.begin(Recipe(SMALL, (stage("only", 1),))).averaged(), tmp_path / "start.safetensors"
    )
    options = TrainingOptions(folder, model=str(tmp_path / "start.safetensors"), steps=2)
    list(TrainingRun.begin("mae", options, tmp_path / "out", "masklet train mae <data>").rows())
    assert [row["step"] for row in read_log(tmp_path / "out")] == [0, 1, 1, 2, 2]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<code>masklet train mae &lt;data&gt;</code>" in page
    _, held_back = split_images(folder)
    assert page.count("data:image/jpeg") == 3 * len(held_back) and "visible to the trunk" in page
    assert checkpoint.load(tmp_path / "out" / LAST).config == replace(SMALL, image_size=64)


def test_the_options_may_ask_for_random_weights(tmp_path: Path) -> None:
    assert TrainingOptions(tmp_path, model="new-tiny").resolve_model("nano") == (TINY, None)
    assert TrainingOptions(tmp_path).resolve_model("nano") == (NANO, "nano")
    with pytest.raises(MaskletError, match="new-tiny"):
        TrainingOptions(tmp_path, model="new-huge").resolve_model("nano")
