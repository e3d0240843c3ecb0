"""Runs a protocol over a benchmark, in several processes.

Each item's result is a file of its own, so a killed run continues where it was.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Generic, Protocol, TypeVar, runtime_checkable

import cv2
import numpy as np
import torch

from masklet.checkpoint import load
from masklet.errors import MaskletError
from masklet.evaluate.baselines import BASELINES
from masklet.evaluate.rows import Row
from masklet.evaluate.subjects import Network, Subject
from masklet.files import atomic_write, make_folder
from masklet.tracking.policies import find_policy


@runtime_checkable
class Item(Protocol):
    """A clip or a picture."""

    @property
    def name(self) -> str: ...

    def picture(self, frame: int) -> np.ndarray: ...


Measured = TypeVar("Measured", bound=Item)
Measured_contra = TypeVar("Measured_contra", bound=Item, contravariant=True)
Open = Callable[[], Subject]  # in every process; picklable and hashable


@runtime_checkable
class Measurement(Protocol[Measured_contra]):
    """A protocol of evaluation: the rules, and what its report shows.

    axis : what `Row.step` counts
    headline : the scores that stand for the whole
    """

    @property
    def axis(self) -> str: ...

    @property
    def headline(self) -> tuple[str, ...]: ...

    def run(self, subject: Subject, item: Measured_contra) -> Iterator[Row]: ...


@dataclass(frozen=True)
class Named:
    """Opens a baseline by its name, or a model by its name, path or hub id.

    closer : whether it looks again, from close up, at what is small; None for as it is made
    """

    name: str
    device: str | None = None
    dtype: str = "float32"
    policy: str = "recency"
    cuts: bool = False
    closer: bool | None = None

    def __call__(self) -> Subject:
        if self.name in BASELINES:
            return BASELINES[self.name]
        find_policy(self.policy)
        model = load(self.name, device=self.device, dtype=self.dtype)
        if self.closer is not None:
            model.config = replace(model.config, closer=self.closer)
        return Network(self.name, model, self.policy, self.cuts)


@dataclass(frozen=True)
class Run(Generic[Measured]):
    """A protocol, what it measures, and the folder that takes the results.

    data : where the items come from; results of other data are not added to
    """

    measurement: Measurement[Measured]
    open: Open
    data: str
    out: Path

    def rows(
        self, items: Sequence[Measured], jobs: int = 1, done: Callable[[str], None] = lambda name: None
    ) -> list[Row]:
        """Measure what has no result yet; every row, in the items' order.

        An item that fails does not stop the others: what failed, and why, is raised at the end.

        done : is called with the name of each item that has its result
        """
        self._claim()
        left, problems = [], {}
        for item in items:
            if self._place(item.name).exists():
                done(item.name)
            else:
                left.append(item)
        for name, problem in self._apart(left, jobs) if jobs > 1 else self._here(left):
            done(name)
            if problem is not None:
                problems[name] = problem
        if problems:
            listed = "; ".join(f"{name}: {problem}" for name, problem in problems.items())
            raise MaskletError(f"{len(problems)} of {len(items)} could not be measured. {listed}")
        rows = [row for item in items for row in _read(self._place(item.name))]
        if not rows:
            raise MaskletError(
                f"{self.data} has nothing to score: no object is annotated on a frame that counts. Public "
                "test sets show the first frame only; of what is scored, the first and the last are left out."
            )
        return rows

    def measure(self, item: Measured) -> str | None:
        """Measure one item and write its rows; returns what went wrong with it."""
        try:
            rows = [row.to_json() for row in self.measurement.run(_subject(self.open), item)]
        except MaskletError as error:
            return str(error)
        with atomic_write(self._place(item.name)) as part:
            part.write_text(json.dumps(rows))
        return None

    def _here(self, items: Sequence[Measured]) -> Iterator[tuple[str, str | None]]:
        return ((item.name, self.measure(item)) for item in items)

    def _apart(self, items: Sequence[Measured], jobs: int) -> Iterator[tuple[str, str | None]]:
        threads = max(1, (os.cpu_count() or 1) // jobs)
        pool = ProcessPoolExecutor(jobs, get_context("spawn"), _share_cores, (threads,))
        try:
            names = {pool.submit(self.measure, item): item.name for item in items}
            for future in as_completed(names):
                yield names[future], future.result()
        except BrokenProcessPool as error:
            raise MaskletError(
                "a process of the evaluation was killed, as happens when memory runs out. What was measured "
                "is kept: run the same command again, with fewer jobs."
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _claim(self) -> None:
        """Refuse a folder that holds results of another run."""
        path = make_folder(self.out) / "settings.json"
        ours = {
            "protocol": repr(self.measurement),
            "subject": _subject(self.open).identity,
            "data": self.data,
        }
        theirs = json.loads(path.read_text()) if path.exists() else ours
        if theirs != ours:
            name = next(name for name in ours if theirs.get(name) != ours[name])
            raise MaskletError(
                f"{self.out} holds results of another run: its {name} is {theirs.get(name)}, this one's is "
                f"{ours[name]}. Choose another folder, or delete that one."
            )
        with atomic_write(path) as part:
            part.write_text(json.dumps(ours, indent=1))

    def _place(self, name: str) -> Path:
        return self.out / "items" / f"{name}.json"


def _read(path: Path) -> list[Row]:
    return [Row.from_json(said) for said in json.loads(path.read_text())]


@cache
def _subject(open: Open) -> Subject:
    """One subject a process, however many items it measures."""
    return open()


def _share_cores(threads: int) -> None:
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
