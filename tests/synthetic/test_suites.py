"""The suites show what their names say, to everybody alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from masklet.media import read_image
from masklet.sessions.scene_cuts import is_cut, thumbnail
from masklet.synthetic import suites


def made(name: str, index: int = 0) -> np.ndarray:
    number = list(suites.SUITES).index(name)
    return suites.SUITES[name](np.random.default_rng([number, index]))


def test_lookalikes_cross() -> None:
    clip = made("lookalikes")
    one, other = (_middles(clip.masks[:, each]) for each in (0, 1))
    side = np.sign(one - other)
    assert (np.diff(side) != 0).sum() == 2 and clip.masks.any(axis=(2, 3)).all()


@pytest.mark.parametrize("index", [0, 1])
def test_one_is_away_for_long_and_comes_back(index: int) -> None:
    there = made("returns", index).masks.any(axis=(2, 3))
    assert there[:3].all() and there[-3:].all() and there[:, 1].all()
    assert (~there[:, 0]).sum() >= suites.AWAY


def test_cuts_are_where_they_should_be() -> None:
    clip = made("cuts")
    small = [thumbnail(image) for image in clip.images]
    shot = suites.FRAMES // suites.SHOTS
    found = [frame for frame in range(1, len(clip)) if is_cut(small[frame - 1], small[frame])]
    assert found == [shot, 2 * shot]
    assert not clip.masks[shot : 2 * shot, 3:].any() and clip.masks[0].any(axis=(1, 2)).all()


def test_what_is_written_is_what_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suites, "CLIPS", 1)
    monkeypatch.setattr(suites, "SUITES", {"lookalikes": suites.lookalikes})
    place = suites.render(tmp_path)["lookalikes"] / "lookalikes-0"
    clip = made("lookalikes")
    assert len(list((place / "frames").iterdir())) == len(list((place / "masks").iterdir())) == len(clip)
    assert np.abs(read_image(place / "frames" / "00003.jpg").astype(int) - clip.images[3]).mean() < 6
    before = (place / "done").stat().st_mtime_ns
    suites.render(tmp_path)
    assert (place / "done").stat().st_mtime_ns == before


def _middles(masks: np.ndarray) -> np.ndarray:
    return np.array([np.nonzero(mask)[1].mean() for mask in masks])
