"""docs/scale.md is true: its SQL runs, and its table has the columns of the schema."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from masklet.jobs.manifest import read_manifest
from masklet.jobs.settings import JobSettings
from masklet.jobs.tables import SCHEMA
from masklet.jobs.worker import Item, Worker

from .conftest import FRAMES

DOCS = Path(__file__).parents[2] / "docs" / "scale.md"


def test_the_queries_run(
    corpus: Path, settings: JobSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Worker(settings, "out").run(Item(read_manifest(str(corpus / "manifest.csv"))[0]))
    (block,) = re.findall(r"```sql\n(.*?)```", DOCS.read_text(), re.DOTALL)
    queries = [line for line in block.splitlines() if line]
    assert len(queries) == 3
    for query in queries:
        duckdb.sql(query).fetchall()


@pytest.mark.parametrize("package", ["pandas", "datasets"])
def test_the_python_runs(corpus: Path, settings: JobSettings, tmp_path: Path, package: str) -> None:
    """In a process of its own: in this one, `datasets` is a folder of tests."""
    if run_python(f"from {package} import __version__", tmp_path):
        pytest.skip(f"{package} is not installed")
    Worker(settings, str(tmp_path / "out")).run(Item(read_manifest(str(corpus / "manifest.csv"))[0]))
    section = DOCS.read_text().split("## The Parquet")[1].split("\n## ")[0]
    (block,) = [block for block in re.findall(r"```python\n(.*?)```", section, re.DOTALL) if package in block]
    checks = [
        f"assert len(masks) == {FRAMES}",
        f"assert list(getattr(masks, 'column_names', 0) or masks.columns) == {SCHEMA.names}",
        "assert 'mask' not in globals() or mask.shape == (48, 64) and mask.sum() == row['area'] > 0",
    ]
    assert run_python("\n".join([block, *checks]), tmp_path) == ""


def run_python(code: str, folder: Path) -> str:
    """The error of a program; empty where it succeeds."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "HF_HOME": str(folder / "cache"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr if done.returncode else ""


def test_the_table_has_the_columns_of_the_schema() -> None:
    section = DOCS.read_text().split("## The Parquet")[1].split("pandas, DuckDB")[0]
    names = [name for row in re.findall(r"^\| ([^|]+) \|", section, re.MULTILINE) for name in row.split(", ")]
    assert [name for name in names if name not in ("column", "---")] == SCHEMA.names
