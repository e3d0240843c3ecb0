"""Many inputs in one command: names, failures, what is done already, shards, prompts from files."""

from __future__ import annotations

import csv
import json
import re
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import typer

import masklet
from masklet import rle
from masklet.cli.items import Item, Kind, find_items, take_shard, unique_names
from masklet.cli.prompts import PromptTable, _is_named, read_prompts
from masklet.datasets import find_items as find_data
from masklet.errors import MaskletError
from masklet.media import CocoJson, open_frames, read_label_map
from masklet.media.annotations import read_annotations
from masklet.media.readers.prompt_files import build_prompts, read_prompt_rows
from masklet.run_folder import Manifest
from masklet.types import Masks
from media.made import write_video
from toy_models import SIZE, clip, toy_network

from .conftest import LENGTH, Run
from .written import results

CLICK = ("--point", "20,24")


@pytest.fixture
def desk(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: images whose names collide and videos, of which one is damaged."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(shelf / "toy.safetensors", "toy.safetensors")
    image = clip(1)[0]
    for name in ("a/1.png", "b/1.png", "b/1.jpg", "b/2.png"):
        path = Path("images", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(image[:40] if name == "b/2.png" else image).save(path)
    Path("videos").mkdir()
    for name in ("one.mp4", "two.mp4"):
        shutil.copy(shelf / "clip.mp4", Path("videos", name))
    Path("videos", "bad.mp4").write_text("no video\n" * 99)
    return tmp_path


def test_images_of_folders_have_folders_of_their_own(run: Run, desk: Path) -> None:
    model = ("--model", "toy.safetensors", "--out", "out")
    answer = run("segment", "images/a", "images/b", *CLICK, *model)
    assert answer.code == 0 and "4 of 4 inputs are done" in answer.err
    names = {str(path.parent.relative_to("out")) for path in Path("out").rglob("mask.png")}
    assert names == {"a/1", "b/1.png", "b/1.jpg", "b/2"}
    sizes = {read_label_map(path).shape for path in Path("out").rglob("mask.png")}
    assert sizes == {SIZE, (40, SIZE[1])}


def test_the_coco_files_of_a_batch_are_one_file_too(run: Run, desk: Path) -> None:
    words = ("segment", "images/a", "images/b", "--object", "dog: 20,24 class=pet", "--format", "coco")
    words = (*words, "--model", "toy.safetensors", "--out", "out")
    assert run(*words).code == 0
    for _ in range(2):  # the second run finds all done
        content = json.loads(Path("out/coco.json").read_text())
        assert sorted(image["file_name"] for image in content["images"]) == [
            "a/1.png",
            "b/1.jpg",
            "b/1.png",
            "b/2.png",
        ]
        assert [image["id"] for image in content["images"]] == [1, 2, 3, 4]
        assert [annotation["id"] for annotation in content["annotations"]] == [1, 2, 3, 4]
        sizes = {image["id"]: [image["height"], image["width"]] for image in content["images"]}
        for annotation in content["annotations"]:
            assert annotation["segmentation"]["size"] == sizes[annotation["image_id"]]
        assert [category["name"] for category in content["categories"]] == ["pet"]
        assert run(*words).code == 0
    Path("out/run.json").unlink()
    Path("out/coco.json").write_text("mine")
    answer = run(*words)
    assert answer.code == 0 and "is kept" in answer.err
    assert Path("out/coco.json").read_text() == "mine"


def test_the_files_for_labelling_tools_of_a_batch_are_one_file_too(run: Run, desk: Path) -> None:
    """A team imports one file, not one for each of 400 images; classes have one list of numbers."""
    classes = {"a/1.png": "dog", "b/1.png": "cat", "b/1.jpg": "dog", "b/2.png": "cat"}
    lines = ["source,class,x,y", *(f"{source},{name},20,24" for source, name in classes.items())]
    Path("prompts.csv").write_text("\n".join(lines))
    formats = ("cvat-images", "label-studio", "measures", "yolo")
    words = ("segment", "images/a", "images/b", "--prompts", "prompts.csv", "--model", "toy.safetensors")
    words = (*words, *(word for name in formats for word in ("--format", name)), "--out", "out")
    for _ in range(2):  # the second run finds all done
        answer = run(*words)
        assert answer.code == 0, answer.err
    folders = {name: Path("out", name if Path("out", name).is_dir() else name[:-4]) for name in classes}
    for name in ("cvat_masks.xml", "label_studio.json"):
        (file,) = read_annotations(Path("out", name))
        assert {entry.source: entry.label for entry in file.annotations} == classes, name
        for entry in file.annotations:
            mask = read_label_map(folders[entry.source] / "mask.png") > 0
            assert (entry.shape.to_prompt(mask.shape).mask == mask).all(), entry.source
    with open("out/measures.csv", newline="") as table:
        assert {row["file"]: row["class"] for row in csv.DictReader(table)} == classes
    names = Path("out/labels/classes.txt").read_text().split()
    for source, name in classes.items():
        path = Path("out/labels", f"{folders[source].relative_to('out')}.txt")
        assert {names[int(line.split()[0])] for line in path.read_text().splitlines()} == {name}


def test_a_failure_says_what_of_all_inputs_is_missing(run: Run, desk: Path) -> None:
    Path("images/a/bad.png").write_text("no image")
    words = (
        "segment",
        "images/a",
        *CLICK,
        "--format",
        "coco",
        "--model",
        "toy.safetensors",
        "--out",
        "out",
    )
    answer = run(*words)
    assert answer.code == 1 and "not written yet for all inputs together: coco.json" in answer.err
    assert not Path("out/coco.json").exists()
    Path("images/a/bad.png").unlink()
    PIL.Image.new("RGB", (30, 30)).save("images/a/good.png")
    answer = run(*words)
    assert answer.code == 0 and "for all inputs together: out/coco.json" in answer.err
    assert len(json.loads(Path("out/coco.json").read_text())["images"]) == 2


def test_videos_of_one_frame_are_no_images(run: Run, desk: Path) -> None:
    """Each of their frames is called 00000.jpg."""
    for name in ("one.mp4", "two.mp4"):
        write_video(Path("videos", name), clip(1))
    words = ("track", "videos/one.mp4", "videos/two.mp4", *CLICK, "--format", "coco")
    for more, out in (((), "out"), (("--format", "frames"), "with")):
        assert run(*words, *more, "--model", "toy.safetensors", "--out", out).code == 0
    content = json.loads(Path("out/coco.json").read_text())
    assert [image["file_name"] for image in content["images"]] == ["one/00000.jpg", "two/00000.jpg"]
    content = json.loads(Path("with/coco.json").read_text())
    names = [image["file_name"] for image in content["images"]]
    assert names == ["one/frames/00000.jpg", "two/frames/00000.jpg"]
    assert all(Path("with", name).is_file() for name in names)
    for data, count in (("with/coco.json", 2), ("with", 2), ("with/one", 1)):  # what can be trained on
        assert sum(len(item.open()) for item in find_data(Path(data))) == count, data


def test_names_that_some_disks_take_for_one_are_apart() -> None:
    composed, apart = "caf\u00e9.png", "cafe\u0301.png"
    for names in ([composed, apart], [composed, composed.upper()], [composed, apart.upper()]):
        found = unique_names(names)
        keys = {unicodedata.normalize("NFC", name).casefold() for name in found}
        assert len(keys) == 2, found


def test_a_failure_is_in_the_table_and_the_rest_is_done(run: Run, desk: Path) -> None:
    model = ("--model", "toy.safetensors", "--out", "out")
    answer = run("track", "videos", *CLICK, *model)
    assert answer.code == 1 and "Traceback" not in answer.err
    assert "2 of 3 inputs are done: out" in answer.err and "bad.mp4 is not a video" in answer.err
    assert all(len(results(Path("out", name))) == LENGTH for name in ("one", "two"))
    assert not Path("out/bad").exists()


def test_names_are_printed_as_they_are_and_never_steer_the_terminal(run: Run, desk: Path) -> None:
    names = ("a[red].mp4", "b[", "c\x1b[2J\x07.mp4")
    for name in names:
        Path("odd", name).parent.mkdir(exist_ok=True)
        if name.endswith(".mp4"):
            Path("odd", name).write_text("no video\n" * 99)
    Path("odd", "b[").mkdir()
    shutil.copy(desk / "videos" / "bad.mp4", "odd/b[/x].mp4")
    model = ("--model", "toy.safetensors", "--out", "out")
    answer = run(
        "track", "odd/a[[]red].mp4", "odd/b[[]/*.mp4", "odd/c*.mp4", "videos/one.mp4", *CLICK, *model
    )
    assert answer.code == 1 and "1 of 4 inputs are done" in answer.err
    assert "a[red].mp4 is not a video" in answer.err and "odd/b[/x].mp4" in answer.err
    assert "\x1b" not in answer.err and "\x07" not in answer.err and "c\ufffd[2J\ufffd.mp4" in answer.err
    single = run("track", "odd/c\x1b[2J\x07.mp4", *CLICK, *model)
    assert single.code == 1 and "\x1b" not in single.err and "is not a video" in single.err


def test_a_video_whose_name_looks_like_markup(run: Run, desk: Path) -> None:
    Path("[").mkdir()
    shutil.copy("videos/one.mp4", "[/x].mp4")
    answer = run("track", "[/x].mp4", *CLICK, "--model", "toy.safetensors", "--out", "out[bold]")
    assert answer.code == 0 and "out[bold]/masks" in answer.out


def test_done_inputs_are_skipped_and_changed_ones_run_again(run: Run, desk: Path) -> None:
    command = (
        "track",
        "videos/one.mp4",
        "videos/two.mp4",
        *CLICK,
        "--model",
        "toy.safetensors",
        "--out",
        "out",
    )
    assert run(*command).code == 0
    before = Path("out/one/masklets.json").stat().st_mtime_ns
    assert "2 of them by an earlier run" in run(*command).err
    shutil.copy("videos/one.mp4", "copy.mp4")
    with open("videos/two.mp4", "ab") as file:
        file.write(b"\0" * 8)  # another content, the same frames
    assert "1 of them by an earlier run" in run(*command).err
    assert Path("out/one/masklets.json").stat().st_mtime_ns == before
    assert "done: out" in run(*command, "--overwrite").err
    assert Path("out/one/masklets.json").stat().st_mtime_ns > before


def test_new_weights_in_the_same_file_run_again(run: Run, desk: Path) -> None:
    """As after another fine-tune, which writes best.safetensors again."""
    command = ("segment", "images/a/1.png", *CLICK, "--model", "mine.safetensors", "--out", "out")
    masks = []
    for seed in (2, 3):
        masklet.save(toy_network(seed=seed), "mine.safetensors")
        answer = run(*command)
        assert answer.code == 0 and "already" not in answer.err
        masks.append(Path("out/masks.json").read_bytes())
        assert "already has the complete results of this run" in run(*command).err
    assert masks[0] != masks[1]


def test_new_weights_in_the_same_folder_run_again(run: Run, desk: Path) -> None:
    Path("mine").mkdir()
    command = ("segment", "images/a/1.png", *CLICK, "--model", "mine", "--out", "out")
    masks = []
    for seed in (2, 3):
        masklet.save(toy_network(seed=seed), "mine/model.safetensors")
        assert "already" not in run(*command).err
        masks.append(Path("out/masks.json").read_bytes())
        assert "already has the complete results of this run" in run(*command).err
    assert masks[0] != masks[1]


def test_another_background_of_the_same_name_runs_again(run: Run, desk: Path) -> None:
    model = ("--model", "toy.safetensors", "--out", "out")
    command = ("track", "videos/one.mp4", *CLICK, *model, "--format", "composite", "--background", "wall.png")
    videos = []
    for color in ("red", "blue"):
        PIL.Image.new("RGB", (64, 48), color).save("wall.png")
        assert "already" not in run(*command).err
        videos.append(Path("out/composite.mp4").read_bytes())
        assert "already has the complete results of this run" in run(*command).err
    assert videos[0] != videos[1]


def test_a_session_with_the_same_events_and_other_settings_runs_again(run: Run, desk: Path) -> None:
    network = masklet.load("toy.safetensors")
    command = (
        "--script",
        "session.json",
        "--model",
        "toy.safetensors",
        "--format",
        "masklets",
        "--out",
        "out",
    )
    for settings in (
        {},
        {"policy": "samurai"},
        {"cuts": True},
        {"capacity": 1},
        {"clip_length": 3},
        {"zoom": True},
    ):
        session = masklet.VideoSession(network, "videos/one.mp4", **settings)
        session.prompt(0, 1, masklet.Prompt([(20, 24)]))
        list(session.propagate())
        session.save("session.json")
        answer = run("track", "videos/one.mp4", *command)
        assert answer.code == 0 and "already" not in answer.err, settings
    assert "already has the complete results of this run" in run("track", "videos/one.mp4", *command).err


def test_a_tilde_is_the_home_folder_where_the_shell_leaves_it(
    run: Run, desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in --out=~/masks: the results went into a folder that is called ~."""
    monkeypatch.setenv("HOME", str(desk / "home"))
    shutil.copytree("images/a", "home/a")
    Path("list.txt").write_text("~/a/1.png\n")
    model = ("--model", "toy.safetensors")
    assert run("segment", "~/a/1.png", *CLICK, *model, "--out=~/out").code == 0
    assert Path("home/out/mask.png").exists() and not Path("~").exists()
    answer = run("segment", "--list", "list.txt", *CLICK, *model, "--out", "~/listed")
    assert answer.code == 0 and list(Path("home/listed").rglob("mask.png"))


def test_a_batch_of_fewer_inputs_leaves_no_others_behind(run: Run, desk: Path) -> None:
    model = ("--model", "toy.safetensors", "--out", "out")
    assert run("segment", "images/a", "images/b", *CLICK, *model).code == 0
    Path("out/b/notes.txt").write_text("mine")
    assert run("segment", "images/a/1.png", "images/b/2.png", *CLICK, *model).code == 0
    assert {str(path.parent) for path in Path("out").rglob("mask.png")} == {"out/a/1", "out/b/2"}
    assert Path("out/b/notes.txt").read_text() == "mine"
    manifest = Manifest.read(Path("out"))
    assert manifest is not None and manifest.is_complete and set(manifest.files) == {"a/1", "b/2"}


def test_one_input_and_many_never_mix_in_a_folder(run: Run, desk: Path) -> None:
    model = ("--model", "toy.safetensors", "--out", "out")
    assert run("segment", "images/a/1.png", *CLICK, *model).code == 0
    assert run("segment", "images/b", *CLICK, *model).code == 0
    assert {str(path.parent) for path in Path("out").rglob("mask.png")} == {"out/1.png", "out/1.jpg", "out/2"}
    assert run("segment", "images/a/1.png", *CLICK, *model).code == 0
    assert {str(path.parent) for path in Path("out").rglob("mask.png")} == {"out"}


def test_shards_share_the_inputs(run: Run, desk: Path) -> None:
    model = ("--model", "toy.safetensors", "--out", "out")
    for shard, count in (("1/3", 2), ("2/3", 3), ("3/3", 4)):
        assert run("segment", "images/a", "images/b", *CLICK, *model, "--shard", shard).code == 0
        assert len(list(Path("out").rglob("mask.png"))) == count
    manifest = Manifest.read(Path("out"))
    assert manifest is not None and manifest.is_complete


def test_shards_share_the_inputs_in_whatever_order_they_are_listed() -> None:
    """Two machines may list a folder in different orders: no input may be left out."""
    items = [Item(f"clips/{name}.mp4", name, Kind.video) for name in "dacb"]
    taken = [*take_shard(items, "1/2"), *take_shard(items[::-1], "2/2")]
    assert {item.name for item in taken} == set("abcd") and len(taken) == 4


@pytest.mark.parametrize("shard", ["0/3", "4/3", "1", "a/b", "1/0"])
def test_a_shard_that_cannot_be(shard: str) -> None:
    with pytest.raises(typer.BadParameter, match="expected i/n"):
        take_shard([], shard)


def test_names_never_collide() -> None:
    sources = ["a/1.png", "a/1.jpg", "A/1.png", "a.mp4", "a/masks.mp4", "x y.mp4"]
    names = unique_names(sources)
    assert len({name.casefold() for name in names}) == len(sources)
    for name in names:
        assert not any(other.casefold().startswith(f"{name.casefold()}/") for other in names)


def test_a_folder_of_images_is_a_video_if_all_have_one_size(desk: Path) -> None:
    assert [item.kind for item in find_items(["images/b"], None)] == [Kind.image] * 3
    assert [item.kind for item in find_items(["images/a"], None)] == [Kind.video]
    assert len(find_items(["images/a", "images/a/1.png"], Kind.image)) == 1
    Path("list.txt").write_text("# two\nvideos/one.mp4\n\nvideos/two.mp4\n")
    names = [item.name for item in find_items((), Kind.video, names_from=Path("list.txt"))]
    assert names == ["one", "two"]


CSV = """source,frame,object,class,x,y,label,x0,y0,x1,y1,mask
a/1.png,,dog,animal,20,24,1,,,,,
a/1.png,,dog,animal,2,2,0,,,,,
a/1.png,,ball,,,,,30,20,50,40,
b/2.png,,7,,,,,,,,,drawn.png
"""
LINES = """
{"source": "a/1.png", "object": "dog", "class": "animal", "positive": [[20, 24]], "negative": [[2, 2]]}
{"source": "a/1.png", "object": "ball", "box": [30, 20, 50, 40]}
{"source": "b/2.png", "object": 7, "mask": "drawn.png"}
"""


@pytest.mark.parametrize(("name", "text"), [("prompts.csv", CSV), ("prompts.jsonl", LINES)])
def test_prompts_from_a_file(run: Run, desk: Path, name: str, text: str) -> None:
    Path(name).write_text(text)
    drawn = np.zeros((40, SIZE[1]), np.uint8)
    drawn[5:20, 10:30] = 255
    PIL.Image.fromarray(drawn).save("drawn.png")
    model = ("--model", "toy.safetensors", "--out", "out")
    answer = run("segment", "images/a/1.png", "images/b/2.png", "--prompts", name, *model)
    assert answer.code == 0, answer.err
    first = json.loads(Path("out/a/1/masks.json").read_text())["masks"]
    assert {(mask["id"], mask["name"], mask["class"]) for mask in first} == {
        (1, "dog", "animal"),
        (2, "ball", "ball"),
    }
    second = json.loads(Path("out/b/2/masks.json").read_text())["masks"]
    assert {mask["id"] for mask in second} == {7}
    assert run("segment", "images/a/1.png", *_typed(), *model[:2], "--out", "typed").code == 0
    typed = json.loads(Path("typed/masks.json").read_text())["masks"]
    assert [mask["rle"] for mask in typed] == [mask["rle"] for mask in first]


def _typed() -> tuple[str, ...]:
    return ("--object", "dog: 20,24 -2,2 class=animal", "--object", "ball: box=30,20,50,40")


def test_prompts_of_a_video_s_frames_from_coco(run: Run, desk: Path) -> None:
    code = rle.encode(np.pad(np.ones((10, 10), bool), ((5, SIZE[0] - 15), (8, SIZE[1] - 18))))
    content = {
        "images": [{"id": 1, "file_name": "one/00002.jpg"}, {"id": 2, "file_name": "two/00000.jpg"}],
        "categories": [{"id": 1, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "segmentation": code},
            {"id": 2, "image_id": 1, "category_id": 1, "bbox": [30, 20, 20, 20]},
            {"id": 3, "image_id": 2, "category_id": 1, "bbox": [30, 20, 20, 20]},
        ],
    }
    Path("coco.json").write_text(json.dumps(content))
    model = ("--model", "toy.safetensors", "--out", "out")
    answer = run("track", "videos/one.mp4", "videos/two.mp4", "--prompts", "coco.json", *model)
    assert answer.code == 0, answer.err
    assert list(results(Path("out/one"))) == list(range(2, LENGTH))
    assert len(results(Path("out/two"))) == LENGTH


@pytest.mark.parametrize(
    ("name", "text", "part"),
    [
        ("p.csv", "source,lable,x,y\na/1.png,1,2,3\n", "line 1 has unknown keys: lable"),
        ("p.csv", "x,y\n1,\n", "line 2: expected numbers in pixels for x, y"),
        ("p.csv", "x,y,label\n1,2,yes\n", "label must be 1 for a click on the object"),
        ("p.csv", "source,x,y\nc/9.png,1,2\n", "'c/9.png', which is not among the inputs"),
        ("p.csv", "source,x,y\n1.png,1,2\n", "matches images/a/1.png and images/b/1.png"),
        ("p.csv", "frame,x,y\n-3,1,2\n", "frame must be a whole number"),
        ("p.csv", "frame,x,y\n1.5,1,2\n", "frame must be a whole number from 0. Got 1.5"),
        ("p.csv", "object,x,y\n-1,1,2\n", "line 2: object must be a name, or a whole number from 1. Got -1"),
        ("p.csv", "object,x,y\n0.0,1,2\n", "line 2: object must be a name, or a whole number from 1. Got 0"),
        ("p.csv", "source,x,y\na/1.png,1,5,20,5\n", "line 2 has 5 cells for 3 columns"),
        ("p.csv", "x,y,x\n1,2,3\n", "has a column twice"),
        ("p.csv", "x,y\n1," + "2" * 200_000 + "\n", "cannot be read as a table"),
        ("p.csv", "x,y\nnan,2\n", "finite pixel positions"),
        ("p.jsonl", "[" * 100_000, "line 1 is not JSON"),
        ("p.jsonl", "{", "line 1 is not JSON"),
        ("p.jsonl", '{"points": [[1, 2]]}', "line 1 has unknown keys: points"),
        ("p.jsonl", "{}", "has no positive or negative clicks"),
        ("p.txt", "", "prompts must be a .csv, .jsonl or .json"),
        ("p.json", "[]", "is not a COCO file"),
    ],
)
def test_a_prompt_file_that_cannot_be_meant(run: Run, desk: Path, name: str, text: str, part: str) -> None:
    Path(name).write_text(text)
    model = ("--model", "toy.safetensors", "--out", "out")
    answer = run("segment", "images/a/1.png", "images/b/1.png", "--prompts", name, *model)
    assert answer.code == 1 and part in answer.err and "Traceback" not in answer.err
    assert not list(Path().rglob("mask.png"))


@pytest.mark.parametrize(
    ("name", "text", "part"),
    [
        ("p.jsonl", '{"box": [1, 1, 9, 9], "box": [5, 5, 9, 9]}', "the key 'box' twice"),
        ("p.json", '{"images": [], "images": [], "annotations": []}', "the key 'images' twice"),
        (
            "p.json",
            '{"images": [], "annotations": [],'
            ' "categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}',
            "two categories have the id 1: a and b",
        ),
        ("p.jsonl", '{"box": 0, "positive": [[1, 2]]}', "box must be four finite numbers"),
        ("p.jsonl", '{"class": false, "positive": [[1, 2]]}', "class must be text. Got False"),
    ],
)
def test_what_a_prompt_file_would_lose(tmp_path: Path, name: str, text: str, part: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    frames = open_frames(np.zeros((1, 20, 20, 3), np.uint8))
    with pytest.raises(MaskletError, match=re.escape(part)):
        build_prompts(read_prompt_rows(path), tmp_path, frames)


def test_zero_is_a_class_and_a_source_and_nothing_is_none(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(
        '{"source": 0, "class": 0, "positive": [[1, 2]]}\n{"class": "", "object": "", "box": [1, 1, 9, 9]}\n'
    )
    first, second = read_prompt_rows(path)
    assert (first.source, first.category) == ("0", "0")
    assert (second.source, second.category, second.object) == ("", None, 1)


def test_an_object_of_a_coco_file_stays_one_on_all_frames(tmp_path: Path) -> None:
    """As in the files that masklet writes; annotations that name no object are one each."""
    frames = open_frames(np.zeros((2, 20, 20, 3), np.uint8))
    with CocoJson(tmp_path / "coco.json", frames) as writer:
        for frame in range(2):
            masks = {id: np.eye(20, dtype=bool) for id in (2, 7)}
            writer.write(frames[frame], Masks.from_arrays(frame, masks, frames.size))
    content = json.loads((tmp_path / "coco.json").read_text())
    content["annotations"] += [{"id": 90, "image_id": 2, "bbox": [1, 1, 3, 3]}]
    (tmp_path / "coco.json").write_text(json.dumps(content))
    prompts = build_prompts(read_prompt_rows(tmp_path / "coco.json"), tmp_path, frames)
    assert {frame: list(by_id) for frame, by_id in prompts.by_frame.items()} == {0: [2, 7], 1: [2, 7, 8]}


def test_names_never_take_the_ids_of_others(tmp_path: Path) -> None:
    """A line without an object is of object 1, one with a number of that object, in any order."""
    path = tmp_path / "p.csv"
    path.write_text("object,x,y\ncat,1,2\n,3,4\n2,5,6\ndog,7,8\ncat,9,9\n")
    prompts = build_prompts(read_prompt_rows(path), tmp_path, open_frames(np.zeros((1, 20, 20, 3), np.uint8)))
    assert {id: prompt.positive for id, prompt in prompts.by_frame[0].items()} == {
        1: ((3, 4),),
        2: ((5, 6),),
        3: ((1, 2), (9, 9)),
        4: ((7, 8),),
    }
    assert prompts.names == {3: "cat", 4: "dog"}


def test_a_column_with_gaps_holds_whole_numbers_too(tmp_path: Path) -> None:
    """A table program writes the object 7 as 7.0 then: that is not an object with the name 7.0."""
    table, lines = tmp_path / "p.csv", tmp_path / "p.jsonl"
    table.write_text("object,frame,x,y,label\n7.0,2.0,1,2,1.0\n7,2,3,4,0.0\n,,5,6,\n")
    lines.write_text('{"object": 7.0, "frame": 2.0, "positive": [[1, 2]]}\n')
    frames = open_frames(np.zeros((3, 20, 20, 3), np.uint8))
    prompts = build_prompts(read_prompt_rows(table), tmp_path, frames)
    assert {frame: list(by_id) for frame, by_id in prompts.by_frame.items()} == {0: [1], 2: [7]}
    assert (prompts.by_frame[2][7].positive, prompts.by_frame[2][7].negative) == (((1, 2),), ((3, 4),))
    assert prompts.names == {}
    assert list(build_prompts(read_prompt_rows(lines), tmp_path, frames).by_frame[2]) == [7]


def test_texts_of_a_prompt_file_keep_their_line_breaks(tmp_path: Path) -> None:
    """A class of two lines is not one of one line, and a separator of lines in a JSON text ends no line."""
    table, lines = tmp_path / "p.csv", tmp_path / "p.jsonl"
    table.write_text('class,object,x,y\n"one\ntwo","a\u2028b",1,2\n')
    lines.write_text('{"class": "one\\ntwo", "object": "a\u2028b", "positive": [[1.0, 2.0]]}\n')
    (first,), (second,) = read_prompt_rows(table), read_prompt_rows(lines)
    assert (first.category, first.object, first.values) == (second.category, second.object, second.values)
    assert (first.category, first.object) == ("one\ntwo", "a\u2028b")


@pytest.mark.parametrize(
    ("image", "part"),
    [
        ({"file_name": "1.png", "width": 5, "height": 7}, "images resized without their labels"),
        ({"file_name": "1.png", "width": 20, "height": 20}, None),
        ({"file_name": "frame_7.png"}, "no frame with the name frame_7.png"),
        ({"file_name": "frame_1.png"}, None),
    ],
)
def test_boxes_from_coco_are_of_the_frame_and_size_that_the_file_names(
    tmp_path: Path, image: dict[str, object], part: str | None
) -> None:
    path = tmp_path / "p.json"
    annotations = [{"id": 1, "image_id": 1, "bbox": [1, 1, 3, 3]}]
    path.write_text(json.dumps({"images": [{"id": 1, **image}], "annotations": annotations}))
    frames = open_frames(np.zeros((3, 20, 20, 3), np.uint8))
    if part is None:
        assert list(build_prompts(read_prompt_rows(path), tmp_path, frames).by_frame) == [1]
    else:
        with pytest.raises(MaskletError, match=part):
            build_prompts(read_prompt_rows(path), tmp_path, frames)


def test_an_object_that_is_typed() -> None:
    texts = ["big dog: 210,350 -90,400 box=10,10,200,300 frame=12 class='house pet'", "5,6", "big dog: 7,8"]
    prompts = read_prompts(["1,2"], None, None, None, texts, frame=3)
    assert prompts is not None
    assert prompts.names == {2: "big dog"} and prompts.classes == {2: "house pet"}
    assert {frame: list(by_id) for frame, by_id in prompts.by_frame.items()} == {3: [1, 3, 2], 12: [2]}
    dog = prompts.by_frame[12][2]
    assert dog.positive == ((210, 350),) and dog.negative == ((90, 400),) and dog.box == (10, 10, 200, 300)


@pytest.mark.parametrize(
    "text",
    ["", "dog:", "dog", "dog: 1", "1,2 frame=x", "1,2 size=3", "box=1,2,3", "1,2 frame=1 frame=2", "'1,2"],
)
def test_an_object_that_cannot_be_meant(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        read_prompts(None, None, None, None, [text])


def test_a_channel_is_chosen_by_name(run: Run, shelf: Path, tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    pages = np.stack([np.zeros((48, 64), np.uint8), np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1))])
    names = {"axes": "CYX", "Channel": {"Name": ["DAPI", "GFP"]}}
    tifffile.imwrite(tmp_path / "cells.ome.tif", pages, ome=True, metadata=names, photometric="minisblack")
    model = ("--model", shelf / "toy.safetensors", "--point", "30,20")
    for channel in ("GFP", "DAPI"):
        arguments = (tmp_path / "cells.ome.tif", *model, "--channel", channel, "--out", tmp_path / channel)
        assert run("segment", *arguments).code == 0
    masks = [(tmp_path / channel / "masks.json").read_text() for channel in ("GFP", "DAPI")]
    assert masks[0] != masks[1]
    answer = run("segment", tmp_path / "cells.ome.tif", *model, "--channel", "RFP", "--out", tmp_path / "no")
    assert answer.code == 1 and "0 (DAPI), 1 (GFP)" in answer.err


def test_a_line_that_is_there_twice_adds_no_click(tmp_path: Path) -> None:
    """As where two files were joined that overlap."""
    lines = ["frame,object,x,y,label", "0,dog,3,4,1", "0,dog,9,9,0", "0,cat,3,4,1", "1,dog,3,4,1"]
    (tmp_path / "once.csv").write_text("\n".join(lines))
    (tmp_path / "twice.csv").write_text("\n".join([*lines, *lines[:0:-1]]))
    frames = open_frames(np.zeros((2, 20, 20, 3), np.uint8))
    once, twice = (
        build_prompts(read_prompt_rows(tmp_path / name), tmp_path, frames)
        for name in ("once.csv", "twice.csv")
    )
    assert once.to_json() == twice.to_json() and once.by_frame[0][1].clicks == 2
    boxes = {
        "images": [{"id": 1}],
        "annotations": [{"id": n, "image_id": 1, "bbox": [1, 1, 5, 5]} for n in (1, 2)],
    }
    (tmp_path / "coco.json").write_text(json.dumps(boxes))
    image = open_frames(np.zeros((1, 20, 20, 3), np.uint8))
    assert build_prompts(read_prompt_rows(tmp_path / "coco.json"), tmp_path, image).ids == [1, 2]


def test_an_entry_is_compared_with_the_inputs_of_its_name_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else 10,000 images with a click each are 100 million comparisons, which take ten minutes."""
    items = [Item(f"{folder}/{n}.jpg", f"{folder}/{n}", Kind.image) for folder in "ab" for n in range(50)]
    items.append(Item("clips/dog.mp4", "dog", Kind.video))
    rows = [f"{item.source},5,5" for item in items] + ["dog/00012.jpg,6,6", "https://x.org/c/77.jpg,1,1"]
    items.append(Item("https://x.org/c/77.jpg", "77", Kind.image))
    (tmp_path / "p.csv").write_text("\n".join(["source,x,y", *rows]))
    compared = []

    def is_named(item: Item, source: str) -> bool:
        compared.append(item)
        return _is_named(item, source)

    monkeypatch.setattr("masklet.cli.prompts._is_named", is_named)
    table = PromptTable.read(tmp_path / "p.csv", items)
    assert len(compared) < 3 * len(rows)
    counts = {source: len(found) for source, found in table.rows.items()}
    assert counts == {item.source: 2 if item.name == "dog" else 1 for item in items}
