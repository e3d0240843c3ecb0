"""A killed evaluation resumes, and leaves no processes behind. Slow: every process imports torch."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from .small import write_moving_square

TESTS = Path(__file__).parents[1]
KILLS = int(os.environ.get("MASKLET_KILLS", "20"))
CLIPS = 3 * KILLS + 4  # so many that each process has one to evaluate when it is killed

SCRIPT = """
import sys, time
from dataclasses import dataclass
from pathlib import Path
from masklet.evaluate.runner import Evaluation, PredictorSpec
from masklet.evaluate.samples import find_clips
from masklet.evaluate.protocols import SemiSupervised
from random_kills import run_with_kills

@dataclass(frozen=True)
class SlowProtocol(SemiSupervised):
    seconds: float = 0.0

    def run(self, predictor, clip):
        with open(sys.argv[2] + ".log", "a") as file:
            file.write(clip.name + "\\n")
        time.sleep(self.seconds)
        yield from super().run(predictor, clip)

def main(data, out, seconds, jobs, kills):
    clips = find_clips(Path(data))
    evaluation = Evaluation(SlowProtocol(seconds=float(seconds)), PredictorSpec("repeat"), "data", Path(out))
    if int(kills):
        log = Path(out + ".log")
        started = lambda: log.read_text().count("\\n") if log.exists() else 0
        run_with_kills(lambda: evaluation.run(clips), started, int(kills), most=2)
    else:
        evaluation.run(clips, int(jobs))

if __name__ == "__main__":
    main(*sys.argv[1:])
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for number in range(CLIPS):
        write_moving_square(root)
        (root / "moving").rename(root / f"{number:02d}")
    return root


def command(data: Path, out: Path, *, seconds: float = 0.0, jobs: int = 1, kills: int = 0) -> list[str]:
    script = data.parent / "evaluation.py"
    script.write_text(SCRIPT)
    return [sys.executable, str(script), str(data), str(out), str(seconds), str(jobs), str(kills)]


def heed_interrupts() -> None:
    """Whoever started the tests may ignore SIGINT, as a shell does for what runs in its background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path]), "OMP_NUM_THREADS": "1"}


def results(out: Path) -> dict[str, Any]:
    """The results by clip, without the time that a frame took."""
    files = sorted((out / "items").glob("[!.]*"))
    by_clip = {path.stem: json.loads(path.read_text())["results"] for path in files}
    for of_clip in by_clip.values():
        for result in of_clip:
            del result["scores"]["s/frame"]
    return by_clip


@pytest.mark.slow
def test_an_evaluation_killed_at_random_moments_ends_as_one_that_is_not(data: Path) -> None:
    uninterrupted, killed = data.parent / "uninterrupted", data.parent / "killed"
    subprocess.run(command(data, uninterrupted), env=environment(), check=True)
    subprocess.run(command(data, killed, seconds=0.02, kills=KILLS), env=environment(), check=True)
    assert results(killed) == results(uninterrupted) and len(results(uninterrupted)) == CLIPS
    started = (data.parent / "killed.log").read_text().splitlines()
    assert len(started) <= CLIPS + KILLS, "finished clips were evaluated again"


@pytest.mark.slow
@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_worker_outlives_the_evaluation(kind: signal.Signals, data: Path) -> None:
    script = command(data, data.parent / "out", seconds=1.0, jobs=2)
    parent = subprocess.Popen(
        script,
        env=environment(),
        stderr=subprocess.DEVNULL,
        preexec_fn=heed_interrupts,
    )
    finished = data.parent / "out" / "items"
    deadline = time.monotonic() + 600
    while not (finished.is_dir() and any(finished.iterdir())) and time.monotonic() < deadline:
        time.sleep(0.05)
    children = psutil.Process(parent.pid).children(recursive=True)
    assert len(children) >= 2
    parent.send_signal(kind)
    assert parent.wait(timeout=300) != 0
    _, alive = psutil.wait_procs(children, timeout=120)
    assert alive == []
