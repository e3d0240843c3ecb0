"""Describes the machine: processor, instructions, cores, memory, and its speed of multiplying and copying."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Any

import psutil
import torch

FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "bf16")
SIDE = 2048  # side of the multiplied matrices
COPY_BYTES = 256 * 2**20  # bytes


def describe(device: torch.device) -> dict[str, Any]:
    """The machine's hardware, without its host name."""
    description: dict[str, Any] = {
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
        description["gpu"] = torch.cuda.get_device_name(device)
    return description


def _processor() -> str:
    info = _cpuinfo()
    name = info.get("model name", platform.machine())
    family = f"family {info['cpu family']}, model {info['model']}" if "cpu family" in info else ""
    return f"{name} ({family})" if family else name


def _flags() -> list[str]:
    flags = (_cpuinfo().get("flags") or _cpuinfo().get("Features") or "").split()
    return [flag for flag in FLAGS if flag in flags]


def _cpuinfo() -> dict[str, str]:
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    pairs = (line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, value in pairs}


def has_bfloat16(device: torch.device) -> bool:
    """Whether it has bfloat16 instructions. Without them, torch is slower by orders of magnitude."""
    return device.type == "cuda" or any("bf16" in flag for flag in _flags())


def measure_flops(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of a large matrix product, the highest of several runs."""
    a, b = (torch.randn(SIDE, SIDE, device=device).to(dtype) for _ in range(2))
    return 2 * SIDE**3 / _best_seconds(lambda: a @ b, device)


def measure_bandwidth(device: torch.device) -> float:
    """Bytes/s of a large copy, counting reads and writes."""
    a = torch.zeros(COPY_BYTES // 4, device=device)
    b = torch.empty_like(a)
    return 2 * COPY_BYTES / _best_seconds(lambda: b.copy_(a), device)


def _best_seconds(action: Any, device: torch.device, repeats: int = 8) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return min(times)
