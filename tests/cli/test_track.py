"""masklet track, from what is typed to what is written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import PIL.Image
import pytest

import masklet
from masklet import Prompt, VideoSession
from masklet.media import FORMATS, open_frames, read_label_map, read_masklets
from masklet.model import Sam2
from media.made import write_video
from toys import SIZE, blob, clip, toy_network

from .conftest import LENGTH, Run, loaded

CLICK = ("--point", "20,24")


def results(out: Path) -> dict[int, masklet.Masks]:
    """What was written, checked to be whole and of one mind."""
    found = {masks.frame: masks for masks in read_masklets(out / "masklets.json")}
    pictures = {int(path.stem): read_label_map(path) for path in (out / "masks").iterdir()}
    assert pictures.keys() == found.keys() and not list(out.rglob(".*"))
    for frame, labels in pictures.items():
        assert set(np.unique(labels)) <= {0, *found[frame].ids}
        for id in found[frame]:
            assert not (labels == id)[~found[frame][id]].any()
    if found:
        with av.open(str(out / "overlay.mp4")) as video:
            shown = list(video.decode(video=0))
        assert len(shown) == len(found) and (shown[0].height, shown[0].width) == SIZE
    return found


def expected(shelf: Path, prompts: dict[int, dict[int, Prompt]]) -> dict[int, masklet.Masks]:
    return {masks.frame: masks for masks in masklet.track(loaded(shelf), str(shelf / "clip.mp4"), prompts)}


def assert_same(one: dict[int, masklet.Masks], other: dict[int, masklet.Masks]) -> None:
    assert one.keys() == other.keys()
    for frame in one:
        assert one[frame].ids == other[frame].ids
        assert all((one[frame][id] == other[frame][id]).all() for id in other[frame])


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Two objects, 3 and 5."""
    labels = np.zeros(SIZE, dtype=np.uint8)
    labels[10:30, 12:40], labels[35:45, 40:60] = 3, 5
    PIL.Image.fromarray(labels).save(tmp_path / "labels.png")
    return tmp_path / "labels.png"


def test_a_click_is_followed_to_the_end(run: Run, shelf: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    answer = run("track", shelf / "clip.mp4", *CLICK, "--model", shelf / "toy.safetensors", "--out", out)
    assert answer.code == 0
    assert answer.out.split() == [str(out / each) for each in ("masks", "masklets.json", "overlay.mp4")]
    found = results(out)
    assert_same(found, expected(shelf, {0: {1: Prompt(positive=[(20, 24)])}}))
    assert any(masks[1].any() and not masks[1].all() for masks in found.values())


def test_all_that_can_be_pointed_with(run: Run, shelf: Path, labels: Path, tmp_path: Path) -> None:
    said = (
        "--point",
        "20,24",
        "--point",
        "30,20",
        "--negative",
        "60,40",
        "--box",
        "4,4,50,40",
        "--mask",
        labels,
    )
    answer = run(
        "track", shelf / "clip.mp4", *said, "--model", shelf / "toy.safetensors", "--out", tmp_path / "out"
    )
    assert answer.code == 0
    drawn = read_label_map(labels)
    pointed = Prompt(positive=[(20, 24), (30, 20)], negative=[(60, 40)], box=(4, 4, 50, 40))
    prompts = {3: Prompt(mask=drawn == 3), 5: Prompt(mask=drawn == 5), 1: pointed}
    assert_same(results(tmp_path / "out"), expected(shelf, {0: prompts}))


@pytest.mark.parametrize(
    ("direction", "frames"), [("forward", range(2, LENGTH)), ("backward", range(3)), ("both", range(LENGTH))]
)
def test_from_the_frame_that_is_pointed_at(
    run: Run, shelf: Path, labels: Path, tmp_path: Path, direction: str, frames: range
) -> None:
    arguments = ("--mask", labels, "--frame", 2, "--direction", direction)
    answer = run(
        "track", shelf / "frames", *arguments, "--model", shelf / "toy.safetensors", "--out", tmp_path / "out"
    )
    assert answer.code == 0
    found = results(tmp_path / "out")
    assert list(found) == list(frames) and all(masks.ids == (3, 5) for masks in found.values())
    assert (found[2][3] == (read_label_map(labels) == 3)).mean() > 0.98


def test_formats_by_name(run: Run, shelf: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    chosen = ("--format", "coco", "--format", "cvat", "--format", "coco")
    answer = run(
        "track", shelf / "clip.mp4", *CLICK, *chosen, "--model", shelf / "toy.safetensors", "--out", out
    )
    assert answer.code == 0 and answer.out.split() == [str(out / "coco.json"), str(out / "cvat_tracks.xml")]
    assert sorted(path.name for path in out.iterdir()) == ["coco.json", "cvat_tracks.xml"]
    assert len(json.loads((out / "coco.json").read_text())["images"]) == LENGTH


def test_every_format_is_told(run: Run) -> None:
    said = run("track", "--help").out
    assert all(name in said for name in FORMATS)


def test_so_many_frames_a_second(run: Run, shelf: Path, tmp_path: Path) -> None:
    arguments = (*CLICK, "--fps", 12.5, "--model", shelf / "toy.safetensors", "--out", tmp_path / "out")
    assert run("track", shelf / "clip.mp4", *arguments).code == 0
    assert list(results(tmp_path / "out")) == [0, 1, 2]


def test_a_saved_session_gives_the_same_masks_again(run: Run, shelf: Path, tmp_path: Path) -> None:
    session = VideoSession(loaded(shelf), shelf / "clip.mp4")
    session.prompt(1, 1, Prompt(positive=[(20, 24)]))
    for _ in session.propagate(stop=4):
        pass
    session.prompt(3, 1, Prompt(negative=[(50, 40)]))
    session.prompt(3, 7, Prompt(mask=blob()))
    for reverse in (True, False):
        for _ in session.propagate(reverse=reverse):
            pass
    session.save(tmp_path / "session.json")
    arguments = ("--script", tmp_path / "session.json", "--model", shelf / "toy.safetensors")
    assert run("track", shelf / "clip.mp4", *arguments, "--out", tmp_path / "out").code == 0
    assert_same(results(tmp_path / "out"), {at: session.masks(at) for at in session.answered})


BAD = {
    "a missing file": (("track", "nowhere.mp4", *CLICK), "there is no file nowhere.mp4"),
    "an empty file": (("track", "empty.mp4", *CLICK), "empty.mp4 is empty"),
    "no video": (("track", "text.mp4", *CLICK), "text.mp4 is not a video, or is cut short"),
    "a file cut short in its head": (("track", "stump.mp4", *CLICK), "not a video, or is cut short"),
    "an empty folder": (("track", "nothing", *CLICK), "holds no pictures"),
    "a click outside": (("track", "clip.mp4", "--point", "64,3"), "0 <= x < 64 and 0 <= y < 48. Got (64, 3)"),
    "a box without area": (("track", "clip.mp4", "--box", "9,9,9,20"), "box must have an area"),
    "a box elsewhere": (("track", "clip.mp4", "--box", "90,9,99,20"), "box must touch the frame"),
    "a mask of another size": (
        ("track", "clip.mp4", "--mask", "small.png"),
        "(48, 64), the size of the frame",
    ),
    "no mask": (("track", "clip.mp4", "--mask", "text.mp4"), "text.mp4"),
    "an empty mask": (("track", "clip.mp4", "--mask", "black.png"), "black.png shows no object"),
    "a frame beyond the end": (
        ("track", "clip.mp4", *CLICK, "--frame", "6"),
        "6 frames, 0 to 5. Got frame 6",
    ),
    "a frame before the start": (("track", "clip.mp4", *CLICK, "--frame", "-1"), "Got frame -1"),
    "nothing pointed at": (("track", "clip.mp4"), "point at something"),
    "half a point": (("track", "clip.mp4", "--point", "7"), "expected 2 numbers in pixels, X,Y. Got '7'"),
    "an endless point": (("track", "clip.mp4", "--point", "nan,3"), "finite"),
    "an unknown model": (("track", "clip.mp4", *CLICK, "--model", "sam9"), "there is no model 'sam9'"),
    "a missing checkpoint": (("track", "clip.mp4", *CLICK, "--model", "no/such.pt"), "no file no/such.pt"),
    "an unknown device": (("track", "clip.mp4", *CLICK, "--device", "abacus"), "abacus cannot be used here"),
    "an unknown precision": (("track", "clip.mp4", *CLICK, "--dtype", "float8"), "float8"),
    "an unknown format": (("track", "clip.mp4", *CLICK, "--format", "gif"), "there is no format 'gif'"),
    "no such script": (("track", "clip.mp4", "--script", "nowhere.json"), "no saved session at nowhere.json"),
    "no script": (("track", "clip.mp4", "--script", "text.mp4"), "text.mp4 is not a saved session"),
    "script and click": (("track", "clip.mp4", *CLICK, "--script", "session.json"), "leave the pointing out"),
    "pictures have no times": (("track", "frames", *CLICK, "--fps", "5"), "has no times"),
    "no picture": (("segment", "text.mp4", *CLICK), "text.mp4"),
    "a click beside the picture": (("segment", "frames/0.png", "--point", "3,48"), "Got (3, 48)"),
    "nothing pointed at in a picture": (("segment", "frames/0.png"), "point at something"),
}


@pytest.fixture
def desk(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with much that is wrong; the current one."""
    for name in ("clip.mp4", "frames", "toy.safetensors"):
        (tmp_path / name).symlink_to(shelf / name)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video at all\n" * 50)
    (tmp_path / "stump.mp4").write_bytes((shelf / "clip.mp4").read_bytes()[:200])
    (tmp_path / "nothing").mkdir()
    PIL.Image.new("L", (8, 8), 1).save(tmp_path / "small.png")
    PIL.Image.new("L", SIZE[::-1], 0).save(tmp_path / "black.png")
    session = VideoSession(toy_network(), clip(1))
    session.save(tmp_path / "session.json")
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


@pytest.mark.parametrize("command", ["track clip.mp4", "segment frames/0.png"])
@pytest.mark.parametrize("out", ["taken", "taken/below"])
def test_a_folder_that_cannot_be_written(run: Run, desk: Path, command: str, out: str) -> None:
    (desk / "taken").write_text("a file")
    answer = run(*command.split(), *CLICK, "--model", "toy.safetensors", "--out", out)
    assert answer.code == 1 and f"{out} cannot be written" in answer.err
    assert (desk / "taken").read_text() == "a file"


class Stop:
    """In place of a verb: stops at the nth call."""

    def __init__(self, calls: int, error: BaseException) -> None:
        self.left, self.error, self.encode = calls, error, Sam2.encode

    def __get__(self, model: Sam2, kind: type) -> object:
        def encode(image: object) -> object:
            self.left -= 1
            if self.left < 0:
                raise self.error
            return self.encode(model, image)

        return encode


@pytest.mark.parametrize(("direction", "kept"), [("forward", range(2, 5)), ("both", range(3))])
def test_ctrl_c_keeps_what_was_done(
    run: Run, shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, direction: str, kept: range
) -> None:
    monkeypatch.setattr(Sam2, "encode", Stop(3, KeyboardInterrupt()))
    arguments = (*CLICK, "--frame", 2, "--direction", direction, "--model", shelf / "toy.safetensors")
    answer = run("track", shelf / "clip.mp4", *arguments, "--out", tmp_path / "out")
    assert answer.code == 130 and "interrupted; what was done is kept" in answer.err
    assert "Traceback" not in answer.err and str(tmp_path / "out" / "overlay.mp4") in answer.out
    assert list(results(tmp_path / "out")) == list(kept)


def test_ctrl_c_before_the_first_mask(
    run: Run, shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sam2, "encode", Stop(0, KeyboardInterrupt()))
    arguments = (*CLICK, "--model", shelf / "toy.safetensors", "--out", tmp_path / "out")
    answer = run("track", shelf / "clip.mp4", *arguments)
    assert answer.code == 130 and "Traceback" not in answer.err
    assert results(tmp_path / "out") == {}


def test_a_video_that_breaks_off_keeps_what_was_done(run: Run, shelf: Path, tmp_path: Path) -> None:
    images = clip(24)
    whole = write_video(tmp_path / "whole.mkv", images)
    (tmp_path / "cut.mkv").write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    arguments = (*CLICK, "--model", shelf / "toy.safetensors", "--out", tmp_path / "out")
    answer = run("track", tmp_path / "cut.mkv", *arguments)
    found = results(tmp_path / "out")
    assert 0 < len(found) < len(images) and list(found) == list(range(len(found)))
    assert str(tmp_path / "out" / "masklets.json") in answer.out
    if answer.code == 0:  # where it was cut between two frames, nobody can tell
        assert len(found) == len(open_frames(tmp_path / "cut.mkv"))
    else:
        assert answer.code == 1 and "breaks off after frame" in answer.err


@pytest.mark.slow
def test_an_interrupt_from_the_shell(shelf: Path, tmp_path: Path) -> None:
    """The same with a true signal, at any moment."""
    video = write_video(tmp_path / "long.mp4", list(clip(10)) * 60)
    out = tmp_path / "out"
    words = ["track", str(video), *CLICK, "--model", str(shelf / "toy.safetensors"), "--out", str(out)]
    # A shell's background jobs ignore Ctrl-C; these tests may run in one.
    heeding = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    shell = subprocess.Popen(
        [sys.executable, "-c", f"{heeding}; from masklet.cli import main; main()", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    while not (out / "masks" / "00003.png").exists():
        assert shell.poll() is None
        time.sleep(0.01)
    shell.send_signal(signal.SIGINT)
    said, errors = shell.communicate()
    assert shell.returncode == 130 and "Traceback" not in errors and str(out / "masks") in said
    kept = json.loads((out / "masklets.json").read_text())["frames"]
    assert 3 <= len(kept) < 600 and len(list((out / "masks").iterdir())) in (len(kept), len(kept) + 1)
    with av.open(str(out / "overlay.mp4")) as overlay:
        assert abs(len(list(overlay.decode(video=0))) - len(kept)) <= 1
