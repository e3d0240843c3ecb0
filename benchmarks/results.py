"""What was measured, as JSON; runs on the same machine add to each other, row by row."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Row:
    """One figure of one subject.

    row : what was measured, as in "follow 8"
    values : one for each repetition, in `unit`
    """

    model: str
    row: str
    subject: str
    values: tuple[float, ...]
    unit: str = "s"

    @property
    def key(self) -> tuple[str, str, str]:
        return self.model, self.row, self.subject

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

    def get(self, model: str, row: str, subject: str) -> Row | None:
        return self.rows.get((model, row, subject))

    def median(self, model: str, row: str, subject: str) -> float | None:
        found = self.get(model, row, subject)
        return None if found is None else found.median

    def subjects(self, model: str) -> list[str]:
        """Those measured with a model, in the order in which they first were."""
        return list(dict.fromkeys(row.subject for row in self.rows.values() if row.model == model))

    def write(self, path: Path) -> None:
        rows = [asdict(row) for row in self.rows.values()]
        for row in rows:
            row["values"] = [float(f"{value:.4g}") for value in row["values"]]
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = ",\n  ".join(json.dumps(row) for row in rows)
        path.write_text(f'{{"machine": {json.dumps(self.machine, indent=1)},\n "rows": [\n  {lines}\n]}}\n')

    @classmethod
    def read(cls, path: Path, machine: dict[str, Any]) -> Results:
        """Those of this machine; none where the file is of another."""
        results = cls(machine)
        if path.exists():
            said = json.loads(path.read_text())
            if said["machine"] == machine:
                for row in said["rows"]:
                    results.add(Row(**{**row, "values": tuple(row["values"])}))
        return results
