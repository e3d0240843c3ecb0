"""The number of threads for torch and the kernels, never more than CPUs."""

from __future__ import annotations

import math
import os
from functools import cache
from pathlib import Path

import torch

CGROUPS = Path("/sys/fs/cgroup")


def thread_count() -> int:
    """The threads that a call may use: torch's number, within what the process may have of the machine."""
    return max(1, min(torch.get_num_threads(), available_cpus()))


def limit_torch_threads() -> None:
    """Limit torch's threads to the CPUs of the control group's quota; more would be throttled."""
    quota = cpu_quota(CGROUPS)
    if quota is not None and torch.get_num_threads() > math.ceil(quota):
        torch.set_num_threads(max(1, math.ceil(quota)))


@cache
def available_cpus() -> int:
    """The CPUs that this process may use, by its affinity and by the quota of its control group."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota(CGROUPS)
    return cpus if quota is None else max(1, min(cpus, math.ceil(quota)))


def cpu_quota(cgroups: Path) -> float | None:
    """The CPUs that a control group, version 2 or 1, allows its processes; None if it sets no limit."""
    try:
        if (cgroups / "cpu.max").exists():
            quota, period = (cgroups / "cpu.max").read_text(encoding="ascii").split()
        else:
            quota = (cgroups / "cpu" / "cpu.cfs_quota_us").read_text(encoding="ascii").strip()
            period = (cgroups / "cpu" / "cpu.cfs_period_us").read_text(encoding="ascii").strip()
        return int(quota) / int(period) if quota not in ("max", "-1") else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
