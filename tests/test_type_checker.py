"""Annotated shapes are really checked while tests run."""

import jaxtyping
import pytest
import torch

from masklet.types import MaskPrediction


def test_a_wrong_shape_is_found() -> None:
    b = torch.zeros(2)
    MaskPrediction(torch.zeros(2, 4, 4), b, torch.zeros(2, 8), b)
    with pytest.raises(jaxtyping.TypeCheckError, match="logits"):
        MaskPrediction(torch.zeros(2, 1, 4, 4), b, torch.zeros(2, 8), b)
