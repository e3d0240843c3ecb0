"""Comparing what an image's prompts are answered."""

from __future__ import annotations

import torch

from masklet.types import ImageCandidates


def assert_same(one: ImageCandidates, other: ImageCandidates) -> None:
    """The same candidates with the same numbers."""
    assert len(one) == len(other) and one.size == other.size
    for name in ("low_res", "iou", "score"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name


def unlike(one: ImageCandidates, other: ImageCandidates, by: float = 1e-3) -> bool:
    """Whether as many candidates have other masks."""
    assert len(one) == len(other)
    return bool((one.low_res - other.low_res).abs().max() > by)
