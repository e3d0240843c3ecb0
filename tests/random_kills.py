"""Runs something in a child process that is killed by SIGKILL at random moments, and then once to its end."""

import os
import random
import signal
import time
from collections.abc import Callable


def run_with_kills(action: Callable[[], None], kills: int, longest: float) -> None:
    """Call `action` in forks of this process, which must have no threads yet.

    kills : forks that are killed, each after up to `longest` seconds
    """
    rng = random.Random(0)
    for _ in range(kills):
        child = _fork(action)
        time.sleep(rng.uniform(0.0, longest))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
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
