"""A network that sees another square than the one it was trained at."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import masklet
from masklet.cli.options import Dtype, ModelOptions, Setting
from masklet.config import TRAINABLE, toy


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "toy.safetensors"
    # The toy's windows of three cells cannot be halved, and fit its one size by chance.
    masklet.save(masklet.Sam2(replace(toy(), windows=(8, 4, 4, 2))), path)
    return path


@pytest.mark.parametrize("size", [96])
def test_images_and_videos_run_at_another_size(checkpoint: Path, size: int) -> None:
    model = masklet.load(checkpoint, device="cpu", image_size=size)
    video = np.random.default_rng(0).integers(0, 255, (3, 48, 80, 3), dtype=np.uint8)
    prompt = masklet.Prompt(positive=[(20, 24)])
    assert masklet.ImageSession(model, video[0]).segment(prompt).low_res.shape[-1] == size // 4
    frames = list(masklet.track(model, video, {0: {1: prompt}}))
    assert [masks[1].shape for masks in frames] == [(48, 80)] * 3
    assert frames[2].low_res.shape[-1] == size // 4


def test_the_networks_own_size_changes_nothing(checkpoint: Path) -> None:
    image, prompt = (
        np.eye(48, dtype=np.uint8)[:, :, None].repeat(3, 2) * 255,
        masklet.Prompt(positive=[(9, 9)]),
    )
    own, named = (
        masklet.load(checkpoint, device="cpu", image_size=size) for size in (None, toy().image_size)
    )
    answers = [masklet.ImageSession(model, image).segment(prompt).logits for model in (own, named)]
    assert torch.equal(*answers)


@pytest.mark.parametrize("size", [0, -32, 100, 32, 8192])
def test_a_size_that_no_network_can_have_is_refused(checkpoint: Path, size: int) -> None:
    with pytest.raises(ValueError, match=f"image_size must be a multiple of 32 from 64 to 4096. Got {size}"):
        masklet.load(checkpoint, image_size=size)


def test_windows_that_cannot_be_halved_at_a_size_are_refused(tmp_path: Path) -> None:
    masklet.save(masklet.Sam2(toy()), tmp_path / "odd.safetensors")
    with pytest.raises(
        ValueError,
        match=r"must be even in all stages but the last, and fit their maps. Got .*at image_size 128",
    ):
        masklet.load(tmp_path / "odd.safetensors", image_size=128)


def test_every_published_size_runs_at_every_image_size() -> None:
    for config in TRAINABLE.values():
        for size in range(64, 4097, 32):
            assert replace(config, image_size=size).grid == size // 16


def test_results_at_another_size_are_another_runs() -> None:
    own, larger = (ModelOptions("nano", "cpu", Dtype.float32, Setting.exact, size) for size in (None, 512))
    assert larger.to_json() == {**own.to_json(), "image_size": 512}
    assert (own.name, larger.name) == ("nano", "nano at 512 pixels")


def test_nano_finds_the_same_object_at_another_size(tmp_path: Path) -> None:
    image = np.full((240, 320, 3), 90, dtype=np.uint8)
    image[80:160, 100:220] = (220, 60, 40)
    Image.fromarray(image).save(tmp_path / "box.png")
    truth = (image[:, :, 0] == 220).astype(bool)
    for size in (192, 384):
        model = masklet.load(device="cpu", image_size=size)
        mask = masklet.ImageSession(model, tmp_path / "box.png").segment(
            masklet.Prompt(box=(95, 75, 225, 165))
        )[0]
        assert (mask & truth).sum() / (mask | truth).sum() > 0.8
