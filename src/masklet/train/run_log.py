"""The log of a run: a file of JSON lines, and the same with pictures for TensorBoard."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from torch.utils.tensorboard import SummaryWriter

log = logging.getLogger(__name__)

LOG = "log.jsonl"


class Journal:
    """Writes rows; where that fails, the run goes on."""

    def __init__(self, out: Path) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self.path = out / LOG
        self.board = SummaryWriter(str(out / "tensorboard"))

    def write(self, row: Mapping[str, float]) -> None:
        """Add a row; its `step` says when."""
        try:
            with self.path.open("a") as file:
                file.write(json.dumps({**row, "time": round(time.time(), 1)}) + "\n")
            for name, value in row.items():
                if name != "step":
                    self.board.add_scalar(name.replace(", ", "/"), value, int(row["step"]))
        except OSError as error:
            log.warning("step %d is not in %s: %s", row["step"], self.path, error)

    def show(self, step: int, pictures: Iterable[UInt8[np.ndarray, "H W 3"]]) -> None:
        """Add pictures to TensorBoard."""
        try:
            for index, picture in enumerate(pictures):
                self.board.add_image(f"held back/{index}", picture, step, dataformats="HWC")
        except OSError as error:
            log.warning("the pictures of step %d are not in the log: %s", step, error)

    def close(self) -> None:
        self.board.close()


def read_rows(out: Path) -> list[dict[str, float]]:
    """The rows of a log in the order of steps; of those that a resumed run wrote again, the newest."""
    found: dict[tuple[float, bool], dict[str, float]] = {}
    with (out / LOG).open() as file:
        for line in file:
            try:
                row = json.loads(line)
            except ValueError:  # cut short when the run was killed
                continue
            found[row["step"], "loss" in row] = row
    return [found[key] for key in sorted(found)]
