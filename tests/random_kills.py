"""Runs something in processes that are killed by SIGKILL while they work, and then once to its end.

When a process is killed follows from its own progress, so that kills hit work on fast and on slow machines.
"""

import os
import random
import signal
import time
from collections.abc import Callable

PATIENCE = 600.0  # seconds without progress; on a busy machine the start alone may take minutes
JITTER = 0.03  # seconds, so that kills also come between two steps of progress


def kill_at_work(
    start: Callable[[], int], progress: Callable[[], int], kills: int, most: int, seed: int = 0
) -> None:
    """Start a process so many times, and kill it after 1 to `most` steps of progress.

    Args:
        start: Starts the process and returns its id.
        progress: Counts what was done so far, in all processes.

    Raises:
        AssertionError: More than a fifth of the processes ended by themselves: then little was tested.
    """
    rng, hits = random.Random(seed), 0
    for _ in range(kills):
        target = progress() + rng.randint(1, most)
        process, status = start(), 0
        deadline = time.monotonic() + PATIENCE
        while not (ended := os.waitpid(process, os.WNOHANG))[0] and progress() < target:
            assert time.monotonic() < deadline, "the process makes no progress"
            time.sleep(0.002)
        if ended[0]:
            status = ended[1]
        else:
            time.sleep(rng.uniform(0.0, JITTER))
            os.kill(process, signal.SIGKILL)
            _, status = os.waitpid(process, 0)
        hits += os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert hits >= 0.8 * kills, f"{hits} of {kills} kills hit a process at work: give it more to do"


def run_with_kills(action: Callable[[], None], progress: Callable[[], int], kills: int, most: int) -> None:
    """Call `action` in forks of this process, which must have no threads yet; see `kill_at_work`."""
    kill_at_work(lambda: _fork(action), progress, kills, most)
    _, status = os.waitpid(_fork(action), 0)
    assert os.waitstatus_to_exitcode(status) == 0, "the run without a kill failed"


def _fork(action: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            action()
            code = 0
        finally:
            os._exit(code)
    return child
