"""Measures tracking on a busy machine: one thread and all threads, beside competing processes.

    python -m benchmarks.cpu_contention --competitors 2

With as many competitors as cores, a frame should take no longer with all threads than with one. It should
also take at most 1.5 times its fair time: the processor time of a frame on a quiet machine, divided by the
cores that it gets if all runnable threads share them equally. The last column is this ratio.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from rich.console import Console
from rich.table import Table

import masklet
from masklet import Prompt, Tracker


def compete() -> None:
    """Keep one core busy."""
    while True:
        sum(range(10_000))


@contextmanager
def competitors(count: int) -> Iterator[None]:
    processes = [multiprocessing.Process(target=compete, daemon=True) for _ in range(count)]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


def time_frames(setting: str, threads: int, count: int) -> tuple[float, float]:
    """Median wall-clock seconds and mean processor seconds of a frame."""
    import torch  # after masklet, which sets how torch's threads wait

    torch.set_num_threads(threads)
    model = masklet.load(device="cpu", setting=setting)  # type: ignore[arg-type]
    frame = np.random.default_rng(0).integers(0, 255, (240, 320, 3), dtype=np.uint8)
    tracker = Tracker(model)
    tracker.step(frame, {1: Prompt(box=(80, 60, 200, 180))})
    for _ in range(8):
        tracker.step(frame)
    seconds, processor = [], time.process_time()
    for _ in range(count):
        start = time.perf_counter()
        tracker.step(frame)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), (time.process_time() - processor) / count


def cores_left(threads: int, competitors: int) -> float:
    """The cores that so many threads get beside so many processes, if all share equally.

    >>> cores = os.cpu_count() or 1
    >>> cores_left(1, 0), cores_left(cores, cores) == cores / 2
    (1, True)
    """
    return min(threads, (os.cpu_count() or 1) * threads / (threads + competitors))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--competitors", type=int, default=os.cpu_count() or 1, help="competing processes")
    parser.add_argument("--setting", default="balanced")
    parser.add_argument("--frames", type=int, default=30)
    options = parser.parse_args()
    table = Table("competitors", "threads", "a frame, ms", "processor, ms", "times its share")
    quiet: dict[int, float] = {}  # processor time of a frame without competitors, by threads
    for count in (0, options.competitors):
        with competitors(count):
            for threads in (1, os.cpu_count() or 1):
                clock, processor = time_frames(options.setting, threads, options.frames)
                share = quiet.setdefault(threads, processor) / cores_left(threads, count)
                row = (f"{1000 * clock:.0f}", f"{1000 * processor:.0f}", f"{clock / share:.1f}")
                table.add_row(str(count), str(threads), *row)
    Console().print(table)


if __name__ == "__main__":
    main()
