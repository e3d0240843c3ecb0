"""The serverless functions, called as nuclio calls them with the requests of CVAT's server."""

from __future__ import annotations

import base64
import importlib.util
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import PIL.Image
import pytest
import yaml
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays

import masklet
from masklet.integrations import cvat_nuclio
from masklet.integrations.cvat_nuclio import Interactor, ShapeTracker, respond
from masklet.integrations.cvat_shapes import decode_mask, encode_mask
from toy_models import toy_network

SIZE = (48, 64)
FOLDER = Path(__file__).parents[2] / "examples" / "cvat"
BOX = [10.0, 10.0, 30.0, 30.0]


def frame(shift: int = 0) -> np.ndarray:
    image = np.zeros((*SIZE, 3), dtype=np.uint8)
    image[10:30, 10 + shift : 30 + shift] = (250, 80, 30)
    return image


def sent(image: np.ndarray) -> str:
    file = io.BytesIO()
    PIL.Image.fromarray(image).save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode()


def call(function: cvat_nuclio.Function, body: object, *, as_bytes: bool = False) -> tuple[int, Any]:
    """The code and content of the answer. CVAT's states come back from the browser as JSON."""
    context = SimpleNamespace(Response=lambda **options: SimpleNamespace(**options))
    text = json.dumps(body).encode()
    answer = respond(function, context, SimpleNamespace(body=text if as_bytes else json.loads(text)))
    assert answer.content_type == "application/json"
    return answer.status_code, json.loads(answer.body)


@pytest.fixture(scope="module")
def model() -> masklet.Sam2:
    return toy_network()


def clicks(image: np.ndarray, **changes: object) -> dict[str, object]:
    return {
        "image": sent(image),
        "pos_points": [[20, 20]],
        "neg_points": [[50, 40]],
        "obj_bbox": None,
        **changes,
    }


@pytest.mark.parametrize("as_bytes", [False, True])
def test_clicks_are_answered_by_a_mask(model: masklet.Sam2, as_bytes: bool) -> None:
    code, content = call(Interactor(model), clicks(frame()), as_bytes=as_bytes)
    prompt = masklet.Prompt(positive=[(20, 20)], negative=[(50, 40)])
    expected = masklet.ImageSession(model, frame()).segment(prompt).best
    assert code == 200
    np.testing.assert_array_equal(np.array(content["mask"]) == 255, expected)


def test_a_box_matters(model: masklet.Sam2) -> None:
    _, content = call(Interactor(model), clicks(frame(), obj_bbox=[[10, 10], [30, 30]]))
    prompt = masklet.Prompt(positive=[(20, 20)], negative=[(50, 40)], box=(10, 10, 30, 30))
    expected = masklet.ImageSession(model, frame()).segment(prompt).best
    np.testing.assert_array_equal(np.array(content["mask"]) == 255, expected)


def test_a_box_may_be_drawn_from_any_corner(model: masklet.Sam2) -> None:
    interactor = Interactor(model)
    answers = [
        call(interactor, clicks(frame(), obj_bbox=corners))
        for corners in ([[10, 10], [30, 30]], [[30, 30], [10, 10]], [[30, 10], [10, 30]], [10, 10, 30, 30])
    ]
    assert all(answer == answers[0] for answer in answers) and answers[0][0] == 200


@pytest.mark.parametrize("corners", [[["a", "b"], [1, 2]], [[1, 2], [3, None]], [[1, 2]], "abcd", {"x": 1}])
def test_a_box_of_something_else_is_a_sentence(model: masklet.Sam2, corners: object) -> None:
    code, content = call(Interactor(model), clicks(frame(), obj_bbox=corners))
    assert code == 400 and "obj_bbox must be two corners" in content["error"]


@pytest.mark.parametrize("type", ["mask", "polygon", "rectangle"])
def test_shapes_of_no_numbers_are_a_sentence(model: masklet.Sam2, type: str) -> None:
    shape = {"type": type, "points": [float("nan")] * (4 if type == "rectangle" else 6)}
    code, content = call(ShapeTracker(model), {"image": sent(frame()), "shapes": [shape], "states": []})
    assert code == 400 and "finite numbers" in content["error"]


def test_without_a_prompt_the_mask_is_empty(model: masklet.Sam2) -> None:
    code, content = call(Interactor(model), clicks(frame(), pos_points=[], neg_points=[]))
    assert code == 200 and not np.array(content["mask"]).any() and content["points"] == []


def test_an_image_is_decoded_once_for_all_clicks(
    model: masklet.Sam2, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []
    read_image = cvat_nuclio.read_image
    monkeypatch.setattr(
        cvat_nuclio, "read_image", lambda data: (decoded.append(len(data)), read_image(data))[1]
    )
    function = Interactor(model)
    for x in (20, 25, 30):
        assert call(function, clicks(frame(), pos_points=[[x, 20]]))[0] == 200
    call(function, clicks(frame(5)))
    assert len(decoded) == 2


def test_shapes_are_tracked_as_a_tracker_tracks_them(model: masklet.Sam2) -> None:
    """Two rectangles begin, and go on together by the states that were answered."""
    boxes = [BOX, [40.0, 20.0, 60.0, 40.0]]
    function, trackers = ShapeTracker(model), [masklet.Tracker(model), masklet.Tracker(model)]
    code, content = call(function, {"image": sent(frame()), "shapes": boxes, "states": []})
    assert code == 200 and content["shapes"] == boxes
    for tracker, (x0, y0, x1, y1) in zip(trackers, boxes, strict=True):
        tracker.step(frame(), {1: masklet.Prompt(box=(x0, y0, x1, y1))})
    for shift in (3, 6):
        request = {"image": sent(frame(shift)), "shapes": content["shapes"], "states": content["states"]}
        before, (code, content) = content["shapes"], call(function, request)
        assert code == 200
        for row, tracker in enumerate(trackers):
            masks = tracker.step(frame(shift))
            expected = masks.boxes[0].tolist() if masks[1].any() else before[row]
            assert content["shapes"][row] == expected


def test_a_state_can_be_used_again(model: masklet.Sam2) -> None:
    """A person went back to an earlier frame."""
    function = ShapeTracker(model)
    _, first = call(function, {"image": sent(frame()), "shapes": [BOX], "states": []})
    request = {"image": sent(frame(4)), "shapes": first["shapes"], "states": first["states"]}
    answers = [call(function, request)[1]["shapes"] for _ in range(2)]
    assert answers[0] == answers[1]


@pytest.mark.parametrize("type", ["mask", "polygon", "rectangle"])
def test_shapes_with_a_type_keep_it(model: masklet.Sam2, type: str) -> None:
    mask = np.zeros(SIZE, dtype=bool)
    mask[10:30, 10:30] = True
    points = {"mask": encode_mask(mask), "polygon": [10, 10, 30, 10, 30, 30, 10, 30], "rectangle": BOX}[type]
    function = ShapeTracker(model)
    _, content = call(function, {"image": sent(frame()), "shapes": [{"type": type, "points": points}]})
    _, content = call(function, {"image": sent(frame(2)), "states": content["states"]})
    (shape,) = content["shapes"]
    assert shape["type"] == type and len(shape["points"]) >= 4


REFUSED = {
    "no image": ({}, "an image, as base64"),
    "damaged base64": ({"image": "!"}, "base64 is damaged"),
    "no image in it": ({"image": "aGVsbG8="}, "."),
    "a shape that is none": ({"image": sent(frame()), "shapes": [["a"]]}, "a list of numbers"),
    "another type": ({"image": sent(frame()), "shapes": [{"type": "cuboid", "points": BOX}]}, "'cuboid'"),
    "a state of another process": (
        {"image": sent(frame()), "shapes": [BOX], "states": [{"id": "gone"}]},
        "Draw the object on this frame again",
    ),
}


@pytest.mark.parametrize(("body", "part"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_answered_is_a_sentence(model: masklet.Sam2, body: object, part: str) -> None:
    code, content = call(ShapeTracker(model), body)
    assert code == 400 and part in content["error"]


def test_an_image_that_is_too_large_is_refused(model: masklet.Sam2, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cvat_nuclio, "IMAGE_BYTES", 20)
    code, content = call(Interactor(model), clicks(frame()))
    assert code == 400 and "at most" in content["error"]


@pytest.mark.parametrize("kind", ["tracker", "interactor"])
def test_the_folders_that_nuctl_deploys(
    model: masklet.Sam2, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    described = yaml.safe_load((FOLDER / kind / "function.yaml").read_text("utf-8"))
    assert described["metadata"]["annotations"]["type"] == kind
    assert described["spec"]["triggers"]["http"]["maxWorkers"] == 1
    file, _, name = described["spec"]["handler"].partition(":")
    spec = importlib.util.spec_from_file_location(f"{kind}_main", FOLDER / kind / f"{file}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    masklet.save(model, tmp_path / "toy.safetensors")
    monkeypatch.setenv("MASKLET_MODEL", str(tmp_path / "toy.safetensors"))
    context = SimpleNamespace(
        user_data=SimpleNamespace(), Response=lambda **options: SimpleNamespace(**options)
    )
    module.init_context(context)
    body = clicks(frame()) if kind == "interactor" else {"image": sent(frame()), "shapes": [BOX]}
    answer = getattr(module, name)(context, SimpleNamespace(body=body))
    assert answer.status_code == 200, answer.body


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_masks_come_back_from_their_points(mask: np.ndarray) -> None:
    if mask.any():
        np.testing.assert_array_equal(decode_mask(encode_mask(mask), mask.shape), mask)


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_the_points_are_those_of_the_sdk(mask: np.ndarray) -> None:
    sdk = pytest.importorskip("cvat_sdk.masks")
    if mask.any():
        assert encode_mask(mask) == [float(value) for value in sdk.encode_mask(mask)]


@pytest.mark.parametrize("points", [[], [1, 2], [4, 0, 0, 9, 9], [-1, 2, 0, 0, 0, 0]])
def test_points_that_are_no_mask_are_refused(points: list[float]) -> None:
    with pytest.raises(masklet.PromptError, match="runs that fill its box"):
        decode_mask(points, (3, 3))
