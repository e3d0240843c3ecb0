"""Clips, a toy network's weights and a manifest, as a small corpus."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import masklet
from masklet.jobs.settings import JobSettings
from media.made import write_video
from toy_models import clip, toy_network

os.environ["RAY_memory_monitor_refresh_ms"] = "0"  # noqa: SIM112 - else Ray kills workers where others fill memory
pytest.importorskip("ray")
pytest.importorskip("pyarrow")

CLIPS, FRAMES = 3, 6


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """0.mp4 to 2.mp4, broken.mp4, toy.safetensors, and manifest.csv with a click for each."""
    folder = tmp_path_factory.mktemp("corpus")
    for number in range(CLIPS):
        write_video(folder / f"{number}.mp4", clip(FRAMES, seed=number))
    (folder / "broken.mp4").write_bytes(b"not a video")
    masklet.save(toy_network(), folder / "toy.safetensors")
    lines = ["source,object,class,x,y", *(f"{number}.mp4,dog,pet,20,24" for number in range(CLIPS))]
    (folder / "manifest.csv").write_text("\n".join([*lines, "broken.mp4,,,5,5"]))
    return folder


@pytest.fixture
def settings(corpus: Path) -> JobSettings:
    return JobSettings(model=str(corpus / "toy.safetensors"))
