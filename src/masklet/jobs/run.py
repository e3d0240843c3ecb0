"""A job as a whole: claims the folder of the results, plans the items, has them run, and cleans up."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from dataclasses import replace

from masklet.checkpoint.locations import find_given
from masklet.errors import MaskletError
from masklet.jobs.manifest import read_manifest
from masklet.jobs.plan import Progress, make_plan, remove_outdated
from masklet.jobs.ray_driver import Report, run_on_ray
from masklet.jobs.records import JOB, JobStatus, read_job, read_status
from masklet.jobs.settings import Cluster, JobSettings
from masklet.jobs.stores import UNFINISHED, Store, is_local, local_path
from masklet.run_folder import Run, digest, refuse_other_run

SILENT_SECONDS = 60.0  # seconds after which the driver of a job on another machine is considered dead

RunItems = Callable[[Progress, JobSettings, Cluster, Report], None]


def run_job(
    manifest: str,
    out: str,
    settings: JobSettings,
    cluster: Cluster,
    report: Report = lambda status: None,
    *,
    run_items: RunItems = run_on_ray,
) -> JobStatus:
    """Run or resume a job. Finished items are not run again.

    Args:
        manifest: See `read_manifest`.
        out: The URL of the results. It belongs to one job: other settings are refused.
        settings: What decides the results.
        cluster: Where to run.
        report: Called with the status every two seconds.
        run_items: Runs the items that wait; by default on Ray.

    Returns:
        The last status.

    Raises:
        MaskletError: The manifest or a setting is invalid, `out` has another job, or another driver is
            running it.
    """
    settings.check()
    cluster.check()
    store, settings = Store(out), _resolve_model(settings)
    if is_local(manifest):
        manifest = str(local_path(manifest).absolute())  # resume may be run in another folder
    entries = read_manifest(manifest)
    _claim(store, manifest, settings)
    store.remove(UNFINISHED)
    plan = make_plan(entries, store, retry_errors=cluster.retry_errors)
    progress = Progress(store, plan, cluster.attempts)
    run_items(progress, settings, cluster, report)
    remove_outdated(store, plan, entries)
    store.remove(UNFINISHED)
    return progress.status(is_running=False)


def _resolve_model(settings: JobSettings) -> JobSettings:
    """The settings with the absolute path of the model's file, if it is on this machine."""
    file = find_given(settings.model)
    return settings if file is None else replace(settings, model=str(file.absolute()))


def _as_run(settings: JobSettings) -> Run:
    return Run("jobs", "", settings.to_json(), {})


def _claim(store: Store, manifest: str, settings: JobSettings) -> None:
    """Check that the results belong to this job, and that no other driver is running."""
    if store.read_json(JOB) is not None:
        earlier = _resolve_model(read_job(store)[1])
        refuse_other_run(store.url, _as_run(settings), _as_run(earlier))
    weights = _check_weights(store, settings)
    status = read_status(store)
    if status is not None and status.is_running and _is_alive(status):
        raise MaskletError(
            f"{store.url} is being written by process {status.process} on {status.host}: wait for it. A "
            f"process on another machine is considered dead {SILENT_SECONDS:.0f} seconds after its last "
            "status."
        )
    store.write_json(JOB, {"manifest": manifest, "settings": settings.to_json(), "weights": weights})


def _check_weights(store: Store, settings: JobSettings) -> str | None:
    """A hash of the job's weights; None if they are not a file on this machine."""
    earlier: str | None = (store.read_json(JOB) or {}).get("weights")
    file = find_given(settings.model)
    if file is None:
        return earlier
    weights = digest(settings.model, [file])
    if earlier not in (None, weights):
        raise MaskletError(
            f"{store.url} has a job with other weights: {settings.model} has changed since: choose another "
            "--out."
        )
    return weights


def _is_alive(status: JobStatus) -> bool:
    """Whether the driver that wrote a status is still running."""
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
