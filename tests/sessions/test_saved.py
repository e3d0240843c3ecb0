"""Session files: what was written is read back; a damaged one is refused in a sentence."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masklet import MaskletError, Prompt, VideoSession
from masklet.errors import MediaError
from masklet.media import open_frames
from masklet.sessions.events import Prompted, Propagated, Script
from masklet.sessions.saved import SavedSession
from masklet.zoom import Zoom
from media.made import write_video
from toy_models import click, clip, toy_network

SESSION = SavedSession("clip.mp4", (48, 64), None, 16, Script([Prompted(0, 1, Prompt(positive=[(3, 4)]))]))


def test_what_was_written_is_read(tmp_path: Path) -> None:
    SESSION.write(tmp_path / "session.json")
    assert SavedSession.read(tmp_path / "session.json") == SESSION


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    SESSION.write(tmp_path / "session.json")
    text = (tmp_path / "session.json").read_text()
    (tmp_path / "session.json").write_text("\ufeff" + text, encoding="utf-8")
    assert SavedSession.read(tmp_path / "session.json") == SESSION


def test_channel_and_range_are_read_back_and_older_files_have_none(tmp_path: Path) -> None:
    path = tmp_path / "session.json"
    for channel in (1, "GFP", ["DAPI", 2], {"DAPI": "blue"}):
        session = replace(SESSION, channel=channel, intensity_range=(0.5, 4095.0))
        session.write(path)
        assert SavedSession.read(path) == session
    content = json.loads(path.read_text())
    del content["channel"], content["intensity_range"]
    path.write_text(json.dumps(content))
    assert SavedSession.read(path) == SESSION


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("channel", True),
        ("channel", -1),
        ("channel", 1.5),
        ("channel", []),
        ("channel", [[1]]),
        ("channel", {"DAPI": 3}),
        ("intensity_range", [5]),
        ("intensity_range", [5, 5]),
        ("intensity_range", [0, float("nan")]),
        ("intensity_range", [False, True]),
        ("intensity_range", "0,1"),
        ("length", 0),
        ("length", 2.5),
        ("zoom", 1),
        ("zoom", {"margin": "2"}),
        ("zoom", {"rounds": 1.5}),
        ("zoom", {"tiles": 64}),
        ("zoom", {"mirrored": True}),
        ("zoom", {"margin": 10**400}),
    ],
)
def test_a_channel_or_range_of_another_form_is_refused(tmp_path: Path, field: str, value: Any) -> None:
    path = tmp_path / "session.json"
    SESSION.write(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    with pytest.raises(MaskletError, match=f"{field} must be"):
        SavedSession.read(path)


@pytest.mark.parametrize(
    "zoom", [True, False, Zoom(margin=1.5, narrowest=16), Zoom(tile=40), Zoom(rounds=0), Zoom(largest=0)]
)
def test_a_session_is_restored_with_its_zoom(tmp_path: Path, zoom: Zoom | bool) -> None:
    """Whatever the network does by default."""
    model = toy_network()
    video = clip(3)
    session = VideoSession(model, video, zoom=zoom)
    session.prompt(0, 1, Prompt(box=(30, 10, 44, 22)))
    session.prompt(1, 1, Prompt(positive=[(36, 16)]))
    session.save(tmp_path / "session.json")
    restored = VideoSession.restore(model, tmp_path / "session.json", video)
    assert restored._zoom == session._zoom
    for frame in session.answered:
        np.testing.assert_array_equal(session.masks(frame)[1], restored.masks(frame)[1])
    restored.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == (tmp_path / "session.json").read_text()


def test_a_session_is_not_restored_on_a_video_of_another_length(tmp_path: Path) -> None:
    """Another cut of the video, or another frame rate: the frames' numbers would mean other images."""
    model, path, video = toy_network(), tmp_path / "session.json", tmp_path / "clip.mp4"
    write_video(video, clip(6))
    session = VideoSession(model, video)
    session.prompt(0, 1, Prompt(box=(30, 10, 44, 22)))
    session.save(path)
    for other in (clip(5), clip(9), open_frames(video, fps=12.5)):
        with pytest.raises(MediaError, match=r"made on a video of 6 frames, and .* has \d\. .* frame rate"):
            VideoSession.restore(model, path, other)
    content = json.loads(path.read_text())
    del content["length"], content["zoom"]  # as earlier versions wrote it
    path.write_text(json.dumps(content))
    assert VideoSession.restore(model, path, clip(9)).ids == (1,)


def write_channels(path: Path) -> Path:
    """Two channels of 16 bits, a bright bar at the left in one, at the right in the other."""
    tifffile = pytest.importorskip("tifffile")
    pages = np.full((3, 2, 48, 64), 40, dtype=np.uint16)
    pages[:, 0, 12:-12, :20] = 900
    pages[:, 1, 12:-12, -20:] = 3000
    metadata = {"axes": "TCYX", "Channel": {"Name": ["DAPI", "GFP"]}}
    tifffile.imwrite(path, pages, ome=True, photometric="minisblack", metadata=metadata)
    return path


def test_a_video_is_opened_as_it_was_read(tmp_path: Path) -> None:
    stack, path = write_channels(tmp_path / "stack.ome.tif"), tmp_path / "session.json"
    first = VideoSession(toy_network(), open_frames(stack, channel=1, intensity_range=(0, 2000)))
    first.save(path)
    saved = SavedSession.read(path)
    assert (saved.channel, saved.intensity_range) == (1, (0, 2000))
    again = VideoSession.restore(toy_network(), path, stack)
    np.testing.assert_array_equal(again.frames[0], first.frames[0])
    again.save(path)
    assert replace(SavedSession.read(path), video=None) == saved
    np.testing.assert_array_equal(VideoSession.restore(toy_network(), path).frames[0], first.frames[0])
    assert saved.open(stack, channel="GFP").channel == "GFP"  # another name of the same one
    for wrong in (open_frames(stack), open_frames(stack, channel=0)):
        with pytest.raises(MediaError, match="made on channel 1"):
            VideoSession.restore(toy_network(), path, wrong)
    with pytest.raises(MediaError, match=r"from 0 .* to 2000 .* from 0 .* to 4095"):
        VideoSession.restore(toy_network(), path, open_frames(stack, channel=1))


def test_mixed_channels_keep_the_range_that_was_stated(tmp_path: Path) -> None:
    stack = write_channels(tmp_path / "stack.ome.tif")
    frames = open_frames(stack, intensity_range=(0, 2000))
    assert frames.intensity_range == (0, 2000)
    session = VideoSession(toy_network(), frames)
    session.save(tmp_path / "session.json")
    again = VideoSession.restore(toy_network(), tmp_path / "session.json", stack)
    np.testing.assert_array_equal(again.frames[0], frames[0])


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(field=st.sampled_from(sorted({"masklet", *SavedSession.__dataclass_fields__})), value=JUNK)
def test_a_field_of_another_kind_is_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, field: str, value: Any
) -> None:
    path = tmp_path_factory.mktemp("saved") / "session.json"
    SESSION.write(path)
    content = {**json.loads(path.read_text()), field: value}
    path.write_text(json.dumps(content))
    try:
        session = SavedSession.read(path)
    except MaskletError:
        return
    assert isinstance(session.size[0], int) and isinstance(session.script, Script)


@given(at=st.integers(0, 200), junk=st.binary(max_size=4))
def test_changed_bytes_are_a_session_or_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, at: int, junk: bytes
) -> None:
    path = tmp_path_factory.mktemp("saved") / "session.json"
    SESSION.write(path)
    content = path.read_bytes()
    path.write_bytes(content[:at] + junk + content[at + 1 :])
    try:
        SavedSession.read(path)
    except MaskletError:
        return


def test_a_script_says_which_objects_were_tracked() -> None:
    events = [Prompted(0, 2, click()), Propagated(0, 3, False, (2,)), Propagated(0, 3, True, None)]
    content = json.loads(json.dumps(Script(events).to_json()))
    assert Script.from_json(content).events == events
    content[-1]["objects"] = None  # as another program may write "all"
    assert Script.from_json(content).events == events
