"""The roofline: how soon a frame could be done by what a machine multiplies and moves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from benchmarks import machine
from benchmarks.cost import Cost, costs
from benchmarks.results import Results, Row
from masklet.config import SIZES

HOUR = 3600
FPS = 30
MANY = 1e6  # hours of video
REACHED = 0.4  # of a GPU's peak, by well-written programs


@dataclass(frozen=True)
class Roof:
    """Operations and bytes a second, at most."""

    flops: float
    bytes: float

    def seconds(self, cost: Cost) -> float:
        return max(cost.flops / self.flops, cost.least / self.bytes)


H200 = Roof(989e12, 4.8e12)  # by its data sheet: dense bfloat16


def peaks(device: torch.device) -> Iterator[Row]:
    """What this machine multiplies and copies."""
    types = {"float32": torch.float32}
    if machine.has_bfloat16(device):
        types["bfloat16"] = torch.bfloat16
    for name, dtype in types.items():
        yield Row("machine", name, "measured", (machine.multiplies(device, dtype),), "FLOP/s")
    yield Row("machine", "copy", "measured", (machine.copies(device),), "B/s")


def table() -> str:
    """GFLOP and MB, stage by stage, for all sizes."""
    lines = [
        "| | encode | attend | decode | memorise | one object | eight objects |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, config in SIZES.items():
        stages = costs(config)
        rows = {
            "GFLOP": [each.flops / 1e9 for each in stages.values()],
            "MB at least": [each.least / 1e6 for each in stages.values()],
            "MB unfused": [each.unfused / 1e6 for each in stages.values()],
        }
        for unit, (first, *rest) in rows.items():
            cells = [first, *rest, first + sum(rest), first + 8 * sum(rest)]
            said = " | ".join(f"{cell:,.1f}" if cell < 10 else f"{cell:,.0f}" for cell in cells)
            lines.append(f"| {name}, {unit} | {said} |")
    return "\n".join(lines)


def roofline(results: Results) -> str:
    """Seconds a frame at the roof of this machine and of an H200, and what was measured here."""
    here = {
        name: Roof(flops, copied)
        for name in ("float32", "bfloat16")
        if (flops := results.median("machine", name, "measured"))
        and (copied := results.median("machine", "copy", "measured"))
    }
    head = [
        "",
        *(f"this machine, {name}" for name in here),
        "measured here",
        "H200, bfloat16",
        "its frames/s",
    ]
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    for name, config in SIZES.items():
        stages = costs(config)
        for objects in (1, 8):
            measured = results.median(name, f"follow {objects}", "masklet")
            on_gpu = at_the_roof(H200, stages, objects)
            cells = [f"{at_the_roof(roof, stages, objects):.3f} s" for roof in here.values()]
            cells += [
                f"{measured:.3f} s" if measured else "",
                f"{1000 * on_gpu:.2f} ms",
                f"{1 / on_gpu:,.0f}",
            ]
            lines.append(f"| {name}, {objects} object{'s'[: objects > 1]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def million() -> str:
    """A million hours of video on H200s, at a part of their peak that good programs reach."""
    lines = [
        "| | EFLOP an hour of video | H200 hours, one object | eight objects |",
        "| --- | --- | --- | --- |",
    ]
    for name, config in SIZES.items():
        stages = costs(config)
        work = {objects: flops(stages, objects) * FPS * HOUR for objects in (1, 8)}
        hours = [MANY * each / (REACHED * H200.flops) / HOUR for each in work.values()]
        lines.append(
            f"| {name} | {work[1] / 1e18:.3g} | " + " | ".join(f"{each:,.0f}" for each in hours) + " |"
        )
    return "\n".join(lines)


def at_the_roof(roof: Roof, stages: dict[str, Cost], objects: int) -> float:
    """Seconds a frame: encoded once, the rest for each object."""
    return sum(roof.seconds(cost) * (1 if stage == "encode" else objects) for stage, cost in stages.items())


def flops(stages: dict[str, Cost], objects: int) -> float:
    return sum(cost.flops * (1 if stage == "encode" else objects) for stage, cost in stages.items())
