"""An image is encoded once, and answers as often as it is asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from masklet import rle
from masklet.errors import MediaError, OptionError, PromptError
from masklet.model import Sam2
from masklet.sessions.image import ImageSession, segment_many
from masklet.types import Masks, Prompt
from sessions.candidates import assert_same, unlike
from toy_models import SIZE, Fake, blob, click


@pytest.fixture
def session(network: Sam2, frames: np.ndarray) -> ImageSession:
    return ImageSession(network, frames[0])


@pytest.mark.parametrize(
    ("prompt", "count"),
    [
        (click(), 3),
        (Prompt(negative=[(3, 3)]), 3),
        (Prompt(positive=[(5, 5), (9, 9)]), 1),
        (Prompt(positive=[(5, 5)], negative=[(40, 9)]), 1),
        (Prompt(box=(3, 3, 30, 30)), 1),
        (Prompt(mask=blob()), 1),
        (Prompt(mask=blob(), positive=[(20, 20)]), 3),
    ],
    ids=repr,
)
def test_doubt_offers_three_masks_best_first(session: ImageSession, prompt: Prompt, count: int) -> None:
    masks = session.segment(prompt)
    assert len(masks) == count and masks.size == SIZE and masks.boxes.shape == (count, 4)
    assert masks[0].shape == SIZE
    assert masks.iou.tolist() == sorted(masks.iou.tolist(), reverse=True)
    for wanted in (1, 3):
        assert len(session.segment(prompt, candidates=wanted)) == wanted


def test_a_prompt_is_answered_the_same_whatever_was_asked_before(session: ImageSession) -> None:
    first = session.segment(click())
    session.segment(Prompt(box=(3, 3, 30, 30)))
    assert_same(session.segment(click()), first)
    assert unlike(session.segment(click(50, 40)), first)


def test_hints_count(session: ImageSession) -> None:
    first = session.segment(click())
    more = click() | Prompt(negative=[(50, 40)])
    assert unlike(session.segment(more, hint=first), session.segment(more))
    assert_same(session.segment(more, hint=first.as_masks(7)), session.segment(more, hint=first))
    other = session.segment(more, hint=first.select(2))
    assert unlike(session.segment(more, hint=first), other), "the first mask is meant"


def test_an_image_is_encoded_once(fake: Fake, frames: np.ndarray) -> None:
    session = ImageSession(fake, frames[0])
    for prompt in (click(), Prompt(box=(3, 3, 30, 30)), Prompt(mask=blob())):
        session.segment(prompt)
    assert fake.encoded == 1


def test_arrays_pil_images_and_files_are_one(network: Sam2, frames: np.ndarray, tmp_path: Path) -> None:
    pil_image = PIL.Image.fromarray(frames[0])
    pil_image.save(tmp_path / "image.png")
    expected = ImageSession(network, frames[0]).segment(click())
    for source in (pil_image, tmp_path / "image.png", str(tmp_path / "image.png")):
        assert_same(ImageSession(network, source).segment(click()), expected)


def test_the_label_map_of_a_first_click_paints_the_object(session: ImageSession) -> None:
    candidates = session.segment(click())
    assert np.array_equal(candidates.label_map() == 1, candidates.best)
    assert np.array_equal(candidates.best, candidates[0]) and candidates.label_map().max() == 1
    for mask, code in zip(candidates, candidates.rle(), strict=True):
        assert np.array_equal(rle.decode(code), mask)
    masks = candidates.as_masks(id=4)
    assert masks.ids == (4,) and np.array_equal(masks[4], candidates.best)


def test_a_box_beyond_the_image_is_clipped_to_it(session: ImageSession) -> None:
    height, width = SIZE
    whole = session.segment(Prompt(box=(0, 0, width, height)))
    assert_same(session.segment(Prompt(box=(-500, -9, 10 * width, height + 1))), whole)
    with pytest.raises(PromptError, match="must touch the frame"):
        session.segment(Prompt(box=(width, 0, width + 9, 9)))


@pytest.mark.parametrize("box", [(0, 0, 0.5, 0.5), (0, 0, 1, 1), (0.1, 0, 0.9, 1)])
def test_a_box_in_parts_of_the_image_is_refused(session: ImageSession, box: tuple) -> None:
    with pytest.raises(PromptError, match="fractions of its width and height"):
        session.segment(Prompt(box=box))


@pytest.mark.parametrize("clicks", [[(0.3, 0.6)], [(0.25, 0.75), (1, 0)]])
def test_clicks_in_parts_of_the_image_are_refused(session: ImageSession, clicks: list) -> None:
    with pytest.raises(PromptError, match=r"64 wide and 48 high\. Got .*fractions of its width and height"):
        session.segment(Prompt(positive=clicks[:1], negative=clicks[1:]))


def test_clicks_on_the_first_pixel_are_none(session: ImageSession) -> None:
    for place in ((0, 0), (0.5, 0.5), (1, 1), (0.3, 5)):
        session.segment(click(*place))


def test_a_hint_of_another_image_s_size_is_refused(session: ImageSession) -> None:
    hint = ImageSession(session.model, np.zeros((30, 40, 3), np.uint8)).segment(click())
    with pytest.raises(PromptError, match=r"Got masks of \(30, 40\)"):
        session.segment(click(), hint=hint)


@pytest.mark.parametrize("zoom", [False, True])
def test_a_hint_without_masks_is_refused(session: ImageSession, frames: np.ndarray, zoom: bool) -> None:
    session = ImageSession(session.model, frames[0], zoom=zoom)
    for hint in (Masks.empty(0, SIZE), session.segment(click()).select()):
        with pytest.raises(PromptError, match="hint must have a mask to correct"):
            session.segment(click(), hint=hint)


def test_what_cannot_be_meant_is_refused(session: ImageSession) -> None:
    with pytest.raises(PromptError, match="must lie in the frame"):
        session.segment(click(64, 3))
    with pytest.raises(ValueError, match="candidates must be 1 or 3"):
        session.segment(click(), candidates=2)
    with pytest.raises(MediaError, match="an image array must be"):
        ImageSession(session.model, np.zeros((4, 4, 7)))
    assert torch.is_inference(session.features.coarse)


@pytest.mark.parametrize(
    "form", [lambda image: image, lambda image: torch.from_numpy(image).permute(2, 0, 1)]
)
def test_one_image_is_no_list_of_its_rows(network: Sam2, frames: np.ndarray, form: Callable) -> None:
    prompts = [Prompt(positive=[(1, 20)])] * len(frames[0])
    with pytest.raises(OptionError, match=r"images must be a list: \[image\]. Got one image of shape"):
        next(segment_many(network, form(frames[0]), prompts))


def test_an_empty_mask_is_no_prompt_in_an_image(session: ImageSession) -> None:
    with pytest.raises(PromptError, match="the mask is empty"):
        session.segment(Prompt(mask=np.zeros(SIZE, bool)))
    session.segment(Prompt(mask=np.zeros(SIZE, bool), positive=[(20, 20)]))


@pytest.mark.parametrize("zoom", [False, True])
def test_masks_from_elsewhere_are_hints_too(session: ImageSession, frames: np.ndarray, zoom: bool) -> None:
    session = ImageSession(session.model, frames[0], zoom=zoom)
    one, other = (
        session.segment(click(), hint=Masks.from_arrays(0, {4: mask}, SIZE))
        for mask in (blob(), np.roll(blob(), 20, axis=1))
    )
    assert unlike(one, other) and unlike(one, session.segment(click()))
    (listed,) = session.segment([click()], hint=[Masks.from_arrays(0, {4: blob()}, SIZE)])
    assert_same(listed, one)


def test_the_number_of_candidates_may_be_numpys(session: ImageSession, unchecked: None) -> None:
    assert len(session.segment(click(), candidates=np.int64(1))) == 1  # type: ignore[call-overload]
    with pytest.raises(OptionError, match=r"candidates must be 1 or 3\. Got True"):
        session.segment(click(), candidates=True)
