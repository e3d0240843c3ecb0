"""Every recipe that comes with masklet runs: one step of a toy network on discs."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from masklet import checkpoint
from masklet.config import toy
from masklet.errors import MaskletError
from masklet.run_folder import Manifest
from masklet.train.loop import BEST, LAST
from masklet.train.parameters import Preset
from masklet.train.recipe import Recipe, TrainingOptions
from masklet.train.recipes import RECIPES
from masklet.train.report import read_log
from masklet.train.run import TrainingRun, find_recipe
from masklet.train.state import TrainingState
from train.toy_data import stage, write_coco

FROM_WEIGHTS = ("finetune", "eight_gpus", "images", "lora")


@pytest.fixture
def options(tmp_path: Path) -> TrainingOptions:
    write_coco(tmp_path / "discs", 3)
    start = tmp_path / "start.safetensors"
    checkpoint.save(TrainingState.begin(Recipe(toy(), (stage("only", 1),))).averaged(), start)
    return TrainingOptions(tmp_path / "discs", model=str(start), steps=1)


def test_all_recipes_are_listed_and_state_their_command_and_cost() -> None:
    assert set(RECIPES) == {*FROM_WEIGHTS, "mae", "nano"}
    for name in RECIPES:
        docstring = find_recipe(name).__doc__ or ""
        assert f"masklet train {name} " in docstring
        assert "Cost: " in docstring and "Expected score: " in docstring, name
    with pytest.raises(MaskletError, match=r"Choose from eight_gpus, finetune, .*mae, nano"):
        find_recipe("nono")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "preset"),
    [("finetune", None), ("finetune", "memory"), *((name, None) for name in FROM_WEIGHTS[1:])],
)
def test_a_recipe_runs(name: str, preset: Preset | None, options: TrainingOptions, tmp_path: Path) -> None:
    one_step = TrainingOptions(options.data, model=options.model, preset=preset, steps=1)
    list(TrainingRun.begin(name, one_step, tmp_path / "out").rows())
    assert [row["step"] for row in read_log(tmp_path / "out")] == [0, 1, 1]
    for weights in (BEST, LAST):
        assert checkpoint.load(tmp_path / "out" / weights).config == toy()
    assert "data:image/jpeg" in (tmp_path / "out" / "report.html").read_text()


def test_threads_are_divided_among_processes_only(
    options: TrainingOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    torch.set_num_threads(3)
    TrainingRun.begin("finetune", options, tmp_path / "out")
    assert torch.get_num_threads() == 3
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    TrainingRun.begin("finetune", options, tmp_path / "out")
    assert torch.get_num_threads() == 2


def test_a_folder_belongs_to_one_run(options: TrainingOptions, tmp_path: Path) -> None:
    out = tmp_path / "out"
    list(TrainingRun.begin("finetune", options, out).rows())
    moved = shutil.copy(options.model, tmp_path / "moved.safetensors")
    longer = TrainingRun.begin("finetune", replace(options, model=str(moved), steps=2), out)
    assert longer.state.step == 1
    write_coco(tmp_path / "more", 4)
    for change, word in (
        ({"data": tmp_path / "more"}, "data"),
        ({"learning_rate": 1e-2}, "learning rate"),
        ({"preset": "memory"}, r"preset \(decoder\) and learning rate"),
        ({"model": "new-tiny", "image_size": 64}, "weights and preset"),
    ):
        with pytest.raises(
            MaskletError, match=f"has the results of masklet train with other {word}.*: choose"
        ):
            TrainingRun.begin("finetune", replace(options, **change), out)
    settings = json.loads((out / "run.json").read_text())["run"]["settings"]
    (out / "run.json").unlink()
    (out / "training.json").write_text(json.dumps(settings))  # of an earlier version
    with pytest.raises(MaskletError, match=r"with other preset \(decoder\)"):
        TrainingRun.begin("finetune", replace(options, preset="memory"), out)
    assert TrainingRun.begin("finetune", replace(options, steps=2), out).state.step == 1
    assert Manifest.read(out)


def test_a_resumed_run_says_what_has_changed(
    options: TrainingOptions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    out, file = tmp_path / "out", tmp_path / "mine.py"
    file.write_text("from masklet.train.recipes.finetune import recipe\n")
    list(TrainingRun.begin(str(file), options, out).rows())
    TrainingRun.begin(str(file), replace(options), out)
    assert "was trained with other" not in caplog.text

    file.write_text(file.read_text() + "# other settings\n")
    index = next(options.data.rglob("*.json"))
    content = json.loads(index.read_text())
    content["annotations"][0]["segmentation"] = [[1, 1, 9, 1, 9, 9]]
    index.write_text(json.dumps(content))
    monkeypatch.setenv("WORLD_SIZE", "2")
    TrainingRun.begin(str(file), replace(options), out)
    assert "was trained with other batches a step and recipe file and labels, and continues" in caplog.text


def test_random_weights_train_as_a_whole_at_a_high_rate(options: TrainingOptions) -> None:
    from_random = find_recipe("finetune")(
        TrainingOptions(options.data, model="new-tiny", image_size=64, steps=100)
    )
    assert isinstance(from_random, Recipe)
    assert (
        from_random.start is None
        and from_random.preset == "everything"
        and from_random.config.image_size == 64
    )
    assert (
        from_random.stages[0].learning_rates == (1e-3, 1e-4)
        and from_random.layer_decay == 1.0
        and from_random.distinct_clips is None
    )
    tuned = find_recipe("finetune")(options)
    assert isinstance(tuned, Recipe) and tuned.preset == "decoder" and tuned.start == options.model


def test_nano_begins_with_other_weights_and_keeps_its_stages_when_shortened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # images are cached in the working directory
    (tmp_path / "sets").mkdir()
    write_coco(tmp_path / "sets" / "discs", 40)
    full = find_recipe("nano")(TrainingOptions(tmp_path / "sets"))
    short = find_recipe("nano")(TrainingOptions(tmp_path / "sets", model="nano", steps=56))
    assert isinstance(full, Recipe) and isinstance(short, Recipe)
    assert full.start is None and short.start == "nano"
    assert [stage.name for stage in short.stages] == [stage.name for stage in full.stages]
    assert abs(short.steps - 56) < len(short.stages)
    with pytest.raises(MaskletError, match="EfficientNet-Lite trunk"):
        find_recipe("nano")(TrainingOptions(tmp_path / "sets", model="new-tiny"))
