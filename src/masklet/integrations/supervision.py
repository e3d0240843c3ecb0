"""Converts supervision's `Detections` to prompts and to masks.

`to_supervision()` of masks converts in the other direction.

https://supervision.roboflow.com
"""

from __future__ import annotations

import numpy as np

from masklet.errors import MissingExtra, PromptError
from masklet.label_maps import NotAMask, to_mask
from masklet.types import Masks, Prompt

try:
    from supervision import Detections
except ImportError as error:
    raise MissingExtra("supervision", "supervision") from error

__all__ = ["from_detections", "to_prompts"]


def from_detections(detections: Detections, size: tuple[int, int], frame: int = 0) -> Masks:
    """Convert the masks of `Detections`, for masklet's writers and label maps.

    Args:
        detections: Detections with masks. Ids are the tracker ids if there are any, otherwise 1, 2, 3.
        size: (H, W) of the frame.
        frame: The frame's number.

    Raises:
        PromptError: The detections have no masks, or an id is not a whole number from 1 on.

    Example:
        >>> detections = Detections(xyxy=np.array([[0, 0, 2, 2]]), mask=np.ones((1, 2, 2), dtype=bool))
        >>> from_detections(detections, (2, 2)).label_map().tolist()
        [[1, 1], [1, 1]]
    """
    if len(detections) == 0:
        return Masks.empty(frame, size)
    if detections.mask is None:
        raise PromptError("these detections have boxes only: segment them with to_prompts(detections).")
    masks = _masks(detections.mask)
    if masks.shape[1:] != tuple(size):
        raise PromptError(f"masks must have shape (H, W) = {size}. Got {masks.shape[1:]}.")
    iou = None if detections.confidence is None else [float(value) for value in detections.confidence]
    return Masks.from_arrays(frame, dict(zip(_ids(detections), masks, strict=True)), size, iou=iou)


def to_prompts(detections: Detections) -> dict[int, Prompt]:
    """Convert each detection to a prompt, by id: its mask if it has one, otherwise its box.

    Args:
        detections: The detections. Ids are the tracker ids if there are any, otherwise 1, 2, 3.

    Example:
        >>> to_prompts(Detections(xyxy=np.array([[1, 2, 5, 6]]), tracker_id=np.array([7])))
        {7: Prompt(box=(1.0, 2.0, 5.0, 6.0))}
    """
    boxes = [tuple(box) for box in detections.xyxy.astype(float).tolist()]
    masks = [None] * len(boxes) if detections.mask is None else _masks(detections.mask)
    prompts = [
        Prompt(box=box) if mask is None or not mask.any() else Prompt(mask=mask)
        for box, mask in zip(boxes, masks, strict=True)
    ]
    return dict(zip(_ids(detections), prompts, strict=True))


def _ids(detections: Detections) -> list[int]:
    if detections.tracker_id is None:
        return list(range(1, len(detections) + 1))
    given = np.asarray(detections.tracker_id).tolist()
    ids = [id for id in given if isinstance(id, int | float) and id >= 1 and id % 1 == 0]
    if len({*ids}) < len(given):
        raise PromptError(f"tracker ids must be different whole numbers from 1. Got {given}.")
    return [int(id) for id in ids]


def _masks(masks: object) -> np.ndarray:
    """Masks as bool (n, H, W). Numbers are read as in a prompt: probabilities below 0.5 are background."""
    array = np.asarray(masks)
    if array.dtype == np.bool_:
        return array
    try:
        return np.array([to_mask(mask) for mask in array])
    except NotAMask as error:
        raise PromptError(f"masks must be bool, probabilities or logits: {error}.") from error
