"""Evaluates a predictor by a protocol on many samples, in several processes.

Each sample's results are in a separate file, so that a killed evaluation can resume.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import cv2
import torch

from masklet.backends import Setting
from masklet.checkpoint import load
from masklet.errors import MaskletError
from masklet.evaluate.baselines import BASELINES
from masklet.evaluate.predictors import ModelPredictor, Predictor
from masklet.evaluate.report import ObjectResult
from masklet.evaluate.samples import Sample, file_stamp
from masklet.files import atomic_write, make_folder, remove_unfinished
from masklet.run_folder import Manifest, Run, check_folder, read_settings_file
from masklet.tracking.policies import find_policy

S = TypeVar("S", bound=Sample)
S_contra = TypeVar("S_contra", bound=Sample, contravariant=True)
FORMAT = 3  # version of result files
ITEMS = "items"  # the folder of these files
EARLIER_MANIFEST = "settings.json"  # in place of run.json, in folders of earlier versions
STALE = 60.0  # seconds after which an unfinished file is from a killed process


@runtime_checkable
class EvaluationProtocol(Protocol[S_contra]):
    """The rules of an evaluation, and the content of its report.

    Attributes:
        axis: The unit of `ObjectResult.step`.
        headline: The scores that summarize the protocol.
    """

    @property
    def axis(self) -> str: ...

    @property
    def headline(self) -> tuple[str, ...]: ...

    def run(self, predictor: Predictor, sample: S_contra) -> Iterator[ObjectResult]: ...


@dataclass(frozen=True)
class PredictorSpec:
    """A baseline, or a model by its name, path or hub id, with its options.

    Attributes:
        zoom: Look a second time, see `masklet.zoom`; None leaves it to the model's config.
        image_size: Side of the network's square; None is the size of training.
    """

    name: str
    device: str | None = None
    dtype: str = "float32"
    policy: str = "recency"
    cuts: bool = False
    zoom: bool | None = None
    setting: Setting = "exact"
    image_size: int | None = None

    def load(self) -> Predictor:
        if self.name in BASELINES:
            return BASELINES[self.name]
        find_policy(self.policy)
        model = load(
            self.name,
            device=self.device,
            dtype=self.dtype,
            setting=self.setting,
            image_size=self.image_size,
        )
        name = self.name if self.setting == "exact" else f"{self.name}, {self.setting}"
        name = name if self.image_size is None else f"{name}, {self.image_size} pixels"
        return ModelPredictor(name, model, self.policy, self.cuts, self.zoom)


@dataclass(frozen=True)
class Evaluation(Generic[S]):
    """A protocol, a predictor, and the folder for the results.

    Attributes:
        data: The source of the samples; results on other data are not mixed with these.
    """

    protocol: EvaluationProtocol[S]
    predictor: PredictorSpec
    data: str
    out: Path

    def run(
        self, samples: Sequence[S], jobs: int = 1, on_done: Callable[[str], None] = lambda name: None
    ) -> list[ObjectResult]:
        """Evaluate the samples that have no results yet; returns all results, in the samples' order.

        A sample that fails does not stop the others: failures are raised together at the end.

        Args:
            jobs: Processes.
            on_done: Called with the name of each finished sample.
        """
        self._check_folder()
        pending, problems = [], {}
        for sample in samples:
            if self._is_done(sample):
                on_done(sample.name)
            else:
                pending.append(sample)
        for name, problem in (
            self._evaluate_in_processes(pending, jobs) if jobs > 1 else self._evaluate_in_turn(pending)
        ):
            on_done(name)
            if problem is not None:
                problems[name] = problem
        if problems:
            reasons = "; ".join(f"{name}: {problem}" for name, problem in problems.items())
            raise MaskletError(f"{len(problems)} of {len(samples)} could not be evaluated. {reasons}")
        results = [result for sample in samples for result in _read_results(self._path(sample.name))]
        if not results:
            raise MaskletError(
                f"{self.data} has nothing to score: no object is annotated on a scored frame. The first and "
                "last annotated frames are not scored, and public test sets have annotations only on the "
                "first frame."
            )
        return results

    def evaluate_sample(self, sample: S) -> str | None:
        """Evaluate one sample and write its results; returns the problem, if there was one."""
        try:
            stamp = file_stamp(sample)  # before they are read, in case they change during reading
            results = [result.to_json() for result in self.protocol.run(_load(self.predictor), sample)]
        except MaskletError as error:
            return str(error)
        with atomic_write(self._path(sample.name)) as part:
            part.write_text(json.dumps({"files": stamp, "results": results}))
        return None

    def _is_done(self, sample: S) -> bool:
        """Whether there are results for the sample's current files, since labels may be corrected."""
        path = self._path(sample.name)
        try:
            return path.exists() and _read_content(path)["files"] == file_stamp(sample)
        except (MaskletError, ValueError, KeyError, TypeError):  # damaged, or a file of the sample is missing
            return False

    def _evaluate_in_turn(self, samples: Sequence[S]) -> Iterator[tuple[str, str | None]]:
        return ((sample.name, self.evaluate_sample(sample)) for sample in samples)

    def _evaluate_in_processes(self, samples: Sequence[S], jobs: int) -> Iterator[tuple[str, str | None]]:
        threads = max(1, (os.cpu_count() or 1) // jobs)
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(jobs, context, _prepare_worker, (threads,))
        finished = False
        try:
            names = {pool.submit(self.evaluate_sample, sample): sample.name for sample in samples}
            for future in as_completed(names):
                yield names[future], future.result()
            finished = True
        except BrokenProcessPool as error:
            raise MaskletError(
                "a process of the evaluation was killed, perhaps because memory ran out. Finished results "
                "are saved: run the same command again, with fewer jobs."
            ) from error
        finally:
            workers = [] if finished else multiprocessing.active_children()
            pool.shutdown(wait=finished, cancel_futures=True)
            for worker in workers:
                worker.terminate()

    def _check_folder(self) -> None:
        """Raise if a folder has results of another evaluation."""
        settings = {
            "format": FORMAT,
            "protocol": repr(self.protocol),
            "predictor": _load(self.predictor).identity,
            "data": self.data,
        }
        run, files = Run("evaluate", "", settings, {}), [ITEMS]
        check_folder(
            self.out, run, before=lambda: read_settings_file(self.out / EARLIER_MANIFEST, run, files)
        )
        remove_unfinished(make_folder(self.out) / ITEMS, STALE)
        Manifest.protect(run, files).write(self.out)

    def _path(self, name: str) -> Path:
        return self.out / ITEMS / f"{name}.json"


def _read_results(path: Path) -> list[ObjectResult]:
    return [ObjectResult.from_json(fields) for fields in _read_content(path)["results"]]


def _read_content(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


@cache
def _load(spec: PredictorSpec) -> Predictor:
    """One predictor per process, for all its samples."""
    return spec.load()


def _prepare_worker(threads: int) -> None:
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    """End this process when its parent has ended, by SIGTERM or SIGKILL."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
