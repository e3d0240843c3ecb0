"""Installs a wheel in a new environment, and runs it with a PATH that has no compiler.

    python dev/try_wheel.py dist

`make wheel` runs it. It needs the package index for masklet's dependencies.
"""

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

PROGRAM = """
import masklet
from masklet.backends.native import library
assert library.find_compiler() is None, library.find_compiler()
model = masklet.load()
print(masklet.__version__, masklet.__file__)
for row in model.backend.explain():
    print(f"{row.verb}: {row.runs_on} ({row.reason})")
assert library.missing() is None, library.missing()
assert "prebuilt" in library.library()._name, library.library()._name
"""


def main(folder: Path) -> None:
    root = Path(__file__).parents[1]
    wheels = sorted(folder.glob("*.whl"))
    if len(wheels) != 1:
        sys.exit(f"{folder} must have one wheel; it has {len(wheels)}")
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        venv.create(place / "venv", with_pip=True)
        python = place / "venv" / "bin" / "python"
        install = [
            python,
            "-m",
            "pip",
            "install",
            "--no-input",
            "--quiet",
            "--no-compile",
            "--disable-pip-version-check",
        ]
        subprocess.run([*install, "--constraint", root / "constraints.txt", wheels[0].resolve()], check=True)

        environment = {
            name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")
        }
        environment |= {"PATH": str(place / "venv" / "bin"), "XDG_CACHE_HOME": str(place / "cache")}
        subprocess.run([python, "-c", PROGRAM], cwd=place, env=environment, check=True)
        track = [python, "-m", "masklet", "track", root / "examples" / "demo.mp4", "--point", "188,140"]
        subprocess.run([*track, "--fps", "4", "--out", place / "out"], cwd=place, env=environment, check=True)
        assert (place / "out" / "masklets.json").is_file()
        assert not list((place / "cache").rglob("*.so")), "the kernels were compiled again"
    print(f"{wheels[0]} installs, and runs its kernels without a compiler")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
