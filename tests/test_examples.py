"""Every example runs, on a few small frames and with a network that has learned nothing."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import PIL.Image
import pytest
import torch
from pycocotools.coco import COCO

import masklet
from masklet.config import NANO_HIERA, toy
from masklet.media import open_frames, read_label_maps, read_masklets

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(
    path.stem for path in EXAMPLES.glob("*.py") if path.stem != "render_demo"
)  # it makes the clip
LENGTH = 5


def main_of(name: str) -> Callable[..., None]:
    """The `main` of an example, which takes its options as arguments."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The demo clip's first frames, as a folder of images."""
    folder, frames = tmp_path_factory.mktemp("clip"), open_frames(EXAMPLES / "demo.mp4")
    for frame in range(LENGTH):
        PIL.Image.fromarray(frames[frame]).save(folder / f"{frame}.jpg")
    return str(folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A toy network that always finds something: with random weights, an object may be absent for good."""
    torch.manual_seed(0)
    network = masklet.Sam2(toy())
    torch.nn.init.constant_(network.mask_decoder.score_head.layers[-1].bias, 10.0)
    path = tmp_path_factory.mktemp("model") / "toy.safetensors"
    masklet.save(network, path)
    return str(path)


@pytest.mark.parametrize("script", SCRIPTS)
def test_examples_run_as_scripts_that_print_errors_as_sentences(script: str) -> None:
    assert (EXAMPLES / f"{script}.py").read_text(encoding="utf-8").endswith("    run_script(main)\n")


def test_an_error_is_one_sentence(tmp_path: Path) -> None:
    script = EXAMPLES / "track_clip.py"
    options = ["--video", str(tmp_path / "missing.mp4"), "--out", str(tmp_path / "out")]
    run = subprocess.run([sys.executable, script, *options], capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr == f"track_clip.py: there is no file {tmp_path / 'missing.mp4'}.\n"


def test_track_clip(clip: str, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main_of("track_clip")(video=clip, model=model, out=tmp_path)
    assert f"frame {LENGTH - 1}: " in capsys.readouterr().out
    assert len(list((tmp_path / "masks").glob("*.png"))) == LENGTH
    assert [masks.frame for masks in read_masklets(tmp_path / "masklets.json")] == list(range(LENGTH))
    assert len(open_frames(tmp_path / "overlay.mp4")) == LENGTH


def test_click_image(clip: str, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main_of("click_image")(image=Path(clip, "0.jpg"), model=model, out=tmp_path)
    said = capsys.readouterr().out
    assert "answer 2: " in said and "answer 3: " not in said and "corrected: " in said
    assert {path.name for path in tmp_path.iterdir()} == {"offered.png", "corrected.png", "mask.png"}


def test_click_image_without_an_image(model: str, tmp_path: Path) -> None:
    main_of("click_image")(model=model, out=tmp_path)
    with PIL.Image.open(tmp_path / "mask.png") as mask:
        assert mask.size == (640, 360)


def test_box_and_mask(clip: str, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main_of("box_and_mask")(video=clip, model=model, out=tmp_path)
    assert "box and click: " in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"box.png", "box_and_click.png", "last.png"}


def test_camera(clip: str, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main_of("camera")(source=clip, joins=2, leaves=3, model=model, out=tmp_path)
    followed = [
        line.split("following ")[1].split(", visible")[0] for line in capsys.readouterr().out.split("\n")[:5]
    ]
    assert followed == ["(1,)", "(1,)", "(1, 2)", "(2,)", "(2,)"]
    assert len(open_frames(tmp_path / "overlay.mp4")) == LENGTH


def test_robot_camera(
    clip: str, model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The camera goes away twice: once in the middle of a frame, once before the first."""
    images, calls, stream = list(open_frames(clip)), [], masklet.media.stream

    def unsteady(source: str) -> masklet.media.Stream:
        calls.append(source)
        return stream(read_camera())

    def read_camera() -> Iterator[np.ndarray]:
        if len(calls) == 2:
            raise masklet.MediaError("the camera cannot be opened.")
        yield from images[:2] if len(calls) == 1 else images[2:]
        raise masklet.MediaError("the camera gave no frame.")

    monkeypatch.setattr(masklet.media, "stream", unsteady)
    main_of("robot_camera")(source="rtsp://camera", frames=LENGTH, pause=0.0, model=model)
    lines = capsys.readouterr().out.splitlines()
    assert calls == ["rtsp://camera"] * 3
    assert [line for line in lines if line.startswith("no image")] == [
        "no image: the camera gave no frame.",
        "no image: the camera cannot be opened.",
    ]
    assert sum(line.startswith("steer") or line == "stop: the object is lost" for line in lines) == LENGTH


def test_correct_video(clip: str, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main_of("correct_video")(video=clip, model=model, out=tmp_path)
    said = capsys.readouterr().out
    assert "taken back: 0 pixels" in said
    assert "followed again: 0 pixels" in said
    assert "restored: the same masks" in said
    assert "a click there changes 0 pixels" not in said


def test_several_objects(clip: str, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main_of("several_objects")(video=clip, late_frame=3, model=model, out=tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert "3: " not in lines[2].partition("object ")[2] and "3: " in lines[3].partition("object ")[2]
    assert len(list(read_label_maps(tmp_path / "masks"))) == LENGTH


def test_both_directions(clip: str, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main_of("both_directions")(video=clip, frame=2, model=model, out=tmp_path)
    said = capsys.readouterr().out
    assert said.count("backwards") == 3 and said.count("forwards") == LENGTH - 2
    assert len(open_frames(tmp_path / "overlay.mp4")) == LENGTH


def test_export_masks(clip: str, model: str, tmp_path: Path) -> None:
    main_of("export_masks")(video=clip, fps=None, model=model, out=tmp_path)
    assert len(COCO(tmp_path / "coco.json").imgs) == LENGTH
    assert json.loads((tmp_path / "youtube_vis.json").read_text())["videos"][0]["length"] == LENGTH


def test_find_everything(clip: str, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main_of("find_everything")(video=clip, fps=None, model=model, out=tmp_path)
    said = capsys.readouterr().out
    assert "first frame: " in said and "every pixel once: " in said
    assert len(open_frames(tmp_path / "overlay.mp4")) == LENGTH
    assert [masks.frame for masks in read_masklets(tmp_path / "masklets.json")] == list(range(LENGTH))


def test_z_stack(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tifffile = pytest.importorskip("tifffile")
    main_of("z_stack")(model=model, out=tmp_path)
    printed = capsys.readouterr().out
    pixels = sum(map(int, re.findall(r"^page \d: (\d+) pixels$", printed, re.MULTILINE)))
    assert printed.count("page ") == 9 and f"volume: {pixels / 16:.1f} cubic micrometres" in printed
    with tifffile.TiffFile(tmp_path / "labels.ome.tif") as file:
        assert (file.series[0].axes, file.series[0].shape) == ("ZYX", (9, 256, 256))


def test_cells_over_time(model: str, tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    main_of("cells_over_time")(model=model, out=tmp_path)
    with tifffile.TiffFile(tmp_path / "labels.ome.tif") as file:
        assert (file.series[0].axes, file.series[0].shape) == ("TZYX", (3, 5, 256, 256))


def test_replace_background(clip: str, model: str, tmp_path: Path) -> None:
    main_of("replace_background")(video=clip, model=model, out=tmp_path)
    with av.open(tmp_path / "cutout.mov") as cutout:
        stream = cutout.streams.video[0]
        assert stream.codec.name == "prores" and "a" in stream.format.name.removeprefix("yuv")
    assert len(open_frames(tmp_path / "composite.mp4")) == LENGTH


def test_camera_traps(clip: str, model: str, tmp_path: Path) -> None:
    out = tmp_path / "made" / "here"
    main_of("camera_traps")(folder=Path(clip), model=model, out=out)
    rows = (out / "objects.csv").read_text().splitlines()
    annotations = COCO(out / "coco.json").anns
    assert rows[0].startswith("file,object,x0") and len(rows) == len(annotations) + 1


def test_prelabel(clip: str, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main_of("prelabel")(video=clip, fps=None, model=model, out=tmp_path)
    assert "CVAT for video" in capsys.readouterr().out
    tasks = json.loads((tmp_path / "label_studio.json").read_text())
    assert len(tasks) == LENGTH and (tmp_path / "cvat_tracks.xml").exists()
    assert len(list((tmp_path / "frames").iterdir())) == LENGTH


@pytest.mark.slow
def test_corpus_sql(model: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ray")
    main_of("corpus_sql")(model=model, fps=1, out=tmp_path)
    assert "balloon" in capfd.readouterr().out


def test_published_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a small network's shape, whose windows and heads are known as those of published sizes are."""
    masklet.save(masklet.Sam2(NANO_HIERA), tmp_path / "nano.pt", layout="original")
    main_of("published_checkpoint")(model=str(tmp_path / "nano.pt"), out=tmp_path / "out")
    said = capsys.readouterr().out
    assert said.count("off by at most 0.0e+00") == 2
    assert "in torch.bfloat16" in said


def test_every_example_is_tested_listed_and_short() -> None:
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    listed = (EXAMPLES / "README.md").read_text("utf-8")
    for name in SCRIPTS:
        assert name in tested
        assert f"({name}.py)" in listed
        assert len((EXAMPLES / f"{name}.py").read_text("utf-8").splitlines()) < 60


@pytest.mark.slow
def test_an_example_runs_from_a_shell(clip: str, model: str, tmp_path: Path) -> None:
    """With options, from any folder."""
    script = shutil.copy(EXAMPLES / "track_clip.py", tmp_path)
    command = [
        sys.executable,
        script,
        "--video",
        clip,
        "--point",
        "10",
        "20",
        "--model",
        model,
        "--out",
        "out",
    ]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert answer.stdout.endswith("overlay.mp4\n")
    assert (tmp_path / "out" / "overlay.mp4").exists()
