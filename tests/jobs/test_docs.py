"""docs/scale.md is true: its SQL runs, and its table has the columns of the schema."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pytest

from masklet.jobs.manifest import JobSettings, read_manifest
from masklet.jobs.tables import SCHEMA
from masklet.jobs.worker import Item, Worker

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


def test_the_table_has_the_columns_of_the_schema() -> None:
    section = DOCS.read_text().split("## The Parquet")[1].split("pandas, DuckDB")[0]
    names = [name for row in re.findall(r"^\| ([^|]+) \|", section, re.MULTILINE) for name in row.split(", ")]
    assert [name for name in names if name not in ("column", "---")] == SCHEMA.names
