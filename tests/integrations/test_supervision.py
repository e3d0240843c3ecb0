"""supervision's own package reads what masklet gives, and masklet what supervision gives."""

import numpy as np
import pytest
import torch

import masklet
from masklet.config import toy
from masklet.masks import Masks

supervision = pytest.importorskip("supervision")
bridge = pytest.importorskip("masklet.integrations.supervision")

SIZE = (6, 8)
LEFT = np.zeros(SIZE, dtype=bool)
LEFT[1:5, :3] = True


def test_ids_masks_and_quality_travel_both_ways() -> None:
    masks = Masks.from_arrays(4, {7: LEFT, 2: ~LEFT, 5: LEFT & ~LEFT}, SIZE, iou=[0.5, 0.25, 0.1])
    detections = masks.to_supervision()
    assert detections.tracker_id.tolist() == [7, 2], "an empty mask is no detection"
    assert detections.xyxy.tolist() == [[0, 1, 3, 5], [0, 0, 8, 6]]
    assert detections.confidence.tolist() == [0.5, 0.25]
    assert detections.area.tolist() == [LEFT.sum(), (~LEFT).sum()]
    back = bridge.from_detections(detections, SIZE, frame=4)
    assert back.ids == (7, 2) and back.frame == 4 and back.iou.tolist() == [0.5, 0.25]
    assert (back[7] == LEFT).all() and (back[2] == ~LEFT).all()


def test_an_annotator_paints_the_masks() -> None:
    detections = Masks.from_arrays(0, {1: LEFT}, SIZE).to_supervision()
    annotator = supervision.MaskAnnotator(color_lookup=supervision.ColorLookup.TRACK)
    scene = annotator.annotate(np.zeros((*SIZE, 3), dtype=np.uint8), detections)
    assert (scene.any(axis=2) == LEFT).all()


def test_no_masks_are_no_detections() -> None:
    assert len(Masks.empty(0, SIZE).to_supervision()) == 0
    assert bridge.from_detections(supervision.Detections.empty(), SIZE).ids == ()


def test_candidates_are_detections_too() -> None:
    torch.manual_seed(0)
    session = masklet.ImageSession(masklet.Sam2(toy()).eval(), np.zeros((48, 64, 3), dtype=np.uint8))
    candidates = session.segment(masklet.Prompt(positive=[(20, 24)]))
    detections = candidates.to_supervision()
    assert len(detections) == sum(mask.any() for mask in candidates)


def test_a_detectors_boxes_are_tracked() -> None:
    torch.manual_seed(0)
    boxes = supervision.Detections(
        xyxy=np.array([[5, 5, 30, 30], [20, 20, 60, 40]]), class_id=np.array([0, 1])
    )
    video = np.zeros((3, 48, 64, 3), dtype=np.uint8)
    tracked = masklet.track(masklet.Sam2(toy()).eval(), video, {0: bridge.to_prompts(boxes)})
    frames = [masks.to_supervision() for masks in tracked]
    assert len(frames) == 3
    assert all({*frame.tracker_id} <= {1, 2} for frame in frames if len(frame))


def test_masks_become_prompts_where_there_are_any() -> None:
    masks = np.stack([LEFT, LEFT & ~LEFT])
    detections = supervision.Detections(xyxy=np.array([[0, 1, 3, 5], [1, 1, 4, 4]]), mask=masks)
    prompts = bridge.to_prompts(detections)
    assert prompts[1].is_mask_only and prompts[2].box == (1, 1, 4, 4)


@pytest.mark.parametrize("ids", [[0, 1], [3, 3], [-1, 2]])
def test_tracker_ids_that_are_no_object_ids_are_refused(ids: list[int]) -> None:
    detections = supervision.Detections(
        xyxy=np.array([[0, 0, 2, 2], [1, 1, 3, 3]]), tracker_id=np.array(ids), mask=np.stack([LEFT, LEFT])
    )
    with pytest.raises(masklet.PromptError, match="tracker ids must be different"):
        bridge.to_prompts(detections)


def test_boxes_alone_are_no_masks() -> None:
    with pytest.raises(masklet.PromptError, match="boxes only"):
        bridge.from_detections(supervision.Detections(xyxy=np.array([[0, 0, 2, 2]])), SIZE)


def test_a_mask_counts_also_where_its_box_has_no_area() -> None:
    detections = supervision.Detections(xyxy=np.array([[2, 2, 2, 4]]), mask=LEFT[None])
    assert bridge.to_prompts(detections) == {1: masklet.Prompt(mask=LEFT)}


@pytest.mark.parametrize("ids", [[1.0, float("nan")], [1.5, 2.0], [1.0, float("inf")]])
def test_tracker_ids_that_are_no_whole_numbers_are_refused(ids: list[float]) -> None:
    detections = supervision.Detections(
        xyxy=np.array([[0, 1, 3, 5], [0, 0, 8, 6]], float), tracker_id=np.array(ids)
    )
    with pytest.raises(masklet.PromptError, match="whole numbers from 1"):
        bridge.to_prompts(detections)


@pytest.mark.filterwarnings("ignore")  # supervision's own, of masks that are not bool
def test_probabilities_are_masks_from_a_half_on() -> None:
    detections = supervision.Detections(
        xyxy=np.array([[0, 1, 3, 5]], float), mask=np.where(LEFT, 0.7, 0.3)[None]
    )
    assert (bridge.from_detections(detections, SIZE)[1] == LEFT).all()
    assert (bridge.to_prompts(detections)[1].mask == LEFT).all()
