"""A folder as a job: lists of files, their states and people, classes, comments, and who did what."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO

from masklet.studio.inference.propagation import RunningPropagation
from masklet.studio.inference.propagation_plan import Leg, PropagationPlan
from masklet.studio.project_exports import split_note, split_of
from masklet.studio.store.project_files import natural_key
from studio.small import LENGTH, Caller, make_clip, make_image, make_studio

NAMES = ["10.png", "2.png", "1.png", "Dog 3.png"]
ANNA, BERT = {"masklet-person": "Anna"}, {"masklet-person": "Bert"}


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    place = tmp_path_factory.mktemp("job")
    (place / "clips").mkdir()
    for name in NAMES:
        make_image(place / "clips" / name)
    make_clip(place / "clips" / "blots.mp4")
    (place / "clips" / "broken.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    with Caller(make_studio(place)) as caller:
        yield caller


@pytest.fixture
def project(caller: Caller) -> str:
    id = caller.post("/projects", {"name": "job"})["id"]
    added = caller.post(f"/projects/{id}/files", {"paths": [*NAMES, "blots.mp4", "broken.mp4"]})
    assert len(added["files"]) == 5
    (failed,) = added["failed"]
    assert failed["path"] == "broken.mp4" and "/" not in failed["message"] and failed["message"][-1] == "."
    return f"/projects/{id}"


def find(caller: Caller, project: str, name: str) -> Any:
    return next(file for file in caller.get(f"{project}/files")["files"] if file["name"] == name)


@given(st.lists(st.integers(0, 10**6), min_size=1), st.text(alphabet="ab", max_size=3))
def test_numbers_in_names_are_ordered_by_value(numbers: list[int], stem: str) -> None:
    names = sorted((f"{stem}{number}.png" for number in numbers), key=natural_key)
    assert [int(name[len(stem) : -4]) for name in names] == sorted(numbers)


def test_names_of_any_kind_can_be_ordered() -> None:
    assert sorted(["1a", "a1", "", "²3", "٣"], key=natural_key)


def test_a_project_lists_its_files_in_natural_order_with_search_and_pages(
    caller: Caller, project: str
) -> None:
    files = caller.get(f"{project}/files")
    names = [file["name"] for file in files["files"]]
    assert names == ["1.png", "2.png", "10.png", "blots.mp4", "Dog 3.png"]
    assert files["total"] == 5 and files["counts"] == {"new": 5, "working": 0, "reviewed": 0}
    found = caller.get(f"{project}/files", params={"search": "DOG png"})
    assert [file["name"] for file in found["files"]] == ["Dog 3.png"] and found["total"] == 1
    page = caller.get(f"{project}/files", params={"offset": 1, "limit": 2})
    assert [file["name"] for file in page["files"]] == ["2.png", "10.png"] and page["total"] == 5
    caller.ask("GET", "/projects/none/files", 404)


def test_the_folder_is_listed_in_natural_order_and_says_what_is_open(caller: Caller, project: str) -> None:
    id = project.rpartition("/")[2]
    entries = caller.get("/folder", params={"project": id})["entries"]
    assert [entry["name"] for entry in entries][:3] == ["1.png", "2.png", "10.png"]
    opened = {entry["name"]: entry["video"] for entry in entries}
    assert opened["blots.mp4"] == find(caller, project, "blots.mp4")["id"] and opened["broken.mp4"] is None
    found = caller.get("/folder", params={"search": "dog"})["entries"]
    assert [entry["name"] for entry in found] == ["Dog 3.png"]
    thumbnail = caller.client.get("/api/folder/thumbnail.jpg", params={"path": "1.png"})
    assert thumbnail.content[:2] == b"\xff\xd8"
    caller.ask("GET", "/folder/thumbnail.jpg", 403, params={"path": "../../secret"})


def test_files_that_cannot_be_named_or_read_do_not_hide_the_others(
    caller: Caller, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = caller.studio.settings.folder
    (folder / "secret").mkdir()
    odd = os.path.join(os.fsencode(folder), b"\xff.mp4")  # no UTF-8
    open(odd, "wb").close()
    listed = Path.iterdir

    def iterdir(path: Path) -> Iterator[Path]:
        if path.name == "secret":
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    try:
        names = {entry["name"] for entry in caller.get("/folder")["entries"]}
    finally:
        os.unlink(odd)
        (folder / "secret").rmdir()
    assert {*NAMES, "blots.mp4"} <= names and "secret" not in names


def test_a_change_that_is_refused_changes_nothing(caller: Caller, project: str) -> None:
    before = find(caller, project, "1.png")
    body = {"name": "\u200b", "assignee": "Anna", "state": "reviewed"}
    caller.ask("PATCH", f"/videos/{before['id']}", 422, json=body)
    assert find(caller, project, "1.png") == before


def test_a_file_that_is_opened_twice_is_one_video(caller: Caller, project: str) -> None:
    before = find(caller, project, "blots.mp4")["id"]
    assert caller.post(f"{project}/videos", {"path": "blots.mp4"})["id"] == before
    assert caller.post(f"{project}/videos", {"path": "./blots.mp4"})["id"] == before
    assert caller.get(f"{project}/files")["total"] == 5


def test_states_follow_from_the_work_and_can_be_set(caller: Caller, project: str) -> None:
    video = f"/videos/{find(caller, project, '2.png')['id']}"
    caller.click(video)
    assert find(caller, project, "2.png")["state"] == "working"
    caller.ask("PUT", f"{video}/reviewed", json={"start": 0, "stop": 1, "reviewed": True})
    assert find(caller, project, "2.png")["state"] == "reviewed"
    caller.post(f"{video}/undo")
    assert find(caller, project, "2.png")["state"] == "working"
    caller.ask("PATCH", video, json={"state": "reviewed"})
    assert [f["name"] for f in caller.get(f"{project}/files", params={"state": "reviewed"})["files"]] == [
        "2.png"
    ]
    caller.post(f"{video}/undo")
    caller.ask("PATCH", video, json={"state": "auto"})
    assert find(caller, project, "2.png")["state"] == "new"


def test_the_summary_follows_a_step_that_takes_an_undone_ones_number(caller: Caller, project: str) -> None:
    video = f"/videos/{find(caller, project, '1.png')['id']}"
    caller.post(f"{video}/objects", {"name": "dog"})
    assert find(caller, project, "1.png")["objects"] == 1
    caller.post(f"{video}/undo")
    caller.ask("PUT", f"{video}/reviewed", json={"start": 0, "stop": 1, "reviewed": True})
    file = find(caller, project, "1.png")
    assert (file["objects"], file["reviewed"], file["state"]) == (0, 1, "reviewed")


def test_neighbours_are_those_of_the_list(caller: Caller, project: str) -> None:
    ids = {file["name"]: file["id"] for file in caller.get(f"{project}/files")["files"]}
    around = caller.get(f"/videos/{ids['2.png']}/neighbours")
    assert around == {"previous": ids["1.png"], "next": ids["10.png"], "position": 2, "total": 5}
    caller.ask("PATCH", f"/videos/{ids['10.png']}", json={"state": "reviewed"})
    around = caller.get(f"/videos/{ids['2.png']}/neighbours", params={"state": "new"})
    assert around["next"] == ids["blots.mp4"] and around["total"] == 4
    assert caller.get(f"/videos/{ids['1.png']}/neighbours")["previous"] is None


def test_files_are_assigned_and_found_by_their_person(caller: Caller, project: str) -> None:
    video = f"/videos/{find(caller, project, '1.png')['id']}"
    caller.ask("PATCH", video, json={"assignee": " Anna\n", "reviewer": "Bert"})
    mine = caller.get(f"{project}/files", params={"assignee": "Anna"})["files"]
    assert [(file["name"], file["reviewer"]) for file in mine] == [("1.png", "Bert")]
    assert caller.get(f"{project}/files", params={"assignee": ""})["total"] == 4
    caller.ask("PATCH", video, json={"assignee": ""})
    assert find(caller, project, "1.png")["assignee"] == ""


DOG = {"name": "dog", "color": "#FF0000", "key": "d", "attributes": [{"name": "pose", "values": ["sits"]}]}
CAT = {"name": "cat", "color": "#00ff00"}


def test_objects_take_name_and_colour_of_their_class(caller: Caller, project: str) -> None:
    changed = caller.ask("PATCH", project, json={"classes": [DOG, CAT]})
    assert changed["classes"][0] == {**DOG, "color": "#ff0000"} and changed["classes"][1]["key"] is None
    video = f"/videos/{find(caller, project, 'blots.mp4')['id']}"
    first = caller.post(f"{video}/objects", {"label": "dog"})
    second = caller.post(f"{video}/objects", {"label": "dog", "attributes": {"pose": "sits"}})
    assert (first["name"], first["color"], first["label"]) == ("dog 1", "#ff0000", "dog")
    assert (second["name"], second["attributes"]) == ("dog 2", {"pose": "sits"})
    changed = caller.ask("PATCH", f"{video}/objects/{second['id']}", json={"label": "cat"})
    assert (changed["label"], changed["color"], changed["name"]) == ("cat", "#00ff00", "cat 1")
    caller.post(f"{video}/undo")
    assert caller.get(video)["objects"][1]["label"] == "dog"
    refused = caller.ask("POST", f"{video}/objects", 422, json={"label": "cow"})
    assert refused["message"] == "The project has no class cow. It has: dog, cat."
    assert caller.ask("PATCH", project, 422, json={"classes": [DOG, {**CAT, "key": "D"}]})


def test_classes_that_others_add_meanwhile_stay(caller: Caller, project: str) -> None:
    caller.ask("PATCH", project, json={"classes": [DOG]})
    fox = {"name": "fox", "color": "#0000ff", "key": "f"}
    caller.ask("PATCH", project, json={"classes": [DOG, CAT], "seen": [DOG]}, headers=ANNA)
    merged = caller.ask("PATCH", project, json={"classes": [DOG, fox], "seen": [DOG]}, headers=BERT)
    assert [entry["name"] for entry in merged["classes"]] == ["dog", "fox", "cat"]
    cow = {"name": "cow", "color": "#00ffff", "key": "f"}
    merged = caller.ask("PATCH", project, json={"classes": [cow], "seen": [DOG, CAT]})
    assert [(entry["name"], entry["key"]) for entry in merged["classes"]] == [("cow", "f"), ("fox", None)]
    last = caller.ask("PATCH", project, json={"classes": [DOG, CAT]})  # without seen: these and no others
    assert [entry["name"] for entry in last["classes"]] == ["dog", "cat"]


def test_a_class_that_two_people_edit_is_merged_or_refused(caller: Caller, project: str) -> None:
    seen = caller.ask("PATCH", project, json={"classes": [DOG, CAT]})["classes"]
    renamed = {**CAT, "name": "kitten", "was": "cat"}
    caller.ask("PATCH", project, json={"classes": [DOG, renamed], "seen": seen})
    pose = [{"name": "pose", "values": ["sits", "lies"]}]
    edited = [{**DOG, "was": "dog", "attributes": pose}, {**CAT, "was": "cat"}]
    merged = caller.ask("PATCH", project, json={"classes": edited, "seen": seen})["classes"]
    assert [entry["name"] for entry in merged] == ["dog", "kitten"]
    merged = caller.ask("PATCH", project, json={"classes": [{**DOG, "key": "x"}], "seen": seen})["classes"]
    assert [(entry["key"], entry["attributes"]) for entry in merged] == [("x", pose), (None, [])]
    for edit, reason in (
        ({**DOG, "key": "y"}, "Someone else changed the key of the class dog. Open the classes again."),
        (
            {**CAT, "color": "#123456"},
            "Someone else renamed or removed the class cat. Open the classes again.",
        ),
    ):
        refused = caller.ask("PATCH", project, 409, json={"classes": [edit], "seen": seen})
        assert refused["message"] == reason
    assert caller.get(project)["classes"] == merged


def test_nobody_s_assignment_is_replaced_unseen(caller: Caller, project: str) -> None:
    video = f"/videos/{find(caller, project, '1.png')['id']}"
    seen = {"name": "1.png", "assignee": "", "reviewer": ""}
    caller.ask("PATCH", video, json={"assignee": "Anna", "seen": seen})
    caller.ask("PATCH", video, json={"reviewer": "Bert", "seen": seen})
    refused = caller.ask("PATCH", video, 409, json={"assignee": "Bert", "seen": seen})
    assert refused["message"] == "Someone else set the assignee to Anna: nothing was changed."
    file = find(caller, project, "1.png")
    assert (file["assignee"], file["reviewer"]) == ("Anna", "Bert")
    caller.ask("PATCH", video, json={"assignee": "Bert", "seen": {**seen, "assignee": "Anna"}})
    assert find(caller, project, "1.png")["assignee"] == "Bert"
    caller.ask("PATCH", video, json={"assignee": ""})


def test_changes_of_two_people_are_merged_by_field(caller: Caller, project: str) -> None:
    caller.ask("PATCH", project, json={"classes": [DOG, CAT]})
    video = f"/videos/{find(caller, project, 'blots.mp4')['id']}"
    item = caller.post(f"{video}/objects", {"label": "dog", "attributes": {"pose": "sits"}}, headers=ANNA)
    path, head = f"{video}/objects/{item['id']}", caller.get(video)["head"]
    steps = [
        (ANNA, {"attributes": {"mood": "good"}}),
        (BERT, {"attributes": {"note": "ear hidden"}}),
        (ANNA, {"color": "#123456", "name": "Rex"}),
        (BERT, {"label": "cat"}),
    ]
    for headers, fields in steps:  # all from what was seen at first
        changed = caller.ask("PATCH", path, json={**fields, "head": head}, headers=headers)
        assert changed["conflicts"] == []
    assert changed["attributes"] == {"pose": "sits", "mood": "good", "note": "ear hidden"}
    assert (changed["name"], changed["color"], changed["label"]) == ("Rex", "#123456", "cat")
    caller.post(f"{video}/undo")  # Bert's class alone
    undone = next(entry for entry in caller.get(video)["objects"] if entry["id"] == item["id"])
    assert (undone["name"], undone["color"], undone["label"]) == ("Rex", "#123456", "dog")
    assert undone["attributes"] == changed["attributes"]
    removed = caller.ask("PATCH", path, json={"attributes": {"mood": ""}})
    assert removed["attributes"] == {"pose": "sits", "note": "ear hidden"} and removed["conflicts"] == []


def test_a_change_of_the_same_field_says_whose_it_replaced(caller: Caller, project: str) -> None:
    video = f"/videos/{find(caller, project, 'blots.mp4')['id']}"
    item = caller.post(f"{video}/objects", {"attributes": {"pose": "sits"}}, headers=ANNA)
    path, head = f"{video}/objects/{item['id']}", caller.get(video)["head"]

    def patch(headers: dict[str, str], **fields: object) -> list[str]:
        conflicts: list[str] = caller.ask("PATCH", path, json=fields, headers=headers)["conflicts"]
        return conflicts

    patch(ANNA, attributes={"pose": "lies", "mood": "good"}, name="Rex")
    replaced = patch(BERT, attributes={"pose": "", "mood": "good"}, name="Lassie", head=head)
    assert replaced == [
        "Anna set the name to “Rex” at the same time; now it is “Lassie”.",
        "Anna set “pose” to “lies” at the same time; now it is nothing.",
    ]
    assert patch(ANNA, name="Rex", head=caller.get(video)["head"]) == []  # she saw Bert's
    assert patch(BERT, name="Lassie") == []  # who names no head asks for no answer
    assert patch(BERT, name="Rex II", head=head) == []  # his own change was the last
    last = caller.get(f"{video}/history")["steps"][0]["title"]
    patch(BERT, attributes={"mood": "bad"})
    assert last == "rename Lassie" and caller.get(f"{video}/history")["steps"][0]["title"] == "mood of Rex II"


def test_a_click_makes_an_object_of_a_class_and_is_undone_with_it(caller: Caller, project: str) -> None:
    caller.ask("PATCH", project, json={"classes": [DOG, CAT]})
    video = f"/videos/{find(caller, project, 'blots.mp4')['id']}"
    before = caller.get(video)["objects"]
    number = 1 + max((entry["id"] for entry in before), default=0)
    click = {"frame": 0, "object": number, "positive": [[8, 8]], "label": "cat"}
    caller.post(f"{video}/prompts", click)
    made = caller.get(video)["objects"][-1]
    assert (made["label"], made["color"], made["prompted"]) == ("cat", "#00ff00", [0])
    caller.post(f"{video}/prompts", {**click, "label": "dog"})  # it is made already: the class stays
    assert caller.get(video)["objects"][-1] == made
    caller.post(f"{video}/undo")
    assert caller.post(f"{video}/undo")["objects"] == before


def test_comments_are_written_resolved_and_counted(caller: Caller, project: str) -> None:
    video = f"/videos/{find(caller, project, 'blots.mp4')['id']}"
    caller.click(video)
    comment = caller.post(
        f"{video}/comments", {"frame": 3, "text": "the <b>tail</b> is missing", "object": 1}, headers=ANNA
    )
    assert comment["person"] == "Anna" and comment["text"] == "the <b>tail</b> is missing"
    assert find(caller, project, "blots.mp4")["comments"] == 1
    caller.ask("PATCH", f"{video}/comments/{comment['id']}", json={"resolved": True})
    assert find(caller, project, "blots.mp4")["comments"] == 0
    assert [entry["resolved"] for entry in caller.get(f"{video}/comments")["comments"]] == [True]
    caller.ask("POST", f"{video}/comments", 404, json={"frame": 99, "text": "x"})
    caller.ask("PATCH", f"{video}/comments/none", 404, json={"resolved": True})
    caller.ask("POST", f"{video}/comments", 404, json={"frame": 0, "text": "x", "object": 99})
    caller.ask("POST", f"{video}/comments", 422, json={"frame": 0, "text": " \x00\n "})
    comment = caller.post(f"{video}/comments", {"frame": 0, "text": " two\x00\nlines "})
    assert comment["text"] == "two\nlines"


def test_the_audit_names_who_did_what(caller: Caller, project: str) -> None:
    video = f"/videos/{find(caller, project, 'blots.mp4')['id']}"
    caller.click(video, headers=ANNA)
    caller.post(f"{video}/comments", {"frame": 0, "text": "well done"}, headers=BERT)
    caller.ask("PATCH", video, json={"reviewer": "Bert"}, headers=BERT)
    caller.post(f"{video}/undo", headers=BERT)
    entries = caller.get(f"{project}/audit")["entries"]
    lines = [(entry["person"], entry["file"], entry["title"]) for entry in entries]
    assert lines[0] == ("Bert", "blots.mp4", "undo click on frame 0")
    assert lines[1:4] == [
        ("Bert", "blots.mp4", "reviewer Bert"),
        ("Bert", "blots.mp4", "comment on frame 0"),
        ("Anna", "blots.mp4", "click on frame 0"),
    ]


def test_people_of_a_project_are_those_who_did_something_or_have_work(caller: Caller, project: str) -> None:
    video = f"/videos/{find(caller, project, 'blots.mp4')['id']}"
    caller.click(video, headers=ANNA)
    caller.post(f"{video}/comments", {"frame": 0, "text": "well done"}, headers=BERT)
    caller.ask("PATCH", video, json={"reviewer": "Zoe"}, headers={"masklet-person": "Carl"})
    names = caller.get(f"{project}/people")["names"]
    assert [name for name in names if not name.startswith("guest")] == ["Anna", "Bert", "Carl", "Zoe"]
    caller.ask("GET", "/projects/none/people", 404)


def test_a_file_says_how_far_its_tracking_is(
    caller: Caller, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = find(caller, project, "blots.mp4")["id"]
    assert find(caller, project, "blots.mp4")["tracking"] is None
    plan = PropagationPlan.of("p", "forward", [Leg(0, LENGTH, None, "b", reverse=False)])
    plan.legs[0].frame = LENGTH // 4
    monkeypatch.setitem(caller.studio.propagations._running, id, RunningPropagation(id, plan, "Anna"))
    assert find(caller, project, "blots.mp4")["tracking"] == 0.25
    (entry,) = (one for one in caller.get(project)["videos"] if one["id"] == id)
    assert entry["tracking"] == 0.25


def test_an_export_names_files_that_are_not_tracked_to_the_end(caller: Caller, project: str) -> None:
    video = f"/videos/{find(caller, project, 'blots.mp4')['id']}"
    caller.click(video)
    caller.follow(video, stop_when_doubtful=1.0)  # stops at once
    export, _ = export_project(caller, project, format="coco")
    (note,) = (note for note in export["notes"] if "to the end" in note)
    assert note.startswith("1 file was not tracked to the end") and note.endswith(": blots.mp4.")
    caller.follow(video)
    export, _ = export_project(caller, project, format="coco")
    assert not any("to the end" in note for note in export["notes"])


def export_project(caller: Caller, project: str, **fields: Any) -> tuple[Any, zipfile.ZipFile]:
    export = caller.export(project, **fields)
    assert export["video"] is None
    assert export["state"] == "finished", export["message"]
    return export, zipfile.ZipFile(io.BytesIO(caller.export_file(export)))


def test_a_whole_project_is_exported_with_images_classes_and_a_split(
    caller: Caller, project: str, tmp_path: Path
) -> None:
    caller.ask("PATCH", project, json={"classes": [CAT, DOG]})
    for name in ("1.png", "2.png", "blots.mp4"):
        video = f"/videos/{find(caller, project, name)['id']}"
        object = caller.post(f"{video}/objects", {"label": "dog"})["id"]
        caller.click(video, object=object)
        caller.follow(video)
    export, archive = export_project(caller, project, format="coco", validation=0.5)
    assert export["notes"][0].startswith("Exported ")
    assert export["notes"][-1] == "2 files have no masks and were left out: 10.png, Dog 3.png."
    archive.extractall(tmp_path)
    images, annotations = 0, 0
    for split in tmp_path.glob("annotations/*.json"):
        data = COCO(str(split))
        assert [entry["name"] for entry in data.loadCats(data.getCatIds())] == ["cat", "dog"]
        for image in data.imgs.values():
            with PIL.Image.open(tmp_path / image["file_name"]) as opened:
                assert opened.size == (image["width"], image["height"])
        for entry in data.anns.values():
            assert data.annToMask(entry).sum() == entry["area"] and entry["category_id"] == 2
        images, annotations = images + len(data.imgs), annotations + len(data.anns)
    assert 3 <= images <= annotations <= 2 + LENGTH

    _, archive = export_project(caller, project, format="yolo")
    names = archive.namelist()
    labels = [name for name in names if name.startswith("labels/")]
    assert {Path(name).stem for name in labels} == {
        Path(name).stem for name in names if name.startswith("images/")
    }
    assert '1: "dog"' in archive.read("data.yaml").decode()
    assert archive.read(labels[0]).decode().split()[0] == "1"

    coco_masks = sum(int(entry["area"]) for entry in annotations_of(tmp_path))
    _, archive = export_project(caller, project, format="cvat-images", validation=0.5)
    check_cvat(archive, coco_masks)


def annotations_of(folder: Path) -> list[dict[str, Any]]:
    return [
        entry
        for split in folder.glob("annotations/*.json")
        for entry in json.loads(split.read_text())["annotations"]
    ]


def check_cvat(archive: zipfile.ZipFile, pixels: int) -> None:
    """CVAT's own reader of masks finds as many pixels; names are those of the images in the file."""
    masks = pytest.importorskip("cvat_sdk.masks")
    root = ElementTree.fromstring(archive.read("annotations.xml"))
    assert [label.text for label in root.iterfind("meta/project/labels/label/name")] == ["cat", "dog"]
    assert {image.get("subset") for image in root.iterfind("image")} == {"train", "val"}
    images = {Path(name).name for name in archive.namelist() if name.startswith("images/")}
    assert {image.get("name") for image in root.iterfind("image")} == images
    found = 0
    for image in root.iterfind("image"):
        size = {"image_width": int(image.attrib["width"]), "image_height": int(image.attrib["height"])}
        for mask in image.iterfind("mask"):
            left, top, width, height = (int(mask.attrib[key]) for key in ("left", "top", "width", "height"))
            runs = [float(run) for run in mask.attrib["rle"].split(",")]
            points = [*runs, left, top, left + width - 1, top + height - 1]
            found += int(masks.decode_mask(points, **size).sum())
    assert found == pixels


def test_an_empty_project_says_that_there_is_nothing_to_export(caller: Caller) -> None:
    project = f"/projects/{caller.post('/projects', {'name': 'empty'})['id']}"
    export = caller.export(project, format="coco")
    assert (export["state"], export["message"]) == ("failed", "There are no masks in this project yet.")


def test_the_note_on_parts_says_what_to_do_where_one_is_empty() -> None:
    assert split_note(2, 9) == "7 files are in train, 2 in val."
    assert split_note(0, 3).startswith("All files are in train") and "larger share" in split_note(0, 3)
    assert split_note(3, 3).startswith("All files are in val") and "smaller share" in split_note(3, 3)


def test_no_file_is_in_val_where_no_part_was_asked_for() -> None:
    names = [f"{number}.png" for number in range(500)]
    assert {split_of(name, 0) for name in names} == {"train"} and {split_of(name, 1) for name in names} == {
        "val"
    }
    assert 70 < [split_of(name, 0.2) for name in names].count("val") < 130
