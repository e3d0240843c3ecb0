"""The work of an actor on one item: fetch, decode, segment, publish. It does not depend on Ray."""

from __future__ import annotations

import gc
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from masklet import checkpoint
from masklet.auto import Detection, everything_in_image, everything_in_video, make_detector
from masklet.checkpoint.locations import find_given
from masklet.errors import MaskletError
from masklet.files import sha256
from masklet.jobs.manifest import Entry
from masklet.jobs.records import (
    FILES,
    MASKS,
    TABLE,
    ErrorKind,
    ItemError,
    ItemRecord,
    MaskFiles,
    VideoSplit,
    read_record,
    write_record,
)
from masklet.jobs.settings import PARQUET, JobSettings
from masklet.jobs.stores import Store, StoreError, is_local, local_copy, local_path
from masklet.jobs.tables import MaskTable
from masklet.media import Frames, Image, PixelSize, Writer, Writers, find_images, open_frames, writers
from masklet.media.readers.prompt_files import ObjectPrompts, build_prompts
from masklet.media.readers.source import frame_file_name
from masklet.model import Sam2
from masklet.postprocess import tidy
from masklet.run_folder import Run, digest
from masklet.sessions.scene_cuts import is_cut, thumbnail
from masklet.sessions.tracker import track
from masklet.tracking.policies import find_policy
from masklet.types import Masks

SYSTEM_ERRORS = (StoreError, OSError, MemoryError, RuntimeError)


@dataclass(frozen=True)
class Item:
    """One unit of work: a source, or one part of it.

    Attributes:
        entry: The manifest's entry.
        part: The number of the part; None for a source that was not opened yet.
        start: The part's first frame.
        stop: The frame after its last; None for the source's end.
    """

    entry: Entry
    part: int | None = None
    start: int = 0
    stop: int | None = None

    @property
    def id(self) -> str:
        return self.entry.id if self.part is None else f"{self.entry.id}-{self.part:05d}"

    @property
    def title(self) -> str:
        return self.entry.source if self.part is None else f"{self.entry.source}, part {self.part}"

    def parts(self, ranges: Iterable[tuple[int, int]]) -> list[Item]:
        return [Item(self.entry, part, start, stop) for part, (start, stop) in enumerate(ranges)]


@dataclass(frozen=True)
class Outcome:
    """The result of an item.

    Attributes:
        record: The published record; None if it failed.
        error: The error, with its type.
        kind: The cause: the input or the system.
    """

    record: ItemRecord | None
    error: str = ""
    kind: ErrorKind = "input"


class Worker:
    """Runs items with one model, which is loaded once.

    Args:
        settings: The job's settings.
        out: The URL of the results.
        threads: The number of torch's threads; None does not change it.
    """

    def __init__(self, settings: JobSettings, out: str, threads: int | None = None) -> None:
        import torch

        if threads is not None:
            torch.set_num_threads(threads)
        self._settings = settings
        self._store = Store(out)
        self._model: Sam2 = checkpoint.load(
            settings.model,
            dtype=settings.dtype,
            setting=settings.setting,
            image_size=settings.image_size,
        )
        self._progress = ("", 0, 0)
        gc.collect()
        gc.freeze()  # so that a collection after each item is quick

    def progress(self) -> tuple[str, int, int]:
        """The running item, its finished frames, and all its frames."""
        return self._progress

    def run(self, item: Item) -> Outcome:
        """Run one item. Its results are published before this returns, and its record after them."""
        try:
            return self._run(item)
        except SYSTEM_ERRORS as error:
            text = str(error) if isinstance(error, MaskletError) else f"{type(error).__name__}: {error}"
            return Outcome(None, text, "system")
        except MaskletError as error:
            return Outcome(None, str(error))
        except Exception as error:
            return Outcome(None, f"{type(error).__name__}: {error}")
        finally:
            gc.collect()  # a video and its decoder are a reference cycle, with threads and open files

    def _run(self, item: Item) -> Outcome:
        started, processor = time.time(), time.process_time()
        self._progress = (item.id, 0, 0)
        stamp = item.entry.stamp()
        with ExitStack() as stack:
            path = stack.enter_context(local_copy(item.entry.source))
            detections = item.entry.detections
            coco = None if detections is None else stack.enter_context(local_copy(detections))
            key = self._key(item, path, coco)
            record = read_record(self._store, key)
            if record is None:
                results = self._segment(item, path, coco, key)
                record = ItemRecord(
                    key,
                    item.id,
                    item.entry.source,
                    stamp,
                    socket.gethostname(),
                    began=round(started, 3),
                    seconds=round(time.time() - started, 3),
                    results=results,
                    processor_seconds=round(time.process_time() - processor, 3),
                )
                write_record(self._store, record)
            elif (record.item, record.stamp) != (item.id, stamp):  # the same content, written again
                record = replace(record, item=item.id, stamp=stamp)
                write_record(self._store, record)
        return Outcome(record)

    def _key(self, item: Item, path: str, coco: str | None) -> str:
        """The name of the results: a hash of content and settings."""
        from importlib.metadata import version

        local = Path(path)
        files = [local] if local.is_file() else find_images(local)
        inputs = {"source": digest(path, files)}
        if coco is not None:
            inputs["detections"] = digest(coco, [Path(coco)])
        masks = [sha256(file) for file in item.entry.mask_files]
        settings = {**self._settings.to_json(), "item": item.id, "masks": masks}
        if (model := find_given(self._settings.model)) is not None:
            settings["weights"] = digest(self._settings.model, [model])
        return Run("jobs", version("masklet"), settings, inputs).key

    def _segment(self, item: Item, path: str, coco: str | None, key: str) -> MaskFiles | VideoSplit:
        """Publish the masks of an item, or split it."""
        settings = self._settings
        frames = open_frames(
            path,
            fps=settings.fps,
            channel=settings.channel,
            intensity_range=settings.intensity_range,
            max_pixels=settings.max_pixels,
            pixel_size=None if settings.pixel_size is None else PixelSize(*settings.pixel_size),
        )
        prompts = self._prompts(item, frames)
        if item.part is None and settings.split is not None and len(frames) > settings.split:
            ranges = split_frames(frames, settings.split, keep_scenes=bool(item.entry.rows))
            return VideoSplit(tuple(select_parts(ranges, prompts)))
        detections: str | PartDetections | None = coco
        if item.stop is not None:
            if coco is not None:
                detections = PartDetections(coco, frames, range(item.start, item.stop))
            frames = frames.part(item.start, item.stop)
            prompts = shift_prompts(prompts, item.start, item.stop)
        masks, classes = self._masks(item, frames, prompts, detections)
        prompts = replace(prompts, classes=classes)
        return self._write(item, self._count(item, masks, len(frames)), frames, prompts, key)

    def _prompts(self, item: Item, frames: Frames) -> ObjectPrompts:
        rows, folder = item.entry.rows, item.entry.folder
        if not is_local(folder) and any(isinstance(row.values.get("mask"), str) for row in rows):
            raise MaskletError(f"masks in a manifest in {folder} must be run lengths (RLE), not paths.")
        return build_prompts(rows, local_path(folder), frames)

    def _masks(
        self, item: Item, frames: Frames, prompts: ObjectPrompts, detections: str | PartDetections | None
    ) -> tuple[Iterator[Masks], Mapping[int, str]]:
        """The masks, and the objects' classes."""
        settings, model, classes = self._settings, self._model, prompts.classes
        masks: Iterator[Masks]
        if prompts.by_frame:
            delay = find_policy(settings.policy)().latency
            masks = track(
                model, frames, prompts.by_frame, policy=settings.policy, cuts=settings.cuts, delay=delay
            )
        elif len(frames) == 1 and detections is None:
            masks = iter([everything_in_image(model, frames[0], settings.preset)])
        else:
            found = everything_in_video(
                model,
                frames,
                settings.preset,
                detections=detections,
                every=settings.every,
                patience=settings.patience,
                max_objects=settings.max_objects,
                policy=settings.policy,
                cuts=settings.cuts,
                progress=lambda share: self._report(item, round(share * len(frames)), len(frames)),
            )
            masks, classes = found, found.find_classes()
        finished = (tidy(frame, exclusive=True) if settings.exclusive else frame for frame in masks)
        return finished, classes

    def _count(self, item: Item, masks: Iterator[Masks], total: int) -> Iterator[Masks]:
        for frame in masks:
            yield frame
            self._report(item, frame.frame + 1, total)

    def _report(self, item: Item, done: int, total: int) -> None:
        self._progress = (item.id, done, total)

    def _write(
        self, item: Item, masks: Iterator[Masks], frames: Frames, prompts: ObjectPrompts, key: str
    ) -> MaskFiles:
        if self._settings.formats != (PARQUET,):
            formats = [name for name in self._settings.formats if name != PARQUET]
            with (
                self._store.writing(f"{FILES}/{key}") as folder,
                _ResultWriter(writers(formats, folder, frames, prompts.classes)) as writer,
            ):
                table = self._table(folder / TABLE, item, frames, prompts)
                with table if PARQUET in self._settings.formats else Writers() as rows:
                    written = _write_all(masks, item, frames, Writers(writer, rows))
                count = sum(1 for _ in folder.rglob("*"))
            return replace(written, folder=f"{FILES}/{key}", files=count)
        name = f"{MASKS}/{key}.parquet"
        with (
            self._store.writing(name) as part,
            self._table(part, item, frames, prompts) as table,
        ):
            written = _write_all(masks, item, frames, table)
        return replace(written, file=name)

    def _table(self, path: Path, item: Item, frames: Frames, prompts: ObjectPrompts) -> MaskTable:
        return MaskTable(
            path, frames, item.entry.source, item.part or 0, item.start, prompts.names, prompts.classes
        )


class PartDetections(Mapping[int, list[Detection] | None]):
    """Detections of a whole video's COCO JSON by the frames of one part, which are numbered from 0.

    Args:
        path: The JSON.
        frames: Of the whole video.
        part: The frames of the part.

    Raises:
        MediaError: The JSON is not COCO, or is of another video.
    """

    def __init__(self, path: str, frames: Frames, part: range) -> None:
        self._detect = make_detector(path, frames.file_name, len(frames))
        self._size, self._part = frames.size, part

    def __getitem__(self, frame: int) -> list[Detection] | None:
        return self._detect(self._part[frame], self._size)

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self._part)))

    def __len__(self) -> int:
        return len(self._part)


class _ResultWriter(Writer):
    """Passes masks to a writer and reports its errors as errors of the store, not of the video."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def write(self, image: Image, masks: Masks) -> None:
        try:
            self._writer.write(image, masks)
        except (OSError, MaskletError) as error:
            raise StoreError(str(error)) from error

    def close(self) -> None:
        try:
            self._writer.close()
        except (OSError, MaskletError) as error:
            raise StoreError(str(error)) from error


def _write_all(masks: Iterable[Masks], item: Item, frames: Frames, writer: Writer) -> MaskFiles:
    """Write masks; returns their description for the record, without their location."""
    count, written = 0, list[int]()
    for frame_masks in masks:
        writer.write(frames[frame_masks.frame], frame_masks)
        count += len(frame_masks)
        written.append(frame_masks.frame)
    names = [frames.file_name(frame) for frame in range(len(frames))]
    of_video = [frame_file_name(item.start + frame, ".jpg") for frame in range(len(frames))]
    return MaskFiles(
        part=item.part or 0,
        frames=len(frames),
        masks=count,
        masked=(min(written, default=0), max(written, default=-1) + 1),
        size=frames.size,
        names=None if names == of_video else tuple(names),
    )


def split_frames(frames: Frames, longest: int, *, keep_scenes: bool) -> list[tuple[int, int]]:
    """Parts of a video, as (start, stop), that end at scene cuts.

    Args:
        frames: The video.
        longest: Frames of a part. Scenes are joined as long as they fit.
        keep_scenes: Whether a longer scene is not split, since an object is tracked through it.
    """
    cuts = list(_cuts(frames))
    ranges, start = list[tuple[int, int]](), 0
    for scene_start, scene_stop in zip([0, *cuts], [*cuts, len(frames)], strict=True):
        if scene_stop - start > longest and scene_start > start:
            ranges.append((start, scene_start))
            start = scene_start
        while not keep_scenes and scene_stop - start > longest:
            ranges.append((start, start + longest))
            start += longest
    if start < len(frames):
        ranges.append((start, len(frames)))
    return ranges


def _cuts(frames: Frames) -> Iterator[int]:
    """The frames on which scenes begin, in one pass."""
    last = None
    for number, image in enumerate(frames):
        small = thumbnail(image)
        if last is not None and is_cut(last, small):
            yield number
        last = small


def select_parts(ranges: Iterable[tuple[int, int]], prompts: ObjectPrompts) -> list[tuple[int, int]]:
    """The parts to run: those with prompts, or all if there are none."""
    if not prompts.by_frame:
        return list(ranges)
    return [
        (start, stop) for start, stop in ranges if any(start <= frame < stop for frame in prompts.by_frame)
    ]


def shift_prompts(prompts: ObjectPrompts, start: int, stop: int) -> ObjectPrompts:
    """The prompts of a part, whose frames are numbered from 0."""
    inside = {frame - start: by_id for frame, by_id in prompts.by_frame.items() if start <= frame < stop}
    return replace(prompts, by_frame=inside)


def make_error(item: Item, error: str, kind: ErrorKind, attempts: int) -> ItemError:
    return ItemError(
        item.id,
        item.entry.source,
        item.part or 0,
        kind,
        error,
        attempts,
        time=round(time.time(), 1),
        stamp=item.entry.stamp_if_there(),
    )
