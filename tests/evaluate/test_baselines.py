"""The programs without learning do what they say, and take every kind of prompt."""

import numpy as np
import pytest

from masklet.evaluate.baselines import BASELINES, GrabCutImage, warp_mask
from masklet.evaluate.metrics import jaccard, scored_frames
from masklet.evaluate.protocols import SemiSupervised
from masklet.evaluate.samples import find_clips
from masklet.types import Prompt


@pytest.fixture
def scene():
    """A textured square on a smooth background, and its mask."""
    rng = np.random.default_rng(0)
    image = np.full((96, 128, 3), (60, 90, 140), dtype=np.uint8)
    image += rng.integers(0, 12, image.shape, dtype=np.uint8)
    mask = np.zeros((96, 128), dtype=bool)
    mask[30:62, 40:80] = True
    image[mask] = np.array([200, 120, 40]) + rng.integers(-30, 30, (mask.sum(), 3))
    return image, mask


def test_repeat_keeps_the_mask_where_it_was(moving):
    first = moving.truth(0).masks[1]
    video = BASELINES["repeat"].video(moving.frames)
    assert (video.prompt(0, 1, Prompt(mask=first))[1] == first).all()
    answers = list(video.propagate())
    assert [masks.frame for masks in answers] == list(range(6))
    assert all((masks[1] == first).all() for masks in answers)


def test_flow_moves_the_mask_with_the_pixels(scene):
    image, mask = scene
    image = np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    later = np.roll(image, (3, 5), (0, 1))
    moved = warp_mask(image, later, mask.astype(np.float32)) > 0.5
    assert jaccard(np.roll(mask, (3, 5), (0, 1)), moved) > 0.95
    assert jaccard(mask, moved) < 0.8


def test_a_later_prompt_takes_the_place_of_what_was_carried(moving):
    video = BASELINES["repeat"].video(moving.frames)
    for frame in (0, 3):
        video.prompt(frame, 1, Prompt(mask=moving.truth(frame).masks[1]))
    answers = {masks.frame: masks[1] for masks in video.propagate()}
    assert (answers[2] == moving.truth(0).masks[1]).all()
    assert (answers[5] == moving.truth(3).masks[1]).all()
    assert [masks.frame for masks in video.propagate(3)] == [3, 4, 5]


def test_an_object_prompted_later_joins_later(moving):
    video = BASELINES["repeat"].video(moving.frames)
    video.prompt(0, 1, Prompt(mask=moving.truth(0).masks[1]))
    video.prompt(4, 2, Prompt(mask=moving.truth(4).masks[1]))
    assert [masks.ids for masks in video.propagate()] == [(1,)] * 4 + [(1, 2)] * 2


def test_grabcut_finds_a_plain_object_from_a_box_and_from_clicks(scene):
    image, mask = scene
    cut = GrabCutImage(image)
    assert jaccard(mask, cut.cut(Prompt(box=(36, 26, 84, 66)))) > 0.9
    assert jaccard(mask, cut.cut(Prompt(positive=[(60, 46)], negative=[(10, 10)]))) > 0.8
    assert (cut.cut(Prompt(mask=mask)) == mask).all()


def test_grabcut_answers_the_same_twice_and_keeps_the_image_size(scene):
    image, _ = scene
    large = image.repeat(5, axis=0).repeat(5, axis=1)
    one, two = (GrabCutImage(large).cut(Prompt(positive=[(300, 230)])) for _ in range(2))
    assert one.shape == large.shape[:2] and (one == two).all()


def test_grabcut_has_an_answer_where_there_is_no_background_left(scene):
    image, _ = scene
    assert GrabCutImage(image).cut(Prompt(box=(0, 0, 128, 96))).all()
    assert not GrabCutImage(image).cut(Prompt(negative=[(5, 5)])).any()


def test_the_pinned_score_of_repeating_on_a_real_clip(data):
    """Measured with SA-V's own evaluator on the same masks: J 12.85, F 12.91."""
    [clip] = find_clips(data / "videos", ["dog-agility"])
    [row] = SemiSupervised().run(BASELINES["repeat"], clip)
    assert len(scored_frames(clip.annotated_frames(1), "inner")) == len(clip.frames) - 2
    assert row.scores["J"] == pytest.approx(0.128, abs=5e-4)
    assert row.scores["F"] == pytest.approx(0.129, abs=5e-4)
