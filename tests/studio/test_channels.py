"""Files with several channels: one is chosen, for what people see, what is segmented and what is exported."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from masklet import VideoSession, rle
from masklet.checkpoint import save
from masklet.media import open_frames
from masklet.sessions.saved import SavedSession
from masklet.studio.inference.propagation import RunningPropagation
from masklet.studio.inference.propagation_plan import Leg, PropagationPlan
from studio.small import Caller, make_studio
from studio.tiffs import FRAMES, NAMES, write_stack
from toy_models import toy_network


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    studio = make_studio(tmp_path_factory.mktemp("channels"))
    assert studio.settings.folder is not None
    write_stack(studio.settings.folder / "stack.ome.tif", interval=90)
    with Caller(studio) as caller:
        yield caller


def sides(content: bytes) -> tuple[list[int], list[int]]:
    """The colours in the middle of the left and the right side."""
    with PIL.Image.open(io.BytesIO(content)) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    middle = pixels[len(pixels) // 2]
    return middle[len(middle) // 8].tolist(), middle[-len(middle) // 8].tolist()


def test_a_channel_is_chosen_for_images_features_and_exports(caller: Caller, tmp_path: Path) -> None:
    video = caller.video("stack.ome.tif")
    id = video.rpartition("/")[2]
    assert caller.get(f"{video}/channels") == {
        "channels": NAMES,
        "depth": 1,
        "time": FRAMES,
        "seconds": [0, 90, 180],
        "pixel_size": None,
    }
    assert caller.get(video)["channel"] is None and caller.get(video)["frames"] == FRAMES
    address = f"/api{video}/frames/0.jpg"
    left, right = sides(caller.client.get(address).content)
    assert left[0] > 200 > 60 > left[1] and right[1] > 200 > 60 > right[0]  # red and green
    caller.click(video)
    caller.follow(video)
    before = caller.masks(video)
    with caller.studio.live.using(id) as live:
        old = live.features

    assert caller.ask("PATCH", video, json={"channel": 1})["channel"] == 1
    assert caller.masks(video) == before, "masks that are there stay"
    answer = caller.client.get(f"{address}?channel=1")
    assert "immutable" in answer.headers["cache-control"]
    left, right = sides(answer.content)
    assert max(left) < 60 and min(right) > 200
    left, right = sides(caller.client.get(f"/api{video}/thumbnails/0.jpg?channel=1").content)
    assert max(left) < 60 and min(right) > 200
    assert caller.client.get(address).headers["cache-control"] == "no-store", (
        "this address is of all channels"
    )
    with caller.studio.live.using(id) as live:
        assert live.features is not old  # the model sees the other channel
        assert live.frames[0][24, 8].max() < 60 and live.frames[0][24, 56].min() > 200
    with zipfile.ZipFile(io.BytesIO(caller.exported(video, "frames"))) as archive:
        left, right = sides(archive.read(sorted(archive.namelist())[0]))
    assert max(left) < 60 and min(right) > 200
    project = caller.get(video)["project"]
    assert caller.get(f"/projects/{project}")["videos"][0]["channel"] == 1

    assert caller.ask("PATCH", video, json={"name": "renamed.tif"})["channel"] == 1, "left out: it stays"
    assert caller.ask("PATCH", video, json={"channel": None})["channel"] is None
    left, right = sides(caller.client.get(address).content)
    assert left[0] > 200 > 60 > left[1]


def test_a_folder_of_files_with_channels_is_a_video_of_which_one_is_chosen(caller: Caller) -> None:
    assert caller.studio.settings.folder is not None
    folder = caller.studio.settings.folder / "series"
    folder.mkdir()
    for number in range(2):
        write_stack(folder / f"{number}.ome.tif", frames=1)
    video = caller.video("series")
    assert caller.get(video)["frames"] == 2 and caller.get(f"{video}/channels")["channels"] == NAMES
    left, right = sides(caller.client.get(f"/api{video}/frames/1.jpg").content)
    assert left[0] > 200 > 60 > left[1] and right[1] > 200 > 60 > right[0]
    assert caller.ask("PATCH", video, json={"channel": 1})["channel"] == 1
    left, right = sides(caller.client.get(f"/api{video}/frames/1.jpg?channel=1").content)
    assert max(left) < 60 and min(right) > 200
    assert caller.get(f"{video}/channels")["channels"] == NAMES, "another one can still be chosen"


def test_a_channel_that_cannot_be_is_refused(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    video = caller.video("stack.ome.tif")
    refusal = caller.ask("PATCH", video, 422, json={"channel": 2})
    assert refusal["message"] == "Channel must be 0 to 1. Got 2."
    clip = caller.video()
    assert caller.get(f"{clip}/channels") == {
        "channels": [],
        "depth": None,
        "time": None,
        "seconds": [],
        "pixel_size": None,
    }
    assert "no channels" in caller.ask("PATCH", clip, 422, json={"channel": 0})["message"]
    id = video.rpartition("/")[2]
    plan = PropagationPlan.of("p", "forward", [Leg(0, FRAMES, None, "b", reverse=False)])
    monkeypatch.setitem(caller.studio.propagations._running, id, RunningPropagation(id, plan, "Anna"))
    assert "being tracked" in caller.ask("PATCH", video, 409, json={"channel": 1})["message"]
    assert caller.get(video)["channel"] is None


def test_an_exported_script_names_the_channel_and_gives_the_same_masks(
    caller: Caller, tmp_path: Path
) -> None:
    video = caller.video("stack.ome.tif")
    caller.ask("PATCH", video, json={"channel": 1})
    caller.click(video, x=56)
    caller.follow(video)
    script = tmp_path / "session.json"
    script.write_bytes(caller.exported(video, "script"))
    assert caller.studio.settings.folder is not None
    stack = caller.studio.settings.folder / "stack.ome.tif"
    assert SavedSession.read(script).channel == 1
    session = VideoSession.restore(toy_network(), script, stack)
    for frame, masks in caller.masks(video).items():
        code = {"size": [48, 64], "counts": masks[0]["counts"]}
        np.testing.assert_array_equal(session.masks(frame)[1], rle.decode(code))
    toy = tmp_path / "toy.safetensors"
    save(toy_network(), toy)
    options = ["--script", str(script), "--model", str(toy), "--out", str(tmp_path / "out")]
    command = [sys.executable, "-m", "masklet", "track", str(stack), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    refused = subprocess.run([*command, "--channel", "DAPI"], capture_output=True, text=True, timeout=600)
    assert refused.returncode != 0 and "made on channel 1" in refused.stderr.replace("\n", " ")

    project = caller.get(video)["project"]
    with script.open("rb") as opened:
        answer = caller.ask("POST", f"/projects/{project}/imports", files={"file": ("s.json", opened)})
    assert any("made on channel 1" in note for note in answer["notes"])


def test_a_script_names_the_intensity_range(caller: Caller, tmp_path: Path) -> None:
    pages = np.full((3, 48, 64), 1000, dtype=np.uint16)
    pages[:, 12:36, 8:28] = 9000
    folder = caller.studio.settings.folder
    assert folder is not None
    pytest.importorskip("tifffile").imwrite(folder / "deep.tif", pages, photometric="minisblack")
    video = caller.video("deep.tif")
    caller.click(video)
    script = tmp_path / "session.json"
    script.write_bytes(caller.exported(video, "script"))
    assert SavedSession.read(script).intensity_range == open_frames(folder / "deep.tif").intensity_range
    assert SavedSession.read(script).intensity_range is not None
