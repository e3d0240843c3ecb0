"""Building the kernels: once, by the compiler at hand, into the user's cache; or why they cannot be used."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).with_name("kernels.cpp")
SOURCES = (SOURCE, SOURCE.with_name("simd.h"))
FLAGS = ("-O3", "-march=native", "-std=c++17", "-fopenmp", "-shared", "-fPIC")
NEEDED = {"avx2", "fma"}
WIDER = {"avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_vnni"}  # what simd.h takes if it is there


def cpu_flags() -> frozenset[str]:
    """The instruction sets that the system reports; none where it cannot be asked."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.partition(":")[2] for line in lines if line.startswith("flags")), "").split())


def wide() -> bool:
    """Whether the CPU has AVX512-VNNI, where integers of 8 bits are the fastest. In AVX2 those of 16 are."""
    return cpu_flags() >= WIDER


@cache
def missing() -> str | None:
    """Why the kernels cannot be used here; None where they can."""
    lacking = NEEDED - cpu_flags()
    if lacking:
        return f"the CPU lacks {', '.join(sorted(lacking))}"
    if _compiler() is None:
        return "there is no C++ compiler (g++ or clang++)"
    try:
        library()
    except (OSError, subprocess.CalledProcessError) as error:
        return f"the kernels do not build: {getattr(error, 'stderr', None) or error}".strip()
    return None


def _compiler() -> str | None:
    return next((found for name in ("g++", "clang++", "c++") if (found := shutil.which(name))), None)


@cache
def library() -> ctypes.CDLL:
    """The kernels, built if they are not; where `missing` gives no reason against it."""
    compiler = str(_compiler())
    made_of = [
        *(each.read_text(encoding="utf-8") for each in SOURCES),
        compiler,
        *FLAGS,
        *sorted(cpu_flags()),
    ]
    digest = hashlib.sha256("\n".join(made_of).encode()).hexdigest()[:16]
    built = cache_folder() / f"kernels-{digest}.so"
    if not built.exists():
        built.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=built.parent) as folder:
            partial = Path(folder) / built.name
            command = [compiler, *FLAGS, str(SOURCE), "-o", str(partial)]
            subprocess.run(command, check=True, capture_output=True, text=True)
            partial.replace(built)
    return ctypes.CDLL(str(built))


def cache_folder() -> Path:
    """Where what was compiled for this machine is kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "masklet"
