"""masklet's image session against the original's image predictor: one click, many clicks, boxes, hints."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sam2.sam2_image_predictor import SAM2ImagePredictor

from masklet import ImageCandidates, ImageSession
from masklet.types import Prompt
from parity import original
from parity.agreement import relative
from parity.trio import Trio
from parity.weights import clip

PROMPTS = {
    "one click": Prompt(positive=[(20, 20)]),
    "many clicks": Prompt(positive=[(20, 20), (33, 8.5), (70, 40)], negative=[(5, 5), (60, 12)]),
    "box": Prompt(box=(5, 8, 50, 40)),
    "box with clicks": Prompt(box=(30, 10, 70, 45), positive=[(50, 30)], negative=[(33, 40)]),
}


@pytest.fixture
def image() -> np.ndarray:
    return clip(1)[0]


def ask(
    predictor: SAM2ImagePredictor, prompt: Prompt, hint: np.ndarray | None, candidates: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The original's answer, best first: logits in the image's size, IoUs, low-res logits."""
    points, labels = original.clicks(prompt)
    full, iou, low_res = predictor.predict(
        point_coords=points if prompt.clicks else None,
        point_labels=labels if prompt.clicks else None,
        box=None if prompt.box is None else np.array(prompt.box),
        mask_input=hint,
        multimask_output=candidates == 3,
        return_logits=True,
    )
    order = np.argsort(-iou, kind="stable")
    return full[order], iou[order], low_res[order]


def compare(mine: ImageCandidates, theirs: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    full, iou, low_res = (torch.from_numpy(part) for part in theirs)
    # What the original hands out as the next hint is clamped; what it enlarges is not.
    assert relative(mine.low_res.clamp(-32, 32), low_res) < 1e-3
    assert relative(mine.logits, full) < 1e-3
    assert (mine.iou - iou).abs().max() < 1e-4
    assert ((mine.logits > 0) != (full > 0)).float().mean() < 1e-3


@pytest.mark.parametrize("candidates", [1, 3])
@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
def test_an_image_gives_the_original_numbers(
    trio: Trio, image: np.ndarray, prompt: Prompt, candidates: int
) -> None:
    session, predictor = ImageSession(trio.ours, image), original.image_predictor(trio.original)
    predictor.set_image(image)
    mine, theirs = session.segment(prompt, candidates=candidates), ask(predictor, prompt, None, candidates)
    compare(mine, theirs)
    more = prompt | Prompt(negative=[(70, 5)])
    again = session.segment(more, hint=mine, candidates=1)
    compare(again, ask(predictor, more, theirs[2][:1], 1))


def test_the_first_click_offers_three_and_more_of_them_one(trio: Trio, image: np.ndarray) -> None:
    session = ImageSession(trio.ours, image)
    assert [len(session.segment(prompt)) for prompt in PROMPTS.values()] == [3, 1, 1, 1]
