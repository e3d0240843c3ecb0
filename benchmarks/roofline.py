"""Computes the operations and bytes of a frame, and the roofline: the speed at a machine's peak rates.

The network runs on torch's `meta` device, where tensors have shapes but no values, to count operations and
bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import machine
from benchmarks.results import Results, Row
from masklet.config import SIZES, Sam2Config
from masklet.model import Sam2
from masklet.types import MaskPrediction, Memory, MemorySelection

HOUR = 3600
FPS = 30
VIDEO_HOURS = 1e6
UTILIZATION = 0.4  # share of a GPU's peak that well-written programs reach
MEMORIES, POINTERS = 7, 16  # numbers in a full bank
HALF = 2  # bytes of a number in half precision


@dataclass(frozen=True)
class Cost:
    """The cost of one stage for one frame, or one object on a frame.

    flops : operations; a multiplication with an addition counts as two
    min_bytes : the minimum of moved bytes, in half precision: weights, inputs, outputs
    unfused_bytes : bytes that all operations read and write without fusion
    """

    flops: float
    min_bytes: float
    unfused_bytes: float


class Traffic(TorchDispatchMode):
    """Sums the bytes of the tensors that operations read and write; views move none."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.bytes += sum(
                leaf.nbytes for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)
            )
        return result


def count_costs(config: Sam2Config) -> dict[str, Cost]:
    """Count the costs of the four stages. Encoding runs once per frame, the others for each object."""
    with torch.device("meta"):
        model = Sam2(config).eval().requires_grad_(False)
        image = torch.zeros(1, 3, config.image_size, config.image_size)
        c, n, d, side = config.channels, config.grid**2, config.memory_channels, config.mask_size
        scalar = torch.zeros(1)
        logits = torch.zeros(1, side, side)
    with torch.no_grad(), torch.device("meta"):
        features = model.encode(image)
        memories = [
            Memory(frame, torch.zeros(n, d), torch.zeros(c), scalar[0], scalar[0], prompted=frame == 0)
            for frame in range(MEMORIES)
        ]
        selection = MemorySelection(
            tuple(enumerate(memories)), tuple((age, memories[0].pointer) for age in range(1, POINTERS + 1))
        )
        answer = MaskPrediction(logits, scalar, torch.zeros(1, c), scalar)
        context = torch.zeros_like(features.coarse)
        feature_bytes = sum(part.nbytes for part in features)
        return {
            "encode": _count_cost(
                model.image_encoder, lambda: model.encode(image), image.nbytes + feature_bytes
            ),
            "attend": _count_cost(
                model.memory_attention,
                lambda: model.attend(features, [selection]),
                2 * context.nbytes + MEMORIES * n * d * 4,
            ),
            "decode": _count_cost(
                model.mask_decoder, lambda: model.decode(features, context), feature_bytes + 4 * logits.nbytes
            ),
            "memorize": _count_cost(
                model.memory_encoder,
                lambda: model.memorize(features, answer),
                features.coarse.nbytes + logits.nbytes + n * d * 4,
            ),
        }


def _count_cost(module: torch.nn.Module, run: Callable[[], object], moved: float) -> Cost:
    weights = sum(parameter.nbytes for parameter in module.parameters())
    with FlopCounterMode(display=False) as counter:
        run()
    with Traffic() as traffic:
        run()
    return Cost(counter.get_total_flops(), (weights + moved) * HALF / 4, traffic.bytes)


@dataclass(frozen=True)
class Peak:
    """The highest operations and bytes per second of a machine."""

    flops: float
    bytes: float

    def seconds(self, cost: Cost) -> float:
        return max(cost.flops / self.flops, cost.min_bytes / self.bytes)


H200 = Peak(989e12, 4.8e12)  # by its data sheet: dense bfloat16


def measure_peaks(device: torch.device) -> Iterator[Row]:
    """The peak rates of this machine."""
    types = {"float32": torch.float32}
    if machine.has_bfloat16(device):
        types["bfloat16"] = torch.bfloat16
    for name, dtype in types.items():
        yield Row("machine", name, "measured", (machine.measure_flops(device, dtype),), "FLOP/s")
    yield Row("machine", "copy", "measured", (machine.measure_bandwidth(device),), "B/s")


def cost_table() -> str:
    """A table of GFLOP and MB of each stage, for all sizes."""
    lines = [
        "| | encode | attend | decode | memorise | one object | eight objects |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, config in SIZES.items():
        stages = count_costs(config)
        rows = {
            "GFLOP": [cost.flops / 1e9 for cost in stages.values()],
            "MB at least": [cost.min_bytes / 1e6 for cost in stages.values()],
            "MB unfused": [cost.unfused_bytes / 1e6 for cost in stages.values()],
        }
        for unit, (first, *rest) in rows.items():
            cells = [first, *rest, first + sum(rest), first + 8 * sum(rest)]
            text = " | ".join(f"{cell:,.1f}" if cell < 10 else f"{cell:,.0f}" for cell in cells)
            lines.append(f"| {name}, {unit} | {text} |")
    return "\n".join(lines)


def roofline_table(results: Results) -> str:
    """A table of seconds per frame: by the rooflines of this machine and of an H200, and measured here."""
    peaks = {
        name: Peak(flops, copied)
        for name in ("float32", "bfloat16")
        if (flops := results.median("machine", name, "measured"))
        and (copied := results.median("machine", "copy", "measured"))
    }
    head = [
        "",
        *(f"this machine, {name}" for name in peaks),
        "measured here",
        "H200, bfloat16",
        "its frames/s",
    ]
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    for name, config in SIZES.items():
        stages = count_costs(config)
        for objects in (1, 8):
            measured = results.median(name, f"follow {objects}", "masklet")
            on_gpu = roofline_seconds(H200, stages, objects)
            cells = [f"{roofline_seconds(peak, stages, objects):.3f} s" for peak in peaks.values()]
            cells += [
                f"{measured:.3f} s" if measured else "",
                f"{1000 * on_gpu:.2f} ms",
                f"{1 / on_gpu:,.0f}",
            ]
            lines.append(f"| {name}, {objects} object{'s'[: objects > 1]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def million_hours_table() -> str:
    """A table of the H200 hours for a million hours of video, at a realistic utilization."""
    lines = [
        "| | EFLOP an hour of video | H200 hours, one object | eight objects |",
        "| --- | --- | --- | --- |",
    ]
    for name, config in SIZES.items():
        stages = count_costs(config)
        work = {objects: total_flops(stages, objects) * FPS * HOUR for objects in (1, 8)}
        hours = [VIDEO_HOURS * count / (UTILIZATION * H200.flops) / HOUR for count in work.values()]
        lines.append(
            f"| {name} | {work[1] / 1e18:.3g} | " + " | ".join(f"{hour:,.0f}" for hour in hours) + " |"
        )
    return "\n".join(lines)


def roofline_seconds(peak: Peak, stages: dict[str, Cost], objects: int) -> float:
    """Seconds per frame: encoding once, the other stages for each object."""
    return sum(peak.seconds(cost) * (1 if stage == "encode" else objects) for stage, cost in stages.items())


def total_flops(stages: dict[str, Cost], objects: int) -> float:
    return sum(cost.flops * (1 if stage == "encode" else objects) for stage, cost in stages.items())
