"""The losses equal values computed by hand, and train only what they should."""

import math

import pytest
import torch
from torch import Tensor

from masklet.train.rollout import Losses, compute_losses, dice_loss, focal_loss, true_iou
from masklet.types import Candidates

SURE = 20.0


def square(size: int = 8) -> Tensor:
    truth = torch.zeros(1, size, size, dtype=torch.bool)
    truth[0, 2:6, 2:6] = True
    return truth


def offered(logits: Tensor, iou: Tensor | None = None, score: float = 1.0) -> Candidates:
    b, m = logits.shape[:2]
    iou = torch.full((b, m), 0.5) if iou is None else iou
    return Candidates(logits, iou, torch.zeros(b, m, 4), torch.full((b,), score, requires_grad=True))


def test_focal_loss_of_a_pixel_is_the_formula() -> None:
    for logit, truth, share in ((0.0, 1.0, 0.25), (0.0, 0.0, 0.75), (1.5, 1.0, 0.25), (1.5, 0.0, 0.75)):
        chance = 1 / (1 + math.exp(-logit))
        right = chance if truth else 1 - chance
        loss = focal_loss(torch.full((1, 1), logit), torch.full((1, 1), truth))
        assert float(loss) == pytest.approx(share * (1 - right) ** 2 * -math.log(right), rel=1e-5)


def test_dice_loss_knows_right_from_wrong() -> None:
    truth = square().float()
    assert float(dice_loss((truth * 2 - 1) * SURE, truth)) == pytest.approx(0, abs=1e-4)
    wrong = float(dice_loss((1 - truth * 2) * SURE, truth))
    assert wrong == pytest.approx(1 - 1 / (48 + 16 + 1), abs=1e-4)


def test_true_iou_counts_pixels_and_two_empty_masks_agree() -> None:
    truth = square().float()
    shifted = torch.roll(truth, 2, dims=2)
    assert float(true_iou(shifted * 2 - 1, truth)) == pytest.approx(8 / 24)
    assert float(true_iou(torch.full((1, 8, 8), -1.0), torch.zeros(1, 8, 8))) == 1


def test_only_the_best_candidate_learns_its_mask_and_all_learn_their_iou() -> None:
    truth = square()
    good = (truth[:, None].float() * 2 - 1) * 2
    logits = torch.cat([-good, good, torch.zeros_like(good)], dim=1).requires_grad_()
    iou = torch.tensor([[0.5, 0.5, 0.5]], requires_grad=True)
    compute_losses(offered(logits, iou), truth, 8).total().backward()
    assert logits.grad is not None and iou.grad is not None
    assert logits.grad[0, 1].any() and not logits.grad[0, [0, 2]].any()
    # The first is all wrong and the third all empty: both IoU 0. The second is right: IoU 1.
    assert iou.grad[0].tolist() == pytest.approx([1 / 3, -1 / 3, 1 / 3])


def test_where_the_object_is_absent_only_the_object_score_learns() -> None:
    logits = torch.randn(1, 3, 8, 8, requires_grad=True)
    iou = torch.full((1, 3), 0.5, requires_grad=True)
    candidates = offered(logits, iou, score=2.0)
    losses = compute_losses(candidates, torch.zeros(1, 8, 8, dtype=torch.bool), 8)
    losses.total().backward()
    assert [loss.item() for loss in (losses.focal, losses.dice, losses.iou)] == [0, 0, 0]
    assert losses.score.item() == pytest.approx(math.log(1 + math.exp(2)), rel=1e-5)
    assert not logits.grad.any() and not iou.grad.any() and candidates.score.grad.item() > 0


def test_losses_are_weighed_as_in_the_paper() -> None:
    parts = [torch.tensor(value) for value in (1.0, 10.0, 100.0, 1000.0)]
    assert float(Losses(*parts).total()) == 20 + 10 + 100 + 1000
    assert float(Losses(*parts).total(focal=1.0)) == 1 + 10 + 100 + 1000
