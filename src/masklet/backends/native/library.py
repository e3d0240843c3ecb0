"""The compiled kernels: from the wheel, or built once by an installed compiler, cached and checked.

A wheel for Linux on x86-64 (`make wheel`) has a library for each set of instructions in `INSTRUCTIONS`. A
checkout has none, so a compiler builds one for this CPU when it is first needed.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

SOURCES = (*sorted(Path(__file__).parent.glob("*.h")), Path(__file__).with_name("kernels.cpp"))
COMMON_FLAGS = ("-O3", "-std=c++17", "-pthread", "-shared", "-fPIC")
FLAGS = (*COMMON_FLAGS, "-march=native")
PREBUILT = Path(__file__).with_name("prebuilt")
REQUIRED = {"avx2", "fma"}
AVX512_VNNI = {"avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_vnni"}  # used by simd.h if present
INSTRUCTIONS = {  # a library's name and the instructions that it needs; the fastest first
    "avx512_vnni": REQUIRED | AVX512_VNNI,
    "avx2": REQUIRED,
}
COMPILER_SECONDS = 300  # on a busy machine the kernels take a minute
OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH

log = logging.getLogger(__name__)


class BuildError(Exception):
    """The kernels cannot be built or loaded; the message says why."""


def cpu_flags() -> frozenset[str]:
    """The instruction sets that the system reports; none if it does not report them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.partition(":")[2] for line in lines if line.startswith("flags")), "").split())


def has_vnni() -> bool:
    """Whether the CPU has AVX512-VNNI, where integers of 8 bits are the fastest. In AVX2 those of 16 are."""
    return cpu_flags() >= AVX512_VNNI


@cache
def missing() -> str | None:
    """Why the kernels cannot be used here; None if they can."""
    absent = REQUIRED - cpu_flags()
    if absent:
        return f"the CPU lacks {', '.join(sorted(absent))}"
    try:
        library()
    except BuildError as error:
        return str(error)
    return None


@cache
def library() -> ctypes.CDLL:
    """The kernels: from the wheel, otherwise from an earlier build, otherwise built now.

    Raises:
        BuildError: There is no compiler, it fails, or the cache folder is not safe.
    """
    prebuilt = find_prebuilt()
    if prebuilt is not None:
        try:
            return load(prebuilt)
        except OSError:  # this system's C++ library is older than the wheel's: a compiler may help
            pass
    compiler = find_compiler()
    if compiler is None:
        raise BuildError("there is no C++ compiler (g++ or clang++)")
    # Imported here: `make wheel` runs this module without masklet installed.
    from masklet.files import cache_folder

    try:
        return load(build(compiler, cache_folder()))
    except OSError as error:
        raise BuildError(f"the kernels do not build: {error}") from error


def find_prebuilt() -> Path | None:
    """The wheel's library for this CPU, if it was built from these sources."""
    flags = cpu_flags()
    paths = (prebuilt_path(name) for name, needed in INSTRUCTIONS.items() if needed <= flags)
    return next((path for path in paths if path.is_file()), None)


def prebuilt_path(instructions: str) -> Path:
    """The path of a wheel's library for a set of instructions; the name changes with the sources."""
    sources = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)
    return PREBUILT / f"kernels-{instructions}-{hashlib.sha256(sources.encode()).hexdigest()[:16]}.so"


def prebuilt_flags(instructions: str) -> tuple[str, ...]:
    """The compiler's arguments for a wheel's library."""
    return (*COMMON_FLAGS, *sorted(f"-m{flag.replace('_', '')}" for flag in INSTRUCTIONS[instructions]))


def find_compiler() -> str | None:
    return next((path for name in ("g++", "clang++", "c++") if (path := shutil.which(name))), None)


def build(compiler: str, folder: Path) -> Path:
    """The path of the library in a cache folder, compiled unless a complete one exists.

    Its name ends in a digest of its content, so a truncated or changed library, which would crash the
    process, is not loaded. Concurrent processes wait for the first.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    check_ownership(folder)
    name = f"kernels-{source_digest(compiler)}"
    with locked(folder / f"{name}.lock"):
        return find_intact(folder, name) or compile_library(compiler, folder, name)


def check_ownership(path: Path) -> None:
    """Raise for code that another user may have written, since loaded code runs as this user."""
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        raise BuildError(f"{path} is a symbolic link: set XDG_CACHE_HOME to your own folder")
    if status.st_uid != os.geteuid():
        raise BuildError(f"{path} belongs to another user: set XDG_CACHE_HOME to your own folder")
    if status.st_mode & OTHERS_MAY_WRITE:
        raise BuildError(f"other users may write to {path}: remove it, or run chmod -R go-w on it")


def source_digest(compiler: str) -> str:
    """Changes with the sources, the compiler, its flags and the CPU."""
    parts = [path.read_text(encoding="utf-8") for path in SOURCES]
    parts += [compiler, *FLAGS, *sorted(cpu_flags())]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def content_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def find_intact(folder: Path, name: str) -> Path | None:
    """A library whose content matches the digest in its name; damaged ones are removed."""
    for path in sorted(folder.glob(f"{name}-*.so")):
        check_ownership(path)
        if path.stem == f"{name}-{content_digest(path)}":
            return path
        path.unlink(missing_ok=True)
    return None


def compile_library(compiler: str, folder: Path, name: str) -> Path:
    log.info(
        "compiling the kernels for this CPU once: this takes up to a minute, or longer on a busy machine"
    )
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        partial = Path(temporary) / "kernels.so"
        run_compiler([compiler, *FLAGS, str(SOURCES[-1]), "-o", str(partial)], COMPILER_SECONDS)
        partial.chmod(0o700)
        path = folder / f"{name}-{content_digest(partial)}.so"
        partial.replace(path)
    return path


def run_compiler(command: list[str], seconds: float) -> None:
    """Run a compiler in a separate process group, so that its child processes end with it."""
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        _, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"the compiler {command[0]} did not finish within {seconds:g} seconds") from error
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode:
        raise BuildError(f"the kernels do not build: {errors.strip() or f'{command[0]} failed'}")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file's lock, or continue without it if another process holds it for longer than a build."""
    import fcntl  # Windows has none, and no kernels either

    with path.open("w") as file:
        deadline = time.monotonic() + COMPILER_SECONDS
        while time.monotonic() < deadline:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.05)
        yield


def load(path: Path) -> ctypes.CDLL:
    """Load a library of this user's."""
    return ctypes.CDLL(str(path))
