"""A real network goes through every protocol, by the sessions that users hold."""

import json
from dataclasses import replace

import pytest
import torch

from masklet.config import toy
from masklet.evaluate.predictors import PROMPT_KINDS, ModelPredictor
from masklet.evaluate.protocols import ImageClicks, Offline, Online, SemiSupervised
from masklet.evaluate.runner import PredictorSpec
from masklet.evaluate.samples import find_images
from masklet.model import Sam2
from masklet.rle import encode
from masklet.sessions.image import ImageSession
from masklet.sessions.tracker import track
from masklet.types import Prompt
from toy_models import toy_network

from .small import square, write_frame, write_labels


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return ModelPredictor("toy", Sam2(toy()).eval())


def test_every_kind_of_prompt(network, moving):
    rows = list(SemiSupervised(PROMPT_KINDS).run(network, moving))
    assert [row.setting for row in rows] == list(PROMPT_KINDS)
    assert all(0 <= row.scores[name] <= 1 for row in rows for name in ("J", "F", "J&F"))
    assert all(row.scores["s/frame"] > 0 for row in rows)


def test_evaluation_tracks_as_track_does(network, moving):
    """The rows of a first-frame mask are those of the streaming tracker's masks."""
    [row] = SemiSupervised(frames="all").run(network, moving)
    script = {0: {1: Prompt(mask=moving.truth(0).masks[1])}}
    answers = {
        masks.frame: masks[1]
        for masks in track(network.model, moving.frames, script, clip_length=len(moving.frames))
    }
    worst = row.worst[0]
    assert worst.answer == encode(answers[worst.frame])


@pytest.mark.parametrize("protocol", [Offline(), Online()])
def test_clicks_make_the_masks_better(network, moving, protocol):
    rows = list(protocol.run(network, moving))
    assert [row.step for row in rows] == list(range(1, 9))
    assert rows[0].scores["user s"] < rows[-1].scores["user s"]


def test_images_are_measured_by_box_and_clicks(network, tmp_path):
    write_frame(tmp_path / "set/a.png")
    content = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "annotations": [{"id": 1, "image_id": 1, "segmentation": encode(square(4) > 0)}],
    }
    (tmp_path / "set/instances.json").write_text(json.dumps(content))
    [image] = find_images(tmp_path)
    rows = list(ImageClicks().run(network, image))
    assert [row.setting for row in rows] == ["box", "1 click", "3 clicks", "5 clicks"]
    assert rows[1].scores["best of 3"] >= rows[1].scores["IoU"]


def test_the_error_of_the_predicted_iou_is_that_of_the_session(network, tmp_path):
    write_frame(tmp_path / "set/images/a.png")
    write_labels(tmp_path / "set/masks/a.png", square(4))
    [image] = find_images(tmp_path / "set")
    boxed = next(iter(ImageClicks().run(network, image)))
    masks = ImageSession(network.model, image.image()).segment(Prompt(box=(4, 6, 12, 14)))
    truth = square(4) > 0
    iou = (masks.best & truth).sum() / (masks.best | truth).sum()
    assert boxed.scores["IoU"] == pytest.approx(iou)
    assert boxed.scores["IoU bias"] == pytest.approx(float(masks.iou[0]) - iou)
    assert boxed.scores["IoU error"] == pytest.approx(abs(float(masks.iou[0]) - iou))


def test_a_setting_and_zoom_are_part_of_the_identity():
    exact, fast = PredictorSpec("nano").load(), PredictorSpec("nano", setting="fast", zoom=False).load()
    assert exact.identity.startswith("nano ") and exact.identity.endswith(", zoom")
    assert fast.identity.startswith("nano, fast ") and "zoom" not in fast.identity
    assert exact.model.config == fast.model.config  # evaluation leaves the model as it is


def test_options_that_the_weights_do_not_show_are_part_of_the_identity():
    """Results of both were mixed where a checkpoint was saved again with another option."""
    networks = [
        toy_network(replace(toy(), **options))
        for options in ({}, {"memory_dtype": "float32"}, {"holds_clicks": True}, {"zoom": True})
    ]
    predictors = [ModelPredictor("toy", network) for network in networks]
    assert len({predictor.digest for predictor in predictors}) == 1
    assert len({predictor.identity for predictor in predictors}) == 4


def test_identity_follows_the_weights(network):
    torch.manual_seed(1)
    other = ModelPredictor("toy", Sam2(toy()))
    assert network.identity == ModelPredictor("toy", network.model).identity
    assert network.identity != other.identity and network.identity.startswith("toy ")
