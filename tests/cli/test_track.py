"""masklet track, from what is typed to what is written."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import masklet
from masklet import Prompt, VideoSession
from masklet.backends import summarize
from masklet.media import FORMATS, open_frames, read_label_map
from toy_models import SIZE, blob

from .conftest import LENGTH, Run, loaded
from .written import CLICK, results


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
    assert answer.out.split() == [str(out / name) for name in ("masks", "masklets.json", "overlay.mp4")]
    written = results(out)
    assert_same(written, expected(shelf, {0: {1: Prompt(positive=[(20, 24)])}}))
    assert any(masks[1].any() and not masks[1].all() for masks in written.values())


@pytest.mark.parametrize("setting", [None, "exact"])
def test_what_runs_the_network_is_said_once(
    run: Run, shelf: Path, tmp_path: Path, setting: str | None
) -> None:
    """On CPUs commands round by default, and say so; --setting exact does not."""
    options = ("--setting", setting) if setting else ()
    model, out = shelf / "toy.safetensors", tmp_path / "out"
    answer = run(
        "track", shelf / "clip.mp4", *CLICK, "--model", model, "--device", "cpu", *options, "--out", out
    )
    network = masklet.load(model, device="cpu", setting=setting or "balanced")  # type: ignore[arg-type]
    hint = "" if setting else " --setting exact gives the published numbers."
    assert answer.err.splitlines().count(f"{model}: {summarize(network.backend)}.{hint}") == 1
    assert json.loads((out / "run.json").read_text())["run"]["settings"]["setting"] == (setting or "balanced")


def test_all_that_can_be_pointed_with(run: Run, shelf: Path, labels: Path, tmp_path: Path) -> None:
    prompts = (
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
        "track", shelf / "clip.mp4", *prompts, "--model", shelf / "toy.safetensors", "--out", tmp_path / "out"
    )
    assert answer.code == 0
    drawn = read_label_map(labels)
    pointed = Prompt(positive=[(20, 24), (30, 20)], negative=[(60, 40)], box=(4, 4, 50, 40))
    prompts = {3: Prompt(mask=drawn == 3), 5: Prompt(mask=drawn == 5), 1: pointed}
    assert_same(results(tmp_path / "out"), expected(shelf, {0: prompts}))


@pytest.mark.parametrize("stated", [None, (100.0, 900.0)])
def test_the_range_of_intensities_is_printed_and_saved(
    run: Run, shelf: Path, tmp_path: Path, stated: tuple[float, float] | None
) -> None:
    pages = [np.tile(np.linspace(0, 1000, SIZE[1]).astype(np.uint16), (SIZE[0], 1)) for _ in range(3)]
    images = [PIL.Image.fromarray(page) for page in pages]
    images[0].save(tmp_path / "deep.tiff", save_all=True, append_images=images[1:])
    option = () if stated is None else ("--intensity-range", "100,900")
    out = tmp_path / "out"
    answer = run(
        "track", tmp_path / "deep.tiff", *CLICK, *option, "--model", shelf / "toy.safetensors", "--out", out
    )
    low, high = stated or (0.0, 1023.0)
    assert answer.code == 0 and f"{low:g} becomes black and {high:g} white" in answer.out + answer.err
    assert json.loads((out / "run.json").read_text())["run"]["settings"]["intensity_range"] == [low, high]


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
    written = results(tmp_path / "out")
    assert list(written) == list(frames) and all(masks.ids == (3, 5) for masks in written.values())
    assert (written[2][3] == (read_label_map(labels) == 3)).mean() > 0.98


def test_formats_by_name(run: Run, shelf: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    chosen = ("--format", "coco", "--format", "cvat", "--format", "coco")
    answer = run(
        "track", shelf / "clip.mp4", *CLICK, *chosen, "--model", shelf / "toy.safetensors", "--out", out
    )
    assert answer.code == 0 and answer.out.split() == [str(out / "coco.json"), str(out / "cvat_tracks.xml")]
    assert sorted(path.name for path in out.iterdir()) == ["coco.json", "cvat_tracks.xml", "run.json"]
    assert len(json.loads((out / "coco.json").read_text())["images"]) == LENGTH


def test_every_format_is_told(run: Run) -> None:
    text = run("track", "--help").out
    assert all(name in text for name in FORMATS)


def test_so_many_frames_a_second(run: Run, shelf: Path, tmp_path: Path) -> None:
    arguments = (*CLICK, "--fps", 12.5, "--model", shelf / "toy.safetensors", "--out", tmp_path / "out")
    assert run("track", shelf / "clip.mp4", *arguments).code == 0
    assert list(results(tmp_path / "out")) == [0, 1, 2]


@pytest.mark.parametrize(("options", "is_told"), [(("--fps", 12.5), True), ((), False)])
def test_files_that_count_sampled_frames_are_named(
    run: Run, shelf: Path, tmp_path: Path, options: tuple, is_told: bool
) -> None:
    """A tool that opens the whole video would show them on other frames."""
    formats = ("--format", "cvat", "--format", "palette", "--format", "label-studio-video")
    words = (*CLICK, *formats, *options, "--model", shelf / "toy.safetensors", "--out", tmp_path / "out")
    answer = run("track", shelf / "clip.mp4", *words)
    text = "cvat_tracks.xml and label_studio_video.json: frames are counted in the sample of 12.5 a second"
    assert answer.code == 0 and (text in answer.err) == is_told


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


def test_a_typed_pixel_size_is_in_measures_labels_and_the_run(run: Run, shelf: Path, tmp_path: Path) -> None:
    pages = [PIL.Image.new("L", SIZE[::-1], 40 * page) for page in range(3)]
    pages[0].save(tmp_path / "plain.tif", save_all=True, append_images=pages[1:])
    command = ("track", tmp_path / "plain.tif", *CLICK, "--format", "measures", "--format", "tiff")
    network = ("--model", shelf / "toy.safetensors", "--out", tmp_path / "out")
    for typed, area, z in (("0.2x0.2x1um", 0.04, ["0", "1", "2"]), ("500nm", 0.25, ["", "", ""])):
        answer = run(*command, "--pixel-size", typed, *network)
        assert answer.code == 0 and "already" not in answer.err, "another size is another run"
        with open(tmp_path / "out" / "measures.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["z_um"] for row in rows] == z
        assert float(rows[0]["area_um2"]) == pytest.approx(int(rows[0]["area"]) * area)
        settings = json.loads((tmp_path / "out" / "run.json").read_text())["run"]["settings"]
        labels = open_frames(tmp_path / "out" / "labels.tif").pixel_size
        assert labels is not None and labels.x == pytest.approx(settings["pixel_size"]["x"])
