"""Sessions and databases from before the reducer open, show the same masks, and go on.

tests/data/before_reducer was written with commit 103c4fa and the tests' toy network: a saved session, and a
studio's data folder with prompts, follows, an undone click, a review and an unfinished propagation.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load
from sqlalchemy import select

from masklet import Script, VideoSession, rle
from masklet.studio.store.tables import Result, ResultParts, Video
from studio.small import LENGTH, SIZE, Caller, make_studio
from toy_models import clip, toy_network

BEFORE = Path(__file__).parents[1] / "data" / "before_reducer"


def read(name: str) -> Any:
    return json.loads((BEFORE / name).read_text())


def decode(counts: str) -> np.ndarray:
    return rle.decode({"size": list(SIZE), "counts": counts})


def test_a_saved_session_opens_and_gives_the_same_masks() -> None:
    session = VideoSession.restore(toy_network(), BEFORE / "session.json", clip(LENGTH))
    masks = read("session-masks.json")
    assert list(session.answered) == sorted(int(frame) for frame in masks)
    assert session.script == Script.from_json(read("session.json")["script"])
    for frame, by_object in masks.items():
        now = session.masks(int(frame))
        assert set(now.ids) == {int(id) for id in by_object}
        for id, counts in by_object.items():  # another processor may round a pixel at the edge differently
            assert (now[int(id)] == decode(counts)).mean() > 0.995


@pytest.fixture
def old_studio(tmp_path: Path) -> Iterator[Caller]:
    shutil.copytree(BEFORE / "studio", tmp_path / "studio")
    with Caller(make_studio(tmp_path / "studio")) as caller:
        yield caller


def test_an_old_database_shows_what_it_showed(old_studio: Caller) -> None:
    shown = read("studio-shown.json")
    video = f"/videos/{shown['video']['id']}"
    view = old_studio.get(video)
    for name in ("head", "reviewed", "unfinished", "can_undo", "can_redo"):
        assert view[name] == shown["video"][name], name
    assert view["tracked"] == shown["video"]["followed"], "the same by its name of today"
    assert view["channel"] is None
    for obj in view["objects"]:  # fields that later versions added
        assert (obj.pop("label"), obj.pop("attributes")) == (None, {})
    for entry in view["prompts"]:
        assert entry["prompt"].pop("rank") is None
    assert view["objects"] == shown["video"]["objects"] and view["prompts"] == shown["video"]["prompts"]
    masks = {str(frame): some for frame, some in old_studio.masks(video).items()}
    assert masks == shown["masks"]


def test_an_old_unfinished_propagation_goes_on(old_studio: Caller, tmp_path: Path) -> None:
    shown = read("studio-shown.json")
    video = f"/videos/{shown['video']['id']}"
    old_studio.follow(video, resume=True)
    assert old_studio.get(video)["unfinished"] is None
    assert sorted(old_studio.masks(video)) == list(range(LENGTH))
    with old_studio.studio.database.begin() as session:
        assert session.get_one(Video, shown["video"]["id"]).unfinished is None


def test_old_memories_in_bfloat16_go_on_in_float32(old_studio: Caller) -> None:
    id = read("studio-shown.json")["video"]["id"]
    before = stored_tokens(old_studio, id)
    assert {tokens.dtype for tokens in before.values()} == {torch.bfloat16}
    old_studio.studio.models.default.memory_dtype = torch.float32
    old_studio.follow(f"/videos/{id}", resume=True)
    after = stored_tokens(old_studio, id)
    assert {tokens.dtype for result, tokens in after.items() if result not in before} == {torch.float32}
    assert all(torch.equal(after[result], tokens) for result, tokens in before.items())
    assert sorted(old_studio.masks(f"/videos/{id}")) == list(range(LENGTH))


def stored_tokens(caller: Caller, video: str) -> dict[int, torch.Tensor]:
    """The memory tokens of a video in the database, by result."""
    query = select(ResultParts).join(Result, Result.id == ResultParts.result).where(Result.video == video)
    with caller.studio.database.begin() as session:
        parts = {row.result: load(row.parts) for row in session.scalars(query)}
    return {result: tensors["tokens"] for result, tensors in parts.items() if "tokens" in tensors}


def test_old_steps_are_undone_and_redone(old_studio: Caller) -> None:
    video = f"/videos/{read('studio-shown.json')['video']['id']}"
    states = [old_studio.masks(video)]
    while old_studio.get(video)["can_undo"]:
        old_studio.post(f"{video}/undo")
        states.append(old_studio.masks(video))
    assert states[-1] == {}
    for state in reversed(states[:-1]):
        old_studio.post(f"{video}/redo")
        assert old_studio.masks(video) == state
