"""A clip, a toy network's weights, and the command line as a shell would call it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import PIL.Image
import pytest

import masklet
from masklet.cli import main
from media.made import write_video
from toy_models import clip, toy_network

LENGTH = 6


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str


Run = Callable[..., Answer]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("COLUMNS", "300")  # so that no message is wrapped

    def run(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["masklet", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit:
            main()
        output = capsys.readouterr()
        return Answer(int(exit.value.code or 0), output.out, output.err)

    return run


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """clip.mp4, the same as images in frames/, and toy.safetensors."""
    shelf = tmp_path_factory.mktemp("shelf")
    images = clip(LENGTH)
    write_video(shelf / "clip.mp4", images)
    (shelf / "frames").mkdir()
    for frame, image in enumerate(images):
        PIL.Image.fromarray(image).save(shelf / "frames" / f"{frame}.png")
    masklet.save(toy_network(), shelf / "toy.safetensors")
    return shelf


def loaded(shelf: Path) -> masklet.Sam2:
    """The network of the shelf as commands load it: rounded, where this machine has an engine for it."""
    return masklet.load(shelf / "toy.safetensors", device="cpu", setting="balanced")
