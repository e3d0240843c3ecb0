"""What cannot be done is refused in one sentence, before anything is written."""

from __future__ import annotations

import json
from pathlib import Path

import PIL.Image
import pytest

from masklet import VideoSession
from toy_models import SIZE, clip, toy_network

from .conftest import Run
from .written import CLICK

BAD = {
    "a missing file": (("track", "nowhere.mp4", *CLICK), "there is no file nowhere.mp4"),
    "an empty file": (("track", "empty.mp4", *CLICK), "empty.mp4 is empty"),
    "no video": (("track", "text.mp4", *CLICK), "text.mp4 is not a video, or is truncated"),
    "a file cut short in its head": (("track", "stump.mp4", *CLICK), "not a video, or is truncated"),
    "an empty folder": (("track", "nothing", *CLICK), "contains no images"),
    "a folder of folders": (("segment", "shelves", *CLICK), "not searched: pass them, such as shelves/upper"),
    "a click outside": (("track", "clip.mp4", "--point", "64,3"), "0 <= x < 64 and 0 <= y < 48. Got (64, 3)"),
    "a box without area": (("track", "clip.mp4", "--box", "9,9,9,20"), "box must have an area"),
    "a box elsewhere": (("track", "clip.mp4", "--box", "90,9,99,20"), "box must touch the frame"),
    "a mask of another size": (
        ("track", "clip.mp4", "--mask", "small.png"),
        "(48, 64), the size of the frame",
    ),
    "no mask": (("track", "clip.mp4", "--mask", "text.mp4"), "text.mp4"),
    "an empty mask": (("track", "clip.mp4", "--mask", "black.png"), "black.png contains no object"),
    "a frame beyond the end": (
        ("track", "clip.mp4", *CLICK, "--frame", "6"),
        "6 frames, 0 to 5. Got frame 6",
    ),
    "a frame before the start": (("track", "clip.mp4", *CLICK, "--frame", "-1"), "Got frame -1"),
    "nothing pointed at": (("track", "clip.mp4"), "a prompt is needed"),
    "half a point": (("track", "clip.mp4", "--point", "7"), "expected 2 numbers in pixels, X,Y. Got '7'"),
    "an endless point": (("track", "clip.mp4", "--point", "nan,3"), "finite"),
    "an unknown model": (("track", "clip.mp4", *CLICK, "--model", "sam9"), "there is no model 'sam9'"),
    "a missing checkpoint": (("track", "clip.mp4", *CLICK, "--model", "no/such.pt"), "no file no/such.pt"),
    "an unknown device": (("track", "clip.mp4", *CLICK, "--device", "abacus"), "abacus cannot be used here"),
    "an unknown precision": (("track", "clip.mp4", *CLICK, "--dtype", "float8"), "float8"),
    "an unknown format": (("track", "clip.mp4", *CLICK, "--format", "gif"), "there is no format 'gif'"),
    "an empty name": (("track", "", *CLICK), "an input is empty"),
    "a background that no format shows": (
        ("track", "clip.mp4", *CLICK, "--background", "green"),
        "none of the formats uses it. Add --format composite",
    ),
    "soft edges that no format shows": (
        ("everything", "clip.mp4", "--soft", "3", "--format", "coco"),
        "Add --format cutout-webm or --format cutout-prores",
    ),
    "a pixel size without a unit": (
        ("track", "clip.mp4", *CLICK, "--format", "measures", "--pixel-size", "0.65"),
        "a pixel size must be a length with its unit, such as 0.65um, or width x height x depth, such as "
        "0.2x0.2x1um; units are pm, nm, um, mm, cm, m, in. Got '0.65'.",
    ),
    "a pixel size of everything in an unknown unit": (
        ("everything", "clip.mp4", "--format", "tiff", "--pixel-size", "2furlong"),
        "units are pm, nm, um, mm, cm, m, in. Got '2furlong'",
    ),
    "a pixel size that no format says": (
        ("segment", "frames/0.png", *CLICK, "--format", "coco", "--pixel-size", "0.65um"),
        "none of the formats records it. Add --format measures or --format tiff or --format ome-tiff",
    ),
    "a very long name": (("track", "x" * 300, *CLICK), "cannot be opened: file name too long"),
    "a very long id": (
        ("track", "clip.mp4", "--object", f"a: 5,5 id={'9' * 5000}"),
        "id must be a whole number",
    ),
    "an id that no label map holds": (
        ("track", "clip.mp4", "--object", "a: 5,5 id=70000"),
        "a label map can hold object ids 1 to 65535. Got 70000",
    ),
    "an id that mask.png does not hold": (
        ("segment", "frames/0.png", "--object", "a: 5,5 id=70000"),
        "Got 70000",
    ),
    "the background as an object": (("track", "clip.mp4", "--object", "a: 5,5 id=0"), "from 1; 0 is the"),
    "a frame of 5,000 digits": (
        ("track", "clip.mp4", "--prompts", "long.csv"),
        "frame must be a whole number",
    ),
    "a rate that never comes to a frame": (
        ("track", "clip.mp4", *CLICK, "--fps", "1e-320"),
        "fps must be from",
    ),
    "a rate without end": (("track", "clip.mp4", *CLICK, "--fps", "1e9"), "from 0.0001 to 1000"),
    "a mask of a prompt file that is broken": (
        ("track", "clip.mp4", "--prompts", "broken.jsonl"),
        "broken.jsonl, line 1: a mask's runs must be positive",
    ),
    "no detections": (
        ("everything", "clip.mp4", "--detections", "no.json"),
        "the file of detections no.json does not exist",
    ),
    "detections in a folder": (
        ("everything", "clip.mp4", "--detections", "frames"),
        "the file of detections frames does not exist",
    ),
    "no such script": (("track", "clip.mp4", "--script", "nowhere.json"), "no saved session at nowhere.json"),
    "no script": (("track", "clip.mp4", "--script", "text.mp4"), "text.mp4 is not a saved session"),
    "script and policy": (
        ("track", "clip.mp4", "--script", "session.json", "--policy", "recency", "--cuts"),
        "remove --policy and --cuts",
    ),
    "script and direction": (
        ("track", "clip.mp4", "--script", "session.json", "--direction", "both", "--frame", "2"),
        "remove --frame and --direction",
    ),
    "frame of a prompt file": (
        ("track", "clip.mp4", "--prompts", "prompts.csv", "--frame", "2"),
        "the frames of prompts.csv are in its column frame",
    ),
    "script and click": (
        ("track", "clip.mp4", *CLICK, "--script", "session.json"),
        "remove the options for prompts",
    ),
    "images have no times": (("track", "frames", *CLICK, "--fps", "5"), "frames have times, and"),
    "no image": (("segment", "text.mp4", *CLICK), "text.mp4"),
    "a click beside the image": (("segment", "frames/0.png", "--point", "3,48"), "Got (3, 48)"),
    "nothing pointed at in an image": (("segment", "frames/0.png"), "a prompt is needed"),
}


@pytest.fixture
def desk(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with much that is wrong; the current one."""
    for name in ("clip.mp4", "frames", "toy.safetensors"):
        (tmp_path / name).symlink_to(shelf / name)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "broken.jsonl").write_text('{"mask": {"size": [48, 64], "counts": [10, 20]}}\n')
    (tmp_path / "long.csv").write_text(f"frame,x,y\n{'9' * 5000},5,5\n")
    (tmp_path / "text.mp4").write_text("no video at all\n" * 50)
    (tmp_path / "stump.mp4").write_bytes((shelf / "clip.mp4").read_bytes()[:200])
    (tmp_path / "nothing").mkdir()
    (tmp_path / "shelves" / "upper").mkdir(parents=True)
    PIL.Image.new("L", (8, 8), 1).save(tmp_path / "small.png")
    PIL.Image.new("L", SIZE[::-1], 0).save(tmp_path / "black.png")
    session = VideoSession(toy_network(), clip(1))
    session.save(tmp_path / "session.json")
    (tmp_path / "prompts.csv").write_text("object,x,y\ndog,20,24\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("arguments", "part"), BAD.values(), ids=BAD)
def test_bad_input_gets_one_sentence(run: Run, desk: Path, arguments: tuple[str, ...], part: str) -> None:
    earlier = desk / "out" / "masklets.json"
    earlier.parent.mkdir()
    earlier.write_text("what was written before")
    model = () if "--model" in arguments else ("--model", "toy.safetensors")
    answer = run(*arguments, *model, "--out", "out")
    assert answer.code in (1, 2) and answer.out == ""
    assert part in answer.err and "Traceback" not in answer.err
    assert answer.code == 2 or answer.err.count("\n") == 1, "one line"
    assert [path.name for path in earlier.parent.iterdir()] == ["masklets.json"]
    assert earlier.read_text() == "what was written before"


@pytest.mark.parametrize(
    "command", ["track clip.mp4", "segment clip.mp4", "jobs run clip.mp4", "export onnx toy.safetensors"]
)
def test_an_output_folder_without_a_name_is_not_the_current_one(run: Run, desk: Path, command: str) -> None:
    before = sorted(desk.iterdir())
    answer = run(*command.split(), "--out", "")
    assert answer.code == 2 and "the folder name is empty" in answer.err
    assert sorted(desk.iterdir()) == before


@pytest.mark.parametrize("command", ["track clip.mp4", "segment frames/0.png"])
@pytest.mark.parametrize("out", ["taken", "taken/below"])
def test_a_folder_that_cannot_be_written(run: Run, desk: Path, command: str, out: str) -> None:
    (desk / "taken").write_text("a file")
    answer = run(*command.split(), *CLICK, "--model", "toy.safetensors", "--out", out)
    assert answer.code == 1 and f"{out} cannot be written" in answer.err
    assert (desk / "taken").read_text() == "a file"


DETECTIONS = ("everything", "clip.mp4", "--detections")
COMPOSITE = ("clip.mp4", "--format", "composite", "--background")
MISSING = {  # beside a model that is missing too
    "a background": (("track", *CLICK, *COMPOSITE, "no.png"), "no file 'no.png'"),
    "a background that is no image": (("track", *CLICK, *COMPOSITE, "text.mp4"), "text.mp4 is not a video"),
    "a background of everything": (("everything", *COMPOSITE, "no.png"), "no file 'no.png'"),
    "tiles of no size": (("segment", "frames/0.png", *CLICK, "--tiles", "0"), "--tiles"),
    "detections": ((*DETECTIONS, "no.json"), "detections no.json does not exist"),
    "detections that are no COCO": (
        ("everything", "clip.mp4", "--detections", "list.json"),
        "needs the lists",
    ),
    "detections of another size": (
        ("everything", "clip.mp4", "--detections", "big.json"),
        "Were the images resized",
    ),
    "detections of a longer video": (
        ("everything", "clip.mp4", "--detections", "long.json"),
        "image for frame 999",
    ),
    "detections in an image": (
        ("everything", "frames/0.png", "--detections", "big.json"),
        "can be used only with a video",
    ),
    "tiles of a video": (("everything", "clip.mp4", "--tiles", "64"), "can be used only with an image"),
    "a grid of no points": (("everything", "frames/0.png", "--points-per-side", "0"), "points_per_side"),
    "training data": (("train", "finetune", "no"), "no data set no"),
    "validation data": (("train", "finetune", "frames", "--validation", "no"), "no data set no"),
    "a benchmark of policies": (("evaluate", "policies", "no"), "no is not a folder"),
    "base data of the loop": (("engine", "demo", "--base", "no"), "no data set no"),
    "an example of the page": (("export", "web", "missing.pt", "--example", "no.mp4"), "'no.mp4' does not"),
    "a runtime of the page": (
        ("export", "web", "missing.pt", "--onnxruntime-web", "no.tgz"),
        "'no.tgz' does not",
    ),
}


@pytest.mark.parametrize(("arguments", "part"), MISSING.values(), ids=MISSING)
def test_files_and_numbers_are_checked_before_the_model_is_loaded(
    run: Run, desk: Path, arguments: tuple[str, ...], part: str
) -> None:
    (desk / "list.json").write_text('{"images": []}')
    for name, frame, width in (("big", 0, 4096), ("long", 999, 64)):
        image = {"id": 1, "frame_index": frame, "width": width, "height": width, "file_name": f"{frame}.png"}
        (desk / f"{name}.json").write_text(json.dumps({"images": [image], "annotations": []}))
    model = () if "missing.pt" in arguments else ("--model", "missing.pt")
    answer = run(*arguments, *model, "--out", "out")
    assert answer.code in (1, 2) and answer.out == ""
    assert part in answer.err and "missing.pt" not in answer.err
