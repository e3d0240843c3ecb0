"""One item at a time, without Ray: the masks of `track`, whole or absent, under a name of their content."""

from __future__ import annotations

import gc
import json
import os
import random
import re
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

import masklet
from masklet.errors import MaskletError
from masklet.jobs import worker as worker_module
from masklet.jobs.manifest import Entry, read_manifest
from masklet.jobs.merge import merge_results
from masklet.jobs.plan import Progress, make_plan
from masklet.jobs.records import VideoSplit, last_status, read_errors, read_job, read_records, read_status
from masklet.jobs.run import run_job
from masklet.jobs.settings import Cluster, JobSettings
from masklet.jobs.stores import Store
from masklet.jobs.tables import SCHEMA, read_masks
from masklet.jobs.worker import Item, Outcome, Worker, split_frames
from masklet.media import open_frames, read_masklets
from masklet.types import Prompt
from media.made import write_video
from toy_models import clip, toy_network

from .conftest import FRAMES


def items(corpus: Path) -> list[Item]:
    return [Item(entry) for entry in read_manifest(str(corpus / "manifest.csv"))]


def run(settings: JobSettings, out: Path, item: Item) -> Outcome:
    return Worker(settings, str(out)).run(item)


def test_masks_are_those_of_track(corpus: Path, settings: JobSettings, tmp_path: Path) -> None:
    item = items(corpus)[0]
    outcome = run(settings, tmp_path, item)
    assert outcome.record is not None and outcome.record.masks.masks == FRAMES
    table = pq.read_table(tmp_path / outcome.record.masks.path)
    assert table.schema == SCHEMA
    assert set(table["class"].to_pylist()) == {"pet"} and set(table["name"].to_pylist()) == {"dog"}
    model = masklet.load(settings.model, device="cpu")
    expected = list(masklet.track(model, corpus / "0.mp4", {0: {1: Prompt(positive=[(20, 24)])}}))
    written = list(read_masks(tmp_path / outcome.record.masks.path))
    assert [masks.frame for masks in written] == list(range(FRAMES))
    for one, other in zip(written, expected, strict=True):
        np.testing.assert_array_equal(one[1], other[1])
        np.testing.assert_allclose(one.score.numpy(), other.score.numpy(), rtol=1e-6)


def test_a_second_run_does_nothing(corpus: Path, settings: JobSettings, tmp_path: Path) -> None:
    item, worker = items(corpus)[0], Worker(settings, str(tmp_path))
    first = worker.run(item)
    assert first.record is not None
    path = tmp_path / first.record.masks.path
    written = path.stat().st_mtime_ns
    assert worker.run(item) == first
    assert path.stat().st_mtime_ns == written


def test_the_name_follows_content_and_settings(corpus: Path, settings: JobSettings, tmp_path: Path) -> None:
    item = items(corpus)[0]
    video = tmp_path / "video.mp4"
    shutil.copy(corpus / "0.mp4", video)
    item = replace(item, entry=replace(item.entry, source=str(video)))

    def key(settings: JobSettings) -> str:
        record = run(settings, tmp_path / "out", item).record
        assert record is not None
        return record.key

    first = key(settings)
    assert key(replace(settings, exclusive=True)) != first
    os.utime(video)
    assert key(settings) == first
    shutil.copy(corpus / "1.mp4", video)
    assert key(settings) != first


def test_a_job_that_never_began_says_so(settings: JobSettings, tmp_path: Path) -> None:
    """Ray could not be started: there is a job, but no status yet."""
    store = Store(str(tmp_path))
    with pytest.raises(MaskletError, match="contains no job"):
        last_status(store)
    store.write_json("job.json", {"manifest": "clips.csv", "settings": settings.to_json()})
    with pytest.raises(MaskletError, match=r"the job of clips\.csv has not started: run masklet jobs resume"):
        last_status(store)


def test_no_file_and_no_thread_of_an_item_stays(corpus: Path, settings: JobSettings, tmp_path: Path) -> None:
    """A video's decoder has threads and a file of its own, which are in a cycle with the video."""
    worker, process = Worker(settings, str(tmp_path)), psutil.Process()
    entry, used = items(corpus)[0].entry, list[tuple[int, int]]()
    gc.disable()  # the worker must not depend on when Python collects by itself
    try:
        for part in range(6):
            assert worker.run(Item(entry, part=part)).record is not None
            used.append((process.num_fds(), process.num_threads()))
    finally:
        gc.enable()
    assert len(set(used[1:])) == 1


def test_a_broken_video_is_the_inputs_fault(corpus: Path, settings: JobSettings, tmp_path: Path) -> None:
    outcome = run(settings, tmp_path, items(corpus)[-1])
    assert (outcome.record, outcome.kind) == (None, "input")
    assert "broken.mp4" in outcome.error
    assert Store(str(tmp_path)).names("masks") == []


def test_a_full_disk_is_the_systems_fault_and_leaves_nothing(
    corpus: Path, settings: JobSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FullTable(worker_module.MaskTable):
        def _flush(self) -> None:
            self._path.write_bytes(b"half")
            raise worker_module.StoreError("no space left on device")

    monkeypatch.setattr(worker_module, "MaskTable", FullTable)
    outcome = run(settings, tmp_path, items(corpus)[0])
    assert (outcome.record, outcome.kind) == (None, "system")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_other_formats_are_published_as_a_folder(corpus: Path, settings: JobSettings, tmp_path: Path) -> None:
    formats = replace(settings, formats=("parquet", "masklets", "palette"))
    record = run(formats, tmp_path, items(corpus)[0]).record
    assert record is not None
    folder = tmp_path / record.masks.path
    assert len(list(read_masklets(folder / "masklets.json"))) == FRAMES
    assert len(list((folder / "masks").iterdir())) == FRAMES
    assert len(list(read_masks(folder / "masks.parquet"))) == FRAMES
    store, manifest = Store(str(tmp_path)), str(corpus / "manifest.csv")
    store.write_json("job.json", {"manifest": manifest, "settings": formats.to_json()})
    (merged,) = merge_results(store, Store(str(tmp_path / "merged")), is_partial=True)
    assert pq.read_table(tmp_path / "merged" / merged).num_rows == FRAMES
    without = replace(settings, formats=("masklets", "palette"))
    store.write_json("job.json", {"manifest": manifest, "settings": without.to_json()})
    with pytest.raises(
        MaskletError, match=r"parquet is merged from parquet files\. This job writes masklets, palette"
    ):
        merge_results(store, Store(str(tmp_path / "merged")), is_partial=True)


def test_without_prompts_everything_is_tracked(corpus: Path, settings: JobSettings, tmp_path: Path) -> None:
    outcome = run(replace(settings, preset="fast"), tmp_path, Item(Entry(str(corpus / "0.mp4"))))
    assert outcome.record is not None, outcome.error


def test_a_long_video_is_split_at_cuts(settings: JobSettings, tmp_path: Path) -> None:
    scenes = [clip(5, seed=0), 255 - clip(4, seed=7) // 2, clip(3, seed=3) // 4]
    video = write_video(tmp_path / "long.mp4", np.concatenate(scenes))
    frames = open_frames(video)
    assert split_frames(frames, 5, keep_scenes=True) == [(0, 5), (5, 9), (9, 12)]
    assert split_frames(frames, 9, keep_scenes=True) == [(0, 9), (9, 12)]
    assert split_frames(frames, 4, keep_scenes=False) == [(0, 4), (4, 5), (5, 9), (9, 12)]
    (tmp_path / "m.csv").write_text("source,frame,x,y\nlong.mp4,6,20,24\n")
    (entry,) = read_manifest(str(tmp_path / "m.csv"))
    worker = Worker(replace(settings, split=5), str(tmp_path / "out"))
    outcome = worker.run(Item(entry))
    assert outcome.record is not None and outcome.record.results == VideoSplit(((5, 9),))
    (part,) = Item(entry).parts(outcome.record.results.parts)
    done = worker.run(part)
    assert done.record is not None, done.error
    written = list(read_masks(tmp_path / "out" / done.record.masks.path))
    assert [masks.frame for masks in written] == [6, 7, 8]


def test_a_source_on_a_web_server_is_fetched(corpus: Path, settings: JobSettings, tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    handler = partial(SimpleHTTPRequestHandler, directory=str(corpus))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            url = f"http://127.0.0.1:{server.server_port}"
            (tmp_path / "m.csv").write_text(f"source,x,y\n{url}/0.mp4,20,24\n{url}/none.mp4,20,24\n")
            there, missing = (Item(entry) for entry in read_manifest(str(tmp_path / "m.csv")))
            outcome = run(settings, tmp_path / "out", there)
            assert outcome.record is not None, outcome.error
            assert outcome.record.masks.masks == FRAMES
            error = run(settings, tmp_path / "out", missing)
            assert error.kind == "system" and error.error.startswith(f"{url}/none.mp4 cannot be used")
        finally:
            server.shutdown()


class Nameless(SimpleHTTPRequestHandler):
    """A server that sends neither tags nor times; `parts` says whether it sends parts of files."""

    parts = False

    def send_header(self, keyword: str, value: str) -> None:
        if keyword != "Last-Modified":
            super().send_header(keyword, value)

    def do_GET(self) -> None:
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if not (self.parts and match):
            super().do_GET()
            return
        data = Path(self.translate_path(self.path)).read_bytes()
        start, stop = int(match[1]), min(int(match[2]) + 1, len(data))
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        self.wfile.write(data[start:stop])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.mark.parametrize(
    ("server_kind", "place"), [("times", 70_000), ("parts", 10), ("parts", 199_990), ("whole files", 10)]
)
def test_a_source_of_the_same_size_that_changed_is_noticed(
    tmp_path: Path, server_kind: str, place: int
) -> None:
    pytest.importorskip("aiohttp")
    kind = {"times": SimpleHTTPRequestHandler, "whole files": Nameless}.get(server_kind)
    handler = partial(kind or type("Parts", (Nameless,), {"parts": True}), directory=str(tmp_path))
    video = tmp_path / "clip.mp4"
    content = bytearray(200_000)
    video.write_bytes(content)
    os.utime(video, (1e9, 1e9))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            entry = Entry(f"http://127.0.0.1:{server.server_port}/clip.mp4")
            before = entry.stamp()
            assert entry.stamp() == before
            content[place] = 1
            video.write_bytes(content)
            assert entry.stamp() != before
        finally:
            server.shutdown()


def write_detections(path: Path, frames: dict[int, int]) -> str:
    """A COCO JSON with a box at x of each frame, which is named by its index."""
    images = [{"id": frame, "frame_index": frame, "height": 48, "width": 64} for frame in frames]
    annotations = [
        {"id": frame, "image_id": frame, "category_id": 1, "bbox": [x, 8, 20, 20], "iscrowd": 0}
        for frame, x in frames.items()
    ]
    categories = [{"id": 1, "name": "pet"}]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return str(path)


def test_a_part_has_the_detections_of_its_own_frames(settings: JobSettings, tmp_path: Path) -> None:
    """Frames of a part are numbered from 0, those of the JSON by the whole video."""
    video = write_video(tmp_path / "video.mp4", clip(6))
    path = write_detections(tmp_path / "boxes.json", {0: 2, 1: 2, 4: 30})
    part = worker_module.PartDetections(path, open_frames(video), range(3, 6))
    assert [None if part[frame] is None else part[frame][0].prompt.box for frame in part] == [
        None,
        (30.0, 8.0, 50.0, 28.0),
        None,
    ]
    worker = Worker(replace(settings, split=3), str(tmp_path / "out"))
    whole = Item(Entry(str(video), detections=path))
    split = worker.run(whole)
    assert split.record is not None and split.record.results == VideoSplit(((0, 3), (3, 6)))
    outcomes = [worker.run(part) for part in whole.parts(split.record.results.parts)]
    assert [outcome.error for outcome in outcomes] == ["", ""]
    table = pq.read_table(tmp_path / "out" / outcomes[1].record.masks.path)
    assert len(table) and set(table["frame"].to_pylist()) <= {3, 4, 5}
    assert set(table["class"].to_pylist()) == {"pet"}


def test_the_classes_of_detections_reach_the_table_and_the_files(
    settings: JobSettings, tmp_path: Path
) -> None:
    """An object has the class of the detection that it began with, also on frames before and after."""
    video = write_video(tmp_path / "video.mp4", clip(4))
    images = [{"id": frame, "frame_index": frame} for frame in range(4)]
    annotations = [
        {"id": 1, "image_id": 1, "category_id": 7, "segmentation": [[2, 2, 20, 2, 20, 20, 2, 20]]},
        {"id": 2, "image_id": 1, "category_id": 9, "segmentation": [[40, 24, 60, 24, 60, 44, 40, 44]]},
        {"id": 3, "image_id": 1, "category_id": 8, "segmentation": [[2, 28, 20, 28, 20, 44, 2, 44]]},
    ]
    categories = [{"id": 7, "name": "pet"}, {"id": 9, "name": "ball"}, {"id": 8, "name": None}]
    coco = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "boxes.json").write_text(json.dumps(coco))
    job = replace(settings, formats=("parquet", "coco"))
    outcome = run(job, tmp_path / "out", Item(Entry(str(video), detections=str(tmp_path / "boxes.json"))))
    assert outcome.record is not None, outcome.error
    folder = tmp_path / "out" / outcome.record.masks.path
    table = pq.read_table(folder / "masks.parquet").to_pylist()
    by_object = {object: {row["class"] for row in table if row["object"] == object} for object in (1, 2, 3)}
    assert sorted(map(str, by_object.values())) == ["{'ball'}", "{'pet'}", "{None}"]
    written = json.loads((folder / "coco.json").read_text())
    names = {category["id"]: category["name"] for category in written["categories"]}
    assert set(names.values()) == {"ball", "pet", "object"}
    assert all(
        {None if (name := names[one["category_id"]]) == "object" else name} == by_object[one["object_id"]]
        for one in written["annotations"]
    )


def test_a_channel_of_microscope_files_is_segmented(
    corpus: Path, settings: JobSettings, tmp_path: Path
) -> None:
    tifffile = pytest.importorskip("tifffile")
    pages = np.stack([np.zeros((3, 48, 64), np.uint8), clip(3)[..., 0]])
    names = {"axes": "CTYX", "Channel": {"Name": ["DAPI", "GFP"]}}
    path = tmp_path / "cells.ome.tif"
    tifffile.imwrite(path, pages, ome=True, metadata=names, photometric="minisblack")
    (tmp_path / "m.csv").write_text("source,x,y\ncells.ome.tif,20,24\n")
    item = Item(read_manifest(str(tmp_path / "m.csv"))[0])
    model = masklet.load(settings.model, device="cpu")
    outcome = run(replace(settings, channel="GFP"), tmp_path / "out", item)
    assert outcome.record is not None, outcome.error
    frames = open_frames(path, channel="GFP")
    expected = list(masklet.track(model, frames, {0: {1: Prompt(positive=[(20, 24)])}}))
    for one, other in zip(read_masks(tmp_path / "out" / outcome.record.masks.path), expected, strict=True):
        np.testing.assert_array_equal(one[1], other[1])
    mixed = run(settings, tmp_path / "out", item)
    assert mixed.record is not None and mixed.record.key != outcome.record.key
    unknown = run(replace(settings, channel="RFP"), tmp_path / "out", item)
    assert unknown.kind == "input" and "0 (DAPI), 1 (GFP)" in unknown.error


def test_settings_are_read_as_they_were_written() -> None:
    """Those of a job that was begun before there were channels are the same as ever."""
    chosen = JobSettings(
        channel={"DAPI": "blue"},
        intensity_range=(0.0, 255.0),
        image_size=384,
        patience=5,
        pixel_size=(0.2, 0.2, None),
    )
    assert JobSettings.from_json(json.loads(json.dumps(chosen.to_json()))) == chosen
    several = JobSettings(channel=["DAPI", "GFP"], formats=("coco", "parquet"))
    assert JobSettings.from_json(several.to_json()) == several
    assert list(JobSettings().to_json())[-1] == "max_pixels"


def test_a_source_in_another_file_system_is_fetched(
    corpus: Path, settings: JobSettings, tmp_path: Path
) -> None:
    import fsspec

    fsspec.filesystem("memory").pipe("/jobs-worker/0.mp4", (corpus / "0.mp4").read_bytes())
    entry = replace(items(corpus)[0].entry, source="memory://jobs-worker/0.mp4")
    outcome = run(settings, tmp_path, Item(entry))
    assert outcome.record is not None, outcome.error


FORKING = """
import os, sys
import av, pyarrow.parquet
from masklet.jobs.manifest import read_manifest
from masklet.jobs.settings import JobSettings
from masklet.jobs.worker import Item, Worker

manifest, model, out, count = sys.argv[1:]
entry, worker = read_manifest(manifest)[0], Worker(JobSettings(model=model), out, threads=1)
for _ in sys.stdin:
    child = os.fork()
    if not child:
        for part in range(int(count)):
            assert worker.run(Item(entry, part=part, start=0, stop=None)).record is not None
        os._exit(0)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


@pytest.mark.slow
def test_a_worker_killed_at_30_random_moments_leaves_every_item_whole_or_absent(
    corpus: Path, settings: JobSettings, tmp_path: Path
) -> None:
    """Each time a worker goes on with all items, forked from a process that has loaded the model."""
    kills, rng, finished = 30, random.Random(3), dict[str, int]()
    count, killed = kills + 5, 0
    out = tmp_path / "out"
    arguments = [str(corpus / "manifest.csv"), settings.model, str(out), str(count)]
    with subprocess.Popen(
        [sys.executable, "-c", FORKING, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdin is not None and parent.stdout is not None

        def start() -> int:
            parent.stdin.write("\n")
            parent.stdin.flush()
            return int(parent.stdout.readline())

        for _ in range(kills):
            child, before = start(), len(finished)
            has_ended = False
            while not has_ended and len(list(out.glob("records/*.json"))) <= before:
                has_ended = bool(select.select([parent.stdout], [], [], 0.005)[0])
            time.sleep(rng.uniform(0, 0.1))
            with suppress(ProcessLookupError):  # it may just have ended
                os.kill(child, signal.SIGKILL)
            status = int(parent.stdout.readline())
            assert status in (0, signal.SIGKILL)
            killed += status == signal.SIGKILL
            for record in out.glob("records/*.json"):
                table = out / "masks" / f"{record.stem}.parquet"
                assert (
                    len(list(read_masks(table))) == FRAMES
                    and json.loads(record.read_text())["frames"] == FRAMES
                )
                written = table.stat().st_mtime_ns
                assert finished.setdefault(record.stem, written) == written, "a finished item ran again"
            if len(finished) == count:
                break
        assert killed >= 3, "hardly a worker was killed"
        start()
        assert int(parent.stdout.readline()) == 0
        parent.stdin.close()
    assert len(list(out.glob("records/*.json"))) == len(list(out.glob("masks/*.parquet"))) == count


def test_changed_prompts_leave_no_masks_or_errors_of_the_earlier_ones(
    corpus: Path, settings: JobSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Items run in a loop here: what is removed does not depend on Ray."""

    def run_in_loop(progress: Progress, settings: JobSettings, *_: object) -> None:
        worker = Worker(settings, progress.store.url)
        while progress.plan.waiting:
            item = progress.plan.waiting.popleft()
            progress.record(item, worker.run(item))

    for name in ("0.mp4", "1.mp4"):
        shutil.copy(corpus / name, tmp_path)
    manifest, store = tmp_path / "m.csv", Store(str(tmp_path / "out"))
    monkeypatch.chdir(tmp_path)

    def status(*rows: str) -> tuple[int, int, int, int]:
        manifest.write_text("\n".join(["source,object,x,y", *rows]))
        last = run_job("m.csv", store.url, settings, Cluster(attempts=1), run_items=run_in_loop)
        return last.done, last.failed, len(store.names("masks")), len(read_errors(store))

    assert status("0.mp4,1,20,24", "1.mp4,1,2000,24") == (1, 1, 1, 1)
    assert status("0.mp4,1,21,24", "1.mp4,1,20,24") == (2, 0, 2, 0)
    assert status("0.mp4,1,2000,24") == (0, 1, 2, 1), "what is there stays until there is something better"
    assert status("0.mp4,1,20,24") == (1, 0, 2, 0), "1.mp4 is not asked for any more, and stays"
    assert read_job(store)[0] == str(manifest)
    shutil.copy(settings.model, tmp_path / "toy.safetensors")
    job = {"manifest": "m.csv", "settings": replace(settings, model="toy.safetensors").to_json()}
    Store(str(tmp_path / "other")).write_json("job.json", job)  # of an earlier version
    run_job(
        "m.csv",
        str(tmp_path / "other"),
        replace(settings, model="toy.safetensors"),
        Cluster(),
        run_items=run_in_loop,
    )
    manifest_of, settings_of = read_job(Store(str(tmp_path / "other")))
    assert (manifest_of, settings_of.model) == (str(manifest), str(tmp_path / "toy.safetensors"))
    masklet.save(toy_network(seed=5), tmp_path / "toy.safetensors")
    with pytest.raises(MaskletError, match="has a job with other weights"):
        run_job("m.csv", str(tmp_path / "other"), replace(settings, model="toy.safetensors"), Cluster())
    (tmp_path / "weights").mkdir()
    (tmp_path / "toy.safetensors").rename(tmp_path / "weights" / "toy.safetensors")
    third, in_folder = str(tmp_path / "third"), replace(settings, model="weights")
    run_job("m.csv", third, in_folder, Cluster(), run_items=run_in_loop)
    assert read_job(Store(third))[1].model == str(tmp_path / "weights" / "toy.safetensors")
    masklet.save(toy_network(seed=6), tmp_path / "weights" / "toy.safetensors")
    with pytest.raises(MaskletError, match="has a job with other weights"):
        run_job("m.csv", third, in_folder, Cluster())
    store.remove("masks")
    assert status("0.mp4,1,20,24") == (1, 0, 1, 0), "results that somebody removed are made again"


@pytest.mark.parametrize(
    "content", [[], {"name": "of another program"}, {"manifest": "m", "settings": {"a": 1}}]
)
def test_a_folder_of_something_else_is_refused(
    content: object, settings: JobSettings, corpus: Path, tmp_path: Path
) -> None:
    store = Store(str(tmp_path))
    store.write_json("job.json", content)
    for call in (
        lambda: read_job(store),
        lambda: last_status(store),
        lambda: merge_results(store, store),
        lambda: run_job(str(corpus / "manifest.csv"), store.url, settings, Cluster()),
    ):
        with pytest.raises(MaskletError, match="is from a job that this version of masklet cannot resume"):
            call()


@pytest.mark.parametrize(
    ("name", "read"),
    [("status.json", read_status), ("records/1.json", read_records), ("errors/1.json", read_errors)],
)
def test_a_file_of_something_else_in_a_job_is_named(
    name: str, read: Callable[[Store], object], tmp_path: Path
) -> None:
    store = Store(str(tmp_path))
    for content in ({"of": "another program"}, [], 3):
        store.write_json(name, content)
        with pytest.raises(MaskletError, match=f"{name} is not a file that this version of masklet wrote"):
            read(store)


def test_every_file_of_an_entry_tells_that_it_has_changed(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    files = [tmp_path / name for name in ("frames/0.png", "frames/1.png", "mask.png", "detections.json")]
    for file in files:
        file.write_bytes(b"1")
    for source in ("frames", "frames/?.png", "frames/[01].png"):
        by_mask, by_detections = (
            f"source,mask\n{source},mask.png\n",
            f"source,detections\n{source},detections.json\n",
        )
        for rows, used in ((by_mask, files[:3]), (by_detections, [*files[:2], files[3]])):
            (tmp_path / "m.csv").write_text(rows)
            (entry,) = read_manifest(str(tmp_path / "m.csv"))
            for file in files:
                before = entry.stamp()
                file.write_bytes(file.read_bytes() + b"2")
                assert (entry.stamp() != before) == (file in used), (source, file)


def test_results_stay_where_their_source_is_gone(corpus: Path, settings: JobSettings, tmp_path: Path) -> None:
    """A web server that has been shut down since does not say that its videos have changed."""
    for name in ("0.mp4", "1.mp4"):
        shutil.copy(corpus / name, tmp_path)
    (tmp_path / "m.csv").write_text("source,x,y\n0.mp4,20,24\n1.mp4,20,24\n")
    entries, store = read_manifest(str(tmp_path / "m.csv")), Store(str(tmp_path / "out"))
    assert run(settings, tmp_path / "out", Item(entries[0])).record is not None
    (tmp_path / "0.mp4").unlink()
    plan = make_plan(entries, store)
    assert plan.done == {entries[0].id} and [item.id for item in plan.waiting] == [entries[1].id]
    shutil.copy(corpus / "1.mp4", tmp_path / "0.mp4")
    assert len(make_plan(entries, store).waiting) == 2, "another video under its name"
