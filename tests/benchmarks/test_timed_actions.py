"""The benchmark's rows, stages, tables and files, with fake implementations."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.__main__ import make_weights
from benchmarks.implementation import FULL, STAGES, Workload
from benchmarks.masklet_implementation import Masklet
from benchmarks.results import Results, Row
from benchmarks.roofline import count_costs
from benchmarks.timed_actions import ROW_NAMES, Benchmark
from benchmarks.timing import Stopwatch, time_in_turns
from PIL import Image

from benchmarks import REPO, machine, process_rows, report
from benchmarks import __main__ as command
from masklet.config import NANO, TINY
from toy_models import clip

CPU = torch.device("cpu")


class FakeImplementation:
    """Records its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []
        self.stopwatch = Stopwatch(CPU)
        for stage in STAGES:
            self.stopwatch.time_method(self, stage, stage)

    def encode(self) -> None: ...
    def attend(self) -> None: ...
    def decode(self) -> None: ...
    def memorize(self) -> None: ...

    def segment_image(self) -> None:
        self.calls.append(("picture", 0))

    def click(self) -> None:
        self.calls.append(("click", 0))

    def open(self, objects: int) -> None:
        self.calls.append(("open", objects))

    def fill_memory(self) -> None:
        self.calls.append(("fill", 0))

    def track_frame(self, frame: int) -> None:
        for stage in STAGES:
            getattr(self, stage)()
        self.calls.append(("track", frame))

    def make_generator(self) -> Callable[[], int]:
        return lambda: 7

    def propagate_frame(self, frame: int) -> None:
        self.calls.append(("propagate", frame))


def bench(*, seconds: float = 0.0, **implementations: FakeImplementation) -> Benchmark:
    work = Workload(Path("weights"), np.zeros((2, 4, 4, 3), dtype=np.uint8), CPU)
    return Benchmark("tiny", work, implementations, seconds, {"two": {"follow 8"}})


def test_every_implementation_gives_every_row_except_those_left_out() -> None:
    rows = list(bench(one=FakeImplementation(), two=FakeImplementation()).run(set(ROW_NAMES)))
    assert {row.row for row in rows} == set(ROW_NAMES)
    assert {row.row for row in rows if row.implementation == "two"} == set(ROW_NAMES) - {"follow 8"}


def test_memory_is_filled_before_frames_are_tracked() -> None:
    fake = FakeImplementation()
    list(bench(one=fake).run({"follow 3"}))
    assert fake.calls == [("open", 3), ("fill", 0), ("track", FULL)]


def test_frames_are_propagated_twice_and_the_second_time_counts() -> None:
    fake = FakeImplementation()
    (row,) = bench(one=fake, seconds=9.0).run({"again"})
    propagated = [frame for name, frame in fake.calls if name == "propagate"]
    assert len(row.values) == 2 and propagated == 2 * [FULL, FULL + 1]


def test_masks_of_everything_are_counted_by_the_second() -> None:
    (row,) = bench(one=FakeImplementation()).run({"everything"})
    assert row.unit == "masks/s" and row.values[0] > 7
    table = Results(
        {}, {row.key: row for row in (row, Row("tiny", "everything", "original", (1.0,), "masks/s"))}
    )
    assert report.make_table(table, "tiny", ROW_NAMES).count("x**") == 1


def test_a_slow_row_is_not_repeated() -> None:
    quick = time_in_turns({"a": lambda turn: None}, CPU, seconds=9.0, rounds=5)
    slow = time_in_turns({"a": lambda turn: None}, CPU, seconds=0.0, rounds=5)
    some = time_in_turns({"a": lambda turn: None}, CPU, seconds=0.0, rounds=5, min_rounds=3)
    assert len(quick["a"]) == 5 and len(slow["a"]) == 1 and len(some["a"]) == 3


def results() -> Results:
    figures = Results({"cores": 2})
    for name, seconds in (
        ("original", 4.0),
        ("transformers", 5.0),
        ("masklet", 2.0),
        ("masklet, balanced", 1.0),
    ):
        figures.add(Row("tiny", "follow 1", name, (seconds,)))
        figures.add(Row("tiny", "follow 8", name, (8 * seconds, 9 * seconds, 10 * seconds)))
    return figures


def test_no_row_begins_when_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    fakes = {"masklet": FakeImplementation()}
    monkeypatch.setattr(command, "make_implementations", lambda work: fakes)
    work = Workload(Path("weights"), np.zeros((2, 4, 4, 3), dtype=np.uint8), CPU)
    keys = {"picture", "click", "follow 1", "again"}
    never, soon = (list(command.measure("tiny", work, keys, 0.0, until)) for until in (0.0, math.inf))
    assert never == [] and {row.row for row in soon} >= keys
    assert fakes["masklet"].calls.count(("open", 1)) == 2, "rows that are measured together are measured once"


def test_with_processor_time_no_row_is_timed_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_rows, "_run_module", lambda *arguments: '{"resident": 2, "peak": 3}')
    frames = np.zeros((2, 4, 4, 3), dtype=np.uint8)
    rows = []
    for clock in (time.perf_counter, time.process_time):
        work = Workload(Path("nano"), frames, CPU, clock)
        keys = set(process_rows.ROW_NAMES)
        rows.append({row.row for row in command.measure("nano", work, keys, 0.0, math.inf)})
    assert rows[0] - rows[1] == {"start", "files"} and rows[1] > {"memory 200", "peak 200"}


def test_peers_run_what_they_have(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("Original", "Transformers", "Masklet"):
        monkeypatch.setattr(command, name, lambda work, **options: FakeImplementation())
    frames = np.zeros((1, 4, 4, 3), dtype=np.uint8)
    of_nano, of_tiny = (
        list(command.make_implementations(Workload(Path(name), frames, CPU))) for name in ("nano", "tiny.pt")
    )
    assert of_nano == ["masklet", "masklet, balanced", "masklet, fast"]
    assert of_tiny == ["original", "transformers", *of_nano]


def test_kinds_of_machines_have_tables_of_their_own() -> None:
    for processor, instructions, kind in (
        ("Intel(R) Xeon(R)", "avx2 avx512f avx512_vnni", "avx512_vnni"),
        ("AMD EPYC", "avx2 avx512f avx512_vnni", "avx512_vnni_amd"),
        ("AMD EPYC", "avx2", "avx2"),
    ):
        assert report.machine_kind({"processor": processor, "instructions": instructions}) == kind


def test_masklet_runs_every_action_with_full_memory() -> None:
    """What is called on sessions and trackers is there, and their banks are as full as the rows claim."""
    masklet = Masklet(Workload(Path("nano"), clip(FULL + 4), CPU))
    masklet.segment_image()
    masklet.open(2)
    masklet.fill_memory()
    masklet.track_frame(FULL)
    masklet.propagate_frame(FULL)
    assert len(masklet.tracker._objects[2].bank.tracked) == FULL
    assert len(masklet.session.tracked[1].bank.tracked) == FULL
    assert set(masklet.stopwatch.read()) == set(STAGES)


def test_the_machine_is_measured() -> None:
    assert machine._best_seconds(lambda: None, CPU, repeats=2) >= 0
    assert machine.describe(CPU)["cores"] >= 1


def test_process_rows_have_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that can be wanted comes, and no row that the command cannot name."""
    answer = '{"resident": 2, "peak": 3}'
    monkeypatch.setattr(process_rows, "_run_module", lambda *arguments: answer)
    rows = list(
        process_rows.run("nano", Path("nano"), REPO / "examples" / "demo.mp4", set(process_rows.ROW_NAMES))
    )
    assert {row.row for row in rows} == set(process_rows.ROW_NAMES)


@pytest.mark.slow
def test_the_original_starts_in_a_process_of_its_own(tmp_path: Path) -> None:
    """Its image predictor once could not, since it compiles what stands in for torchvision."""
    Image.new("RGB", (64, 48)).save(tmp_path / "image.png")
    weights = make_weights("tiny", tmp_path)
    subprocess.run(
        [sys.executable, "-m", "benchmarks.first_mask", "original", weights, tmp_path / "image.png"],
        cwd=REPO,
        check=True,
    )


def test_results_are_read_back_on_the_same_machine_only(tmp_path: Path) -> None:
    results().write(tmp_path / "figures.json")
    assert Results.read(tmp_path / "figures.json", {"cores": 2}).rows == results().rows
    assert Results.read(tmp_path / "figures.json", {"cores": 4}).rows == {}


def test_tables_say_how_many_times_better() -> None:
    table = report.make_table(results(), "tiny", ROW_NAMES)
    assert "| track 1 object | 4.00 s | 5.00 s, **0.80x** | 2.00 s, **2.00x** |" in table
    assert "18.00 s (16.00 s to 20.00 s), **2.00x**" in table
    figures = results()
    figures.add(Row("nano", "follow 1", "masklet, balanced", (0.05,)))
    table = report.readme_table(figures)
    assert "| tiny, 8 objects | 36 | 45 | 18 | 9 |" in table
    assert "| nano, 1 object |  |  |  | 0.05 |" in table


def test_only_what_lies_between_marks_is_written(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- bench: tiny -->\nold\n<!-- end -->\nafter\n")
    for _ in range(2):
        report.fill_marks(page, {"tiny": "new", "elsewhere": "x"})
        assert page.read_text() == "before\n<!-- bench: tiny -->\nnew\n<!-- end -->\nafter\n"


def test_costs_grow_with_the_size() -> None:
    small, large = count_costs(NANO), count_costs(TINY)
    assert large["attend"].flops == pytest.approx(606e9, rel=0.01)
    for stage in STAGES:
        assert 0 < small[stage].flops < large[stage].flops
        assert 0 < small[stage].min_bytes < small[stage].unfused_bytes
