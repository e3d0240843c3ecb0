"""Fine-tuning: frozen weights stay, adapters merge, reports equal evaluation, a COCO folder trains."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from datasets.exports import Scene, write_cvat, write_label_studio
from masklet import checkpoint, rle
from masklet.cli import app
from masklet.config import toy
from masklet.datasets import find_items
from masklet.errors import MediaError, OptionError
from masklet.evaluate.predictors import ModelPredictor
from masklet.evaluate.protocols import ImageClicks
from masklet.evaluate.samples import find_images
from masklet.model import Sam2
from masklet.sessions.image import ImageSession
from masklet.train.batches import FeatureStore
from masklet.train.loop import LAST, train
from masklet.train.parameters import (
    PRESETS,
    TRAINED_MODULES,
    Preset,
    add_adapters,
    merge_adapters,
    optimizer_groups,
)
from masklet.train.recipe import TrainingOptions, ValidationImage, ValidationSet
from masklet.train.report import read_log
from masklet.train.rollout import Batch
from masklet.train.state import STATE, TrainingState, initialise
from masklet.train.validation import IOU_BIAS, IOU_ERROR, make_validation_set, score_still, validate
from masklet.train.validation_split import split_validation
from masklet.transforms import normalize
from train.toy_data import discs, recipe, validation, write_coco


def encoded(model: Sam2) -> torch.Tensor:
    torch.manual_seed(1)
    with torch.inference_mode():
        return model.encode(torch.randn(1, 3, 64, 64)).coarse


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_trains_its_modules_only(preset: Preset, tmp_path: Path) -> None:
    run = TrainingState.begin(recipe(2, preset=preset, ema=0.5))
    before = {name: weight.clone() for name, weight in run.averaged().state_dict().items()}
    list(train(run, tmp_path))
    after = checkpoint.load(tmp_path / LAST).state_dict()  # in the plain form, whatever the preset
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    modules = {name.split(".")[0] for name in before}
    trained = TRAINED_MODULES.get(preset, ("",))
    assert moved == {module for module in modules if module.startswith(trained)} - (
        {"prompt_encoder"} if preset == "lora" else set()  # it has no linear layer
    )


def test_adapters_start_at_zero_and_are_merged_into_the_weights() -> None:
    model = Sam2(toy())
    before = encoded(model)
    add_adapters(model, rank=2)
    assert torch.allclose(encoded(model), before, atol=1e-6)
    trainable = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert trainable and all(name.endswith((".down", ".up")) for name in trainable)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(".up"):
                parameter.normal_(std=0.1)
    adapted = encoded(model)
    assert not torch.allclose(adapted, before, atol=1e-3)
    plain = Sam2(toy())
    plain.load_state_dict(merge_adapters(model))
    assert torch.allclose(encoded(plain), adapted, atol=1e-5)


def test_a_run_with_adapters_resumes(tmp_path: Path) -> None:
    first = TrainingState.begin(recipe(2, preset="lora"))
    list(train(first, tmp_path))
    second = TrainingState.begin(recipe(2, preset="lora"))
    second.resume(tmp_path / STATE)
    assert torch.equal(encoded(first.averaged()), encoded(second.averaged()))


def test_earlier_blocks_have_lower_learning_rates() -> None:
    model = Sam2(toy())
    groups = optimizer_groups(model, toy(), weight_decay=0.1, trunk_lr_scale=0.5, layer_decay=0.8)
    named = {id(parameter): name for name, parameter in model.named_parameters()}
    scales = {named[id(parameter)]: group["lr_scale"] for group in groups for parameter in group["params"]}
    decay = {named[id(parameter)]: group["weight_decay"] for group in groups for parameter in group["params"]}
    assert len(scales) == len(named)
    trunk = "image_encoder.trunk"
    assert scales[f"{trunk}.blocks.4.norm1.weight"] == pytest.approx(0.5 * 0.8)
    assert scales[f"{trunk}.blocks.0.norm1.weight"] == pytest.approx(0.5 * 0.8**5)
    assert scales[f"{trunk}.patch.weight"] == pytest.approx(0.5 * 0.8**6)
    assert scales[f"{trunk}.position"] == scales["image_encoder.to_fine.weight"] == 0.5
    assert scales["mask_decoder.up1.weight"] == 1
    assert decay["mask_decoder.up1.weight"] == 0.1
    assert decay["mask_decoder.up1.bias"] == decay[f"{trunk}.position"] == 0


def test_stored_features_are_those_of_the_trunk_and_it_runs_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, batch = Sam2(toy()), Batch.collate([discs(2)(0), discs(2)(1)])
    truth = model.encode(normalize(batch.images))
    store = FeatureStore(tmp_path / "features")
    fresh = store.encode(model, batch, ("a", "b"))
    monkeypatch.setattr(Sam2, "encode", None)
    stored = FeatureStore(tmp_path / "features").encode(model, batch, ("a", "b"))
    for part, first, again in zip(truth, fresh, stored, strict=True):
        assert torch.allclose(part, first, atol=2e-3) and torch.equal(first, again)


def test_features_of_a_clip_with_other_frames_are_computed_again(tmp_path: Path) -> None:
    """As where an image was replaced, or a label corrected, before a run is resumed."""
    model, store = Sam2(toy()), FeatureStore(tmp_path / "features")
    before, after = (Batch.collate([discs(2)(number)]) for number in (0, 1))
    store.encode(model, before, ("a",))
    expected = model.encode(normalize(after.images))
    for _ in range(2):
        for part, found in zip(expected, store.encode(model, after, ("a",)), strict=True):
            assert torch.allclose(part, found, atol=2e-3)


def test_features_that_cannot_be_stored_are_computed_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "features").write_text("a file where a folder should be")
    model, batch = Sam2(toy()), Batch.collate([discs(1)(0)])
    store = FeatureStore(tmp_path / "features")
    assert store.encode(model, batch, ("a",)).coarse.shape == store.encode(model, batch, ("a",)).coarse.shape
    assert caplog.text.count("cannot store features") == 1


def test_validation_scores_every_kind_of_prompt() -> None:
    model = Sam2(toy())
    initialise(model, 0.1)
    scores = validate(model.eval(), validation(stills=2, clips=1))
    calibration = {IOU_ERROR, IOU_BIAS}
    assert set(scores) - calibration == {
        "1 click, best of 3",
        "1 click",
        "3 clicks",
        "box",
        "tracking",
        "mean",
    }
    assert all(0 <= scores[name] <= 1 for name in scores if name != IOU_BIAS)
    assert scores[IOU_ERROR] >= abs(scores[IOU_BIAS])
    assert scores["1 click, best of 3"] >= scores["1 click"]
    assert scores["mean"] == pytest.approx(
        np.mean([scores[name] for name in ("1 click", "3 clicks", "box", "tracking")])
    )
    assert score_still(model, discs(1, 3)(0))["box"].shape == (3,)


def test_validation_without_objects_says_what_to_give() -> None:
    with pytest.raises(MediaError, match=r"0 images or videos for validation.*--validation"):
        make_validation_set([], 64, 1, 1, ImageSession)


def test_a_fine_tune_reports_what_evaluation_reports(tmp_path: Path) -> None:
    """So its best weights are those that serve users best, with zoom where the network zooms."""
    folder = tmp_path / "discs"
    write_coco(folder, 4)
    model = Sam2(replace(toy(), zoom=True))
    initialise(model, 0.1)
    scores = validate(model.eval(), make_validation_set(find_items(folder), 64, 1, 1, ImageSession))
    protocol, predictor = ImageClicks((1, 3)), ModelPredictor("toy", model)
    results = [result for sample in find_images(folder) for result in protocol.run(predictor, sample)]
    for setting in ("1 click", "3 clicks", "box"):
        expected = [result.scores["IoU"] for result in results if result.setting == setting]
        # Windows that are encoded with others round in another way, which may join a speck to its object.
        rounding = 0.006 if setting == "3 clicks" else 1e-6
        assert scores[setting] == pytest.approx(np.mean(expected), abs=rounding)
    errors = [result.scores["IoU error"] for result in results if result.setting == "1 click"]
    assert scores[IOU_ERROR] == pytest.approx(np.mean(errors))


def test_validation_zooms_where_the_network_zooms() -> None:
    model = Sam2(replace(toy(), zoom=True))
    initialise(model, 0.1)
    clip = discs(1, size=256)(0)  # its disc fills little of the image
    image = ValidationImage("disc", clip.images[0], (rle.encode(clip.masks[0, 0]),))
    images = ValidationSet(images=(image,), open_image=ImageSession)
    with_zoom = validate(model.eval(), images)
    without_zoom = replace(images, open_image=partial(ImageSession, zoom=False))
    assert validate(model, without_zoom)["box"] != with_zoom["box"]


def test_a_fifth_is_held_back_always_the_same(tmp_path: Path) -> None:
    write_coco(tmp_path / "discs", 20)
    items = find_items(tmp_path / "discs")
    training, held_back = split_validation(items)
    assert 2 <= len(held_back) <= 6 and len(training) == 20 - len(held_back)
    names = {item.name for item in held_back}
    assert not {item.name for item in training} & names
    for some in (items[::-1], items[:13], items[5:]):  # whatever else is there
        assert {item.name for item in split_validation(some)[1]} == names & {item.name for item in some}
    with pytest.raises(MediaError, match="two images"):
        split_validation(items[:1])


def test_no_image_is_trained_and_validated_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The same images lie in two data sets under other names, once as copies and once as links."""
    (tmp_path / "all").mkdir()
    write_coco(tmp_path / "all" / "a", 8)
    (tmp_path / "all" / "b" / "images").mkdir(parents=True)
    (tmp_path / "all" / "b" / "masks").mkdir()
    for number in range(8):
        source, name = tmp_path / "all" / "a" / f"{number:03}.png", f"image-{number}.png"
        link = shutil.copy if number % 2 else os.symlink
        link(source, tmp_path / "all" / "b" / "images" / name)
        cv2.imwrite(str(tmp_path / "all" / "b" / "masks" / name), np.eye(64, dtype=np.uint8))
    for options in (
        TrainingOptions(tmp_path / "all"),
        TrainingOptions(tmp_path / "all" / "b", validation=tmp_path / "all" / "a" / "part.json"),
    ):
        content = json.loads((tmp_path / "all" / "a" / "instances.json").read_text())
        (tmp_path / "all" / "a" / "part.json").write_text(
            json.dumps(content | {"images": content["images"][:3]})
        )
        training, held_back = options.split
        contents = [{item.open().image(0).tobytes() for item in items} for items in (training, held_back)]
        assert len(contents[0]) == 8 - len(contents[1]) and not contents[0] & contents[1]
        assert "are also used for validation, and left out of training: " in caplog.text
    with pytest.raises(MediaError, match="no image or video is left for training"):
        _ = TrainingOptions(tmp_path / "all" / "a", validation=tmp_path / "all" / "b").split


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"steps": 0}, "steps must be at least 1"),
        ({"image_size": 100}, "size must be a multiple of 32"),
        ({"image_size": 0}, "size must be at least 1"),
        ({"learning_rate": 0.0}, "learning rate must be a number above 0"),
        ({"learning_rate": float("nan")}, "learning rate must be a number above 0"),
    ],
)
def test_numbers_out_of_range_are_refused(option: dict[str, float], message: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=message):
        TrainingOptions(tmp_path, **option)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("write", [write_cvat, write_label_studio])
def test_an_export_becomes_a_report(write: Callable[[Path, list[Scene]], None], tmp_path: Path) -> None:
    """The steps of docs/training.md: an annotation tool's export, one command, a report."""
    write(tmp_path / "export", [(clip.images[0], clip.masks[0, 0]) for clip in map(discs(1), range(6))])
    initialised = Sam2(toy())
    initialise(initialised, 0.1)
    checkpoint.save(initialised, tmp_path / "start.safetensors")
    command = f"train finetune {tmp_path / 'export'} --model {tmp_path / 'start.safetensors'} --steps 2"
    result = CliRunner().invoke(app, [*command.split(), "--out", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    assert "data:image/jpeg" in (tmp_path / "run" / "report.html").read_text()
    assert checkpoint.load(tmp_path / "run" / "best.safetensors").config == toy()


@pytest.mark.slow
@pytest.mark.parametrize(("scores", "is_said"), [((0.9, 0.5), True), ((0.5, 0.9), False)])
def test_the_command_says_where_training_made_nothing_better(
    scores: tuple[float, ...], is_said: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """best.safetensors then holds the model from before, and an evaluation of it shows no change."""
    coming = iter(scores)
    monkeypatch.setattr(sys.modules["masklet.train.loop"], "validate", lambda *_: {"mean": next(coming)})
    write_coco(tmp_path / "discs", 20)
    initialised = Sam2(toy())
    initialise(initialised, 0.1)
    checkpoint.save(initialised, tmp_path / "start.safetensors")
    command = f"train finetune {tmp_path / 'discs'} --model {tmp_path / 'start.safetensors'} --steps 1"
    result = CliRunner().invoke(app, [*command.split(), "--out", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    assert ("no step scored better than the model before training" in result.output) == is_said


@pytest.mark.slow
def test_the_command_teaches_a_coco_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_coco(tmp_path / "discs", 20)
    torch.manual_seed(0)
    model = Sam2(toy())
    initialise(model, 0.1)
    checkpoint.save(model, tmp_path / "start.safetensors")
    command = "train finetune discs --model start.safetensors --preset everything --steps 60 --rate 2e-3"
    result = CliRunner().invoke(app, [*command.split(), "--out", "run", "--original"])
    assert result.exit_code == 0, result.output

    rows = read_log(tmp_path / "run")
    losses = [row["loss"] for row in rows if "loss" in row]
    measured = [row["validation, mean"] for row in rows if "loss" not in row]
    assert len(losses) == 60 and np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10])
    assert max(measured) > measured[0] + 0.1
    best = checkpoint.load(tmp_path / "run" / "best.safetensors")
    original = checkpoint.load(tmp_path / "run" / "model.pt", config=best.config)
    assert torch.equal(encoded(best), encoded(original))

    page = (tmp_path / "run" / "report.html").read_text()
    assert page.count("data:image/jpeg") == 4 * 4 and "<polyline" in page
    assert any((tmp_path / "run" / "tensorboard").iterdir())
