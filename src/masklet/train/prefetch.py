"""What each step consists of, made ahead of time by other processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

import cv2
from torch.utils.data import DataLoader, Dataset

T = TypeVar("T")


class _Steps(Dataset[T], Generic[T]):
    def __init__(self, make: Callable[[int], T], steps: range) -> None:
        self.make, self.steps = make, steps

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, index: int) -> T:
        return self.make(self.steps[index])


def ahead(make: Callable[[int], T], steps: range, workers: int) -> Iterable[T]:
    """`make` of every step, in order.

    workers : processes that make what comes next; 0 makes it when asked
    """
    return DataLoader(
        _Steps(make, steps),
        batch_size=None,
        collate_fn=_as_it_is,
        num_workers=workers,
        worker_init_fn=_alone,
        multiprocessing_context="fork" if workers else None,  # sources are closures, which cannot be sent
    )


def _as_it_is(made: T) -> T:
    return made


def _alone(worker: int) -> None:
    cv2.setNumThreads(1)
