"""python -m benchmarks.studio_load: many people click while others follow, on one studio on this machine.

It starts `masklet studio` on a free port and talks to it as pages do. The table says how long a click took,
what was refused or lost, how fast the following went, and the memory of the server with its decoders.
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
OBJECT = (188, 140)  # the balloon, on the first frame
THINKS = (2.0, 4.0)  # seconds between a person's clicks
PATIENCE = 60.0  # seconds after which an answer counts as lost
SAMPLED = 0.5  # seconds between two looks at the server's memory


@dataclass
class Seen:
    """What happened, to all people together."""

    clicks: list[float] = field(default_factory=list)  # seconds
    kinds: Counter[str] = field(default_factory=Counter)
    frames: int = 0
    peak: int = 0  # bytes
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, kind: str, count: int = 1) -> None:
        with self.lock:
            self.kinds[kind] += count


class Person:
    """One open page: a connection of its own, a video of its own, a name."""

    def __init__(self, number: int, port: int, seen: Seen) -> None:
        self.name = f"person {number}"
        self.random = random.Random(number)
        self._port, self._seen = port, seen
        self._line = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """An answer; None where there was none. Whoever is asked to come back later does so."""
        while True:
            self._seen.note("requests")
            try:
                headers = {"content-type": "application/json", "masklet-person": self.name}
                self._line.request(method, f"/api{path}", None if body is None else json.dumps(body), headers)
                answer = self._line.getresponse()
                content = answer.read()
            except (OSError, http.client.HTTPException):
                self._seen.note("lost")
                self._line.close()
                return None
            if answer.status != 429:
                break
            self._seen.note("asked to wait")
            time.sleep(float(answer.headers.get("retry-after", 1)))
        if answer.status >= 400:
            self._seen.note(f"status {answer.status}")
            return None
        return json.loads(content) if content else {}

    def video(self) -> str:
        project = self.ask("POST", "/projects", {"name": self.name})["id"]
        return f"/videos/{self.ask('POST', f'/projects/{project}/videos', {'path': VIDEO.name})['id']}"

    def click(self, video: str, frame: int, object: int) -> None:
        x, y = (place + self.random.uniform(-15, 15) for place in OBJECT)
        self.ask("POST", f"{video}/prompts", {"frame": frame, "object": object, "positive": [[x, y]]})

    def clicks(self, video: str, until: float) -> None:
        """Click, look, think; now and then go to another frame, undo, or take the next object."""
        frame, object = 0, 1
        while (now := time.monotonic()) < until:
            began = now
            self.click(video, frame, object)
            with self._seen.lock:
                self._seen.clicks.append(time.monotonic() - began)
            if self.random.random() < 0.2:
                self.ask("POST", f"{video}/undo")
            if self.random.random() < 0.3:
                frame, object = self.random.randrange(100), self.random.randint(1, 3)
                self.ask("GET", f"{video}/masks?start={frame}&stop={frame + 1}")
            time.sleep(self.random.uniform(*THINKS))

    def follows(self, video: str, until: float) -> None:
        """Follow from the start to the end, again and again."""
        self.click(video, 0, 1)
        done = 0
        while time.monotonic() < until:
            now = self.ask("GET", f"{video}/propagation")
            if now is None or now["state"] not in ("waiting", "running"):
                self.ask("POST", f"{video}/propagation", {"start": 0})
                done = 0
            else:
                with self._seen.lock:
                    self._seen.frames += max(0, now["done"] - done)
                done = now["done"]
            time.sleep(0.5)
        self.ask("DELETE", f"{video}/propagation")


def main(
    clicking: Annotated[int, typer.Option(help="people who click")] = 20,
    following: Annotated[int, typer.Option(help="people who follow")] = 4,
    seconds: Annotated[float, typer.Option(help="how long")] = 120.0,
    warm: Annotated[float, typer.Option(help="seconds before the clicks count")] = 5.0,
) -> None:
    """Measure a studio under load, and print a table for docs/studio.md."""
    seen = Seen()
    with tempfile.TemporaryDirectory() as data, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        words = ["studio", str(VIDEO.parent), "--data", data, "--port", str(port), "--no-browser"]
        server = subprocess.Popen([sys.executable, "-m", "masklet", *words], stdout=subprocess.DEVNULL)
        try:
            _wait_for(port)
            people = [Person(number, port, seen) for number in range(clicking + following)]
            videos = [each.video() for each in people]
            for each, video in zip(people, videos, strict=True):
                each.click(video, 0, 1)
            seen.kinds.clear()
            until = time.monotonic() + warm + seconds
            watching = threading.Thread(target=_watch, args=(server.pid, until, seen))
            threads = [watching]
            for number, (each, video) in enumerate(zip(people, videos, strict=True)):
                does = each.clicks if number < clicking else each.follows
                threads.append(threading.Thread(target=does, args=(video, until)))
            for thread in threads:
                thread.start()
            time.sleep(warm)
            with seen.lock:
                seen.clicks.clear()
                seen.frames = 0
            for thread in threads:
                thread.join()
            assert server.poll() is None, "the server went down"
        finally:
            server.terminate()
            server.wait()
    Console(highlight=False).print(_table(seen, clicking, following, seconds), soft_wrap=True)


def _wait_for(port: int) -> None:
    for _ in range(600):
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the studio did not start within a minute.")


def _watch(pid: int, until: float, seen: Seen) -> None:
    while time.monotonic() < until:
        seen.peak = max(seen.peak, _memory(pid))
        time.sleep(SAMPLED)


def _memory(pid: int) -> int:
    """Bytes of a process and all below it; what they share is counted once."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        tasks = Path(f"/proc/{pid}/task").iterdir()  # any thread may have started a process
        children = [child for task in tasks for child in (task / "children").read_text().split()]
        own = next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024
    except (OSError, StopIteration):
        return 0  # it has just ended
    return own + sum(_memory(int(child)) for child in children)


def _table(seen: Seen, clicking: int, following: int, seconds: float) -> str:
    milliseconds = 1000 * np.array(seen.clicks)
    kinds = dict(seen.kinds)
    asked, lost, waited = (kinds.pop(kind, 0) for kind in ("requests", "lost", "asked to wait"))
    failed = ", ".join(f"{kind}: {count}" for kind, count in sorted(kinds.items())) or "none"
    rows = {
        "people who click, and who follow": f"{clicking}, {following}",
        "seconds": f"{seconds:g}",
        "requests": f"{asked}",
        "lost": f"{lost}",
        "answered by an error": failed,
        "asked to come back later (429), and answered then": f"{waited}",
        "clicks": f"{len(seen.clicks)}",
        "click, median": f"{np.median(milliseconds):.0f} ms",
        "click, 95th percentile": f"{np.percentile(milliseconds, 95):.0f} ms",
        "click, slowest": f"{milliseconds.max():.0f} ms",
        "frames followed a second, all together": f"{seen.frames / seconds:.1f}",
        "peak memory of server and decoders": f"{seen.peak / 2**20:.0f} MiB",
    }
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows.items())])


if __name__ == "__main__":
    typer.run(main)
