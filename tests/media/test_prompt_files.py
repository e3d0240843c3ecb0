"""Prompt files and typed prompts in which something would be lost or guessed are refused in a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import typer

from masklet import MaskletError, PromptError
from masklet.auto import make_detector
from masklet.cli.prompts import read_prompts
from masklet.media import open_frames
from masklet.media.readers.prompt_files import ObjectPrompts, build_prompts, read_prompt_rows
from masklet.types import Prompt

FRAMES = open_frames(np.zeros((12, 48, 64, 3), np.uint8))


def read(path: Path, text: str) -> ObjectPrompts:
    path.write_text(text)
    return build_prompts(read_prompt_rows(path), path.parent, FRAMES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x0,y0,x1,y1\n1,1,9,9\n20,20,30,30", "line 3: object 1 has two boxes on frame 0"),
        ("object,x0,y0,x1,y1\ndog,1,1,9,9\ndog,20,20,30,30", "line 3: object 1 has two boxes on frame 0"),
        ("object,class,x,y\ndog,pet,1,2\ndog,animal,3,4", "object 1 has two classes, pet and animal"),
        ("x,y\n1_0,20", "line 2: expected numbers in pixels for x, y. Got x=1_0"),
    ],
)
def test_nothing_of_a_table_is_lost(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(PromptError, match=message):
        read(tmp_path / "prompts.csv", text)


def test_boxes_on_other_frames_and_of_other_objects_stay(tmp_path: Path) -> None:
    lines = [
        "frame,object,class,x0,y0,x1,y1",
        "0,1,pet,1,1,9,9",
        "1,1,pet,2,1,9,9",
        *["0,2,pet,20,20,30,30"] * 2,
    ]
    prompts = read(tmp_path / "prompts.csv", "\n".join(lines))
    assert {frame: sorted(by_id) for frame, by_id in prompts.by_frame.items()} == {0: [1, 2], 1: [1]}


def test_two_masks_of_an_object_on_a_frame_are_refused(tmp_path: Path) -> None:
    rows = [{"mask": {"size": [48, 64], "counts": [start, 5, 48 * 64 - start - 5]}} for start in (0, 9)]
    with pytest.raises(PromptError, match="object 1 has two masks on frame 0"):
        read(tmp_path / "prompts.jsonl", "\n".join(map(json.dumps, rows)))


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        (["dog: box=1,2,10,10", "dog: box=11,12,20,20"], "object 1 has two boxes"),
        (["cat: 5,5 id=1", "dog: 10,20 id=1"], "object 1 has two names, cat and dog"),
        (["dog: 5,5 class=pet", "dog: 10,20 class=animal"], "object 1 has two classes, pet and animal"),
    ],
)
def test_typed_objects_that_contradict_each_other(objects: list[str], message: str) -> None:
    with pytest.raises(PromptError, match=message):
        read_prompts(None, None, None, None, objects)


def test_a_name_gets_no_id_that_is_typed_for_another() -> None:
    prompts = read_prompts(None, None, None, None, ["dog: 10,20", "cat: 5,5 id=1"])
    assert prompts is not None and prompts.names == {2: "dog", 1: "cat"}
    assert prompts.by_frame[0][1] == Prompt(positive=[(5, 5)])


def test_an_underscore_is_no_part_of_a_typed_number() -> None:
    with pytest.raises(typer.BadParameter, match="expected 2 numbers in pixels"):
        read_prompts(["1_0,20"], None, None, None)


def test_names_of_frames_with_gaps_are_no_numbers(tmp_path: Path) -> None:
    """Of 00005.jpg, 00010.jpg and 00015.jpg, 00001.jpg is not the second one."""
    for number in (5, 10, 15):
        PIL.Image.new("RGB", (64, 48)).save(tmp_path / f"{number:05d}.jpg")
    frames = open_frames(tmp_path)

    def frame_of(name: str) -> int:
        content = {
            "images": [{"id": 1, "file_name": name}],
            "annotations": [{"id": 1, "image_id": 1, "bbox": [1, 2, 10, 10]}],
        }
        (tmp_path / "prompts.json").write_text(json.dumps(content))
        (frame,) = build_prompts(read_prompt_rows(tmp_path / "prompts.json"), tmp_path, frames).by_frame
        return frame

    assert frame_of("00010.jpg") == 1 and frame_of("labels/00010.png") == 1
    for name in ("00001.jpg", "frame_2.png"):
        with pytest.raises(MaskletError, match=f"no frame with the name {name}"):
            frame_of(name)


def test_images_of_other_names_are_frames_in_the_order_of_these_names(tmp_path: Path) -> None:
    """Not in the order in which the file lists them."""
    numbers = (12, 3, 5, 1, 2, 4, 6, 7, 8, 9, 10, 11)
    content = {
        "images": [{"id": number, "file_name": f"img{number}.jpg"} for number in numbers],
        "annotations": [{"id": 1, "image_id": 12, "bbox": [1, 2, 10, 10]}],
    }
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    detect = make_detector(tmp_path / "boxes.json", FRAMES.file_name, len(FRAMES))
    assert [bool(detect(frame, FRAMES.size)) for frame in range(12)] == [False] * 11 + [True]
