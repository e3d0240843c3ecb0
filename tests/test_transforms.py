"""Pixels of a person and of the model are the same places."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from masklet.errors import PromptError
from masklet.nn.layers import IMAGENET_MEAN, IMAGENET_STD
from masklet.prompts import BOX_END, BOX_START, NEGATIVE, POSITIVE, check_prompt, label_points
from masklet.transforms import (
    frame_to_square,
    mask_to_square,
    still_to_square,
)
from masklet.types import Prompt

TO_SQUARE = [frame_to_square, still_to_square]


@pytest.mark.parametrize("to_square", TO_SQUARE)
@pytest.mark.parametrize("size", [(32, 32), (20, 50), (90, 40)])
def test_a_plain_image_stays_plain(to_square, size: tuple[int, int]) -> None:
    square = to_square(np.full((*size, 3), (200, 100, 0), dtype=np.uint8), 32)
    expected = (torch.tensor([200, 100, 0]) / 255 - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)
    assert square.shape == (1, 3, 32, 32)
    torch.testing.assert_close(square, expected[None, :, None, None].expand(1, 3, 32, 32))


@pytest.mark.parametrize("to_square", TO_SQUARE)
@pytest.mark.parametrize("size", [(32, 32), (24, 48)])
def test_any_layout_in_memory_will_do(to_square, size: tuple[int, int]) -> None:
    """OpenCV's colours turned around, mirrored images, and arrays that must not be written to."""
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    for view in (image[:, :, ::-1], image[:, ::-1], np.rot90(image, 2)):
        assert torch.equal(to_square(view, 32), to_square(view.copy(), 32))
    image.flags.writeable = False
    before = image.copy()
    to_square(image, 32)
    assert (image == before).all()


@pytest.mark.parametrize("to_square", TO_SQUARE)
def test_a_resized_image_shows_the_same(to_square) -> None:
    image = np.zeros((40, 80, 3), dtype=np.uint8)
    image[20:, :40] = 255
    bright = to_square(image, 32)[0].mean(dim=0) > 0
    assert bright[18:, :14].all() and not bright[:14].any() and not bright[:, 18:].any()


def test_points_come_with_their_labels_and_the_box_first() -> None:
    prompt = Prompt(positive=[(10, 5)], negative=[(0, 0), (20, 10)], box=(2, 1, 16, 9))
    points, labels = label_points(prompt, (10, 20), 40)
    assert points.tolist() == [[4, 4], [32, 36], [20, 20], [0, 0], [40, 40]]
    assert labels == [BOX_START, BOX_END, POSITIVE, NEGATIVE, NEGATIVE]


def test_a_mask_alone_has_no_points() -> None:
    points, labels = label_points(Prompt(mask=np.ones((10, 20), dtype=bool)), (10, 20), 40)
    assert points.shape == (0, 2) and labels == []


def test_a_mask_keeps_its_place() -> None:
    mask = np.zeros((30, 60), dtype=bool)
    mask[15:, :30] = True
    square = mask_to_square(mask, 32)
    assert square.unique().tolist() == [0, 1]
    assert square[0, 16:, :16].all() and square.sum() == 16 * 16


@pytest.mark.parametrize(
    ("prompt", "part"),
    [
        (Prompt(), "Got an empty one"),
        (Prompt(positive=[(64, 3)]), r"0 <= x < 64 and 0 <= y < 48. Got \(64, 3\)"),
        (Prompt(negative=[(3, -0.5)]), r"Got \(3, -0.5\)"),
        (Prompt(box=(64, 0, 70, 10)), "64 wide and 48 high"),
        (Prompt(box=(0, -9, 9, 0)), "must touch the frame"),
        (Prompt(box=(0.25, 0.1, 0.5, 0.9)), "looks like fractions of its width and height"),
        (Prompt(mask=np.ones((64, 48))), "did you swap width and height"),
        (Prompt(mask=np.ones((4, 4))), r"\(48, 64\), the size of the frame. Got \(4, 4\)\.$"),
    ],
)
def test_what_lies_outside_the_frame_is_refused(prompt: Prompt, part: str) -> None:
    with pytest.raises(PromptError, match=part):
        check_prompt(prompt, (48, 64))


@pytest.mark.parametrize("prompt", [{"positive": [(3, 3)]}, (3, 3), None, "click"])
def test_only_a_prompt_is_a_prompt(prompt: object) -> None:
    with pytest.raises(PromptError, match=r"must be a Prompt, such as Prompt\(positive"):
        check_prompt(prompt, (48, 64))


corner = st.floats(-1e6, 1e6, allow_nan=False)


@given(st.tuples(corner, corner, corner, corner))
def test_a_box_is_clipped_to_the_frame_or_refused(box: tuple[float, float, float, float]) -> None:
    x0, x1 = sorted((box[0], box[2]))
    y0, y1 = sorted((box[1], box[3]))
    if x0 == x1 or y0 == y1 or (min(x0, y0) >= 0 and max(x1, y1) <= 1):  # refused as parts of the frame
        return
    prompt = Prompt(box=(x0, y0, x1, y1))
    if x1 <= 0 or y1 <= 0 or x0 >= 64 or y0 >= 48:
        with pytest.raises(PromptError, match="must touch the frame"):
            check_prompt(prompt, (48, 64))
        return
    checked = check_prompt(prompt, (48, 64))
    assert checked.box == (max(x0, 0), max(y0, 0), min(x1, 64), min(y1, 48))
    assert checked.box is not None
    if (
        max(checked.box) > 1
    ):  # else what is left is the pixel in the corner, which reads as parts of the frame
        assert check_prompt(checked, (48, 64)) == checked


def test_what_touches_the_frame_is_taken() -> None:
    for prompt in (Prompt(positive=[(63.9, 0)]), Prompt(box=(-9, -9, 1, 1)), Prompt(mask=np.ones((48, 64)))):
        check_prompt(prompt, (48, 64))
