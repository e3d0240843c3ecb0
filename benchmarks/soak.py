"""python -m benchmarks.soak, or make soak: uses masklet for an hour, and checks memory, latencies and errors.

It tracks a stream of 10,000 frames in which objects join and leave. Ten people use the studio, whose server
is killed and restarted at random times. A disk fills up. Damaged files of all kinds are read. It prints
memory, open files, threads, latencies and faults. The exit status is 1 if there are faults.
"""

from __future__ import annotations

import io
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import psutil
import typer
from PIL import Image
from rich.console import Console

import masklet
from benchmarks import REPO
from benchmarks.studio_load import Measurements, Person, measure_memory
from masklet import MaskletError, Prompt
from masklet.datasets import find_items
from masklet.media import open_frames, read_image
from masklet.sessions.saved import SavedSession

FRAMES = 10_000
SETTLED = 500  # frames after which the numbers of objects and memories are at their maximum
GROWTH = 1.05  # allowed ratio of resident memory at the end of the stream and after SETTLED frames
CURVE = 1.1  # allowed ratio of the studio's memory in the last and the third quarter of the second half
SLOW = 5.0  # maximum seconds for a damaged file


@dataclass
class Report:
    """Rows for the table, and faults."""

    rows: list[tuple[str, str]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def add(self, name: str, value: str) -> None:
        self.rows.append((name, value))
        Console(highlight=False).print(f"{name}: {value}")

    def fault(self, text: str) -> None:
        self.faults.append(text)
        Console(highlight=False).print(f"FAULT: {text}")


def main(
    minutes: Annotated[float, typer.Option(help="total duration")] = 60.0,
    people: Annotated[int, typer.Option(help="people in the studio")] = 10,
    seed: Annotated[int, typer.Option(help="seed of random numbers")] = 0,
) -> None:
    """Use masklet for an hour, and print faults."""
    report, rng, seconds = Report(), random.Random(seed), 60 * minutes
    soak_stream(report, seconds * 0.3)
    soak_studio(report, seconds * 0.5, people, rng)
    soak_full_disk(report)
    soak_damaged_files(report, seconds * 0.15, rng)
    lines = ["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in report.rows)]
    Console(highlight=False).print("\n".join([*lines, f"| faults | {len(report.faults)} |"]), soft_wrap=True)
    raise typer.Exit(1 if report.faults else 0)


def soak_stream(report: Report, seconds: float) -> None:
    """Track a stream of 10,000 frames, or as many as there is time for, in which objects join and leave."""
    process, model = psutil.Process(), masklet.load(setting="balanced")
    images = list(open_frames(REPO / "examples" / "demo.mp4"))
    tracker, rng = masklet.Tracker(model), random.Random(0)
    until, times, resident = time.monotonic() + seconds, [], []
    for frame in range(FRAMES):
        prompts = {}
        if frame % 50 == 0:
            x, y = rng.uniform(100, 540), rng.uniform(60, 300)
            prompts = {frame // 50 + 1: Prompt(positive=[(x, y)])}
        started = time.monotonic()
        tracker.step(images[frame % len(images)], prompts)
        times.append(time.monotonic() - started)
        while len(tracker.ids) > 3:
            tracker.forget(rng.choice(tracker.ids))
        if frame % 100 == 0:
            resident.append(process.memory_info().rss)
        if time.monotonic() > until:
            break
    settled = max(len(resident) // 10, SETTLED // 100)
    early, late = resident[min(settled, len(resident) - 1)], resident[-1]
    report.add("stream: frames", f"{len(times)}")
    report.add("stream: median, 99th percentile", " / ".join(_milliseconds(times, 50, 99)))
    report.add("stream: memory once settled, at the end", f"{early >> 20} / {late >> 20} MiB")
    report.add("stream: open files, threads", f"{process.num_fds()} / {process.num_threads()}")
    if late > GROWTH * early:
        report.fault(f"the stream's memory grew from {early >> 20} to {late >> 20} MiB")


def soak_studio(report: Report, seconds: float, people: int, rng: random.Random) -> None:
    """Use the studio. In the first half the server is killed at times, and must keep every answered click.

    In the second half it runs on, and its memory must stop growing.
    """
    measurements, begin = Measurements(), time.monotonic()
    kills = 0
    with tempfile.TemporaryDirectory() as data:
        port = _free_port()
        server = _start_studio(Path(data), port)
        crowd = [Person(number, port, measurements) for number in range(people)]
        videos = [person.open_video() for person in crowd]
        while time.monotonic() < begin + seconds / 2:
            _click_together(crowd, videos, time.monotonic() + min(rng.uniform(60, 180), seconds / 4))
            before = [person.request("GET", video) for person, video in zip(crowd, videos, strict=True)]
            server.send_signal(signal.SIGKILL)
            server.wait()
            kills += 1
            server = _start_studio(Path(data), port)
            for person, video, old in zip(crowd, videos, before, strict=True):
                person.reconnect()
                new = person.request("GET", video)
                if new is None:
                    report.fault("a video does not open after a kill")
                elif old is not None and old["prompts"] != new["prompts"]:
                    report.fault("a click that was answered is gone after a kill")
        curve: list[int] = []
        process = psutil.Process(server.pid)
        _click_together(crowd, videos, begin + seconds, lambda: curve.append(measure_memory(server.pid)))
        if server.poll() is not None:
            report.fault(f"the studio ended by itself, with {server.returncode}")
        else:
            report.add("studio: open files, threads", f"{process.num_fds()} / {process.num_threads()}")
        server.terminate()
        server.wait()
    report.add("studio: clicks, kills", f"{len(measurements.clicks)} / {kills}")
    report.add(
        "studio: click, median, 95th, 99th percentile",
        " / ".join(_milliseconds(measurements.clicks, 50, 95, 99)),
    )
    steps = np.array_split(np.array(curve, dtype=float) / 2**20, min(12, max(1, len(curve))))
    means = [float(step.mean()) for step in steps if step.size]
    report.add(
        "studio: MiB of server and decoders, in equal steps", ", ".join(f"{mean:.0f}" for mean in means)
    )
    if len(means) == 12 and np.mean(means[9:]) > CURVE * np.mean(means[6:9]):
        report.fault("the studio's memory still grows at the end")
    faults = {kind: count for kind, count in measurements.counts.items() if kind.startswith("status 5")}
    report.add(
        "studio: lost requests, server errors", f"{measurements.counts['lost']} / {sum(faults.values())}"
    )
    if faults:
        report.fault(f"the studio answered with {faults}")


def _click_together(
    crowd: Sequence[Person],
    videos: Sequence[str],
    until: float,
    observe: Callable[[], object] = lambda: None,
) -> None:
    """Let every fifth person propagate and the others click, and call `observe` every second."""
    threads = [
        threading.Thread(
            target=person.propagate_until if number % 5 == 4 else person.click_until, args=(video, until)
        )
        for number, (person, video) in enumerate(zip(crowd, videos, strict=True))
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        observe()
        time.sleep(1)


def soak_full_disk(report: Report) -> None:
    """Track into a disk of 300 kB: this must fail with a message, and keep earlier files."""
    with tempfile.TemporaryDirectory() as folder:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", folder], capture_output=True
        )
        if mounted.returncode:
            report.add("full disk", "not run: a small disk cannot be mounted here")
            return
        try:
            clip = str(REPO / "examples" / "demo.mp4")
            command = ["track", clip, "--point", "188,140", "--out", f"{folder}/out", "--format", "overlay"]
            ended = subprocess.run(
                [sys.executable, "-m", "masklet", *command], capture_output=True, text=True, check=False
            )
            report.add("full disk: exit status", f"{ended.returncode}")
            if ended.returncode == 0 or "Traceback" in ended.stderr:
                report.fault(f"a full disk does not end in a sentence: {ended.stderr[-300:]}")
        finally:
            subprocess.run(["umount", folder], check=True)


def soak_damaged_files(report: Report, seconds: float, rng: random.Random) -> None:
    """Read damaged files. Each must be read or refused with a message, within SLOW seconds."""
    until, counts = time.monotonic() + seconds, {"read": 0, "refused": 0}
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        seeds = _seeds(Path(folder))
        while time.monotonic() < until:
            name, content, read = rng.choice(seeds)
            path = Path(folder) / "damaged" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_damage(content, rng))
            started = time.monotonic()
            try:
                read(path)
                counts["read"] += 1
            except MaskletError:
                counts["refused"] += 1
            except Exception as error:
                report.fault(f"damaged {name}: {type(error).__name__}: {error}")
            took = time.monotonic() - started
            slowest = max(slowest, took)
            if took > SLOW:
                report.fault(f"damaged {name} took {took:.1f} seconds")
    report.add("damaged files: read, refused", f"{counts['read']} / {counts['refused']}")
    report.add("damaged files: slowest", f"{slowest:.1f} s")


def _seeds(folder: Path) -> list[tuple[str, bytes, Callable[[Path], object]]]:
    """(file name, valid content, reader) of each kind of file that masklet reads."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8))
    seeds: list[tuple[str, bytes, Callable[[Path], object]]] = []
    for kind in ("png", "jpeg", "webp", "tiff", "gif"):
        buffer = io.BytesIO()
        image.save(buffer, kind)
        seeds.append((f"image.{kind}", buffer.getvalue(), lambda path: read_image(path)))
    clip = (REPO / "examples" / "demo.mp4").read_bytes()
    seeds.append(("clip.mp4", clip[: 1 << 18], lambda path: next(iter(open_frames(path).play(0)))))
    polygon = {"id": 1, "image_id": 1, "segmentation": [[1, 1, 30, 1, 30, 20]]}
    coco = {"images": [{"id": 1, "file_name": "image.png"}], "annotations": [polygon]}
    image.save(folder / "image.png")
    seeds.append(("annotations.json", json.dumps(coco).encode(), lambda path: find_items(path)[0].open()))
    session = SavedSession("clip.mp4", (40, 60), None, None, masklet.Script())
    session.write(folder / "session.json")
    seeds.append(("session.json", (folder / "session.json").read_bytes(), SavedSession.read))
    weights = next((Path(masklet.__file__).parent / "weights").glob("*.safetensors")).read_bytes()
    seeds.append(("weights.safetensors", weights, lambda path: masklet.load(path, device="cpu")))
    return seeds


def _damage(content: bytes, rng: random.Random) -> bytes:
    data = bytearray(content)
    reach = min(len(data), 4096) if rng.random() < 0.7 else len(data)  # mostly in the header
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(reach)
        match rng.randrange(4):
            case 0:
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                data[at : at + rng.randint(1, 16)] = os.urandom(rng.randint(0, 16))
            case 2:
                data[at:at] = data[at : at + rng.randint(1, 64)]
            case 3:
                del data[rng.randrange(len(data)) :]
        reach = max(1, min(reach, len(data)))
        if not data:
            return b""
    return bytes(data)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _start_studio(data: Path, port: int) -> subprocess.Popen[bytes]:
    folder = str(REPO / "examples")
    command = ["studio", folder, "--data", str(data), "--port", str(port), "--no-browser"]
    server = subprocess.Popen([sys.executable, "-m", "masklet", *command], stdout=subprocess.DEVNULL)
    for _ in range(6000):
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return server
        except OSError:
            time.sleep(0.1)
    server.kill()
    raise SystemExit("the studio did not start within ten minutes.")


def _milliseconds(times: list[float], *percentiles: float) -> list[str]:
    return [f"{1000 * np.percentile(times, share):.0f} ms" if times else "-" for share in percentiles]


if __name__ == "__main__":
    typer.run(main)
