"""Stopwatches: whole actions of several subjects in turns, and the stages within them."""

from __future__ import annotations

import functools
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import torch

Seconds = dict[str, list[float]]


def settled(device: torch.device) -> float:
    """The time, once the device has nothing left to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def in_turns(
    actions: Mapping[str, Callable[[int], object]],
    device: torch.device,
    *,
    seconds: float,
    rounds: int,
    least: int = 1,
) -> Seconds:
    """Time each action once a round, so that a machine that slows down slows them all.

    actions : by subject; each is given the number of the round
    seconds : after so many no new round is begun
    least : rounds that are made however long they take
    """
    spent: Seconds = {name: [] for name in actions}
    began = time.perf_counter()
    for turn in range(rounds):
        for name, action in actions.items():
            start = settled(device)
            action(turn)
            spent[name].append(settled(device) - start)
        if turn + 1 >= least and time.perf_counter() - began > seconds:
            break
    return spent


class Stopwatch:
    """Times methods by stage, from outside; on a GPU only while `on`, since it must wait."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.on = device.type == "cpu"
        self.spent: dict[str, float] = defaultdict(float)

    def watch(self, owner: object, method: str, stage: str) -> None:
        inner = getattr(owner, method)

        @functools.wraps(inner)
        def timed(*args: Any, **options: Any) -> Any:
            if not self.on:
                return inner(*args, **options)
            start = settled(self.device)
            result = inner(*args, **options)
            self.spent[stage] += settled(self.device) - start
            return result

        setattr(owner, method, timed)

    def read(self) -> dict[str, float]:
        """Seconds by stage since the last reading."""
        spent = dict(self.spent)
        self.spent.clear()
        return spent
