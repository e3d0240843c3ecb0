"""The simulated user clicks where a person would: on errors, with the right sign, inside the frame."""

import pytest
import torch
from torch import Tensor

from masklet.simulated_user import center_click, corrective_click, first_click, noisy_box
from masklet.types import Prompt, tight_boxes


def rectangle(x0: int, y0: int, x1: int, y1: int, height: int = 24, width: int = 32) -> Tensor:
    mask = torch.zeros(1, height, width, dtype=torch.bool)
    mask[:, y0:y1, x0:x1] = True
    return mask


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def at(mask: Tensor, points: Tensor) -> Tensor:
    x, y = points.long().T
    return mask[torch.arange(len(mask)), y, x]


def test_a_first_click_is_positive_and_anywhere_on_the_object() -> None:
    truth = rectangle(3, 5, 7, 8).expand(600, -1, -1)
    clicks = first_click(truth, rng())
    assert clicks.positive.all() and at(truth, clicks.points).all()
    counts = torch.unique(clicks.points, dim=0, return_counts=True)[1]
    assert len(counts) == 12 and counts.min() > 20  # 50 expected at each of the twelve pixels


def test_a_correction_covers_both_kinds_of_error_in_one_draw() -> None:
    truth, predicted = rectangle(0, 0, 10, 10), rectangle(5, 0, 20, 10)  # 50 pixels missed, 100 exceeded
    truth, predicted = truth.expand(600, -1, -1), predicted.expand(600, -1, -1)
    clicks = corrective_click(predicted, truth, rng())
    assert at(truth ^ predicted, clicks.points).all()
    assert (at(truth, clicks.points) == clicks.positive).all()
    assert 0.26 < clicks.positive.float().mean() < 0.41


def test_a_perfect_mask_gets_a_negative_click_on_the_background() -> None:
    truth = rectangle(2, 2, 30, 22).expand(50, -1, -1)
    for clicks in (corrective_click(truth, truth, rng()), center_click(truth, truth)):
        assert not clicks.positive.any() and not at(truth, clicks.points).any()


def test_an_absent_object_is_denied() -> None:
    nothing = torch.zeros(5, 24, 32, dtype=torch.bool)
    assert not first_click(nothing, rng()).positive.any()
    assert not center_click(None, nothing).positive.any()
    exceeded = rectangle(4, 4, 9, 9)
    assert at(exceeded, corrective_click(exceeded, nothing[:1], rng()).points).all()


def test_an_object_that_fills_the_frame_is_affirmed() -> None:
    everything = torch.ones(3, 24, 32, dtype=torch.bool)
    assert corrective_click(everything, everything, rng()).positive.all()


def test_some_corrections_go_to_the_object_instead() -> None:
    truth, predicted = rectangle(0, 0, 10, 10), rectangle(0, 0, 20, 10)
    truth, predicted = truth.expand(2000, -1, -1), predicted.expand(2000, -1, -1)
    assert not corrective_click(predicted, truth, rng()).positive.any()
    share = corrective_click(predicted, truth, rng(), from_object=0.1).positive.float().mean()
    assert 0.07 < share < 0.13


def test_the_centre_is_farthest_from_any_boundary() -> None:
    click = center_click(None, rectangle(4, 4, 13, 13))
    assert click.points.tolist() == [[8.0, 8.0]] and click.positive.tolist() == [True]


def test_the_frame_edge_is_a_boundary() -> None:
    click = center_click(None, rectangle(0, 0, 9, 9))
    assert click.points.tolist() == [[4.0, 4.0]]


def test_the_centre_answers_the_deeper_error_and_ties_with_a_negative() -> None:
    truth = rectangle(0, 0, 9, 9)
    deeper = center_click(rectangle(20, 10, 25, 15), truth)
    assert deeper.positive.tolist() == [True]
    tied = center_click(rectangle(20, 10, 29, 19), truth)
    assert tied.positive.tolist() == [False] and tied.points.tolist() == [[24.0, 14.0]]


def test_objects_of_a_batch_are_answered_apart() -> None:
    truth = torch.cat([rectangle(4, 4, 13, 13), rectangle(20, 10, 25, 15)])
    assert center_click(None, truth).points.tolist() == [[8.0, 8.0], [22.0, 12.0]]


def test_a_box_is_tight_and_a_noisy_one_near_it() -> None:
    truth = rectangle(0, 5, 31, 15, height=512, width=1024).expand(400, -1, -1)
    tight, noisy = tight_boxes(truth), noisy_box(truth, rng())
    assert tight[0].tolist() == [0, 5, 31, 15]
    off = (noisy - tight).abs().amax(dim=0)
    assert off[2] <= 3.1 and off[2] > 2.5 and off[3] <= 1.0  # a tenth of each side
    assert (noisy[:, 0] >= 0).all() and (noisy[:, 2] > noisy[:, 0]).all()
    large = rectangle(100, 100, 900, 400, height=512, width=1024).expand(400, -1, -1)
    off = (noisy_box(large, rng()) - tight_boxes(large)).abs().amax(dim=0)
    assert off[0] <= 20 and off[0] > 18  # 20 of 1024 pixels


def test_the_box_of_nothing_is_zeros() -> None:
    nothing = torch.zeros(1, 8, 8, dtype=torch.bool)
    assert tight_boxes(nothing).tolist() == [[0, 0, 0, 0]] and noisy_box(nothing, rng()).tolist() == [
        [0, 0, 0, 0]
    ]


def test_clicks_become_prompts() -> None:
    clicks = center_click(
        torch.cat([rectangle(0, 0, 0, 0), rectangle(0, 0, 9, 9)]), rectangle(4, 4, 9, 9).expand(2, -1, -1)
    )
    assert clicks.prompt(0) == Prompt(positive=[(6, 6)])
    assert clicks.prompt(1).negative and not clicks.prompt(1).positive


@pytest.mark.parametrize("seed", [0, 1])
def test_the_same_seed_clicks_the_same(seed: int) -> None:
    truth = rectangle(3, 3, 20, 20)
    assert torch.equal(first_click(truth, rng(seed)).points, first_click(truth, rng(seed)).points)
