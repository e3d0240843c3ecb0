"""The driver of a job: plans the items, keeps Ray's actors busy, and records what became of each item.

Ray core does, not Ray Data: items need no shuffling, and what matters here is per item: its own attempts, its
own error, its progress. Ray Data's unit is a block of rows, which is repeated as a whole.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from masklet.errors import MaskletError, MissingExtra, first_line
from masklet.jobs.manifest import Cluster, JobSettings, read_manifest
from masklet.jobs.plan import Plan, make_plan, remove_outdated
from masklet.jobs.records import (
    ERRORS,
    JOB,
    STATUS,
    ErrorKind,
    JobStatus,
    MaskFiles,
    RunningItem,
    VideoSplit,
    read_job,
    read_status,
    remove_record,
)
from masklet.jobs.stores import (
    UNFINISHED,
    Store,
    StoreError,
    is_local,
    local_path,
)
from masklet.jobs.worker import Item, Outcome, Worker, make_error
from masklet.run_folder import Run, digest, refuse_other_run

STATUS_SECONDS = 2.0  # from one status to the next
SILENT_SECONDS = 60.0  # after which the driver of a job on another machine counts as gone
START_FAILURES = 5  # of actors in a row, after which the job stops
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


def run_job(
    manifest: str,
    out: str,
    settings: JobSettings,
    cluster: Cluster,
    report: Report = lambda status: None,
) -> JobStatus:
    """Run a job, or go on with it: what is done is left alone.

    Args:
        manifest: See `read_manifest`.
        out: The URL of the results. It belongs to one job: other settings are refused.
        settings: What decides the results.
        cluster: Where to run.
        report: Called with the status every two seconds.

    Returns:
        The last status.

    Raises:
        MaskletError: The manifest or a setting cannot be meant, `out` is another job's, or another driver is
            at work on it.
    """
    settings.check()
    cluster.check()
    store, settings = Store(out), _resolve_model(settings)
    if is_local(manifest):
        manifest = str(local_path(manifest).absolute())  # resume may be called in another folder
    entries = read_manifest(manifest)
    _claim(store, manifest, settings)
    store.remove(UNFINISHED)
    plan = make_plan(entries, store, retry_errors=cluster.retry_errors)
    driver = _Driver(store, plan, settings, cluster, report)
    with _ray(cluster):
        driver.run()
    remove_outdated(store, plan, entries)
    store.remove(UNFINISHED)
    return driver.status(is_running=False)


def _resolve_model(settings: JobSettings) -> JobSettings:
    """The settings with the path of a model file that means the same in every folder."""
    path = Path(settings.model)
    return replace(settings, model=str(path.absolute())) if path.is_file() else settings


def _as_run(settings: JobSettings) -> Run:
    return Run("jobs", "", settings.to_json(), {})


def _claim(store: Store, manifest: str, settings: JobSettings) -> None:
    """Make sure that the results belong to this job, and that no other driver is at work."""
    if store.read_json(JOB) is not None:
        earlier = _resolve_model(read_job(store)[1])
        refuse_other_run(store.url, _as_run(settings), _as_run(earlier))
    weights = _check_weights(store, settings)
    status = read_status(store)
    if status is not None and status.is_running and _is_alive(status):
        raise MaskletError(
            f"{store.url} is being written by process {status.process} on {status.host}: wait for it. "
            f"On another machine it counts as gone {SILENT_SECONDS:.0f} seconds after its last status."
        )
    store.write_json(JOB, {"manifest": manifest, "settings": settings.to_json(), "weights": weights})


def _check_weights(store: Store, settings: JobSettings) -> str | None:
    """A hash of the weights of the job; None where they are no file that this machine has."""
    earlier: str | None = (store.read_json(JOB) or {}).get("weights")
    if not Path(settings.model).is_file():
        return earlier
    weights = digest(settings.model, [Path(settings.model)])
    if earlier not in (None, weights):
        raise MaskletError(
            f"{store.url} holds a job with other weights, and {settings.model} has changed since: choose "
            "another --out."
        )
    return weights


def _is_alive(status: JobStatus) -> bool:
    """Whether the driver that wrote a status is still at work."""
    if status.host == socket.gethostname():
        if status.process == os.getpid():
            return False
        try:
            os.kill(status.process, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
    return time.time() - status.time < SILENT_SECONDS


@contextmanager
def _ray(cluster: Cluster) -> Iterator[None]:
    """Ray, started here or joined; one that the caller has started is used and left running."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # by default 15: on a busy machine, workers then starve
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

    On a busy machine Ray may find its own start too slow. It is then repeated.

    Raises:
        MaskletError: There is no such cluster, or Ray cannot be started.
    """
    import ray

    if cluster.address is not None:
        try:
            ray.init(address=cluster.address, log_to_driver=False)
        except (ConnectionError, SystemExit) as error:  # Ray exits where an address does not answer
            reason = "it does not answer" if isinstance(error, SystemExit) else first_line(error)
            raise MaskletError(f"there is no Ray cluster at {cluster.address}: {reason}.") from error
        return
    for name, value in QUIET_RAY.items():
        os.environ.setdefault(name, value)
    for attempt in range(RAY_STARTS):
        try:
            ray.init(
                address="local",  # else it would join a cluster that somebody else runs on this machine
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
                    f"Ray cannot be started on this machine: {first_line(error)}. It allows itself 30 "
                    "seconds: on a busy machine try again later, with masklet jobs resume."
                ) from error


@dataclass
class _WorkerState:
    """An actor, and what it does.

    Attributes:
        actor: Ray's handle.
        item: The item at work; None while the actor starts or waits.
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
    """Hands items to actors, one at a time each: the queue is here, so nothing piles up elsewhere."""

    def __init__(
        self, store: Store, plan: Plan, settings: JobSettings, cluster: Cluster, report: Report
    ) -> None:
        self._store, self._plan = store, plan
        self._settings, self._cluster, self._report = settings, cluster, report
        self._workers: dict[Any, _WorkerState] = {}  # by the reference to what each is doing
        self._attempts: dict[str, int] = {}
        self._start_failures = 0
        records = plan.records.values()
        self._seconds = [record.seconds for record in records if isinstance(record.results, MaskFiles)]
        self._began, self._done_before = time.time(), len(plan.done)

    def run(self) -> None:
        import ray

        count, options = self._resources()
        actor_class = ray.remote(Worker).options(**options)
        last_status = 0.0
        self._publish_status()
        try:
            while self._plan.waiting or any(worker.item for worker in self._workers.values()):
                busy = sum(worker.item is not None for worker in self._workers.values())
                while len(self._workers) < min(count, busy + len(self._plan.waiting)):
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
            with suppress(StoreError):
                self._store.write_json(STATUS, self.status(is_running=False).to_json())

    def status(self, *, is_running: bool) -> JobStatus:
        """What `masklet jobs status` shows."""
        now = time.time()
        running = tuple(
            RunningItem(
                worker.item.title,
                round(now - worker.started, 1),
                worker.frames,
                self._attempts.get(worker.item.id, 0) + 1,
            )
            for worker in self._workers.values()
            if worker.item is not None
        )
        return JobStatus(
            time=now,
            host=socket.gethostname(),
            process=os.getpid(),
            is_running=is_running,
            began=self._began,
            waiting=len(self._plan.waiting),
            done=len(self._plan.done),
            done_before=self._done_before,
            failed=len(self._plan.failed),
            median_seconds=_median(self._seconds),
            running=running if is_running else (),
        )

    def _resources(self) -> tuple[int, dict[str, Any]]:
        """How many actors, and what each takes."""
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
            "max_concurrency": 2,  # so that it can tell its progress
            "scheduling_strategy": "SPREAD",
        }
        return cluster.actors or max(1, int(actors)), options

    def _start_actor(self, actor_class: Any) -> None:
        threads = max(1, int(self._cluster.cpus_per_actor))
        actor = actor_class.remote(self._settings, self._store.url, threads)
        self._workers[actor.progress.remote()] = _WorkerState(actor)

    def _finish(self, reference: Any) -> None:
        """Take what an actor has done, and give it the next item."""
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
            self._record_outcome(item, answer)
        if self._plan.waiting:
            worker.item, worker.started, worker.frames = self._plan.waiting.popleft(), time.time(), (0, 0)
            self._workers[worker.actor.run.remote(worker.item)] = worker
        else:
            ray.kill(worker.actor)

    def _handle_lost_worker(self, worker: _WorkerState, error: Exception) -> None:
        """An actor has died, or could not start."""
        if worker.item is not None:
            self._fail(
                worker.item, "its worker died: out of memory, killed, or crashed by the input.", "system"
            )
            return
        cause = getattr(error, "cause", None)
        self._start_failures += 1
        text = str(cause or error).strip().rpartition("\n")[2]
        if isinstance(cause, MaskletError) or "MaskletError" in str(error) or "CheckpointError" in str(error):
            raise MaskletError(f"the model cannot be loaded by a worker: {text}")
        if self._start_failures >= START_FAILURES:
            raise MaskletError(f"workers cannot be started: {text}")

    def _record_outcome(self, item: Item, outcome: Outcome) -> None:
        record = outcome.record
        if record is None:
            self._fail(item, outcome.error, outcome.kind)
            return
        self._remove_superseded(item, record.key)
        with suppress(StoreError):
            self._store.remove(f"{ERRORS}/{item.id}.json")
        self._plan.records[item.id] = record
        if isinstance(record.results, VideoSplit):
            for part in item.parts(record.results.parts):
                self._plan.add(part, {}, {}, retry_errors=False)
            return
        self._plan.done.add(item.id)
        self._seconds.append(record.seconds)

    def _fail(self, item: Item, error: str, kind: ErrorKind) -> None:
        """Count an attempt. After the last one, the item is in the errors table."""
        attempts = self._attempts[item.id] = self._attempts.get(item.id, 0) + 1
        if kind == "system" and attempts < self._cluster.attempts:
            self._plan.waiting.append(item)
            return
        self._plan.failed[item.id] = f"{item.title}: {error}"
        with suppress(StoreError):  # a full disk: the item is not done, and the next run tries it again
            row = make_error(item, error, kind, attempts)
            self._store.write_json(f"{ERRORS}/{item.id}.json", row.to_json())

    def _remove_superseded(self, item: Item, key: str) -> None:
        """Remove the results of a source whose content has changed since."""
        earlier = self._plan.records.get(item.id)
        if earlier is not None and earlier.key != key:
            remove_record(self._store, earlier)

    def _stop_overdue(self) -> None:
        import ray

        timeout = self._cluster.timeout
        for reference, worker in list(self._workers.items()):
            if timeout is not None and worker.item is not None and time.time() - worker.started > timeout:
                ray.kill(worker.actor)
                self._workers.pop(reference)
                self._fail(worker.item, f"not done after {timeout:g} seconds.", "timeout")

    def _ask_progress(self) -> None:
        """Read the answers about progress that have come, and ask anew."""
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
        status = self.status(is_running=True)
        with suppress(StoreError):
            self._store.write_json(STATUS, status.to_json())
        self._report(status)


def _median(values: list[float]) -> float | None:
    return sorted(values)[len(values) // 2] if values else None
