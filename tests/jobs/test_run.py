"""Jobs on Ray: a local one, two nodes of which one is lost, a driver that is killed, S3."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import duckdb
import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

import masklet
from masklet.boxes import tight_box
from masklet.cli.jobs import describe_status
from masklet.errors import MaskletError
from masklet.jobs.manifest import read_manifest
from masklet.jobs.merge import merge_results
from masklet.jobs.plan import make_plan
from masklet.jobs.ray_driver import start_ray
from masklet.jobs.records import JobStatus, RunningItem, read_errors
from masklet.jobs.run import run_job
from masklet.jobs.settings import Cluster, JobSettings
from masklet.jobs.stores import Store
from masklet.jobs.tables import read_masks
from masklet.media import read_label_map
from masklet.types import Prompt

from .conftest import CLIPS, FRAMES

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # of Ray's own code
KILLS = int(os.environ.get("MASKLET_KILLS", "2"))
REAL_FRAMES = 40


def assert_same_mask(one: np.ndarray, other: np.ndarray) -> None:
    """All but a pixel in a thousand: Ray's workers may use more threads, which changes the order of sums."""
    assert one.shape == other.shape
    assert (one != other).mean() <= 1e-3


@pytest.fixture
def two_nodes() -> Iterator[object]:
    import ray
    from ray.cluster_utils import Cluster as RayCluster

    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - as Ray spells it
    options = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    nodes = RayCluster(initialize_head=True, head_node_args=options)
    nodes.second = nodes.add_node(**options)
    ray.init(address=nodes.address, log_to_driver=False)
    yield nodes
    ray.shutdown()
    nodes.shutdown()


def rows(out: Path) -> list[tuple[object, ...]]:
    return duckdb.sql(f"select video, frame, object from '{out}/masks/*.parquet' order by all").fetchall()


def check_complete(corpus: Path, out: Path, clips: int = CLIPS) -> None:
    """Every item is there once and whole, and nothing unfinished."""
    expected = {(f"{corpus}/{number}.mp4", frame, 1) for number in range(clips) for frame in range(FRAMES)}
    written = rows(out)
    assert len(written) == len(expected) and set(written) == expected
    assert not (out / "unfinished").exists()
    assert [Path(row.source).name for row in read_errors(Store(str(out)))] == ["broken.mp4"]


def test_two_nodes_give_the_masks_of_track_and_survive_the_loss_of_one(
    two_nodes: object, corpus: Path, settings: JobSettings, tmp_path: Path
) -> None:
    """One worker is killed by SIGKILL, then a node is removed while the job runs."""
    killed = list[str]()

    def disturb(status: JobStatus) -> None:
        if not killed and status.running:
            with suppress(psutil.NoSuchProcess):  # one of them may just have ended
                workers = [
                    process
                    for process in psutil.Process().children(recursive=True)
                    if "ray::Worker" in " ".join(process.cmdline()[:1])
                ]
                if workers:
                    workers[0].kill()
                    killed.append("worker")
        elif killed == ["worker"] and status.done:
            two_nodes.remove_node(two_nodes.second)
            killed.append("node")

    manifest, out = str(corpus / "manifest.csv"), tmp_path / "out"
    status = run_job(manifest, str(out), settings, Cluster(actors=2, attempts=10), disturb)
    assert (status.done, status.failed) == (CLIPS, 1)
    check_complete(corpus, out)
    model = masklet.load(settings.model, device="cpu")
    for path in (out / "masks").iterdir():
        video = pq.read_table(path)["video"][0].as_py()
        expected = masklet.track(model, video, {0: {1: Prompt(positive=[(20, 24)])}})
        for one, other in zip(read_masks(path), expected, strict=True):
            assert_same_mask(one[1], other[1])

    written = {path: path.stat().st_mtime_ns for path in (out / "masks").iterdir()}
    again = run_job(manifest, str(out), settings, Cluster(actors=1))
    assert again.done_before == CLIPS
    assert {path: path.stat().st_mtime_ns for path in (out / "masks").iterdir()} == written

    (merged, errors) = merge_results(Store(str(out)), Store(str(tmp_path / "merged")))
    assert pq.read_table(tmp_path / "merged" / merged).num_rows == CLIPS * FRAMES
    assert pq.read_table(tmp_path / "merged" / errors)["kind"].to_pylist() == ["input"]
    with pytest.raises(MaskletError, match="masklet jobs with other model"):
        run_job(manifest, str(out), JobSettings(model="nano"), Cluster())


def test_a_driver_that_is_killed_repeats_nothing(corpus: Path, settings: JobSettings, tmp_path: Path) -> None:
    """kill -9 of the driver at random moments; MASKLET_KILLS says how often."""
    out, clips = tmp_path / "out", 3 * KILLS + 2  # so many that each driver has one to do when it is killed
    lines = [f"{number}.mp4,dog,pet,20,24" for number in range(clips)]
    for number in range(clips):
        shutil.copy(corpus / f"{number % CLIPS}.mp4", tmp_path / f"{number}.mp4")
    (tmp_path / "broken.mp4").write_bytes(b"not a video")
    (tmp_path / "m.csv").write_text("\n".join(["source,object,class,x,y", *lines, "broken.mp4,,,5,5"]))
    command = [sys.executable, "-m", "masklet", "jobs", "run", str(tmp_path / "m.csv")]
    command += ["--out", str(out), "--model", settings.model, "--actors", "1", "--attempts", "10"]
    rng, finished, hits = random.Random(1), dict[str, int](), 0

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ}
        )

    for _ in range(KILLS):
        process = start()
        first = time.time()
        target = len(finished) + 1  # so that each attempt gets somewhere, however slow the machine is
        while len(list(out.glob("records/*.json"))) < target and process.poll() is None:
            assert time.time() - first < 600, "the job makes no progress"
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 0.2))
        process.send_signal(signal.SIGKILL)
        hits += process.wait() == -signal.SIGKILL
        for record in out.glob("records/*.json"):
            mask_file = out / "masks" / f"{record.stem}.parquet"
            assert len(list(read_masks(mask_file))) == FRAMES
            written = mask_file.stat().st_mtime_ns
            assert finished.setdefault(record.stem, written) == written, "a finished item ran again"
    assert hits > KILLS // 2, f"{hits} of {KILLS} kills hit a job at work: give it more to do"
    assert start().wait() == 1  # broken.mp4
    check_complete(tmp_path, out, clips)


def test_two_actors_give_the_masks_of_track_on_real_clips(data: Path, tmp_path: Path) -> None:
    """The first frames of two real clips, with nano and a box from the truth."""
    manifest, videos = ["source,object,x0,y0,x1,y1"], dict[str, Prompt]()
    for name in ("hike", "swing"):
        frames = sorted((data / "videos" / name / "frames").glob("*.jpg"))[:REAL_FRAMES]
        (tmp_path / name).mkdir()
        for frame in frames:
            shutil.copy(frame, tmp_path / name / frame.name)
        mask = read_label_map(data / "videos" / name / "masks" / f"{frames[0].stem}.png") > 0
        x0, y0, x1, y1 = tight_box(mask) or (0, 0, 0, 0)
        manifest.append(f"{name},1,{x0:g},{y0:g},{x1:g},{y1:g}")
        videos[str(tmp_path / name)] = Prompt(box=(x0, y0, x1, y1))
    (tmp_path / "manifest.csv").write_text("\n".join(manifest))
    out = tmp_path / "out"
    status = run_job(str(tmp_path / "manifest.csv"), str(out), JobSettings(), Cluster(actors=2))
    assert (status.done, status.failed) == (2, 0)
    model = masklet.load(device="cpu")
    for path in (out / "masks").iterdir():
        video = pq.read_table(path)["video"][0].as_py()
        expected = masklet.track(model, video, {0: {1: videos[video]}})
        for one, other in zip(read_masks(path), expected, strict=True):
            assert_same_mask(one[1], other[1])


def make_status(**values: object) -> JobStatus:
    """That of a driver at work for 100 seconds, with the given values."""
    now, counts = time.time(), dict.fromkeys(("waiting", "done", "done_before", "failed"), 0)
    driver = {"time": now, "host": "here", "process": 1, "is_running": True, "began": now - 100}
    return JobStatus(**{**driver, **counts, "median_seconds": None, **values})


def test_a_straggler_is_visible() -> None:
    status = make_status(
        done=5,
        waiting=2,
        median_seconds=4.0,
        running=(
            RunningItem("quick.mp4", 3.0, (1, 9), attempt=1),
            RunningItem("slow.mp4", 80.0, (2, 9), attempt=1),
        ),
    )
    assert [straggler.item for straggler in status.stragglers] == ["slow.mp4"]
    assert "slow: slow.mp4, 80 s so far, frame 2 of 9" in "\n".join(describe_status(status))


def test_ray_is_started_again_where_its_start_was_too_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    starts = list[str]()

    def fail(**options: object) -> None:
        starts.append("start")
        if len(starts) < successful_start:
            raise Exception("The current node timed out during startup. This could happen.\nMore.")

    monkeypatch.setattr(ray, "init", fail)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    successful_start = 3
    start_ray(Cluster())
    assert len(starts) == 3
    starts.clear()
    successful_start = 100
    with pytest.raises(
        MaskletError, match="Ray cannot be started on this machine: The current node timed out"
    ):
        start_ray(Cluster())


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            ConnectionError("Could not find any running Ray instance.\nMore."),
            "Could not find any running Ray",
        ),
        (SystemExit(1), "there is no answer"),
    ],
)
def test_a_cluster_that_is_not_there_is_named(
    error: BaseException, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    def fail(**options: object) -> None:
        raise error

    monkeypatch.setattr(ray, "init", fail)
    with pytest.raises(MaskletError, match=f"no Ray cluster at auto: {reason}"):
        start_ray(Cluster(address="auto"))


def test_another_driver_is_refused(corpus: Path, settings: JobSettings, tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.write_json("status.json", make_status(host="elsewhere").to_json())
    with pytest.raises(MaskletError, match="wait for it"):
        run_job(str(corpus / "manifest.csv"), str(tmp_path), settings, Cluster())


def test_errors_of_inputs_are_final_until_they_change(corpus: Path, tmp_path: Path) -> None:
    from masklet.jobs.worker import Item, make_error

    store, entries = Store(str(tmp_path)), read_manifest(str(corpus / "manifest.csv"))
    broken = Item(entries[-1])
    store.write_json(f"errors/{broken.id}.json", make_error(broken, "broken", "input", 1).to_json())
    plan = make_plan(entries, store)
    assert (len(plan.waiting), list(plan.failed)) == (CLIPS, [broken.id])
    assert len(make_plan(entries, store, retry_errors=True).waiting) == CLIPS + 1
    store.write_json(f"errors/{broken.id}.json", make_error(broken, "killed", "system", 3).to_json())
    assert len(make_plan(entries, store).waiting) == CLIPS + 1
