"""Each protocol with predictors whose answers are fixed."""

import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from masklet import rle
from masklet.datasets import DatasetItem
from masklet.datasets.images import LabelledImage
from masklet.errors import MaskletError
from masklet.evaluate.baselines import BASELINES, make_candidate
from masklet.evaluate.metrics import Agreement
from masklet.evaluate.predictors import PROMPT_KINDS, ModelPredictor
from masklet.evaluate.protocols import (
    INTERACTIONS,
    ClicksToTarget,
    Everything,
    ImageClicks,
    InteractiveObject,
    Offline,
    Online,
    SemiSupervised,
    split_masks,
)
from masklet.evaluate.samples import ImageSample, find_clips
from masklet.types import Masks
from toy_models import toy_network

from .fakes import Forgetful, Undecided
from .small import SIZE, square, write_frame, write_labels, write_moving_square


@pytest.fixture
def long(tmp_path):
    """Twelve frames, of which the square is seen on all."""
    write_moving_square(tmp_path, frames=12, step=1)
    return find_clips(tmp_path)[0]


def test_perfect_tracking_scores_1_for_every_kind_of_prompt(moving):
    rows = list(SemiSupervised(PROMPT_KINDS).run(Forgetful(moving), moving))
    assert [(row.setting, row.step) for row in rows] == [
        ("mask", None),
        ("box", None),
        ("1 click", 1),
        ("3 clicks", 3),
        ("5 clicks", 5),
    ]
    assert all(row.scores["J&F"] == 1.0 for row in rows)


def test_prompts_on_the_first_frame(moving):
    predictor = Forgetful(moving)
    list(SemiSupervised(("mask", "box", "3 clicks")).run(predictor, moving))
    mask, box, *clicks = [prompt for frame, id, prompt in predictor.prompts if (frame, id) == (0, 1)]
    assert (mask.mask == (square(4) > 0)).all() and box.box == (4, 6, 12, 14)
    [(x, y)] = clicks[0].positive
    assert 7 <= x <= 8 and 9 <= y <= 10
    # The answer was perfect, so the further clicks say what is not the object.
    assert len(clicks) == 3 and all(prompt.negative for prompt in clicks[1:])


def test_repeating_a_moving_square_counted_by_hand(moving):
    [inner] = SemiSupervised().run(BASELINES["repeat"], moving)
    [all] = SemiSupervised(frames="all").run(BASELINES["repeat"], moving)
    # The square is 8 wide and moves by 2: it overlaps its first place by 8, 6, 4, 2, 0 and 0 columns.
    shares = [8 / 8, 6 / 10, 4 / 12, 2 / 14, 0, 0]
    assert inner.scores["J"] == pytest.approx(np.mean(shares[1:5]))
    assert all.scores["J"] == pytest.approx(np.mean(shares))


@pytest.mark.parametrize("predictor", [BASELINES["repeat"], ModelPredictor("toy", toy_network())])
def test_a_clip_without_objects_has_no_results(moving, predictor):
    for labels in moving.labels.values():
        write_labels(labels[None], np.zeros(SIZE, np.uint8))
    assert list(SemiSupervised().run(predictor, moving)) == []


def test_results_keep_the_worst_frames(moving):
    [row] = SemiSupervised(frames="all").run(BASELINES["repeat"], moving)
    assert sorted(worst.frame for worst in row.worst) == [4, 5]
    assert (rle.decode(row.worst[0].answer) == (square(4) > 0)).all()


def test_an_object_is_prompted_on_the_frame_that_first_shows_it_and_scored_from_there(tmp_path):
    for frame in range(6):
        write_frame(tmp_path / "a/frames" / f"{frame}.png")
        write_labels(tmp_path / "a/masks" / f"{frame}.png", square(4) | (square(20, 2) if frame >= 3 else 0))
    [clip] = find_clips(tmp_path)
    predictor = Forgetful(clip)
    first, second = SemiSupervised().run(predictor, clip)
    assert [(frame, id) for frame, id, _ in predictor.prompts] == [(0, 1), (3, 2)]
    assert first.scores["J&F"] == second.scores["J&F"] == 1.0
    [_, forgotten] = SemiSupervised().run(Forgetful(clip, span=1), clip)
    assert forgotten.scores["J"] == 0.5  # frames 3 and 4 count: not those before, nor the clip's last


def test_in_label_maps_a_pixel_belongs_to_one_object(tmp_path):
    labels = square(4) | square(20, 2)
    for frame in range(3):
        write_frame(tmp_path / "a/frames" / f"{frame}.png")
        write_labels(tmp_path / "a/masks" / f"{frame}.png", labels)
    [clip] = find_clips(tmp_path)

    class Greedy(Forgetful):
        def _masks(self, frame, ids):
            masks = super()._masks(frame, ids)
            # Object 2 claims object 1's pixels too, though it is less sure of them.
            claimed = torch.where(masks.low_res[:1] > 0, 0.1, masks.low_res[1:])
            return replace(masks, low_res=torch.cat([masks.low_res[:1], claimed]))

    predictor = Greedy(clip)
    rows = list(SemiSupervised().run(predictor, clip))
    assert [row.scores["J&F"] for row in rows] == [1.0, 1.0]
    [masks, *_] = predictor.propagate()
    assert (split_masks(masks, [2], exclusive=True)[2] == (labels == 2)).all()
    assert (split_masks(masks, [2], exclusive=False)[2] == (labels > 0)).all()


def test_online_stops_where_the_answer_is_bad_and_leaves_the_past_alone(long):
    predictor = Forgetful(long, span=5)
    rows = list(Online().run(predictor, long))
    corrected = list(dict.fromkeys(frame for frame, _, _ in predictor.prompts))
    assert corrected == [0, 5, 10] and predictor.starts == [0, 5, 10]
    assert [row.step for row in rows] == list(range(1, INTERACTIONS + 1))
    assert [round(row.scores["J"] * 12) for row in rows] == [5, 10, 12, 12, 12, 12, 12, 12]
    # Locate 1 s and three clicks of 1.5 s on each frame; 12 frames are watched once, at 30 s for 300.
    assert [round(row.scores["user s"], 2) for row in rows[:4]] == [6.7, 12.2, 17.7, 17.7]


def test_online_does_not_stop_at_the_same_frame_twice(long):
    predictor = Forgetful(long, span=0)
    list(Online().run(predictor, long))
    assert list(dict.fromkeys(frame for frame, _, _ in predictor.prompts)) == list(range(INTERACTIONS))
    assert len(predictor.prompts) == 3 * INTERACTIONS


def test_the_worst_frame_is_the_one_with_the_lowest_j(moving):
    agreements = {0: Agreement(0.1, 0.9), 1: Agreement(0.4, 0.5), 2: Agreement(0.5, 0.1)}
    obj = InteractiveObject(moving, 1, Forgetful(moving), corrected=[0], agreements=agreements)
    assert obj.worst_frame() == 1 and obj.next_below(0.5, after=0) == 1


def test_offline_corrects_the_worst_frame_and_watches_all_of_it_again(long):
    predictor = Forgetful(long, span=3)
    rows = list(Offline().run(predictor, long))
    corrected = list(dict.fromkeys(frame for frame, _, _ in predictor.prompts))
    assert corrected[:4] == [0, 3, 6, 9] and set(predictor.starts) == {0}
    assert [round(row.scores["J"] * 12) for row in rows[:4]] == [3, 6, 9, 12]
    assert [round(row.scores["user s"], 2) for row in rows[:3]] == [6.7, 13.4, 20.1]


def test_each_interaction_is_three_clicks_and_the_first_of_a_correction_goes_to_the_error(long):
    predictor = Forgetful(long, span=5)
    list(Online().run(predictor, long))
    at_five = [prompt for frame, _, prompt in predictor.prompts if frame == 5]
    assert len(at_five) == 3 and all(prompt.clicks == 1 for prompt in at_five)
    assert at_five[0].positive  # the object was lost there


def test_offline_ends_when_every_frame_was_corrected(moving):
    rows = list(Offline().run(Forgetful(moving, span=1), moving))
    assert [round(row.scores["J"] * 6) for row in rows] == [1, 2, 3, 4, 5, 6, 6, 6]
    assert rows[-1].scores["user s"] == rows[-2].scores["user s"] == rows[-3].scores["user s"]


def left_quarter(path: Path) -> ImageSample:
    """An image with an object on its left, and an object with an empty mask."""
    write_frame(path)
    truth = np.zeros(SIZE, dtype=bool)
    truth[:, : SIZE[1] // 4] = True
    labels = {5: rle.encode(truth), 6: rle.encode(truth & False)}
    return ImageSample("set/a.png", DatasetItem("set/a.png", partial(LabelledImage, path, labels)))


def test_image_clicks_score_the_first_and_the_closest_candidate(tmp_path):
    rows = list(ImageClicks().run(Undecided(SIZE), left_quarter(tmp_path / "a.png")))
    assert [(row.object, row.setting, row.step) for row in rows] == [
        (5, "box", None),
        (5, "1 click", 1),
        (5, "3 clicks", 3),
        (5, "5 clicks", 5),
    ]
    assert all(dict(row.scores) == {"IoU": 0.0, "best of 3": 0.5} for row in rows)
    assert rows[0].group == "set"


def test_each_click_adds_to_the_prompt_and_corrects_the_selected_candidate(tmp_path):
    predictor = Undecided(SIZE)
    list(ImageClicks().run(predictor, left_quarter(tmp_path / "a.png")))
    box, *clicks = predictor.calls
    assert box[0].box == (0, 0, 8, 24)
    first = [call for call in clicks if call[1] is None or not call[1].any()]
    closest = [call for call in clicks if call[1] is not None and call[1].any()]
    assert sorted(prompt.clicks for prompt, _ in first) == [1, 1, 2, 3, 4, 5]
    assert sorted(prompt.clicks for prompt, _ in closest) == [2, 3, 4, 5]
    assert all((hint[:, :16]).all() and not hint[:, 16:].any() for _, hint in closest)
    assert all(prompt.positive and not prompt.negative for prompt, _ in first)
    assert all(prompt.negative for prompt, _ in closest)  # the half is too wide


@dataclass
class Growing:
    """Answers with as many columns of the left quarter as there are clicks: IoU n / 8."""

    identity: str = "growing"

    def video(self, frames):
        raise NotImplementedError

    def image(self, image):
        return self

    def segment(self, prompt, *, hint=None):
        mask = np.zeros(SIZE, dtype=bool)
        mask[:, : min(prompt.clicks, SIZE[1] // 4)] = True
        return make_candidate(mask)


def test_noc_counts_the_clicks_to_each_target(tmp_path):
    [result] = ClicksToTarget().run(Growing(), left_quarter(tmp_path / "a.png"))
    # 7 of 8 columns are 87.5 %, 8 of 8 are all.
    assert dict(result.scores) == {
        "NoC@85": 7.0,
        "failures@85": 0.0,
        "NoC@90": 8.0,
        "failures@90": 0.0,
        "last IoU": 1.0,
    }


def test_noc_of_an_object_that_never_gets_there_is_the_limit_and_a_failure(tmp_path):
    [result] = ClicksToTarget(limit=7).run(Growing(), left_quarter(tmp_path / "a.png"))
    assert result.scores["NoC@85"] == result.scores["NoC@90"] == 7.0
    assert (result.scores["failures@85"], result.scores["failures@90"]) == (0.0, 1.0)
    predictor = Undecided(SIZE)
    [result] = ClicksToTarget().run(predictor, left_quarter(tmp_path / "a.png"))
    assert result.scores["NoC@85"] == len(predictor.calls) == 20 and result.scores["failures@85"] == 1.0


def test_results_survive_json(moving):
    [row] = SemiSupervised().run(BASELINES["repeat"], moving)
    again = type(row).from_json(json.loads(json.dumps(row.to_json())))
    assert again == row


def test_everything_is_scored_over_all_masklets_of_a_clip(moving, monkeypatch):
    """The square under one id, and a second masklet that nobody annotated."""
    corner = np.zeros(SIZE, dtype=bool)
    corner[:3, :3] = True

    def find_everything(model, frames, grid, **options):
        for frame in range(len(frames)):
            square_mask = moving.truth(frame).masks[1]
            yield Masks.from_arrays(frame, {4: square_mask, 7: corner & ~square_mask}, SIZE)

    monkeypatch.setattr("masklet.evaluate.protocols.everything_in_video", find_everything)
    (row,) = Everything().run(ModelPredictor("toy", toy_network()), moving)
    assert row.scores["recall"] == 1.0 and row.scores["DetA"] == pytest.approx(0.5)
    assert row.scores["AssA"] == 1.0 and row.scores["IDF1"] == pytest.approx(2 / 3)


def test_everything_runs_with_a_network(moving):
    (row,) = Everything("fast").run(ModelPredictor("toy", toy_network()), moving)
    assert all(0 <= score <= 1 for score in row.scores.values())


def test_a_baseline_finds_nothing_by_itself(moving):
    with pytest.raises(MaskletError, match="repeat is a baseline: choose a model"):
        list(Everything().run(BASELINES["repeat"], moving))
