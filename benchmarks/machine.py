"""The machine: processor, instructions, cores, memory, and how fast it multiplies and copies."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Any

import psutil
import torch

FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "bf16")
SIDE = 2048  # of the matrices that are multiplied
COPIED = 256 * 2**20  # bytes


def described(device: torch.device) -> dict[str, Any]:
    """Names of parts, without the machine's own."""
    said: dict[str, Any] = {
        "processor": _processor(),
        "instructions": " ".join(_flags()),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if device.type == "cuda":
        said["gpu"] = torch.cuda.get_device_name(device)
    return said


def _processor() -> str:
    said = _cpuinfo()
    name = said.get("model name", platform.machine())
    family = f"family {said['cpu family']}, model {said['model']}" if "cpu family" in said else ""
    return f"{name} ({family})" if family else name


def _flags() -> list[str]:
    there = (_cpuinfo().get("flags") or _cpuinfo().get("Features") or "").split()
    return [flag for flag in FLAGS if flag in there]


def _cpuinfo() -> dict[str, str]:
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    pairs = (line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, value in pairs}


def has_bfloat16(device: torch.device) -> bool:
    """Whether it multiplies bfloat16 by itself. Without, torch takes a minute for what takes milliseconds."""
    return device.type == "cuda" or any("bf16" in flag for flag in _flags())


def multiplies(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of a large matrix product, the best of several."""
    a, b = (torch.randn(SIDE, SIDE, device=device).to(dtype) for _ in range(2))
    return 2 * SIDE**3 / _best(lambda: a @ b, device)


def copies(device: torch.device) -> float:
    """Bytes/s of a large copy, read and written."""
    a = torch.zeros(COPIED // 4, device=device)
    b = torch.empty_like(a)
    return 2 * COPIED / _best(lambda: b.copy_(a), device)


def _best(action: Any, device: torch.device, times: int = 8) -> float:
    spent = []
    for _ in range(times):
        start = time.perf_counter()
        action()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        spent.append(time.perf_counter() - start)
    return min(spent)
