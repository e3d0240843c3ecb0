"""Times actions of several implementations in turns, and the stages of an action."""

from __future__ import annotations

import functools
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import torch

Seconds = dict[str, list[float]]
Clock = Callable[[], float]


def synchronized_time(device: torch.device, clock: Clock) -> float:
    """The time after the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock()


def time_in_turns(
    actions: Mapping[str, Callable[[int], object]],
    device: torch.device,
    *,
    seconds: float,
    rounds: int,
    min_rounds: int = 1,
    clock: Clock = time.perf_counter,
) -> Seconds:
    """Time each action once per round, so that a change of the machine's speed affects all of them.

    actions : functions of the number of the round, by implementation
    seconds : the time after which no round starts
    min_rounds : minimum number of rounds, however long they take
    clock : `time.process_time` does not count other processes
    """
    times: Seconds = {name: [] for name in actions}
    started = time.perf_counter()
    for turn in range(rounds):
        for name, action in actions.items():
            start = synchronized_time(device, clock)
            action(turn)
            times[name].append(synchronized_time(device, clock) - start)
        if turn + 1 >= min_rounds and time.perf_counter() - started > seconds:
            break
    return times


class Stopwatch:
    """Times methods by stage. On a GPU it does so only while `on`, because timing must wait for the GPU."""

    def __init__(self, device: torch.device, clock: Clock = time.perf_counter) -> None:
        self.device, self.clock = device, clock
        self.on = device.type == "cpu"
        self.spent: dict[str, float] = defaultdict(float)

    def time_method(self, owner: object, method: str, stage: str) -> None:
        inner = getattr(owner, method)

        @functools.wraps(inner)
        def timed(*args: Any, **options: Any) -> Any:
            if not self.on:
                return inner(*args, **options)
            start = synchronized_time(self.device, self.clock)
            result = inner(*args, **options)
            self.spent[stage] += synchronized_time(self.device, self.clock) - start
            return result

        setattr(owner, method, timed)

    def read(self) -> dict[str, float]:
        """Return seconds by stage since the last call."""
        spent = dict(self.spent)
        self.spent.clear()
        return spent
