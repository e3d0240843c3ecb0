"""Ray's part of a job: starts Ray and its actors, keeps them busy, and notices when one is lost.

It uses Ray Core, not Ray Data: items need no shuffling, and attempts, errors and progress are per item. Ray
Data's unit is a block of rows, which is repeated as a whole.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from masklet.errors import MaskletError, MissingExtra, first_line
from masklet.jobs.plan import Progress
from masklet.jobs.records import JobStatus, RunningItem
from masklet.jobs.settings import Cluster, JobSettings
from masklet.jobs.worker import Item, Worker

STATUS_SECONDS = 2.0  # seconds between statuses
START_FAILURES = 5  # successive failures of actors after which the job stops
RAY_STARTS = 4  # attempts to start Ray
# Of Ray on this machine, where tasks are few and long: its processes wake up once a second, not ten times,
# and collect no events and metrics, which nobody reads here.
QUIET_RAY = {
    "RAY_raylet_report_resources_period_milliseconds": "1000",
    "RAY_raylet_check_gc_period_milliseconds": "1000",
    "RAY_core_worker_internal_heartbeat_ms": "10000",
    "RAY_metrics_report_interval_ms": "60000",
    "RAY_task_events_report_interval_ms": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_event_stats": "0",
}

Report = Callable[[JobStatus], None]


def run_on_ray(progress: Progress, settings: JobSettings, cluster: Cluster, report: Report) -> None:
    """Run all waiting items.

    Args:
        progress: Hands out the items, and records what becomes of them.
        settings: What decides the results.
        cluster: Where to run.
        report: Called with the status every two seconds.

    Raises:
        MaskletError: Ray cannot be started, or its actors cannot load the model.
    """
    with _ray(cluster):
        _Driver(progress, settings, cluster, report).run()


@contextmanager
def _ray(cluster: Cluster) -> Iterator[None]:
    """Ray, started here or joined; one that the caller has started is used and left running."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # the default of 15 starves workers on a busy machine
    try:
        import ray
    except ModuleNotFoundError as error:
        raise MissingExtra("jobs", "ray") from error
    if ray.is_initialized():
        yield
        return
    start_ray(cluster)
    try:
        yield
    finally:
        ray.shutdown()


def start_ray(cluster: Cluster) -> None:
    """Join a cluster, or start Ray on this machine.

    On a busy machine, Ray's start may time out. It is then repeated.

    Raises:
        MaskletError: There is no such cluster, or Ray cannot be started.
    """
    import ray

    if cluster.address is not None:
        try:
            ray.init(address=cluster.address, log_to_driver=False)
        except (ConnectionError, SystemExit) as error:  # Ray exits if an address does not answer
            reason = "there is no answer" if isinstance(error, SystemExit) else first_line(error)
            raise MaskletError(f"there is no Ray cluster at {cluster.address}: {reason}.") from error
        return
    for name, value in QUIET_RAY.items():
        os.environ.setdefault(name, value)
    for attempt in range(RAY_STARTS):
        try:
            ray.init(
                address="local",  # otherwise it would join another user's cluster on this machine
                include_dashboard=False,
                log_to_driver=False,
                object_store_memory=cluster.object_store_bytes,
                logging_level=logging.ERROR,
            )
            return
        except Exception as error:  # Ray raises a bare one
            ray.shutdown()
            if attempt == RAY_STARTS - 1:
                raise MaskletError(
                    f"Ray cannot be started on this machine: {first_line(error)}. Its timeout is 30 "
                    "seconds: if the machine is busy, try again later with masklet jobs resume."
                ) from error


@dataclass
class _WorkerState:
    """An actor and its current work.

    Attributes:
        actor: Ray's handle.
        item: The running item; None while the actor starts or waits.
        started: When it began.
        progress_reference: Ray's reference to its next answer about its progress.
        frames: Done and in all, of that item, as it last answered.
    """

    actor: Any
    item: Item | None = None
    started: float = field(default_factory=time.time)
    progress_reference: Any = None
    frames: tuple[int, int] = (0, 0)


class _Driver:
    """Passes items to actors, one at a time: the only queue is here."""

    def __init__(self, progress: Progress, settings: JobSettings, cluster: Cluster, report: Report) -> None:
        self._progress = progress
        self._settings, self._cluster, self._report = settings, cluster, report
        self._workers: dict[Any, _WorkerState] = {}  # by the reference to its running call
        self._start_failures = 0

    def run(self) -> None:
        import ray

        count, options = self._resources()
        actor_class = ray.remote(Worker).options(**options)
        last_status = 0.0
        self._publish_status()
        try:
            while self._progress.plan.waiting or any(worker.item for worker in self._workers.values()):
                busy = sum(worker.item is not None for worker in self._workers.values())
                while len(self._workers) < min(count, busy + len(self._progress.plan.waiting)):
                    self._start_actor(actor_class)
                ready, _ = ray.wait(list(self._workers), num_returns=1, timeout=STATUS_SECONDS / 2)
                for reference in ready:
                    self._finish(reference)
                self._stop_overdue()
                if time.time() - last_status >= STATUS_SECONDS:
                    self._ask_progress()
                    self._publish_status()
                    last_status = time.time()
        finally:
            for worker in self._workers.values():
                with suppress(Exception):
                    ray.kill(worker.actor)
            self._progress.publish()

    def _resources(self) -> tuple[int, dict[str, Any]]:
        """The number of actors, and the resources of each."""
        import ray

        cluster = self._cluster
        resources = ray.cluster_resources()
        gpus = cluster.gpus_per_actor
        if gpus is None:
            gpus = 1.0 if resources.get("GPU") else 0.0
        actors = resources["GPU"] / gpus if gpus else resources.get("CPU", 1) / cluster.cpus_per_actor
        options = {
            "num_cpus": cluster.cpus_per_actor,
            "num_gpus": gpus,
            "max_restarts": 0,
            "max_concurrency": 2,  # so that it can report progress while it works
            "scheduling_strategy": "SPREAD",
        }
        return cluster.actors or max(1, int(actors)), options

    def _start_actor(self, actor_class: Any) -> None:
        threads = max(1, int(self._cluster.cpus_per_actor))
        actor = actor_class.remote(self._settings, self._progress.store.url, threads)
        self._workers[actor.progress.remote()] = _WorkerState(actor)

    def _finish(self, reference: Any) -> None:
        """Record an actor's result, and pass it the next item."""
        import ray

        worker = self._workers.pop(reference)
        item = worker.item
        try:
            answer = ray.get(reference)
        except ray.exceptions.RayActorError as error:
            self._handle_lost_worker(worker, error)
            return
        self._start_failures = 0
        if item is not None:
            self._progress.record(item, answer)
        waiting = self._progress.plan.waiting
        if waiting:
            worker.item, worker.started, worker.frames = waiting.popleft(), time.time(), (0, 0)
            self._workers[worker.actor.run.remote(worker.item)] = worker
        else:
            ray.kill(worker.actor)

    def _handle_lost_worker(self, worker: _WorkerState, error: Exception) -> None:
        """An actor has died, or could not start."""
        if worker.item is not None:
            self._progress.fail(
                worker.item,
                "its worker died: it ran out of memory, was killed, or crashed on the input.",
                "system",
            )
            return
        cause = getattr(error, "cause", None)
        self._start_failures += 1
        text = str(cause or error).strip().rpartition("\n")[2]
        if isinstance(cause, MaskletError) or "MaskletError" in str(error) or "CheckpointError" in str(error):
            raise MaskletError(f"a worker cannot load the model: {text}")
        if self._start_failures >= START_FAILURES:
            raise MaskletError(f"workers cannot be started: {text}")

    def _stop_overdue(self) -> None:
        import ray

        timeout = self._cluster.timeout
        for reference, worker in list(self._workers.items()):
            if timeout is not None and worker.item is not None and time.time() - worker.started > timeout:
                ray.kill(worker.actor)
                self._workers.pop(reference)
                self._progress.fail(worker.item, f"not done after {timeout:g} seconds.", "timeout")

    def _ask_progress(self) -> None:
        """Read the answers about progress, and ask again."""
        import ray

        for worker in self._workers.values():
            if worker.item is None:
                continue
            if worker.progress_reference is not None:
                ready, _ = ray.wait([worker.progress_reference], timeout=0)
                if not ready:
                    continue
                with suppress(ray.exceptions.RayError):
                    item_id, done, total = ray.get(worker.progress_reference)
                    worker.frames = (done, total) if item_id == worker.item.id else worker.frames
            worker.progress_reference = worker.actor.progress.remote()

    def _publish_status(self) -> None:
        now = time.time()
        running = tuple(
            RunningItem(
                worker.item.title,
                round(now - worker.started, 1),
                worker.frames,
                self._progress.attempts_of(worker.item) + 1,
            )
            for worker in self._workers.values()
            if worker.item is not None
        )
        self._report(self._progress.publish(running))
