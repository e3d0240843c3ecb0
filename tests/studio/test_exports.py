"""What leaves the studio: files in every format, and what OpenAPI says of the answers."""

from __future__ import annotations

import csv
import io
import json
import re
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import av
import numpy as np
import PIL.Image
import pytest
from sqlalchemy import select

from masklet.media.formats import FORMATS
from masklet.studio.app import PAGE
from masklet.studio.errors import FileGone
from masklet.studio.exports import SCRIPT
from masklet.studio.store.storage import MediaPaths
from masklet.studio.store.tables import Export, now
from masklet.studio.studio import Studio
from studio.small import LENGTH, SIZE, Caller, make_image, make_studio


def pieces(file: str, content: bytes) -> int:
    """How much is in a file that was exported, by a reader that is not ours."""
    match Path(file).suffix:
        case ".json":
            return len(json.loads(content))
        case ".xml":
            return len(ElementTree.fromstring(content))
        case ".csv":
            return sum(int(row["area"]) > 0 for row in csv.DictReader(content.decode().splitlines()))
        case ".tif" | ".tiff":
            with PIL.Image.open(io.BytesIO(content)) as stack:
                return stack.n_frames
        case ".mp4" | ".mov" | ".webm":
            with av.open(io.BytesIO(content)) as container:
                return sum(1 for _ in container.decode(video=0))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for name in archive.namelist():
            if name.endswith((".png", ".jpg")):
                PIL.Image.open(archive.open(name)).load()
        return len(archive.namelist())


def test_every_format_is_written_and_can_be_read(caller: Caller) -> None:
    video = caller.video()
    caller.click(video)
    caller.follow(video)
    about = caller.get("/about")
    for format in about["formats"]:
        count = pieces(format["file"], caller.exported(video, format["id"]))
        has_frames = format["file"].endswith(("mp4", "mov", "webm", "tif", "tiff"))
        assert count == LENGTH if has_frames else count, format
    menu = (PAGE / "panels" / "export.js").read_text()
    table = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
    for id in (*FORMATS, SCRIPT):
        assert re.search(rf'[ "]{id}"?: \["[^"]+", "[^"]+"\]', menu), f"the page does not say what {id} is"
        assert f"| `{id}` |" in table, f"docs/api.md does not name {id}"
    assert {format["id"] for format in about["formats"]} == {*FORMATS, SCRIPT}


def test_the_description_tells_of_every_answer(caller: Caller) -> None:
    """So that another program can have its calls and types made from it."""
    described = caller.get("/openapi.json")
    names = []
    for path, calls in described["paths"].items():
        for method, call in calls.items():
            names.append(call["operationId"])
            if path.startswith("/label-studio"):
                continue  # its forms are Label Studio's
            for status, answer in call["responses"].items():
                form = answer.get("content", {}).get("application/json", {}).get("schema", {})
                described = "$ref" in form or any("$ref" in option for option in form.get("anyOf", ()))
                silent = status == "204" or path.endswith((".jpg", "/file"))
                assert described or silent, f"{method} {path} does not say what {status} is"
                assert status[0] == "2" or form["$ref"].endswith("/Error")
    assert len(set(names)) == len(names)


def finished_export(caller: Caller, video: str, format: str, **fields: Any) -> tuple[Any, bytes]:
    """An export as the API shows it at the end, and its file."""
    content = caller.exported(video, format, **fields)
    with caller.studio.database.begin() as session:
        id = session.scalars(select(Export.id).order_by(Export.created.desc()).limit(1)).one()
    return caller.get(f"/exports/{id}"), content


def test_an_overlay_goes_on_behind_the_last_tracked_frame_and_says_so(caller: Caller) -> None:
    video = caller.video()
    caller.click(video)
    caller.follow(video, stop=3)
    export, content = finished_export(caller, video, "overlay")
    assert pieces(export["file"], content) == LENGTH
    assert export["notes"] == [f"{LENGTH - 3} of {LENGTH} frames have no masks, and none after frame 2."]
    export, content = finished_export(caller, video, "overlay", frames="tracked")
    assert pieces(export["file"], content) == 3


def test_an_export_keeps_to_its_range(caller: Caller) -> None:
    video = caller.video()
    caller.click(video)
    caller.follow(video)
    export, content = finished_export(caller, video, "masklets", start=2, stop=5)
    frames = [entry["frame"] for entry in json.loads(content)["frames"]]
    assert frames == [2, 3, 4] and export["notes"] == []
    caller.ask("POST", f"{video}/exports", 422, json={"format": "masklets", "start": -1})


def test_hidden_objects_are_left_out_unless_they_are_wanted(caller: Caller) -> None:
    video = caller.video()
    caller.click(video)
    caller.click(video, object=2, x=44)
    caller.ask("PATCH", f"{video}/objects/2", json={"hidden": True, "name": "cat"})
    export, content = finished_export(caller, video, "coco")
    assert {entry["category_id"] for entry in json.loads(content)["annotations"]} == {1}
    assert export["notes"][0] == "Hidden and left out: cat."
    export, content = finished_export(caller, video, "coco", hidden=True)
    assert {entry["category_id"] for entry in json.loads(content)["annotations"]} == {1, 2}


def test_a_label_map_says_where_objects_overlap(caller: Caller) -> None:
    video = caller.video()
    for id in (1, 2):
        caller.click(video, object=id)
    export, _ = finished_export(caller, video, "palette")
    assert any(note.startswith("On 1 frame objects overlap.") for note in export["notes"])
    export, _ = finished_export(caller, video, "objects")
    assert not any("overlap" in note for note in export["notes"])


def add_tone(path: Path, codec: str) -> None:
    """Put a tone of the length of the images beside them."""
    images = path.with_name("silent.mp4")
    path.rename(images)
    with av.open(str(images)) as source, av.open(str(path), "w") as output:
        shown = output.add_stream_from_template(source.streams.video[0])
        heard = output.add_stream(codec, rate=48_000, layout="mono")
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = shown
                output.mux(packet)
        for start in range(0, 48_000 * LENGTH // 10, 1024):
            samples = np.sin(np.arange(start, start + 1024) / 20, dtype=np.float32)
            frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 48_000, start
            output.mux(heard.encode(frame))
        output.mux(heard.encode(None))
    images.unlink()


def test_the_sound_of_the_exported_frames_is_kept(tmp_path: Path) -> None:
    studio = make_studio(tmp_path)
    add_tone(tmp_path / "clips" / "blots.mp4", "aac")
    with Caller(studio) as caller:
        video = caller.video()
        caller.click(video)
        caller.follow(video)
        for start, stop in ((0, LENGTH), (3, LENGTH)):
            export, content = finished_export(caller, video, "overlay", start=start, stop=stop)
            assert export["notes"] == ["The sound of these frames is in the file."]
            with av.open(io.BytesIO(content)) as container:
                sound = [frame for frame in container.decode(audio=0)]
            assert abs(sum(frame.samples for frame in sound) / 48_000 - (stop - start) / 10) < 0.06
            assert pieces(export["file"], content) == stop - start
        export, content = finished_export(caller, video, "cutout-webm", start=3, soft=2)
        assert "The sound of these frames is in the file." in export["notes"]
        with av.open(io.BytesIO(content)) as container:
            assert container.streams.audio[0].codec_context.name == "opus"
        export, content = finished_export(caller, video, "overlay", audio=False)
        with av.open(io.BytesIO(content)) as container:
            assert not container.streams.audio


@contextmanager
def studio_with_waiting_exports(place: Path) -> Iterator[tuple[str, list[str]]]:
    """A video and two exports of it that wait while the studio is closed."""
    with Caller(make_studio(place)) as caller:
        video = caller.video()
        caller.click(video)
        caller.follow(video, stop=4)
        go_on = hold_exports(caller.studio)
        ids = [caller.post(f"{video}/exports", {"format": name})["id"] for name in ("masklets", "coco")]
        threading.Timer(0.5, go_on.set).start()
    yield video, ids


def hold_exports(studio: Studio) -> threading.Event:
    """Let exports wait until the event is set."""
    go_on = threading.Event()
    studio.exports._pool.submit(go_on.wait, 60)
    return go_on


def wait_for_exports(caller: Caller, ids: list[str]) -> list[Any]:
    return [caller.wait_for_export(id) for id in ids]


def test_exports_that_waited_are_written_after_a_restart(tmp_path: Path) -> None:
    with studio_with_waiting_exports(tmp_path) as (_, ids), Caller(make_studio(tmp_path)) as caller:
        first, second = wait_for_exports(caller, ids)
        assert first["state"] == second["state"] == "finished"
        frames = json.loads(caller.client.get(f"/api/exports/{ids[0]}/file").content)["frames"]
        assert [entry["frame"] for entry in frames] == [0, 1, 2, 3]


def test_an_export_shows_the_video_as_it_was_when_it_was_requested(tmp_path: Path) -> None:
    with studio_with_waiting_exports(tmp_path) as (video, ids):
        studio = make_studio(tmp_path)
        go_on = hold_exports(studio)
        with Caller(studio) as caller:
            before = caller.masks(video)[0][0]["counts"]
            caller.click(video, x=40, y=10)
            assert caller.masks(video)[0][0]["counts"] != before
            go_on.set()
            wait_for_exports(caller, ids)
            frames = json.loads(caller.client.get(f"/api/exports/{ids[0]}/file").content)["frames"]
            assert frames[0]["objects"][0]["rle"]["counts"] == before


def test_an_export_of_masks_that_are_gone_fails_with_a_sentence(tmp_path: Path) -> None:
    """Its steps were undone and others took their numbers: what holds there now was not requested."""
    with studio_with_waiting_exports(tmp_path) as (video, ids):
        studio = make_studio(tmp_path)
        go_on = hold_exports(studio)
        with Caller(studio) as caller:
            caller.post(f"{video}/undo")
            caller.click(video, x=40, y=10)
            go_on.set()
            first, second = wait_for_exports(caller, ids)
            assert first["state"] == second["state"] == "failed"
            assert first["message"] == (
                "Its masks were undone and replaced before it was written. Export it again."
            )


def test_an_export_that_kills_the_server_is_given_up(tmp_path: Path) -> None:
    with studio_with_waiting_exports(tmp_path) as (_, ids):
        studio = make_studio(tmp_path)
        with studio.database.begin() as session:
            for id in ids:
                session.get_one(Export, id).attempts = 3
        with Caller(studio) as caller:
            first, _ = wait_for_exports(caller, ids)
            assert first["message"] == "The server was stopped 3 times while it was written. Export it again."


def test_an_export_that_waited_for_days_is_still_written(tmp_path: Path) -> None:
    with studio_with_waiting_exports(tmp_path) as (_, ids):
        studio = make_studio(tmp_path)
        with studio.database.begin() as session:
            for id in ids:
                session.get_one(Export, id).created = now() - timedelta(days=9)
        studio.exports.remove_old()
        with Caller(studio) as caller:
            wait_for_exports(caller, ids)
            caller.studio.exports.remove_old()
            assert {view["state"] for view in wait_for_exports(caller, ids)} == {"finished"}
            assert caller.client.get(f"/api/exports/{ids[0]}/file").is_success


def test_labels_and_measures_of_a_stack_have_its_axes_and_pixel_size(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    studio = make_studio(tmp_path)
    pages = np.random.default_rng(0).integers(900, 1500, (3, *SIZE)).astype(np.uint16)
    microns = {"axes": "ZYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2.0}
    tifffile.imwrite(tmp_path / "clips" / "depth.ome.tif", pages, metadata=microns)
    tifffile.imwrite(
        tmp_path / "clips" / "time.tif", pages, imagej=True, metadata={"axes": "TYX", "finterval": 60}
    )
    with Caller(studio) as caller:
        for name, axes, column in (("depth.ome.tif", "ZYX", "depth"), ("time.tif", "TYX", "time")):
            video = caller.video(name)
            for frame in range(3):
                mask = {"size": list(SIZE), "counts": [100, 20, SIZE[0] * SIZE[1] - 120]}
                caller.post(f"{video}/prompts", {"frame": frame, "object": 1, "mask": mask})
            rows = list(csv.DictReader(caller.exported(video, "measures").decode().splitlines()))
            assert [row[column] for row in rows] == ["0", "1", "2"]
            assert [row["seconds"] for row in rows] == (
                [""] * 3 if column == "depth" else ["0.0", "60.0", "120.0"]
            )
            assert [row["area_um2"] for row in rows] == (["5"] * 3 if column == "depth" else [""] * 3)
            with tifffile.TiffFile(io.BytesIO(caller.exported(video, "ome-tiff"))) as labels:
                assert labels.series[0].axes == axes
                assert ('PhysicalSizeX="0.5"' in labels.ome_metadata) == (column == "depth")
            assert [row["file"] for row in rows] == [name] * 3
            size = caller.get(f"{video}/channels")["pixel_size"]
            assert size == ("0.5x0.5x2um" if column == "depth" else None)


def test_pages_of_a_renamed_tiff_are_no_moments(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    studio = make_studio(tmp_path)
    tifffile.imwrite(tmp_path / "clips" / "plain.tif", np.zeros((2, *SIZE), np.uint8), metadata=None)
    with Caller(studio) as caller:
        video = caller.video("plain.tif")
        caller.ask("PATCH", video, json={"name": "Nuclei, day 2"})
        pages = caller.get(f"{video}/channels")
        assert (pages["channels"], pages["depth"], pages["time"]) == ([], 2, 1)
        caller.click(video, frame=1)
        (row,) = csv.DictReader(caller.exported(video, "measures").decode().splitlines())
        assert [row[name] for name in ("file", "time", "depth", "seconds")] == ["Nuclei, day 2", "0", "1", ""]


def test_a_pixel_size_that_a_person_gave_is_in_measures_and_labels(caller: Caller) -> None:
    tifffile = pytest.importorskip("tifffile")
    video = caller.video()
    caller.click(video)
    refused = caller.ask("PATCH", video, 400, json={"pixel_size": "2 furlong"})
    assert "A pixel size must be a length with its unit" in refused["message"]
    assert caller.get(video)["pixel_size"] is None
    assert caller.ask("PATCH", video, json={"pixel_size": " 0.5x0.25um "})["pixel_size"] == "0.5x0.25um"
    (row,) = csv.DictReader(caller.exported(video, "measures").decode().splitlines())
    assert float(row["area_um2"]) == pytest.approx(int(row["area"]) / 8)
    with tifffile.TiffFile(io.BytesIO(caller.exported(video, "ome-tiff"))) as labels:
        assert 'PhysicalSizeX="0.5"' in labels.ome_metadata
    assert caller.ask("PATCH", video, json={"pixel_size": ""})["pixel_size"] is None
    (row,) = csv.DictReader(caller.exported(video, "measures").decode().splitlines())
    assert row["area_um2"] == ""


def test_an_uploaded_image_keeps_its_name_in_exports(tmp_path: Path) -> None:
    data = make_image(tmp_path / "Hund 1.png").read_bytes()
    with Caller(make_studio(tmp_path)) as caller:
        project = f"/projects/{caller.post('/projects', {'name': 'names'})['id']}"
        made = caller.ask("POST", f"{project}/uploads", files={"file": ("Hund 1.png", data)})
        video = f"/videos/{made['id']}"
        caller.click(video)
        (image,) = json.loads(caller.exported(video, "coco"))["images"]
        assert image["file_name"] == "Hund 1.png"
        with zipfile.ZipFile(io.BytesIO(caller.exported(video, "frames"))) as frames:
            assert frames.namelist() == ["frames/Hund 1.png"]
        caller.ask("PATCH", video, json={"name": "Katze.png"})
        (image,) = json.loads(caller.exported(video, "coco"))["images"]
        assert image["file_name"] == "Katze.png", "renamed while it was in use"


def test_an_empty_file_is_said_to_be_empty(caller: Caller) -> None:
    project = f"/projects/{caller.post('/projects', {'name': 'empty'})['id']}"
    refused = caller.ask("POST", f"{project}/uploads", 400, files={"file": ("clip.mp4", b"")})
    assert refused["message"] == "clip.mp4 is empty: it has 0 bytes. Copy it again."


def test_masks_are_exported_where_the_video_is_gone(caller: Caller) -> None:
    video = caller.video()
    caller.click(video)
    caller.follow(video)
    before = json.loads(caller.exported(video, "coco"))
    folder = caller.studio.settings.folder
    assert folder is not None
    (folder / "blots.mp4").rename(folder / "moved.mp4")
    caller.studio.live.reopen(video.removeprefix("/videos/"))
    assert json.loads(caller.exported(video, "coco")) == before
    assert caller.exported(video, "palette")
    assert caller.exported(video, "cvat")
    failed = caller.export(video, format="overlay")
    assert failed["message"] == (
        "blots.mp4 is no longer in the folder. Restore it; your work on it is kept. "
        "Formats with masks alone, such as COCO, label maps and CVAT, can be exported without it."
    )
    refused = caller.ask("POST", f"{video}/prompts", 404, json={"frame": 0, "object": 1, "box": [1, 1, 9, 9]})
    assert refused["message"] == (
        "blots.mp4 is no longer in the folder. Restore it; your work on it is kept."
    )


def test_a_video_of_a_folder_that_is_not_served_says_how_to_serve_it(tmp_path: Path) -> None:
    with pytest.raises(
        FileGone, match=r"dog.mp4 is in a folder .* Start it with that folder: masklet studio"
    ):
        MediaPaths(None, tmp_path).resolve("folder:clips/dog.mp4")


def test_a_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    with Caller(make_studio(tmp_path)) as caller:
        (tmp_path / "clips").rename(tmp_path / "elsewhere")
        refused = caller.ask("GET", "/folder", 404)
        assert refused["message"] == "The studio's folder clips is no longer at its path. Restore it."
