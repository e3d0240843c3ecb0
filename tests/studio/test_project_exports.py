"""What a project's export holds, where names are odd, objects have attributes, or files are few."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from masklet.datasets import find_items
from studio.small import SIZE, Caller, make_clip, make_image, make_studio

CAT = {"name": "cat", "color": "#112233", "attributes": [{"name": "mood", "values": ["good", "bad"]}]}


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    place = tmp_path_factory.mktemp("exports")
    (place / "clips" / "deep").mkdir(parents=True)
    for name in ("blots_000000.png", "BLOTS.png", "one.png", "deep/One.png", "deep/one_2.png"):
        make_image(place / "clips" / name)
    make_clip(place / "clips" / "blots.mp4")
    with Caller(make_studio(place)) as caller:
        yield caller


def project_of(caller: Caller, *paths: str, name: str = "exports") -> tuple[str, list[str]]:
    """A project of files with a click on each; its path, and those of its videos."""
    project = f"/projects/{caller.post('/projects', {'name': name})['id']}"
    caller.ask("PATCH", project, json={"classes": [CAT]})
    videos = []
    for path in paths:
        videos.append(f"/videos/{caller.post(f'{project}/videos', {'path': path})['id']}")
        caller.click(videos[-1], label="cat")
    return project, videos


def exported(caller: Caller, project: str, **fields: Any) -> tuple[Any, zipfile.ZipFile]:
    export = caller.export(project, **fields)
    assert export["state"] == "finished", export["message"]
    return export, zipfile.ZipFile(BytesIO(caller.export_file(export)))


def test_no_file_of_an_export_takes_the_place_of_another(caller: Caller, tmp_path: Path) -> None:
    paths = ("blots.mp4", "blots_000000.png", "BLOTS.png", "one.png", "deep/One.png", "deep/one_2.png")
    project, _ = project_of(caller, *paths)
    _, archive = exported(caller, project, format="coco", validation=0)
    data = json.loads(archive.read("annotations/instances_train.json"))
    names = [image["file_name"] for image in data["images"]]
    assert len({name.casefold() for name in names}) == len(paths) == len(names), names
    assert {name for name in archive.namelist() if name.startswith("images/")} == set(names)
    archive.extractall(tmp_path)
    items = find_items(tmp_path / "annotations" / "instances_train.json")
    assert len(items) == len(paths)  # training reads it


def test_names_too_long_for_a_disk_are_cut(caller: Caller) -> None:
    project, (video,) = project_of(caller, "one.png", name="\U0001f9a7" * 100)
    caller.ask("PATCH", video, json={"name": "\U0001f99c" * 100 + ".png"})
    export, archive = exported(caller, project, format="coco")
    assert export["file"].endswith("-coco.zip")
    assert all(len(Path(name).name.encode()) < 200 for name in archive.namelist())
    assert caller.exported(video, "coco")


def test_attributes_are_exported_or_said_to_be_left_out(caller: Caller) -> None:
    project, (video, _) = project_of(caller, "one.png", "BLOTS.png")
    caller.ask("PATCH", f"{video}/objects/1", json={"attributes": {"mood": "bad", "note": ""}})
    _, archive = exported(caller, project, format="coco", validation=0)
    values = [
        entry.get("attributes")
        for entry in json.loads(archive.read("annotations/instances_train.json"))["annotations"]
    ]
    assert sorted(values, key=str) == [None, {"mood": "bad"}]
    _, archive = exported(caller, project, format="cvat-images", validation=0)
    root = ElementTree.fromstring(archive.read("annotations.xml"))
    assert root.findtext(".//label/attributes/attribute/values") == "__undefined__\ngood\nbad"
    assert [(value.get("name"), value.text) for value in root.iterfind("image/mask/attribute")] == [
        ("mood", "bad")
    ]
    export, _ = exported(caller, project, format="yolo")
    assert "YOLO cannot store attributes of objects: they are left out." in export["notes"]
    caller.ask("PATCH", f"{video}/objects/1", json={"attributes": {"mood": ""}})
    export, _ = exported(caller, project, format="yolo")
    assert not any("attributes" in note for note in export["notes"])


def test_measures_and_places_of_a_stack_are_in_exports_of_the_project(caller: Caller) -> None:
    tifffile = pytest.importorskip("tifffile")
    assert caller.studio.settings.folder is not None
    microns = {"axes": "TZYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2.0}
    pages = np.zeros((2, 3, *SIZE), dtype=np.uint8)
    tifffile.imwrite(caller.studio.settings.folder / "cells.ome.tif", pages, ome=True, metadata=microns)
    project, (stack, photo) = project_of(caller, "cells.ome.tif", "one.png")
    mask = {"size": list(SIZE), "counts": [100, 20, SIZE[0] * SIZE[1] - 120]}
    caller.post(f"{stack}/prompts", {"frame": 4, "object": 1, "mask": mask})
    _, archive = exported(caller, project, format="coco", validation=0)
    images = json.loads(archive.read("annotations/instances_train.json"))["images"]
    assert [
        (image["frame"], image["time"], image["depth"], image["pixel_size_um"])
        for image in images
        if image["video"] == "cells.ome.tif"
    ] == [(0, 0, 0, [0.5, 0.5, 2]), (4, 1, 1, [0.5, 0.5, 2])]
    assert not any("time" in image for image in images if image["video"] == "one.png")
    caller.ask("PATCH", photo, json={"pixel_size": "2um"})
    view = caller.export(project, format="measures")
    assert view["file"] == "exports-measures.csv", view["message"]
    table = caller.export_file(view).decode()
    rows = list(csv.DictReader(table.splitlines()))
    _, drawn, one = sorted(rows, key=lambda row: (row["video"], int(row["frame"])))
    assert [
        drawn[name] for name in ("video", "file", "frame", "time", "depth", "area", "area_um2", "z_um")
    ] == [*("cells.ome.tif", "cells.ome.tif", "4", "1", "1", "20", "5", "2")]
    assert drawn["class"] == "cat" and (one["video"], one["file"]) == ("one.png", "one.png")
    assert float(one["area_um2"]) == 4 * int(one["area"])


def test_objects_follow_a_class_that_is_renamed(caller: Caller) -> None:
    project, (video, other) = project_of(caller, "blots.mp4", "one.png")
    dog, cat = {**CAT, "name": "dog"}, {**CAT, "was": "dog"}
    caller.ask("PATCH", project, json={"classes": [CAT, {**dog, "color": "#445566"}]})
    caller.click(video, object=2, x=44, label="dog")
    caller.ask("PATCH", f"{video}/objects/1", json={"name": "Tom"})
    refused = [{**dog, "was": "cat"}, {**CAT, "name": "fox", "was": "cat"}]
    caller.ask("PATCH", project, 422, json={"classes": refused})
    caller.ask("PATCH", project, json={"classes": [{**dog, "was": "cat"}, cat]})  # they change places
    assert [(obj["name"], obj["label"]) for obj in caller.get(video)["objects"]] == [
        ("Tom", "dog"),
        ("cat 1", "cat"),
    ]
    assert [obj["label"] for obj in caller.get(other)["objects"]] == ["dog"]
    assert [entry["name"] for entry in caller.get(project)["classes"]] == ["dog", "cat"]
    caller.post(f"{video}/undo")
    assert [obj["label"] for obj in caller.get(video)["objects"]] == ["cat", "dog"]


def test_an_export_names_classes_that_are_gone(caller: Caller) -> None:
    project, (video,) = project_of(caller, "one.png")
    caller.click(video, object=2, x=44)
    caller.ask("PATCH", project, json={"classes": [{"name": "dog", "color": "#445566"}]})
    export, _ = exported(caller, project, format="coco")
    assert "Objects without a class are exported with their names as classes: object 2." in export["notes"]
    assert "Classes of objects that the project no longer has: cat." in export["notes"]


@pytest.mark.parametrize("file, full, other", [("BLOTS.png", "train", "val"), ("one.png", "val", "train")])
def test_an_export_says_that_a_part_is_empty(caller: Caller, file: str, full: str, other: str) -> None:
    project, _ = project_of(caller, file)
    export, archive = exported(caller, project, format="yolo", validation=0.2)
    assert any(note.startswith(f"All files are in {full}") for note in export["notes"])
    assert f"images/{other}" not in archive.read("data.yaml").decode()
    export, _ = exported(caller, project, format="yolo", validation=0)
    assert not any(note.startswith("All files are in") for note in export["notes"])


def test_a_script_says_that_it_holds_all_objects_and_frames(caller: Caller) -> None:
    _, (video,) = project_of(caller, "blots.mp4")
    caller.click(video, object=2, x=44)

    def notes(**fields: Any) -> list[str]:
        found: list[str] = caller.export(video, format="script", **fields)["notes"]
        return found

    said = ["A script always has the prompts of all objects on all frames."]
    assert notes() == []
    assert notes(objects=[2]) == notes(start=2, stop=5) == said
    caller.ask("PATCH", f"{video}/objects/2", json={"hidden": True})
    assert notes() == said and notes(hidden=True) == []


def test_files_that_are_added_later_move_no_other_one(caller: Caller) -> None:
    def parts(project: str) -> dict[str, str]:
        _, archive = exported(caller, project, format="coco", validation=0.5)
        files = [name for name in archive.namelist() if name.startswith("annotations/")]
        images = [(name, image) for name in files for image in json.loads(archive.read(name))["images"]]
        return {image["video"]: Path(name).stem.removeprefix("instances_") for name, image in images}

    project, _ = project_of(caller, "blots.mp4", "BLOTS.png")
    before = parts(project)
    assert set(before.values()) == {"train", "val"}
    for path in ("one.png", "deep/one_2.png", "blots_000000.png"):
        video = f"/videos/{caller.post(f'{project}/videos', {'path': path})['id']}"
        caller.click(video)
        now = parts(project)
        assert {name: now[name] for name in before} == before and len(now) == len(before) + 1
        before = now
    other, _ = project_of(caller, "blots_000000.png", "BLOTS.png")  # nor does another project
    assert parts(other).items() <= before.items()
