"""A Hatchling hook that compiles the kernels into a wheel, for each set of vector instructions.

It runs only if HATCH_BUILD_HOOKS_ENABLE is set, as in `make wheel`. `pip install .` builds a wheel without
compiled kernels, which are then compiled on the user's machine if it has a compiler.
"""

import importlib.util
import platform
import subprocess
import sys
from pathlib import Path
from types import ModuleType

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

LIBRARY = Path("src", "masklet", "backends", "native", "library.py")


def load_library_module(path: Path) -> ModuleType:
    """Load masklet's module of library names and compiler flags, which imports only the standard library."""
    spec = importlib.util.spec_from_file_location("masklet_kernels_library", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def platform_tag() -> str:
    """The platform tag of systems with this version of the C library or a newer one."""
    _, version = platform.libc_ver()
    major, minor = version.split(".")[:2]
    return f"manylinux_{major}_{minor}_x86_64"


class KernelsHook(BuildHookInterface):
    """Adds `masklet/backends/native/prebuilt/*.so`."""

    def initialize(self, version: str, build_data: dict) -> None:
        if version == "editable":
            return
        if sys.platform != "linux" or platform.machine() != "x86_64":
            raise OSError("wheels with compiled kernels are built on Linux with x86-64 only")
        library = load_library_module(Path(self.root) / LIBRARY)
        compiler = library.find_compiler()
        if compiler is None:
            raise OSError("there is no C++ compiler (g++ or clang++) to build the kernels with")
        folder = Path(self.directory) / "kernels"
        folder.mkdir(parents=True, exist_ok=True)
        for instructions in library.INSTRUCTIONS:
            name = library.prebuilt_path(instructions).name
            flags = library.prebuilt_flags(instructions)
            subprocess.run(
                [compiler, *flags, "-s", str(library.SOURCES[-1]), "-o", str(folder / name)], check=True
            )
            build_data["force_include"][str(folder / name)] = f"masklet/backends/native/prebuilt/{name}"
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform_tag()}"

    def finalize(self, version: str, build_data: dict, artifact_path: str) -> None:
        folder = Path(self.directory) / "kernels"
        for path in folder.glob("*.so"):
            path.unlink()
        if folder.exists():
            folder.rmdir()
