"""Merges all masks of a job into few files: large Parquet files, or one COCO file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from masklet.errors import MaskletError
from masklet.jobs.manifest import read_manifest
from masklet.jobs.plan import make_plan
from masklet.jobs.records import FILES, ItemRecord, MaskFiles, VideoSplit, read_errors, read_job
from masklet.jobs.settings import PARQUET
from masklet.jobs.stores import Store, is_glob
from masklet.jobs.tables import SCHEMA
from masklet.media.readers.source import frame_file_name
from masklet.media.writers.spool import dump_json
from masklet.media.writers.writer import UNNAMED

COCO = "coco"
FORMATS = (PARQUET, COCO)
COCO_FILE, ERRORS_FILE = "coco.json", "errors.parquet"
MASKS_FILE = re.compile(r"masks-\d{5}\.parquet")
FILE_ROWS = 5_000_000  # bytes of a merged Parquet file
BATCH_ROWS = 65536


def merge_results(
    store: Store, target: Store, formats: Sequence[str] = (PARQUET,), *, is_partial: bool = False
) -> list[str]:
    """Copy the masks of all items into few files, by source and part. Files of an earlier merge are removed.

    Args:
        store: The results.
        target: The folder for masks-00000.parquet and so on, coco.json, and errors.parquet if items failed.
        formats: parquet, coco, or both.
        is_partial: Whether items may be missing.

    Returns:
        The files.

    Raises:
        MaskletError: Items are not done yet, or the job's formats cannot be merged.
    """
    if unknown := [name for name in formats if name not in FORMATS]:
        raise MaskletError(f"merged files can be {' or '.join(FORMATS)}. Got {unknown[0]}.")
    manifest, settings = read_job(store)
    has_table = PARQUET in settings.formats
    for name in formats:
        if not (has_table or (name == COCO and COCO in settings.formats)):
            raise MaskletError(
                f"{name} is merged from {' or '.join(FORMATS[: FORMATS.index(name) + 1])} files. This job "
                f"writes {', '.join(settings.formats)}, a folder for each item in {store.url}/{FILES}."
            )
    entries = read_manifest(manifest)
    plan = make_plan(entries, store)
    if plan.waiting and not is_partial:
        raise MaskletError(
            f"{len(plan.waiting)} items are not done: run masklet jobs resume first, or merge the finished "
            "ones with --partial."
        )
    done = [plan.records[id] for id in plan.done]
    done.sort(key=lambda record: (record.source, record.masks.part))
    files = list[str]()
    if PARQUET in formats:
        files += _merge_tables(store, target, [record.masks.table for record in done])
    if COCO in formats:
        names = _names_below_common_folder([entry.source for entry in entries])
        kind = _TableItem if has_table else _CocoItem
        starts = _part_starts(plan.records)
        items = [kind(store, row, names[row.source], starts.get(row.item, 0)) for row in done]
        _write_coco(target, items)
        files.append(COCO_FILE)
    errors = read_errors(store)
    if errors:
        with target.writing(ERRORS_FILE) as part:
            pq.write_table(pa.Table.from_pylist([error.to_json() for error in errors]), part)
        files.append(ERRORS_FILE)
    for name in target.names(""):
        is_earlier = name == ERRORS_FILE or (PARQUET in formats and MASKS_FILE.fullmatch(name))
        if is_earlier and name not in files:
            target.remove(name)
    if target.url != store.url:  # workers may still be writing there
        target.remove_unfinished()
    return files


def _merge_tables(store: Store, target: Store, names: list[str]) -> Iterator[str]:
    names = list(names)
    count = 0
    while names:
        file = f"masks-{count:05d}.parquet"
        with target.writing(file) as part, pq.ParquetWriter(part, SCHEMA, compression="zstd") as writer:
            rows = 0
            while names and rows < FILE_ROWS:
                with store.open(names.pop(0)) as source:
                    for batch in pq.ParquetFile(source).iter_batches(BATCH_ROWS):
                        writer.write_batch(batch)
                        rows += batch.num_rows
        yield file
        count += 1


@dataclass(frozen=True)
class _Image:
    """A frame that has masks or could have had some, so not one before the first prompt."""

    frame: int  # of the item
    height: int
    width: int
    file_name: str


@dataclass(frozen=True)
class _Item:
    """The results of one item, as COCO needs them.

    Attributes:
        record: Of an item that is done.
        name: Its source, below the folder that all sources share.
        start: The first frame of the part, in the whole video.
    """

    store: Store
    record: ItemRecord
    name: str
    start: int

    @property
    def masks(self) -> MaskFiles:
        return self.record.masks

    def images(self) -> Iterator[_Image]:
        raise NotImplementedError

    def annotations(self) -> Iterator[tuple[int, str, dict[str, Any]]]:
        """Each mask: its frame, its class, and its keys in COCO."""
        raise NotImplementedError

    def classes(self) -> Iterator[str]:
        return (category for _, category, _ in self.annotations())

    def image_name(self, file_name: str) -> str:
        """The path of an image, or of a video's frame below the video's own: a/1.mp4/00007.jpg."""
        path = PurePosixPath(self.name)
        if path.name.split("?")[0] == file_name:
            return self.name
        return str((path.parent if is_glob(self.name) else path) / file_name)


class _TableItem(_Item):
    """Of a Parquet file, which is read batch by batch."""

    def images(self) -> Iterator[_Image]:
        sizes = {
            row["frame"] - self.start: (row["height"], row["width"])
            for row in self._rows("frame", "height", "width")
        }
        if self.masks.masked is not None and self.masks.size is not None:
            # Jobs of earlier versions do not say which frames have no objects.
            sizes = dict.fromkeys(range(*self.masks.masked), self.masks.size)
        names = self.masks.names
        for frame, (height, width) in sizes.items():
            name = names[frame] if names else frame_file_name(self.start + frame, ".jpg")
            yield _Image(frame, height, width, self.image_name(name))

    def annotations(self) -> Iterator[tuple[int, str, dict[str, Any]]]:
        for row in self._rows(*SCHEMA.names):
            if row["area"]:
                box = [row["x0"], row["y0"], row["x1"] - row["x0"], row["y1"] - row["y0"]]
                size = [row["height"], row["width"]]
                keys = {
                    "object_id": row["object"],
                    "segmentation": {"size": size, "counts": row["rle"]},
                    "area": row["area"],
                    "bbox": box,
                    "score": round(row["iou"], 4),
                    "iscrowd": 0,
                }
                yield row["frame"] - self.start, row["class"] or UNNAMED, keys

    def classes(self) -> Iterator[str]:
        return (row["class"] or UNNAMED for row in self._rows("class", "area") if row["area"])

    def _rows(self, *columns: str) -> Iterator[dict[str, Any]]:
        with self.store.open(self.masks.table) as file:
            for batch in pq.ParquetFile(file).iter_batches(BATCH_ROWS, columns=list(columns)):
                yield from batch.to_pylist()


class _CocoItem(_Item):
    """Of a coco.json, where a job writes no Parquet."""

    @property
    def _content(self) -> dict[str, Any]:
        content: dict[str, Any] = self.store.read_json(f"{self.masks.folder}/{COCO_FILE}")
        return content

    def images(self) -> Iterator[_Image]:
        for image in self._content["images"]:
            name = self.image_name(image["file_name"])
            yield _Image(image["id"] - 1, image["height"], image["width"], name)

    def annotations(self) -> Iterator[tuple[int, str, dict[str, Any]]]:
        content = self._content
        names = {category["id"]: category["name"] for category in content["categories"]}
        for annotation in content["annotations"]:
            keys = {name: annotation[name] for name in annotation.keys() - {"id", "image_id", "category_id"}}
            yield annotation["image_id"] - 1, names[annotation["category_id"]], keys


def _write_coco(target: Store, items: Sequence[_Item]) -> None:
    """Write one COCO file, piece by piece. Ids count from 1 on; a video and frame stand in each image."""
    names = {name for item in items for name in item.classes()} or {UNNAMED}
    categories = {name: id for id, name in enumerate(sorted(names), 1)}
    images = dict[tuple[int, int], int]()  # the id of an image, by item and frame

    def write_images() -> Iterator[dict[str, Any]]:
        for number, item in enumerate(items):
            for image in item.images():
                id = images[number, image.frame] = len(images) + 1
                yield {
                    "id": id,
                    "file_name": image.file_name,
                    "height": image.height,
                    "width": image.width,
                    "video": item.record.source,
                    "frame": item.start + image.frame,
                }

    def write_annotations() -> Iterator[dict[str, Any]]:
        count = 0
        for number, item in enumerate(items):
            for frame, category, keys in item.annotations():
                count += 1
                ids = {"id": count, "image_id": images[number, frame], "category_id": categories[category]}
                yield {**ids, **keys}

    content = {
        "info": {"description": f"{len(items)} items"},
        "licenses": [],
        "categories": [
            {"id": id, "name": name, "supercategory": "object"} for name, id in categories.items()
        ],
        "images": write_images(),
        "annotations": write_annotations(),  # after the images, whose ids it needs
    }
    with target.writing(COCO_FILE) as part, open(part, "w", encoding="utf-8") as file:
        dump_json(content, file)


def _part_starts(records: Mapping[str, ItemRecord]) -> dict[str, int]:
    """The first frame of each part, by item."""
    return {
        f"{record.item}-{number:05d}": start
        for record in records.values()
        if isinstance(record.results, VideoSplit)
        for number, (start, _) in enumerate(record.results.parts)
    }


def _names_below_common_folder(sources: Sequence[str]) -> dict[str, str]:
    """Each source without the common folders.

    >>> _names_below_common_folder(["s3://clips/a/1.mp4", "s3://clips/b/1.mp4"])
    {'s3://clips/a/1.mp4': 'a/1.mp4', 's3://clips/b/1.mp4': 'b/1.mp4'}
    """
    parts = {source: source.rstrip("/").split("/") for source in sources}
    folders = zip(*(path[:-1] for path in parts.values()), strict=False)
    common = sum(1 for _ in takewhile(lambda names: len(set(names)) == 1, folders))
    return {source: "/".join(path[common:]) for source, path in parts.items()}
