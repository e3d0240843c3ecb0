"""The page for people who come from sam2, transformers or ultralytics: both columns give the same masks.

ultralytics is not among the packages that the tests install. Where it is there, its columns run too.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

import av
import numpy as np
import PIL.Image
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import Sam2VideoInferenceSession

import masklet
from masklet import Prompt
from masklet.config import SIZES
from masklet.media import OverlayVideo, open_frames
from masklet.transforms import frame_to_square
from parity import original
from parity.trio import SEEDS, Trio, nano, random_trio
from parity.weights import clip, randomise
from toy_models import toy_network

PAGE = (Path(__file__).parents[2] / "docs" / "coming-from.md").read_text("utf-8")
PAIR = re.compile(
    r"^```python title=\"(\w+)\"\n(.*?)^```\n\n```python title=\"masklet\"\n(.*?)^```", re.M | re.S
)
LENGTH = 8


def pairs(peer: str) -> Iterator[tuple[int, str, str]]:
    """The line of a pair of blocks, their code and ours."""
    for match in PAIR.finditer(PAGE):
        if match[1] == peer:
            yield PAGE.count("\n", 0, match.start()) + 1, match[2], match[3]


class Processor:
    """Stands in for transformers' Sam2VideoProcessor: resizes as the original does, scales prompts."""

    def __init__(self, side: int) -> None:
        self.side = side

    def __call__(self, images: np.ndarray, return_tensors: str) -> SimpleNamespace:
        sizes = torch.tensor([images.shape[:2]])
        return SimpleNamespace(pixel_values=frame_to_square(images, self.side), original_sizes=sizes)

    def init_video_session(
        self, video: np.ndarray | None = None, dtype: torch.dtype = torch.float32
    ) -> Sam2VideoInferenceSession:
        if video is None:
            return Sam2VideoInferenceSession(dtype=dtype)
        squares = torch.cat([frame_to_square(frame, self.side) for frame in video])
        height, width = video.shape[1:3]
        return Sam2VideoInferenceSession(video=squares, video_height=height, video_width=width, dtype=dtype)

    def add_inputs_to_inference_session(
        self,
        session: Sam2VideoInferenceSession,
        frame_idx: int,
        obj_ids: int,
        input_points: Any = None,
        input_labels: Any = None,
        input_boxes: Any = None,
        original_size: Tensor | None = None,
    ) -> None:
        if original_size is not None:
            session.video_height, session.video_width = original_size.tolist()
        if input_boxes is not None:
            points, labels = torch.tensor(input_boxes).float().view(1, 1, 2, 2), torch.tensor([[[2, 3]]])
        else:
            points, labels = torch.tensor(input_points).float(), torch.tensor(input_labels)
        scale = torch.tensor([self.side / session.video_width, self.side / session.video_height])
        inputs = {"point_coords": points * scale, "point_labels": labels.int()}
        session.add_point_inputs(session.obj_id_to_idx(obj_ids), frame_idx, inputs)
        session.obj_with_new_inputs = [obj_ids]

    def post_process_masks(self, masks: list[Tensor], original_sizes: Any) -> list[Tensor]:
        sizes = [tuple(map(int, size)) for size in original_sizes]
        return [
            F.interpolate(mask, size, mode="bilinear") > 0 for mask, size in zip(masks, sizes, strict=True)
        ]


@pytest.fixture
def sam2_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the page takes for granted: the demo clip in memory and in a folder. Both have nano's weights."""
    import sam2.automatic_mask_generator
    import sam2.build_sam
    import sam2.sam2_image_predictor

    ours, theirs, frames = nano()
    frames = frames[:LENGTH]
    (tmp_path / "frames").mkdir()
    for number, frame in enumerate(frames):  # sam2 asks for this suffix, and reads what it finds
        PIL.Image.fromarray(frame).save(tmp_path / "frames" / f"{number:05d}.jpg", format="PNG")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(masklet, "load", lambda *args, **options: ours)
    monkeypatch.setattr(sam2.build_sam, "build_sam2", lambda *args: theirs)
    monkeypatch.setattr(sam2.build_sam, "build_sam2_video_predictor", lambda *args: theirs)
    monkeypatch.setattr(sam2.sam2_image_predictor, "SAM2ImagePredictor", original.image_predictor)
    monkeypatch.setattr(sam2.automatic_mask_generator, "SAM2AutomaticMaskGenerator", original.mask_generator)
    drawn = np.zeros(frames.shape[1:3], bool)
    drawn[72:220, 140:245] = True
    return {"np": np, "image": frames[0], "drawn": drawn}


@cache
def varied_trio() -> Trio:
    """The first random network whose masks are neither empty nor the whole frame."""
    for seed in SEEDS:
        trio = random_trio("2.1", seed)
        prompts = {0: {1: Prompt(positive=[(20, 24)])}}
        areas = [masks[1].mean() for masks in masklet.track(trio.ours, clip(LENGTH), prompts)]
        if sum(0.05 < area < 0.95 for area in areas) > LENGTH // 2:
            return trio
    raise RuntimeError(f"none of {len(SEEDS)} random networks has varied masks here: try more seeds")


@pytest.fixture
def transformers_names(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the page takes for granted: frames in memory. Both have the same random weights."""
    import transformers

    trio = varied_trio()
    pretrained = SimpleNamespace(from_pretrained=lambda name: trio.transformers)
    processor = SimpleNamespace(from_pretrained=lambda name: Processor(trio.ours.config.image_size))
    monkeypatch.setattr(masklet, "load", lambda *args, **options: trio.ours)
    monkeypatch.setattr(transformers, "Sam2VideoModel", pretrained)
    monkeypatch.setattr(transformers, "Sam2VideoProcessor", processor, raising=False)
    return {"torch": torch, "frames": clip(LENGTH)}


@pytest.fixture
def ultralytics_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the page takes for granted: a checkpoint of random weights, an image and a video, both square."""
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("YOLO_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    try:
        import ultralytics  # noqa: F401
    except ImportError as error:  # also where it finds no torchvision
        pytest.skip(f"ultralytics is not installed: {error}")
    if "torchvision" not in sys.modules:  # it is imported, and not used for this
        monkeypatch.setitem(sys.modules, "torchvision", ModuleType("torchvision"))
    network = original.build(replace(SIZES["tiny"], revision="2.1"))
    randomise(network, seed=1)
    torch.nn.init.constant_(network.sam_mask_decoder.pred_obj_score_head.layers[-1].bias, 10.0)
    torch.save({"model": network.state_dict()}, "sam2.1_t.pt")
    frames = clip(3, (1024, 1024))
    PIL.Image.fromarray(frames[0]).save("cat.png")
    with av.open("clip.mp4", "w") as file:
        stream = file.add_stream("libx264", rate=8, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 1024, 1024, "yuv420p"
        for frame in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode())
    return {}


def share_of_other_pixels(theirs: Any, ours: Any) -> float:
    """Of masks, lists of masks, or masks by name."""
    if isinstance(theirs, dict):
        assert theirs.keys() == ours.keys()
        theirs, ours = list(theirs.values()), [ours[key] for key in theirs]
    if isinstance(theirs, list):
        assert len(theirs) == len(ours) > 1
        theirs, ours = np.stack(theirs), np.stack(ours)
    theirs, ours = np.asarray(theirs, bool), np.asarray(ours)
    assert 0 < theirs.mean() < 1 and theirs.shape == ours.shape
    return float((theirs != ours).mean())


def compare_columns(peer: str, names: dict[str, Any], edit: Callable[[str], str] = str) -> list[float]:
    """Run both columns from top to bottom; the shares of pixels that differ, for each pair that has masks."""
    left, right = dict(names), dict(names)
    shares = []
    for line, theirs, ours in pairs(peer):
        left.pop("theirs", None)
        right.pop("ours", None)
        exec(compile("\n" * line + theirs, "coming-from.md", "exec"), left)
        exec(compile("\n" * line + edit(ours), "coming-from.md", "exec"), right)
        if "theirs" in left:
            shares.append(share_of_other_pixels(left["theirs"], right["ours"]))
    return shares


@pytest.mark.slow
def test_both_columns_for_sam2_give_the_same_masks(sam2_names: dict[str, Any]) -> None:
    shares = compare_columns("sam2", sam2_names)
    assert len(shares) == 11
    assert max(shares) < 1e-3, shares


def test_both_columns_for_transformers_give_the_same_masks(transformers_names: dict[str, Any]) -> None:
    shares = compare_columns("transformers", transformers_names)
    assert len(shares) == 2
    assert max(shares) < 1e-3, shares


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of ultralytics' own
def test_both_columns_for_ultralytics_give_the_same_masks(ultralytics_names: dict[str, Any]) -> None:
    shares = compare_columns("ultralytics", ultralytics_names)
    assert len(shares) == 3
    assert max(shares) < 1e-3, shares


def right_columns() -> Iterator[str]:
    """The code in the last column of every table, in the order of the page."""
    for row in re.findall(r"^\| (.*) \|$", PAGE, re.M):
        yield from re.findall(r"`([^`]+)`", row.rsplit(" | ", 1)[1])


def is_whole(code: str) -> bool:
    """Whether it is a Python call that leaves nothing to the reader."""
    try:
        tree = ast.parse(code, mode="eval")
    except SyntaxError:  # a command, or a part of one
        return False
    nodes = list(ast.walk(tree))
    is_call = any(isinstance(node, ast.Call | ast.Attribute) for node in nodes)
    return is_call and not any(isinstance(node, ast.Constant) and node.value is ... for node in nodes)


def table_names(model: masklet.Sam2) -> dict[str, Any]:
    """What the tables take for granted: objects 1 and 2 in a session and a tracker, masks, images."""
    frames = open_frames(clip(LENGTH, (360, 640)))
    box, prompt = (10, 10, 60, 60), Prompt(box=(10, 10, 60, 60))
    video, tracker = masklet.VideoSession(model, frames), masklet.Tracker(model)
    tracker.step(frames[0], {1: prompt, 2: prompt})
    video.prompt(5, 1, prompt)
    masks = video.prompt(0, 2, prompt).with_image(lambda: frames[0])
    segments = masklet.everything(model, frames[0], masklet.Grid(points_per_side=2))
    objects = {"masks": masks, "segments": segments, "session": masklet.ImageSession(model, frames[0])}
    images = {
        "image": frames[0],
        "images": ["cat.jpg", "dog.jpg"],
        "mask": np.eye(*frames.size, dtype=bool),
    }
    prompts = {"prompt": prompt, "prompts": [prompt, prompt], "boxes": [box, box], "row": box}
    numbers = {"frame": 0, "id": 2, "start": 5, "n": 2, "x": 0.5, "y": 0.5, "w": 9, "h": 9}
    numbers |= {"width": 640, "height": 360}
    given = {"model": model, "frames": frames, "video": video, "tracker": tracker}
    return {"masklet": masklet, "Prompt": Prompt, **given, **objects, **images, **prompts, **numbers}


def test_the_right_column_of_every_table_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, frames = toy_network(), open_frames(clip(LENGTH, (360, 640)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(masklet, "load", create_autospec(masklet.load, return_value=model))
    monkeypatch.setattr(PIL.Image.Image, "show", lambda image: None)  # it opens a window
    for name in ("cat.jpg", "dog.jpg"):
        PIL.Image.fromarray(frames[0]).save(name)
    with OverlayVideo("clip.mp4", frames) as film:
        for frame, image in enumerate(frames):
            film.write(image, masklet.Masks.empty(frame, frames.size))
    for code in filter(is_whole, right_columns()):
        result = eval(code, table_names(model))
        if isinstance(result, Iterator):  # what is tracked is tracked when it is read
            assert list(result), code


def test_another_prompt_is_noticed(transformers_names: dict[str, Any]) -> None:
    shares = compare_columns(
        "transformers", transformers_names, lambda ours: ours.replace("(20, 24)", "(70, 40)")
    )
    assert max(shares) > 1e-3
