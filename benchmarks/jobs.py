"""Measures masklet jobs: items per hour for 1 and 2 actors, Ray's overhead, memory over many items.

python -m benchmarks.jobs [--model nano] [--clips 12] [--frames 24] [--size 192] [--items 100] [--pairs 2]

Ray's overhead is measured on a clip of one minute, with a plain loop and Ray in turn. On a busy machine, only
processor time is meaningful: that of the item in both, and that of Ray's own processes while it runs. The
latter depends on wall time, so the sum is valid for an item that has a core for itself.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from masklet.jobs.manifest import Entry, read_manifest
from masklet.jobs.ray_driver import QUIET_RAY
from masklet.jobs.records import JobStatus, read_records
from masklet.jobs.run import run_job
from masklet.jobs.settings import Cluster, JobSettings
from masklet.jobs.stores import Store
from masklet.jobs.worker import Item, Worker
from masklet.media import OverlayVideo, open_frames
from masklet.synthetic import Composer
from masklet.types import Masks

MINUTE = 60 * 24  # frames in a minute


def make_corpus(folder: Path, clips: int, frames: int, size: int) -> Path:
    """Compose clips, and write a manifest with a click in the centre of each."""
    composer = Composer([], size, frames, objects=1, seed=3)
    for number in range(clips):
        source = open_frames(composer.clip(number).images)
        with OverlayVideo(folder / f"{number}.mp4", source) as writer:
            for frame, image in enumerate(source):
                writer.write(image, Masks.empty(frame, source.size))
    lines = [f"{number}.mp4,{size // 2},{size // 2}" for number in range(clips)]
    manifest = folder / "manifest.csv"
    manifest.write_text("\n".join(["source,x,y", *lines]))
    return manifest


def measure_actors(manifest: Path, settings: JobSettings, actors: int, out: Path) -> str:
    """Items per hour after models are loaded, and the share of time without work on items."""
    started = time.time()
    with ray_here(actors):
        last = run_job(str(manifest), str(out), settings, Cluster(actors=actors))
        ended = time.time()
    records = read_records(Store(str(out)))
    worked = sum(record.seconds for record in records)
    first = min(record.began for record in records)
    span = max(record.began + record.seconds for record in records) - first
    return (
        f"| {actors} | {3600 * last.done / span:,.0f} | {1 - worked / actors / span:.1%} "
        f"| {worked / len(records):.2f} s | {ended - started - span:.0f} s |"
    )


@contextmanager
def ray_here(actors: int) -> Iterator[None]:
    """Run Ray on this machine, with a core for each actor."""
    import ray

    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - as Ray spells it
    os.environ.update(QUIET_RAY)
    ray.init(
        address="local",
        num_cpus=actors,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=100 * 2**20,
        logging_level="ERROR",
    )
    try:
        yield
    finally:
        ray.shutdown()


def processor_seconds(*, workers: bool) -> float:
    """Processor seconds of this process and its descendants, with or without Ray's workers."""
    total = 0.0
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        try:
            if workers or "ray::" not in " ".join(process.cmdline()[:1]):
                total += sum(process.cpu_times()[:2])
        except psutil.Error:
            continue
    return total


def measure_overhead(folder: Path, settings: JobSettings, size: int, pairs: int) -> str:
    """Ray's overhead for a clip of one minute, in processor time and wall time."""
    place = folder / "minute"
    place.mkdir()
    manifest = str(make_corpus(place, 1, MINUTE, size))
    (entry,) = read_manifest(manifest)
    loop, jobs, shares = list[float](), list[float](), list[float]()
    worker = Worker(settings, str(folder / "loop"), threads=1)
    for number in range(pairs):
        outcome = worker.run(Item(entry, part=number, start=0, stop=None))
        assert outcome.record is not None and outcome.record.processor_seconds is not None, outcome.error
        loop.append(outcome.record.processor_seconds)
        out = folder / f"minute-{number}"
        marks = dict[bool, tuple[float, float]]()  # by whether the item has begun, or has ended

        def mark(status: JobStatus, marks: dict[bool, tuple[float, float]] = marks) -> None:
            if status.running:
                marks.setdefault(False, (processor_seconds(workers=False), time.time()))
                marks[True] = processor_seconds(workers=False), time.time()

        with ray_here(1):
            run_job(manifest, str(out), settings, Cluster(actors=1), mark)
        (record,) = read_records(Store(str(out)))
        assert record.processor_seconds is not None
        jobs.append(record.processor_seconds)
        shares.append((marks[True][0] - marks[False][0]) / (marks[True][1] - marks[False][1]))
    plain, actor, share = (statistics.median(values) for values in (loop, jobs, shares))
    return (
        f"a clip of one minute ({MINUTE} frames), medians of {pairs}: processor time {plain:.1f} s in a "
        f"loop, {actor:.1f} s in an actor ({actor / plain - 1:+.1%}); Ray's own processes take {share:.1%} "
        f"of a core. Together {actor * (1 + share) / plain - 1:+.1%}"
    )


def measure_memory(manifest: Path, settings: JobSettings, items: int, out: Path) -> str:
    """Resident memory of one worker over many items."""
    worker, process = Worker(settings, str(out), threads=1), psutil.Process()
    entries: list[Entry] = read_manifest(str(manifest))
    memory = []
    for number in range(items):
        entry = entries[number % len(entries)]
        outcome = worker.run(Item(entry, part=number, start=0, stop=None))
        assert outcome.record is not None, outcome.error
        memory.append(process.memory_info().rss / 2**20)
    quarter = items // 4
    return (
        f"resident memory over {items} items: {memory[quarter]:.0f} MiB after a quarter of them, "
        f"{memory[-1]:.0f} MiB at the end, {max(memory):.0f} MiB at most"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="nano")
    for name, default in (("clips", 12), ("frames", 24), ("size", 192), ("items", 100), ("pairs", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    settings = JobSettings(model=arguments.model)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = make_corpus(folder, arguments.clips, arguments.frames, arguments.size)
        print(f"{arguments.clips} clips of {arguments.frames} frames, {arguments.size} px, {arguments.model}")
        print("| actors | items an hour | not at work on items | an item | starting and ending |")
        print("| --- | --- | --- | --- | --- |")
        for actors in (1, 2):
            print(measure_actors(manifest, settings, actors, folder / f"out-{actors}"), flush=True)
        if arguments.pairs:
            print(measure_overhead(folder, settings, arguments.size, arguments.pairs), flush=True)
        print(measure_memory(manifest, settings, arguments.items, folder / "memory"))


if __name__ == "__main__":
    main()
