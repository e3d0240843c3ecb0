"""Stores the figures as JSON. Runs on the same machine add rows to each other."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Row:
    """One figure of one implementation.

    row : a key of ROW_NAMES, such as "follow 8"
    values : a value for each repetition, in `unit`
    """

    model: str
    row: str
    implementation: str
    values: tuple[float, ...]
    unit: str = "s"

    @property
    def key(self) -> tuple[str, str, str]:
        return self.model, self.row, self.implementation

    @property
    def median(self) -> float:
        return statistics.median(self.values)


@dataclass
class Results:
    """All rows of one machine."""

    machine: dict[str, Any]
    rows: dict[tuple[str, str, str], Row] = field(default_factory=dict)

    def add(self, row: Row) -> None:
        self.rows[row.key] = row

    def get(self, model: str, row: str, implementation: str) -> Row | None:
        return self.rows.get((model, row, implementation))

    def median(self, model: str, row: str, implementation: str) -> float | None:
        figure = self.get(model, row, implementation)
        return None if figure is None else figure.median

    def implementations(self, model: str) -> list[str]:
        """The implementations with figures of a model, in the order of their first figures."""
        return list(dict.fromkeys(row.implementation for row in self.rows.values() if row.model == model))

    def write(self, path: Path) -> None:
        rows = [asdict(row) for row in self.rows.values()]
        for row in rows:
            row["values"] = [float(f"{value:.4g}") for value in row["values"]]
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = ",\n  ".join(json.dumps(row) for row in rows)
        path.write_text(f'{{"machine": {json.dumps(self.machine, indent=1)},\n "rows": [\n  {lines}\n]}}\n')

    @classmethod
    def read(cls, path: Path, machine: dict[str, Any]) -> Results:
        """Read the figures of this machine; none if the file belongs to another machine."""
        results = cls(machine)
        if path.exists():
            content = json.loads(path.read_text())
            if content["machine"] == machine:
                for row in content["rows"]:
                    results.add(Row(**{**row, "values": tuple(row["values"])}))
        return results
