"""Annotations of other tools in a project: what each kind becomes, and that every lost entry is named."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from masklet import rle
from masklet.media import brush_rle
from studio.small import SIZE, Caller, make_clip, make_image, make_studio

HEIGHT, WIDTH = SIZE
SQUARE = np.zeros(SIZE, dtype=bool)
SQUARE[10:30, 12:40] = True
OUTLINE = [12, 10, 40, 10, 40, 30, 12, 30]


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    place = tmp_path_factory.mktemp("imports")
    (place / "clips").mkdir()
    make_clip(place / "clips" / "blots.mp4")
    for name in ("one.png", "two.png", "f\u00fcr.png"):
        make_image(place / "clips" / name)
    with Caller(make_studio(place)) as caller:
        yield caller


@pytest.fixture
def project(caller: Caller) -> str:
    id = caller.post("/projects", {"name": "imports"})["id"]
    caller.post(f"/projects/{id}/files", {"paths": ["blots.mp4", "one.png", "two.png"]})
    return f"/projects/{id}"


def start(caller: Caller, project: str, name: str, content: bytes, status: int = 202, **fields: str) -> Any:
    return caller.ask(
        "POST", f"{project}/imports", status, files={"file": (name, content)}, data=fields or None
    )


def imported(caller: Caller, project: str, name: str, content: bytes | Any, **fields: str) -> Any:
    """What became of an import, once it is finished."""
    content = content if isinstance(content, bytes) else json.dumps(content).encode()
    begun = start(caller, project, name, content, **fields)
    job = caller.studio.imports.get(project.rpartition("/")[2], begun["id"])
    assert job.job is not None
    job.job.done.result(60)
    state = caller.get(f"{project}/imports/{begun['id']}")
    assert state["state"] == "finished", state["message"]
    assert state["done"] == state["total"]
    return state


def masks_of(caller: Caller, project: str, name: str) -> dict[tuple[int, str], np.ndarray]:
    """Masks of a file by frame and object's name."""
    files = caller.get(f"{project}/files")["files"]
    video = f"/videos/{next(file['id'] for file in files if file['name'] == name)}"
    names = {obj["id"]: obj["name"] for obj in caller.get(video)["objects"]}
    return {
        (frame, names[mask["object"]]): rle.decode({"size": list(SIZE), "counts": mask["counts"]})
        for frame, masks in caller.masks(video).items()
        for mask in masks
    }


def coco(*annotations: dict[str, Any]) -> dict[str, Any]:
    return {
        "images": [
            {"id": 1, "file_name": "train/one.png", "height": HEIGHT, "width": WIDTH},
            {"id": 2, "file_name": "elsewhere.png", "height": HEIGHT, "width": WIDTH},
        ],
        "categories": [{"id": 7, "name": "dog"}, {"id": 8, "name": "never used"}],
        "annotations": list(annotations),
    }


def test_coco_masks_outlines_and_boxes_come_in_with_their_classes(caller: Caller, project: str) -> None:
    content = coco(
        {"id": 1, "image_id": 1, "category_id": 7, "segmentation": [OUTLINE]},
        {"id": 2, "image_id": 1, "category_id": 7, "segmentation": rle.encode(SQUARE)},
        {"id": 3, "image_id": 1, "category_id": 7, "bbox": [12, 10, 28, 20]},
        {"id": 4, "image_id": 1, "category_id": 7},
        {"id": 5, "image_id": 2, "bbox": [0, 0, 5, 5]},
        {"id": 6, "image_id": 1, "segmentation": {"size": [9, 9], "counts": [81]}},
    )
    state = imported(caller, project, "instances.json", content)
    assert (state["format"], state["masks"], state["boxes"], state["classes"]) == ("COCO", 2, 1, ["dog"])
    reasons = {entry["entry"]: entry["reason"] for entry in state["skipped"]}
    assert set(reasons) == {"annotation 4", "annotation 5", "annotation 6"} and state["skipped_count"] == 3
    assert (
        all(reason.endswith(".") for reason in reasons.values())
        and "elsewhere.png" in reasons["annotation 5"]
    )
    masks = masks_of(caller, project, "one.png")
    assert np.array_equal(masks[0, "dog 1"], SQUARE) and np.array_equal(masks[0, "dog 2"], SQUARE)
    assert [entry["name"] for entry in caller.get(project)["classes"]] == ["dog"]
    caller.post(f"/videos/{state['videos'][0]}/undo")
    assert masks_of(caller, project, "one.png") == {}


def test_cvat_tracks_and_images_come_in(caller: Caller, project: str) -> None:
    runs = "0, 28" + ", 0, 28" * 19
    xml = f"""<?xml version="1.0"?><annotations><version>1.1</version>
    <meta><task><name>blots.mp4</name>
      <labels><label><name>cat</name><color>#12ab34</color></label></labels></task></meta>
    <track id="0" label="cat"><polygon frame="2" outside="0" points="12,10;40,10;40,30;12,30"/>
      <polygon frame="3" outside="0" points="12,10;40,10;40,30;12,30"/>
      <polygon frame="4" outside="1" points="1,1;2,2;3,3"/>
      <polygon frame="99" outside="0" points="1,1;9,1;9,9"/></track>
    <image id="0" name="two.png" width="{WIDTH}" height="{HEIGHT}">
      <mask label="cat" rle="{runs}" left="12" top="10" width="28" height="20"/>
      <box label="cat" xtl="5" ytl="5" xbr="20" ybr="20"/><polyline label="cat" points="1,1;2,2"/></image>
    </annotations>"""
    state = imported(caller, project, "annotations.xml", xml.encode())
    assert (state["masks"], state["boxes"], state["classes"]) == (3, 1, ["cat"])
    assert {entry["entry"] for entry in state["skipped"]} == {
        "track 0, frame 99",
        "image two.png, polyline 3",
    }
    masks = masks_of(caller, project, "blots.mp4")
    assert masks.keys() == {(2, "cat 1"), (3, "cat 1")} and np.array_equal(masks[3, "cat 1"], SQUARE)
    assert np.array_equal(masks_of(caller, project, "two.png")[0, "cat 1"], SQUARE)
    assert caller.get(project)["classes"][0]["color"] == "#12ab34"


def test_yolo_comes_in_from_a_zip(caller: Caller, project: str) -> None:
    shares = " ".join(f"{value / side:.6f}" for value, side in zip(OUTLINE, [WIDTH, HEIGHT] * 4, strict=True))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("data.yaml", "names:\n  0: bird\n  1: fish\n")
        archive.writestr("labels/train/one.txt", f"1 {shares}\n0 0.5 0.5 0.2 0.2\n0 0.5\n")
        archive.writestr("labels/train/blots_000003.txt", f"1 {shares}\n")
        archive.writestr("images/train/one.jpg", b"an image")
        archive.writestr("train.txt", "images/train/one.jpg\n")
    state = imported(caller, project, "yolo.zip", buffer.getvalue())
    assert (state["format"], state["masks"], state["boxes"]) == ("YOLO", 2, 1)
    assert [entry["entry"] for entry in state["skipped"]] == ["one.txt, line 3"]
    assert np.array_equal(masks_of(caller, project, "one.png")[0, "fish 1"], SQUARE)
    assert np.array_equal(masks_of(caller, project, "blots.mp4")[3, "fish 1"], SQUARE)


def test_label_studio_comes_in(caller: Caller, project: str) -> None:
    size = {"original_width": WIDTH, "original_height": HEIGHT}
    percent = [[100 * x / WIDTH, 100 * y / HEIGHT] for x, y in zip(OUTLINE[::2], OUTLINE[1::2], strict=True)]
    brush = {"format": "rle", "rle": brush_rle(SQUARE), "brushlabels": ["fox"]}
    box = {"x": 10, "y": 10, "width": 30, "height": 30, "rectanglelabels": ["fox"]}
    keyframes = [{"frame": 2, "enabled": True, **{key: box[key] for key in ("x", "y", "width", "height")}}]
    tasks = [
        {
            "id": 1,
            "data": {"image": "/data/upload/3/12ab34cd-one.png"},
            "annotations": [
                {
                    "result": [
                        {"id": "a", "type": "brushlabels", "value": brush, **size},
                        {
                            "id": "b",
                            "type": "polygonlabels",
                            "value": {"points": percent, "polygonlabels": ["fox"]},
                        },
                        {"id": "c", "type": "rectanglelabels", "value": box},
                        {"id": "d", "type": "choices", "value": {"choices": ["good"]}},
                    ]
                }
            ],
        },
        {
            "id": 2,
            "data": {"video": "http://host/blots.mp4"},
            "annotations": [
                {"result": [{"id": "e", "type": "videorectangle", "value": {"sequence": keyframes}}]}
            ],
        },
        {"id": 3, "data": {"image": "two.png"}},
    ]
    state = imported(caller, project, "export.json", tasks)
    assert (state["format"], state["masks"], state["boxes"]) == ("Label Studio", 2, 2)
    assert [entry["entry"] for entry in state["skipped"]] == ["task 1, region d", "task 3"]
    masks = masks_of(caller, project, "one.png")
    assert np.array_equal(masks[0, "fox 1"], SQUARE) and np.array_equal(masks[0, "fox 2"], SQUARE)
    assert [frame for frame, _ in masks_of(caller, project, "blots.mp4")] == [1]


@pytest.mark.parametrize("format", ["youtube-vis", "coco", "cvat", "cvat-images", "label-studio", "script"])
def test_what_the_studio_exports_comes_back_in(caller: Caller, project: str, format: str) -> None:
    video = caller.video()
    drawn = {"size": list(SIZE), "counts": rle.encode(SQUARE)["counts"]}
    for frame in (0, 3):
        caller.post(f"{video}/prompts", {"frame": frame, "object": 1, "mask": drawn})
    content = caller.exported(video, format)
    state = imported(caller, project, "again.xml" if b"<?xml" in content[:99] else "again.json", content)
    assert state["masks"] >= 2 and not state["skipped"], state
    masks = masks_of(caller, project, "blots.mp4")
    assert {frame for frame, _ in masks} == {0, 3}
    assert all((mask ^ SQUARE).sum() <= (60 if format == "cvat" else 0) for mask in masks.values())


@pytest.mark.parametrize("format", ["coco", "cvat-images", "yolo"])
def test_a_project_that_was_exported_comes_back_in(caller: Caller, project: str, format: str) -> None:
    files = {file["name"]: f"/videos/{file['id']}" for file in caller.get(f"{project}/files")["files"]}
    drawn = {"size": list(SIZE), "counts": rle.encode(SQUARE)["counts"]}
    for name, frame in (("blots.mp4", 5), ("one.png", 0)):
        caller.post(f"{files[name]}/prompts", {"frame": frame, "object": 1, "mask": drawn})
    content = caller.exported(project, format, images=False)
    other = caller.post("/projects", {"name": "again"})["id"]
    caller.post(f"/projects/{other}/files", {"paths": ["blots.mp4", "one.png"]})
    state = imported(caller, f"/projects/{other}", "project.zip", content)
    assert state["masks"] == 2 and not state["skipped"]
    assert [frame for frame, _ in masks_of(caller, f"/projects/{other}", "blots.mp4")] == [5]


@pytest.mark.parametrize("format", ["coco", "cvat-images"])
def test_attributes_that_were_exported_come_back_in(caller: Caller, project: str, format: str) -> None:
    attributes = [{"name": "pose", "values": ["lies", "sits"]}, {"name": "note", "values": []}]
    classes = [{"name": "owl", "color": "#123456", "attributes": attributes}]
    caller.ask("PATCH", project, json={"classes": classes})
    files = {file["name"]: f"/videos/{file['id']}" for file in caller.get(f"{project}/files")["files"]}
    drawn = {"size": list(SIZE), "counts": rle.encode(SQUARE)["counts"]}
    caller.post(f"{files['one.png']}/prompts", {"frame": 0, "object": 1, "mask": drawn, "label": "owl"})
    values = {"pose": "sits", "note": "a, b; \u00e4"}
    caller.ask("PATCH", f"{files['one.png']}/objects/1", json={"attributes": values})
    content = caller.exported(project, format, images=False)
    other = caller.post("/projects", {"name": "again"})["id"]
    caller.post(f"/projects/{other}/files", {"paths": ["one.png"]})
    state = imported(caller, f"/projects/{other}", "project.zip", content)
    (obj,) = caller.get(f"/videos/{state['videos'][0]}")["objects"]
    assert (obj["label"], obj["attributes"]) == ("owl", values)
    (entry,) = caller.get(f"/projects/{other}")["classes"]
    assert {attribute["name"] for attribute in entry["attributes"]} == {"pose", "note"}
    if format == "cvat-images":
        assert entry["attributes"] == attributes


def test_a_class_of_the_project_gets_the_attributes_that_it_lacks(caller: Caller, project: str) -> None:
    pose = {"name": "pose", "values": ["lies"]}
    classes = [{"name": "dog", "color": "#123456", "attributes": [pose]}]
    caller.ask("PATCH", project, json={"classes": classes})
    values = {"pose": "sits", "age": 3, "occluded": False}
    entry = {"id": 1, "image_id": 1, "category_id": 7, "segmentation": [OUTLINE], "attributes": values}
    state = imported(caller, project, "dogs.json", coco(entry))
    (obj,) = caller.get(f"/videos/{state['videos'][0]}")["objects"]
    assert obj["attributes"] == {"pose": "sits", "age": "3"}
    (dog,) = caller.get(project)["classes"]
    assert dog["attributes"] == [pose, {"name": "age", "values": []}] and dog["color"] == "#123456"


def test_outlines_of_an_image_of_another_size_are_named_and_not_taken(caller: Caller, project: str) -> None:
    content = coco(
        {"id": 1, "image_id": 1, "category_id": 7, "segmentation": [OUTLINE]},
        {"id": 2, "image_id": 1, "category_id": 7, "bbox": [12, 10, 28, 20]},
    )
    content["images"][0] |= {"height": 2 * HEIGHT, "width": 2 * WIDTH}
    state = imported(caller, project, "large.json", content)
    assert (state["masks"], state["boxes"], state["skipped_count"]) == (0, 0, 2)
    assert f"{2 * WIDTH} x {2 * HEIGHT}" in state["skipped"][0]["reason"]


def test_a_name_is_found_however_its_accents_are_written(caller: Caller, project: str) -> None:
    caller.post(f"{project}/files", {"paths": ["f\u00fcr.png"]})
    content = coco({"id": 1, "image_id": 1, "category_id": 7, "segmentation": [OUTLINE]})
    content["images"][0]["file_name"] = "fu\u0308r.png"
    assert imported(caller, project, "accents.json", content)["masks"] == 1


def test_annotations_that_name_no_file_go_to_the_chosen_video(caller: Caller, project: str) -> None:
    files = {file["name"]: file["id"] for file in caller.get(f"{project}/files")["files"]}
    content = coco({"id": 1, "image_id": 1, "segmentation": [OUTLINE]})
    content["images"][0]["file_name"] = "frame_000006.png"
    assert imported(caller, project, "a.json", content)["skipped_count"] == 1
    assert imported(caller, project, "a.json", content, video=files["blots.mp4"])["masks"] == 1
    assert [frame for frame, _ in masks_of(caller, project, "blots.mp4")] == [6]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", b"{"),
        ("a.json", b"[]"),
        ("a.json", b'{"images": 3}'),
        ("a.xml", b"<boxes/>"),
        ("a.xml", b"<!DOCTYPE x [<!ENTITY a 'b'>]><annotations/>"),
        ("a.zip", b"PK\x03\x04 no zip"),
        ("a.png", b"\x89PNG"),
        ("a.json", b""),
        ("session.json", b'{"masklet": 1}'),
    ],
)
def test_a_file_that_is_no_annotation_file_is_refused_with_a_sentence(
    caller: Caller, project: str, name: str, content: bytes
) -> None:
    refused = start(caller, project, name, content, status=400)
    assert refused["message"].startswith(name) and refused["message"].endswith(".")
    assert "/" not in refused["message"].replace("and/or", "")


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.just(10**400)
    | st.floats()
    | st.sampled_from(["", "1", "one.png", "dog", "b'0'", "é\ud7ff"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "id",
                    "image_id",
                    "bbox",
                    "segmentation",
                    "size",
                    "counts",
                    "type",
                    "value",
                    "data",
                    "annotations",
                    "result",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
BROKEN_COCO = st.fixed_dictionaries(
    {},
    optional={
        "id": VALUES,
        "image_id": st.just(1) | VALUES,
        "category_id": st.just(7) | VALUES,
        "bbox": st.just([1, 1, 9, 9]) | VALUES,
        "segmentation": st.just([OUTLINE]) | VALUES,
        "attributes": VALUES,
    },
)
BROKEN_REGION = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            ["brushlabels", "polygonlabels", "rectanglelabels", "ellipse", "videorectangle", "labels"]
        )
    },
    optional={
        "id": st.sampled_from(["a", "b"]) | VALUES,
        "value": VALUES
        | st.dictionaries(
            st.sampled_from(["x", "y", "width", "height", "points", "rle", "sequence", "labels", "radiusX"]),
            VALUES,
        ),
        "original_width": st.just(WIDTH) | VALUES,
        "original_height": st.just(HEIGHT) | VALUES,
    },
)


@given(entries=st.lists(BROKEN_COCO | VALUES, max_size=4))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_broken_entry_of_coco_is_taken_or_named(entries: list[Any], tmp_path: Path) -> None:
    check_reading(tmp_path, json.dumps(coco(*entries)), len(entries))


@given(entries=st.lists(BROKEN_REGION | VALUES, max_size=4))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_broken_regions_of_label_studio_never_raise(entries: list[Any], tmp_path: Path) -> None:
    task = {"id": 1, "data": {"image": "one.png"}, "annotations": [{"result": entries}]}
    check_reading(tmp_path, json.dumps([task]), 0)


@given(attributes=st.text(alphabet="<>/annotationstrackimageboxpolygonframe=\"' 0123456789.,;", max_size=60))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_broken_shapes_of_cvat_never_raise(attributes: str, tmp_path: Path) -> None:
    text = f'<annotations><track id="1"><polygon frame="0" points="{attributes}"/></track></annotations>'
    check_reading(tmp_path, text, 0)


def check_reading(folder: Path, text: str, count: int) -> None:
    """Read a file and turn its shapes into prompts: each is one, or a MaskletError says why it is none."""
    from masklet.errors import MaskletError, MediaError
    from masklet.media.annotations import read_annotations

    path = folder / "file.json"
    path.write_text(text, encoding="utf-8")
    try:
        (file,) = read_annotations(path)
    except MediaError:
        return
    assert len(file.annotations) + len(file.skipped) >= count
    for annotation in file.annotations:
        try:
            annotation.shape.to_prompt(SIZE)
        except MaskletError:
            continue


def test_a_label_that_nobody_can_read_is_no_class(caller: Caller, project: str) -> None:
    content = coco({"id": 1, "image_id": 1, "category_id": 7, "segmentation": [OUTLINE]})
    content["categories"] = [{"id": 7, "name": "\u200b"}]
    state = imported(caller, project, "instances.json", content)
    assert (state["masks"], state["classes"], state["skipped"]) == (1, [], [])


def test_frames_that_only_a_number_tells_are_named(caller: Caller) -> None:
    """The second image of FFmpeg's frame_%04d.png is frame 1 of the video, and is called 2."""
    project = f"/projects/{caller.post('/projects', {'name': 'numbers'})['id']}"
    caller.post(f"{project}/videos", {"path": "blots.mp4"})
    content = coco({"id": 1, "image_id": 1, "bbox": [12, 10, 28, 20]})
    content["images"][0]["file_name"] = "frame_0002.png"
    state = imported(caller, project, "instances.json", content)
    assert state["notes"] == [
        "The numbers in file names are used as frames of blots.mp4, from 0: frame_0002.png is frame 2."
    ]


def test_an_import_gives_no_name_twice(caller: Caller, project: str) -> None:
    content = coco(*({"id": id, "image_id": 1, "category_id": 7, "segmentation": [OUTLINE]} for id in (1, 2)))
    video = f"/videos/{imported(caller, project, 'instances.json', content)['videos'][0]}"
    caller.ask("DELETE", f"{video}/objects/{caller.get(video)['objects'][0]['id']}")
    imported(caller, project, "instances.json", content)
    names = [obj["name"] for obj in caller.get(video)["objects"]]
    assert len(names) == len(set(names)) == 3, names


def test_what_comes_onto_reviewed_frames_is_said(caller: Caller, project: str) -> None:
    content = coco({"id": 1, "image_id": 1, "category_id": 7, "segmentation": [OUTLINE]})
    (id,) = (file["id"] for file in caller.get(f"{project}/files")["files"] if file["name"] == "one.png")
    assert imported(caller, project, "a.json", content)["notes"] == []
    caller.ask("PUT", f"/videos/{id}/reviewed", json={"start": 0, "stop": 1, "reviewed": True})
    notes = imported(caller, project, "b.json", content)["notes"]
    assert notes == ["1 annotation is on reviewed frames of one.png: check these again."]
