"""masklet segment, models and help; weights that cannot be had; extras that are not there."""

from __future__ import annotations

import json
import os
import pickle
import sys
import time
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from safetensors.torch import save_file

import masklet
from masklet import Prompt, rle
from masklet.checkpoint import PUBLISHED
from masklet.media import read_label_map
from toy_models import SIZE, toy_network

from .conftest import Run, loaded

CLICK = ("--point", "20,24")


def test_an_image(run: Run, shelf: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    image = shelf / "frames" / "0.png"
    answer = run("segment", image, *CLICK, "--model", shelf / "toy.safetensors", "--out", out)
    assert answer.code == 0
    assert answer.out.split() == [str(out / mask) for mask in ("mask.png", "masks.json", "overlay.png")]
    expected = masklet.ImageSession(loaded(shelf), image).segment(Prompt(positive=[(20, 24)]))
    assert (read_label_map(out / "mask.png") == expected[0]).all()
    content = json.loads((out / "masks.json").read_text())
    assert content["image"] == "0.png" and content["size"] == list(SIZE)
    assert [(mask["id"], mask["rank"]) for mask in content["masks"]] == [(1, 0), (1, 1), (1, 2)]
    for mask in content["masks"]:
        assert (rle.decode(mask["rle"]) == expected[mask["rank"]]).all()
        assert mask["iou"] == pytest.approx(float(expected.iou[mask["rank"]]), abs=1e-4)
    with PIL.Image.open(out / "overlay.png") as overlay:
        assert overlay.size == SIZE[::-1]


def test_several_objects_in_an_image(run: Run, shelf: Path, tmp_path: Path) -> None:
    labels = np.zeros(SIZE, dtype=np.uint8)
    labels[5:20, 5:20], labels[30:, 40:] = 2, 9
    PIL.Image.fromarray(labels).save(tmp_path / "labels.png")
    arguments = ("--mask", tmp_path / "labels.png", "--model", shelf / "toy.safetensors")
    assert run("segment", shelf / "frames" / "0.png", *arguments, "--out", tmp_path / "out").code == 0
    content = json.loads((tmp_path / "out" / "masks.json").read_text())
    assert [mask["id"] for mask in content["masks"]] == [2, 9]


def test_all_models_are_listed_even_on_a_narrow_screen(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for width in ("300", "80"):
        monkeypatch.setenv("COLUMNS", width)
        answer = run("models")
        assert answer.code == 0 and all(name in answer.out for name in ("nano", *PUBLISHED))


@pytest.mark.parametrize("command", ["track", "segment", "models", "train", "evaluate"])
def test_every_command_has_help(run: Run, command: str) -> None:
    answer = run(command, "--help")
    assert answer.code == 0 and "Usage" in answer.out


def test_an_unknown_command(run: Run) -> None:
    answer = run("folow")
    assert answer.code == 2 and "folow" in answer.err


class Malice:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch harmed",)


@pytest.fixture
def weights(tmp_path: Path, shelf: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with all kinds of bad weights."""
    monkeypatch.chdir(tmp_path)
    save_file({"layer.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    torch.save({"model": {"layer.weight": torch.zeros(2)}}, tmp_path / "other.pt")
    whole = (shelf / "toy.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    masklet.save(toy_network(), tmp_path / "cut.pt", layout="original")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "cut.pt").read_bytes()[:5000])
    (tmp_path / "text.pt").write_text("no weights")
    (tmp_path / "empty.pt").touch()
    (tmp_path / "malice.pt").write_bytes(pickle.dumps({"model": Malice()}))
    (tmp_path / "folder").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("other.safetensors", "other.safetensors is not a SAM 2 checkpoint"),
        ("other.pt", "other.pt is not a SAM 2 checkpoint"),
        ("cut.safetensors", "cut.safetensors is damaged, truncated"),
        ("cut.pt", "cut.pt is damaged, truncated"),
        ("text.pt", "text.pt is damaged, truncated or not a checkpoint"),
        ("empty.pt", "empty.pt is damaged, truncated"),
        ("malice.pt", "malice.pt contains code, which masklet never runs"),
        ("folder", "must contain one .safetensors or .pt file"),
    ],
)
def test_bad_weights(run: Run, shelf: Path, weights: Path, name: str, part: str) -> None:
    answer = run("track", shelf / "clip.mp4", *CLICK, "--model", name, "--out", "out")
    assert answer.code == 1 and part in answer.err and answer.err.count("\n") == 1
    assert not (weights / "harmed").exists() and not (weights / "out" / "masks").exists()


def test_no_network_for_a_hub_name(
    run: Run, shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between attempts
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    for offline, endpoint in ((True, constants.ENDPOINT), (False, "http://127.0.0.1:9")):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        for model in ("sam2.1-hiera-tiny", "somebody/something"):
            answer = run("track", shelf / "clip.mp4", *CLICK, "--model", model, "--out", tmp_path / "out")
            assert answer.code == 1 and "the hub cannot be reached" in answer.err
            assert answer.err.count("\n") == 1


def test_a_missing_extra_names_itself(
    run: Run, shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [name for name in sys.modules if name.partition(".")[0] in ("accelerate", "tensorboard")]:
        monkeypatch.delitem(sys.modules, module)
    for module in [name for name in sys.modules if name.startswith("masklet.train")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "accelerate", None)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    answer = run("train", "nano", tmp_path, "--out", tmp_path / "out")
    assert answer.code == 1 and "pip install 'masklet[train]'" in answer.err
