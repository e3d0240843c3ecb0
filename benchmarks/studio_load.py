"""python -m benchmarks.studio_load: measures a studio while some people click and others propagate.

It starts `masklet studio` on a free port and sends the same requests as the page. The table has the latency
of clicks, refused and lost requests, the speed of propagation, and the memory of the server with its
decoders.
"""

from __future__ import annotations

import http.client
import json
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from benchmarks import REPO

VIDEO = REPO / "examples" / "demo.mp4"
OBJECT = (188, 140)  # position of the balloon on the first frame
PAUSE = (2.0, 4.0)  # seconds between a person's clicks
TIMEOUT = 60.0  # seconds after which a response counts as lost
SAMPLE_INTERVAL = 0.5  # seconds between two measurements of the server's memory


@dataclass
class Measurements:
    """Latencies and counts of all people."""

    clicks: list[float] = field(default_factory=list)  # seconds
    counts: Counter[str] = field(default_factory=Counter)
    frames: int = 0
    peak: int = 0  # bytes
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, kind: str, count: int = 1) -> None:
        with self.lock:
            self.counts[kind] += count


class Person:
    """One open page, with its own connection, video and name."""

    def __init__(self, number: int, port: int, measurements: Measurements) -> None:
        self.name = f"person {number}"
        self.random = random.Random(number)
        self._port, self._measurements = port, measurements
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)

    def request(self, method: str, path: str, body: object = None) -> Any:
        """Send a request, again after status 429, and return the response, or None if it was lost."""
        while True:
            self._measurements.count("requests")
            try:
                headers = {"content-type": "application/json", "masklet-person": self.name}
                self._connection.request(
                    method, f"/api{path}", None if body is None else json.dumps(body), headers
                )
                answer = self._connection.getresponse()
                reply = answer.read()
            except (OSError, http.client.HTTPException):
                self._measurements.count("lost")
                self._connection.close()
                return None
            if answer.status != 429:
                break
            self._measurements.count("told to retry")
            time.sleep(float(answer.headers.get("retry-after", 1)))
        if answer.status >= 400:
            self._measurements.count(f"status {answer.status}")
            return None
        return json.loads(reply) if reply else {}

    def reconnect(self) -> None:
        """Close the connection to a killed server, so that the next request opens a new one."""
        self._connection.close()

    def open_video(self) -> str:
        project = self.request("POST", "/projects", {"name": self.name})["id"]
        return f"/videos/{self.request('POST', f'/projects/{project}/videos', {'path': VIDEO.name})['id']}"

    def click(self, video: str, frame: int, object: int) -> None:
        x, y = (coordinate + self.random.uniform(-15, 15) for coordinate in OBJECT)
        self.request("POST", f"{video}/prompts", {"frame": frame, "object": object, "positive": [[x, y]]})

    def click_until(self, video: str, until: float) -> None:
        """Click and pause; sometimes undo, change the frame, or change the object."""
        frame, object = 0, 1
        while (now := time.monotonic()) < until:
            started = now
            self.click(video, frame, object)
            with self._measurements.lock:
                self._measurements.clicks.append(time.monotonic() - started)
            if self.random.random() < 0.2:
                self.request("POST", f"{video}/undo")
            if self.random.random() < 0.3:
                frame, object = self.random.randrange(100), self.random.randint(1, 3)
                self.request("GET", f"{video}/masks?start={frame}&stop={frame + 1}")
            time.sleep(self.random.uniform(*PAUSE))

    def propagate_until(self, video: str, until: float) -> None:
        """Propagate through the video repeatedly."""
        self.click(video, 0, 1)
        done = 0
        while time.monotonic() < until:
            now = self.request("GET", f"{video}/propagation")
            if now is None or now["state"] not in ("waiting", "running"):
                self.request("POST", f"{video}/propagation", {"start": 0})
                done = 0
            else:
                with self._measurements.lock:
                    self._measurements.frames += max(0, now["done"] - done)
                done = now["done"]
            time.sleep(0.5)
        self.request("DELETE", f"{video}/propagation")


def main(
    clicking: Annotated[int, typer.Option(help="people who click")] = 20,
    propagating: Annotated[int, typer.Option(help="people who propagate")] = 4,
    seconds: Annotated[float, typer.Option(help="duration")] = 120.0,
    warm: Annotated[float, typer.Option(help="seconds of warm-up")] = 5.0,
) -> None:
    """Measure a studio under load, and print a table for docs/studio.md."""
    measurements = Measurements()
    with tempfile.TemporaryDirectory() as data, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        arguments = ["studio", str(VIDEO.parent), "--data", data, "--port", str(port), "--no-browser"]
        server = subprocess.Popen([sys.executable, "-m", "masklet", *arguments], stdout=subprocess.DEVNULL)
        try:
            _wait_for(port)
            people = [Person(number, port, measurements) for number in range(clicking + propagating)]
            videos = [person.open_video() for person in people]
            for person, video in zip(people, videos, strict=True):
                person.click(video, 0, 1)
            measurements.counts.clear()
            until = time.monotonic() + warm + seconds
            sampler = threading.Thread(target=_sample_memory, args=(server.pid, until, measurements))
            threads = [sampler]
            for number, (person, video) in enumerate(zip(people, videos, strict=True)):
                action = person.click_until if number < clicking else person.propagate_until
                threads.append(threading.Thread(target=action, args=(video, until)))
            for thread in threads:
                thread.start()
            time.sleep(warm)
            with measurements.lock:
                measurements.clicks.clear()
                measurements.frames = 0
            for thread in threads:
                thread.join()
            assert server.poll() is None, "the server went down"
        finally:
            server.terminate()
            server.wait()
    Console(highlight=False).print(_table(measurements, clicking, propagating, seconds), soft_wrap=True)


def _wait_for(port: int) -> None:
    for _ in range(600):
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the studio did not start within a minute.")


def _sample_memory(pid: int, until: float, measurements: Measurements) -> None:
    while time.monotonic() < until:
        measurements.peak = max(measurements.peak, measure_memory(pid))
        time.sleep(SAMPLE_INTERVAL)


def measure_memory(pid: int) -> int:
    """Bytes of a process and its descendants, with shared memory counted once."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        tasks = Path(f"/proc/{pid}/task").iterdir()  # any thread may have started a process
        children = [child for task in tasks for child in (task / "children").read_text().split()]
        own = next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024
    except (OSError, StopIteration):
        return 0  # the process has just ended
    return own + sum(measure_memory(int(child)) for child in children)


def _table(measurements: Measurements, clicking: int, propagating: int, seconds: float) -> str:
    milliseconds = 1000 * np.array(measurements.clicks)
    counts = dict(measurements.counts)
    requests, lost, retried = (counts.pop(kind, 0) for kind in ("requests", "lost", "told to retry"))
    failed = ", ".join(f"{kind}: {count}" for kind, count in sorted(counts.items())) or "none"
    rows = {
        "people who click, and who propagate": f"{clicking}, {propagating}",
        "seconds": f"{seconds:g}",
        "requests": f"{requests}",
        "lost": f"{lost}",
        "answered by an error": failed,
        "told to retry later (429), and answered then": f"{retried}",
        "clicks": f"{len(measurements.clicks)}",
        "click, median": f"{np.median(milliseconds):.0f} ms",
        "click, 95th percentile": f"{np.percentile(milliseconds, 95):.0f} ms",
        "click, slowest": f"{milliseconds.max():.0f} ms",
        "frames propagated a second, all together": f"{measurements.frames / seconds:.1f}",
        "peak memory of server and decoders": f"{measurements.peak / 2**20:.0f} MiB",
    }
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows.items())])


if __name__ == "__main__":
    typer.run(main)
