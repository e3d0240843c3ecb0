"""All masks of a job as one COCO file, held against the masks themselves by pycocotools."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pycocotools.coco import COCO

from masklet.errors import MaskletError
from masklet.jobs.manifest import read_manifest
from masklet.jobs.merge import merge_results
from masklet.jobs.records import VideoSplit
from masklet.jobs.settings import JobSettings
from masklet.jobs.stores import Store
from masklet.jobs.tables import SCHEMA, read_masks
from masklet.jobs.worker import Item, Worker
from media.made import write_video
from toy_models import clip

FRAMES = 5


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """a/1.mp4 with a dog from frame 2 on and one without class, b/1.mp4 with a cat, stills, a/1.png."""
    folder = tmp_path_factory.mktemp("mixed")
    for number, name in enumerate("ab"):
        (folder / name).mkdir()
        write_video(folder / name / "1.mp4", clip(FRAMES, seed=number))
    (folder / "stills").mkdir()
    for number, image in enumerate(clip(2, seed=2)):
        PIL.Image.fromarray(image).save(folder / "stills" / f"shot {number + 1}.png")
    PIL.Image.fromarray(clip(1, seed=3)[0]).save(folder / "a" / "1.png")
    lines = [
        "source,frame,object,class,x,y",
        "a/1.mp4,2,rex,dog,20,24",
        "a/1.mp4,3,2,,10,10",
        "b/1.mp4,0,tom,cat,20,24",
        "stills,0,rex,dog,20,24",
        "a/1.png,0,rex,dog,20,24",
    ]
    (folder / "manifest.csv").write_text("\n".join(lines))
    return folder


def run_all(mixed: Path, settings: JobSettings, out: Path) -> Store:
    """Run the job without Ray."""
    store = Store(str(out))
    worker, manifest = Worker(settings, str(out)), str(mixed / "manifest.csv")
    store.write_json("job.json", {"manifest": manifest, "settings": settings.to_json()})
    for entry in read_manifest(manifest):
        outcome = worker.run(Item(entry))
        assert outcome.record is not None, outcome.error
        if isinstance(outcome.record.results, VideoSplit):
            for part in Item(entry).parts(outcome.record.results.parts):
                assert worker.run(part).record is not None
    return store


def merge(store: Store, folder: Path) -> COCO:
    """The merged file as pycocotools reads it."""
    assert merge_results(store, Store(str(folder)), ["coco"]) == ["coco.json"]
    return COCO(folder / "coco.json")


@pytest.mark.parametrize("split", [None, 3])
def test_one_coco_file_has_every_image_and_mask(
    mixed: Path, settings: JobSettings, tmp_path: Path, split: int | None
) -> None:
    store = run_all(mixed, replace(settings, split=split), tmp_path / "out")
    coco = merge(store, tmp_path / "merged")
    images, annotations = coco.dataset["images"], coco.dataset["annotations"]
    assert [image["id"] for image in images] == list(range(1, len(images) + 1))
    assert [one["id"] for one in annotations] == list(range(1, len(annotations) + 1))
    assert {category["name"] for category in coco.dataset["categories"]} == {"dog", "cat", "object"}
    assert sorted(image["file_name"] for image in images) == sorted(
        [
            *(f"a/1.mp4/{frame:05d}.jpg" for frame in range(2, FRAMES)),  # before, nothing was looked for
            "a/1.png",
            *(f"b/1.mp4/{frame:05d}.jpg" for frame in range(FRAMES)),
            "stills/shot 1.png",
            "stills/shot 2.png",
        ]
    )
    by_place = {(image["video"], image["frame"]): image["id"] for image in images}
    seen = 0
    for path in (tmp_path / "out" / "masks").iterdir():
        for row in pq.read_table(path).to_pylist():
            ids = coco.getAnnIds(imgIds=[by_place[row["video"], row["frame"]]])
            found = [one for one in coco.loadAnns(ids) if one["object_id"] == row["object"]]
            assert len(found) == bool(row["area"])
            for annotation in found:
                seen += 1
                assert coco.cats[annotation["category_id"]]["name"] == (row["class"] or "object")
                mask = coco.annToMask(annotation)
                assert mask.shape == (row["height"], row["width"])
                assert mask.sum() == annotation["area"] == row["area"]
                rows, columns = np.nonzero(mask)
                box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
                assert annotation["bbox"] == box
    assert seen == len(annotations) > FRAMES


def test_coco_files_are_merged_where_there_is_no_parquet(
    mixed: Path, settings: JobSettings, tmp_path: Path
) -> None:
    both = run_all(mixed, replace(settings, formats=("parquet", "coco"), split=3), tmp_path / "both")
    only = run_all(mixed, replace(settings, formats=("coco",), split=3), tmp_path / "only")
    from_tables = merge(both, tmp_path / "tables")
    from_coco = merge(only, tmp_path / "coco")
    for key in ("categories", "images"):
        assert from_tables.dataset[key] == from_coco.dataset[key]

    def masks(coco: COCO) -> list[dict[str, object]]:
        """Annotations in one order: that of objects on a frame is the writer's."""
        rows = sorted(coco.dataset["annotations"], key=lambda row: (row["image_id"], row["object_id"]))
        return [{key: row[key] for key in row if key != "id"} for row in rows]

    assert masks(from_tables) == masks(from_coco)


def test_images_without_masks_are_there(mixed: Path, settings: JobSettings, tmp_path: Path) -> None:
    store = run_all(mixed, settings, tmp_path)
    for path in (tmp_path / "masks").iterdir():  # as if nothing had been found
        pq.write_table(pa.Table.from_pylist([], SCHEMA), path)
    coco = merge(store, tmp_path / "merged")
    assert len(coco.dataset["images"]) == 3 + FRAMES + 2 + 1
    assert coco.dataset["annotations"] == []
    for path in (tmp_path / "records").iterdir():  # as of a version whose records did not say
        record = json.loads(path.read_text())
        path.write_text(
            json.dumps({name: record[name] for name in record.keys() - {"masked", "size", "names"}})
        )
    assert merge(store, tmp_path / "merged").dataset["images"] == []


def test_files_of_an_earlier_merge_go(mixed: Path, settings: JobSettings, tmp_path: Path) -> None:
    store, merged = run_all(mixed, settings, tmp_path / "out"), tmp_path / "merged"
    merged.mkdir()
    for name in ("masks-00001.parquet", "errors.parquet", "notes.txt", "masks-of-mine.parquet"):
        (merged / name).write_text("of an earlier merge")
    files = merge_results(store, Store(str(merged)), ["parquet", "coco"])
    assert files == ["masks-00000.parquet", "coco.json"]
    assert sorted(path.name for path in merged.iterdir()) == sorted(
        [*files, "notes.txt", "masks-of-mine.parquet"]
    )
    assert len(list(read_masks(merged / "masks-00000.parquet"))) == 3 + FRAMES + 2 + 1


def test_what_cannot_be_merged_is_named(mixed: Path, settings: JobSettings, tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    job = {"manifest": str(mixed / "manifest.csv"), "settings": settings.to_json()}
    store.write_json("job.json", job)
    with pytest.raises(MaskletError, match=r"merged files can be parquet or coco\. Got yolo\."):
        merge_results(store, store, ["yolo"])
    with pytest.raises(MaskletError, match="4 items are not done: run masklet jobs resume"):
        merge_results(store, store, ["coco"])
    store.write_json("job.json", {**job, "settings": replace(settings, formats=("yolo",)).to_json()})
    with pytest.raises(
        MaskletError, match=r"coco is merged from parquet or coco files\. This job writes yolo,"
    ):
        merge_results(store, store, ["coco"])
