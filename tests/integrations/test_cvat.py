"""CVAT's own package drives the functions. A server is not asked: its driver calls these methods."""

import numpy as np
import PIL.Image
import pytest
import torch

import masklet
from masklet.config import toy

pytest.importorskip("cvat_sdk")
from cvat_sdk import masks as cvat_masks
from cvat_sdk.auto_annotation import (
    InteractionFunctionContext,
    InteractionFunctionSpec,
    InteractionPrompts,
    TrackableShape,
    TrackingFunctionShapeContext,
    TrackingFunctionSpec,
)

from masklet.integrations import cvat

SIZE = (48, 64)


class ShapeContext(TrackingFunctionShapeContext):
    original_shape_type = "mask"


class ClickContext(InteractionFunctionContext):
    pass


class Clicks(InteractionPrompts):
    pos_points = ((20.0, 20.0),)
    neg_points = ((50.0, 40.0),)
    bounding_box = None


class NoClicks(InteractionPrompts):
    pos_points = neg_points = ()
    bounding_box = None


@pytest.fixture
def model() -> masklet.Sam2:
    torch.manual_seed(0)
    network = masklet.Sam2(toy()).eval()
    torch.nn.init.constant_(network.mask_decoder.score_head.layers[-1].bias, 10.0)
    return network


def frame(shift: int) -> PIL.Image.Image:
    image = np.zeros((*SIZE, 3), dtype=np.uint8)
    image[10:30, 10 + shift : 30 + shift] = (250, 80, 30)
    return PIL.Image.fromarray(image)


def shapes() -> dict[str, list[float]]:
    mask = np.zeros(SIZE, dtype=bool)
    mask[10:30, 10:30] = True
    return {
        "mask": cvat_masks.encode_mask(mask),
        "polygon": [10, 10, 30, 10, 30, 30, 10, 30],
        "rectangle": [10, 10, 30, 30],
    }


@pytest.mark.parametrize("type", ["mask", "polygon", "rectangle"])
def test_a_shape_is_tracked_as_a_tracker_tracks_it(model: masklet.Sam2, type: str) -> None:
    function = cvat.TrackFunction(model)
    assert isinstance(function.spec, TrackingFunctionSpec) and type in function.spec.supported_shape_types
    context = ShapeContext()
    first, *others = (function.preprocess_image(context, frame(shift)) for shift in range(3))
    state = function.init_tracking_state(context, first, TrackableShape(type=type, points=shapes()[type]))
    tracker = masklet.Tracker(model)
    tracker.step(frame(0), {1: cvat.to_prompt(type, shapes()[type], SIZE)})
    for shift, encoded in enumerate(others, 1):
        expected = tracker.step(frame(shift))
        shape = function.track(context, encoded, state)
        assert (shape is None) == (not expected[1].any())
        if shape is not None:
            assert shape.type == type
            if type == "mask":
                decoded = cvat_masks.decode_mask(shape.points, image_width=SIZE[1], image_height=SIZE[0])
                assert (decoded == expected[1]).all()
            if type == "rectangle":
                assert shape.points == expected.boxes[0].tolist()


def test_two_shapes_share_an_encoded_frame(model: masklet.Sam2) -> None:
    function, context = cvat.TrackFunction(model), ShapeContext()
    encoded = function.preprocess_image(context, frame(0))
    states = [
        function.init_tracking_state(context, encoded, TrackableShape(type="rectangle", points=points))
        for points in ([10, 10, 30, 30], [40, 20, 60, 40])
    ]
    later = function.preprocess_image(context, frame(1))
    assert [function.track(context, later, state) is None for state in states].count(True) <= 2
    assert states[0].tracker is not states[1].tracker


def test_clicks_are_answered_by_a_mask(model: masklet.Sam2) -> None:
    function = cvat.ClickFunction(model)
    assert isinstance(function.spec, InteractionFunctionSpec)
    encoded = function.preprocess_image(ClickContext(), frame(0))
    shapes = function.process_prompts(ClickContext(), encoded, Clicks())
    expected = masklet.ImageSession(model, frame(0)).segment(
        masklet.Prompt(positive=[(20, 20)], negative=[(50, 40)])
    )
    assert len(shapes) == int(expected.best.any())
    for shape in shapes:
        decoded = cvat_masks.decode_mask(shape.points, image_width=SIZE[1], image_height=SIZE[0])
        assert (decoded == expected.best).all()
        assert 0 <= float(shape.attributes[0].value) <= 1
    assert function.process_prompts(ClickContext(), encoded, NoClicks()) == []


def test_the_largest_outline_is_the_polygon() -> None:
    mask = np.zeros(SIZE, dtype=bool)
    mask[2:4, 2:4] = mask[20:40, 20:40] = True
    points = cvat.to_points("polygon", masklet.Masks.from_arrays(0, {1: mask}, SIZE))
    assert points is not None and min(points) >= 20


def test_shapes_that_mean_nothing_are_refused() -> None:
    with pytest.raises(masklet.PromptError, match="masks, polygons and rectangles"):
        cvat.to_prompt("ellipse", [1, 1, 2, 2], SIZE)
    with pytest.raises(masklet.PromptError, match="covers no pixel"):
        cvat.to_prompt("polygon", [100, 100, 120, 100, 110, 120], SIZE)


def test_the_command_line_makes_either_function() -> None:
    assert isinstance(cvat.create(), cvat.TrackFunction)
    assert isinstance(cvat.create("click"), cvat.ClickFunction)
    with pytest.raises(ValueError, match='kind must be "track" or "click"'):
        cvat.create("both")
