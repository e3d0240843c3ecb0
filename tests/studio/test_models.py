"""The model of a project: what can be chosen, what it costs, and that it cannot change under masks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from masklet.checkpoint import load, save
from masklet.studio.settings import Settings
from masklet.studio.studio import Studio
from studio.small import Caller, make_clip
from toy_models import toy_network


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    place = tmp_path_factory.mktemp("models")
    for name in ("clips", "models"):
        (place / name).mkdir()
    make_clip(place / "clips" / "blots.mp4")
    save(toy_network(), place / "models" / "mine.safetensors")
    (place / "models" / "broken.safetensors").write_bytes(b"no weights")
    settings = Settings(data=place / "data", folder=place / "clips", models=place / "models")
    with Caller(Studio(settings, toy_network(), "toy", lambda path: load(path, device="cpu"))) as caller:
        yield caller


def opened(caller: Caller, **fields: str) -> tuple[str, str]:
    project = caller.post("/projects", {"name": "models", **fields})
    video = caller.post(f"/projects/{project['id']}/videos", {"path": "blots.mp4"})["id"]
    return f"/projects/{project['id']}", f"/videos/{video}"


def test_models_at_hand_are_listed_with_their_size(caller: Caller) -> None:
    models = {model["name"]: model for model in caller.get("/models")["models"]}
    assert next(iter(models)) == "toy" and {"toy", "nano", "mine.safetensors", "broken.safetensors"} <= set(
        models
    )
    assert models["toy"]["default"] and models["toy"]["loaded"] and models["toy"]["parameters"] > 0
    assert models["mine.safetensors"]["parameters"] >= models["toy"]["parameters"]
    assert "small" in models["nano"]["note"] and models["nano"]["parameters"] > 1_000_000
    assert models["broken.safetensors"]["note"] == "the file cannot be read"
    assert "/" not in "".join(models)


def test_a_model_is_measured_on_request(caller: Caller) -> None:
    assert caller.get("/models")["models"][0]["milliseconds"] is None
    measured = caller.post("/models/measure", {"name": "toy"})
    assert measured["milliseconds"]["click"] > 0 and measured["milliseconds"]["frame"] > 0
    assert caller.get("/models")["models"][0] == measured
    caller.ask("POST", "/models/measure", 422, json={"name": "nothing"})
    refused = caller.ask("POST", "/models/measure", 409, json={"name": "broken.safetensors"})
    assert refused["message"].startswith("The model broken.safetensors cannot be loaded")


def test_a_project_uses_its_model_and_keeps_it_once_something_was_prompted(caller: Caller) -> None:
    project, video = opened(caller)
    assert caller.get(project)["model"] is None
    changed = caller.ask("PATCH", project, json={"model": "mine.safetensors"})
    assert changed["model"] == "mine.safetensors"
    same = caller.click(video)["masks"]  # the file holds the same weights as the default model
    refused = caller.ask("PATCH", project, 409, json={"model": "toy"})
    assert refused["message"] == (
        "Objects were already prompted in this project. Start a new project for another model."
    )
    assert caller.ask("PATCH", project, json={"model": "mine.safetensors"})["model"] == "mine.safetensors"
    other, video = opened(caller, model="toy")
    assert caller.get(other)["model"] is None
    assert caller.click(video)["masks"] == same


def test_a_model_that_is_gone_is_named(caller: Caller) -> None:
    _, video = opened(caller, model="broken.safetensors")
    refused = caller.ask(
        "POST", f"{video}/prompts", 409, json={"frame": 0, "object": 1, "positive": [[20, 24]]}
    )
    assert "broken.safetensors" in refused["message"] and refused["message"].endswith(".")
    caller.ask("POST", "/projects", 422, json={"name": "x", "model": "../weights.pt"})
