"""The kernels under AddressSanitizer, on random shapes and alignments.

They give torch's numbers, and touch no byte outside of their tensors. `MASKLET_FUZZ_CASES=10000 pytest
tests/backends/test_fuzz.py` runs more cases than CI does.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from masklet.backends.native import library

CASES = int(os.environ.get("MASKLET_FUZZ_CASES", "60"))
INSTRUCTIONS = {"avx2": "x86-64-v3", "avx512_vnni": "x86-64-v4"}
SANITIZED = ("-O1", "-g", "-std=c++17", "-pthread", "-shared", "-fPIC", "-fsanitize=address")


def sanitizer_runtime() -> Path | None:
    """Where GCC's runtime of AddressSanitizer lies; None where there is none."""
    compiler = library.find_compiler()
    if compiler is None:
        return None
    command = [compiler, "-print-file-name=libasan.so"]
    path = Path(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())
    return path if path.is_absolute() and path.exists() else None


@pytest.mark.slow
@pytest.mark.parametrize("instructions", INSTRUCTIONS)
def test_random_calls_agree_with_torch_and_stay_within_their_memory(
    instructions: str, tmp_path: Path
) -> None:
    runtime, compiler = sanitizer_runtime(), library.find_compiler()
    if runtime is None or compiler is None:
        pytest.skip("needs g++ with AddressSanitizer")
    if not library.cpu_flags() >= library.INSTRUCTIONS[instructions]:
        pytest.skip(f"the CPU has no {instructions}")
    if instructions == "avx2" and library.has_vnni() and "MASKLET_FUZZ_CASES" not in os.environ:
        pytest.skip("this CPU uses avx512_vnni; MASKLET_FUZZ_CASES runs both")
    flags = [f"-march={INSTRUCTIONS[instructions]}", *(["-mavx512vnni"] if "512" in instructions else [])]
    path = tmp_path / "kernels.so"
    subprocess.run([compiler, *SANITIZED, *flags, library.SOURCES[-1], "-o", path], check=True)
    environment = {
        **os.environ,
        "LD_PRELOAD": str(runtime),
        "ASAN_OPTIONS": "detect_leaks=0",  # Python never frees its modules
        "PYTHONMALLOC": "malloc",
    }
    run = subprocess.run(
        [sys.executable, Path(__file__).with_name("fuzz.py"), path, str(CASES)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, (run.stdout + run.stderr)[-6000:]
    assert run.stdout == f"{CASES} cases\n"
