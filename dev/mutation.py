"""Break the code at random places and see whether its tests notice: mutation testing, on a sample.

pip install cosmic-ray
python dev/mutation.py boxes 60 --seed 1      60 of the mutants of boxes.py and rle.py, and those that survive

Mutants are made in a copy of the last commit, never in this checkout.
"""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

REPO = Path(__file__).parents[1]
GROUPS = {
    "boxes": (["boxes.py", "rle.py"], ["tests/test_boxes.py", "tests/test_rle.py"]),
    "masks": (["masks.py", "label_maps.py"], ["tests/test_types.py", "tests/test_label_maps.py"]),
    "tracking": (
        ["tracking/bank.py", "tracking/step.py", "tracking/multi_hypothesis.py"],
        ["tests/tracking/test_bank.py", "tests/tracking/test_step.py", "tests/sessions/test_tracker.py"],
    ),
    "sessions": (["sessions/object_state.py", "sessions/events.py"], ["tests/sessions/test_object_state.py"]),
}
TIMEOUT = 120  # seconds for the tests of one mutant


def main(
    group: Annotated[str, typer.Argument(help=", ".join(GROUPS))],
    sample: Annotated[int, typer.Argument(help="mutants to try")] = 60,
    seed: int = 0,
) -> None:
    """List the mutants of a group of modules that its tests do not notice."""
    modules, tests = GROUPS[group]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "masklet"
        subprocess.run(["git", "clone", "--quiet", str(REPO), str(copy)], check=True)
        command = f"{sys.executable} -m pytest -x -q -n 0 -m 'not slow' -p no:cacheprovider {' '.join(tests)}"
        paths = ", ".join(f'"src/masklet/{module}"' for module in modules)
        (copy / "cosmic-ray.toml").write_text(
            f"[cosmic-ray]\nmodule-path = [{paths}]\ntimeout = {TIMEOUT}\n"
            f'test-command = "env PYTHONPATH=src OMP_NUM_THREADS=1 {command}"\n'
            '[cosmic-ray.distributor]\nname = "local"\n'
        )
        _run(copy, "baseline", "cosmic-ray.toml")
        _run(copy, "init", "cosmic-ray.toml", "session.sqlite")
        total = _sample(copy / "session.sqlite", sample, seed)
        _run(copy, "exec", "cosmic-ray.toml", "session.sqlite")
        survivors = _survivors(copy / "session.sqlite")
    tried = min(sample, total)
    typer.echo(f"{group}: {tried - len(survivors)} of {tried} mutants noticed ({total} in all, seed {seed})")
    for module, line, diff in sorted(survivors):
        typer.echo(f"\n{module}:{line}\n{diff}")


def _run(copy: Path, *arguments: str) -> None:
    subprocess.run(["cosmic-ray", *arguments], cwd=copy, check=True)


def _sample(session: Path, sample: int, seed: int) -> int:
    """Keep so many mutants of a session; how many there were."""
    with sqlite3.connect(session) as database:
        order = [job for (job,) in database.execute("SELECT job_id FROM mutation_specs ORDER BY rowid")]
        kept = set(random.Random(seed).sample(range(len(order)), min(sample, len(order))))
        dropped = [(job,) for i, job in enumerate(order) if i not in kept]
        database.executemany("DELETE FROM mutation_specs WHERE job_id = ?", dropped)
        database.executemany("DELETE FROM work_items WHERE job_id = ?", dropped)
    return len(order)


def _survivors(session: Path) -> list[tuple[str, int, str]]:
    query = """SELECT module_path, start_pos_row, diff FROM work_results
        JOIN mutation_specs USING (job_id) WHERE test_outcome = 'SURVIVED'"""
    with sqlite3.connect(session) as database:
        rows = database.execute(query).fetchall()
    return [(module, line, "\n".join(_changed_lines(diff))) for module, line, diff in rows]


def _changed_lines(diff: str) -> list[str]:
    return [line for line in diff.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]


if __name__ == "__main__":
    typer.run(main)
