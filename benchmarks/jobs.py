"""masklet jobs on this machine: items an hour for 1 and 2 actors, what Ray adds, memory over many items.

python -m benchmarks.jobs [--model nano] [--clips 12] [--frames 24] [--size 192] [--items 100]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import psutil

from masklet.jobs.manifest import Cluster, Entry, JobSettings, read_manifest
from masklet.jobs.run import run_job
from masklet.jobs.stores import Store
from masklet.jobs.worker import Item, Worker
from masklet.media import OverlayVideo, open_frames
from masklet.synthetic import Composer
from masklet.types import Masks


def make_corpus(folder: Path, clips: int, frames: int, size: int) -> Path:
    """Composed clips, and a manifest with a click in the middle of each."""
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
    """Items an hour once models are loaded, and the share of the time that is not work on items."""
    import ray

    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - as Ray spells it
    ray.init(
        address="local",
        num_cpus=actors,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=100 * 2**20,
        logging_level="ERROR",
    )
    started = time.time()
    last = run_job(str(manifest), str(out), settings, Cluster(actors=actors))
    ended = time.time()
    ray.shutdown()
    records = Store(str(out)).read_folder("records").values()
    worked = sum(record["seconds"] for record in records)
    first = min(record["began"] for record in records)
    span = max(record["began"] + record["seconds"] for record in records) - first
    return (
        f"| {actors} | {3600 * last['done'] / span:,.0f} | {1 - worked / actors / span:.1%} "
        f"| {worked / len(records):.2f} s | {ended - started - span:.0f} s |"
    )


def measure_memory(manifest: Path, settings: JobSettings, items: int, out: Path) -> str:
    """Resident memory of one worker over many items."""
    worker, process = Worker(settings, str(out), threads=1), psutil.Process()
    entries: list[Entry] = read_manifest(str(manifest))
    memory = []
    for number in range(items):
        entry = entries[number % len(entries)]
        outcome = worker.run(Item(entry, part=number, start=0, stop=None))
        assert outcome.status == "done", outcome.error
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
    for name, default in (("clips", 12), ("frames", 24), ("size", 192), ("items", 100)):
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
        print(measure_memory(manifest, settings, arguments.items, folder / "memory"))


if __name__ == "__main__":
    main()
