"""The benchmark's own bookkeeping, on shams: which rows come, with which stages, and what becomes of them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.__main__ import weights_of
from benchmarks.cost import costs
from benchmarks.results import Results, Row
from benchmarks.rows import NAMES, Bench
from benchmarks.subject import FULL, STAGES, Work
from benchmarks.timing import Stopwatch, in_turns
from PIL import Image

from benchmarks import REPO, apart, report
from masklet.config import NANO, TINY

CPU = torch.device("cpu")


class Sham:
    """Counts what it is asked."""

    def __init__(self) -> None:
        self.did: list[tuple[str, int]] = []
        self.watch = Stopwatch(CPU)
        for stage in STAGES:
            self.watch.watch(self, stage, stage)

    def encode(self) -> None: ...
    def attend(self) -> None: ...
    def decode(self) -> None: ...
    def memorize(self) -> None: ...

    def picture(self) -> None:
        self.did.append(("picture", 0))

    def click(self) -> None:
        self.did.append(("click", 0))

    def open(self, objects: int) -> None:
        self.did.append(("open", objects))

    def remember(self) -> None:
        self.did.append(("remember", 0))

    def follow(self, frame: int) -> None:
        for stage in STAGES:
            getattr(self, stage)()
        self.did.append(("follow", frame))

    def generator(self) -> Callable[[], int]:
        return lambda: 7

    def edit(self, frame: int) -> None:
        self.did.append(("edit", frame))


def bench(*, seconds: float = 0.0, **subjects: Sham) -> Bench:
    work = Work(Path("weights"), np.zeros((2, 4, 4, 3), dtype=np.uint8), CPU)
    return Bench("tiny", work, subjects, seconds, {"two": {"follow 8"}})


def test_every_row_comes_of_every_subject_but_those_left_out() -> None:
    rows = list(bench(one=Sham(), two=Sham()).run(set(NAMES)))
    assert {row.row for row in rows} == set(NAMES)
    assert {row.row for row in rows if row.subject == "two"} == set(NAMES) - {"follow 8"}


def test_full_memory_is_given_before_frames_are_followed() -> None:
    sham = Sham()
    list(bench(one=sham).run({"follow 3"}))
    assert sham.did == [("open", 3), ("remember", 0), ("follow", FULL)]


def test_frames_are_edited_twice_and_the_second_time_counts() -> None:
    sham = Sham()
    (row,) = bench(one=sham, seconds=9.0).run({"again"})
    edited = [frame for what, frame in sham.did if what == "edit"]
    assert len(row.values) == 2 and edited == 2 * [FULL, FULL + 1]


def test_masks_of_everything_are_counted_by_the_second() -> None:
    (row,) = bench(one=Sham()).run({"everything"})
    assert row.unit == "masks/s" and row.values[0] > 7
    table = Results(
        {}, {each.key: each for each in (row, Row("tiny", "everything", "original", (1.0,), "masks/s"))}
    )
    assert report.table(table, "tiny", NAMES).count("x**") == 1


def test_a_slow_row_is_not_repeated() -> None:
    quick = in_turns({"a": lambda turn: None}, CPU, seconds=9.0, rounds=5)
    slow = in_turns({"a": lambda turn: None}, CPU, seconds=0.0, rounds=5)
    some = in_turns({"a": lambda turn: None}, CPU, seconds=0.0, rounds=5, least=3)
    assert len(quick["a"]) == 5 and len(slow["a"]) == 1 and len(some["a"]) == 3


def results() -> Results:
    made = Results({"cores": 2})
    for name, seconds in (
        ("original", 4.0),
        ("transformers", 5.0),
        ("masklet", 2.0),
        ("masklet, balanced", 1.0),
    ):
        made.add(Row("tiny", "follow 1", name, (seconds,)))
        made.add(Row("tiny", "follow 8", name, (8 * seconds, 9 * seconds, 10 * seconds)))
    return made


def test_rows_of_processes_have_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that can be wanted comes, and no row that the command cannot name."""
    said = '{"resident": 2, "peak": 3}'
    monkeypatch.setattr(apart, "_python", lambda *arguments: said)
    rows = list(apart.run("nano", Path("nano"), REPO / "examples" / "demo.mp4", set(apart.NAMES)))
    assert {row.row for row in rows} == set(apart.NAMES)


@pytest.mark.slow
def test_the_original_starts_in_a_process_of_its_own(tmp_path: Path) -> None:
    """Its image predictor once could not, since it compiles what stands in for torchvision."""
    Image.new("RGB", (64, 48)).save(tmp_path / "picture.png")
    weights = weights_of("tiny", tmp_path)
    subprocess.run(
        [sys.executable, "-m", "benchmarks.starting", "original", weights, tmp_path / "picture.png"],
        cwd=REPO,
        check=True,
    )


def test_results_are_read_back_on_the_same_machine_only(tmp_path: Path) -> None:
    results().write(tmp_path / "figures.json")
    assert Results.read(tmp_path / "figures.json", {"cores": 2}).rows == results().rows
    assert Results.read(tmp_path / "figures.json", {"cores": 4}).rows == {}


def test_tables_say_how_many_times_better() -> None:
    table = report.table(results(), "tiny", NAMES)
    assert "| follow 1 object | 4.00 s | 5.00 s, **0.80x** | 2.00 s, **2.00x** |" in table
    assert "18.00 s (16.00 s to 20.00 s), **2.00x**" in table
    assert "| tiny, 8 objects | 36 | 45 | 18 | 9 |" in report.readme_table(results())


def test_only_what_lies_between_marks_is_written(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- bench: tiny -->\nold\n<!-- end -->\nafter\n")
    for _ in range(2):
        report.fill(page, {"tiny": "new", "elsewhere": "x"})
        assert page.read_text() == "before\n<!-- bench: tiny -->\nnew\n<!-- end -->\nafter\n"


def test_costs_grow_with_the_size() -> None:
    small, large = costs(NANO), costs(TINY)
    assert large["attend"].flops == pytest.approx(606e9, rel=0.01)
    for stage in STAGES:
        assert 0 < small[stage].flops < large[stage].flops
        assert 0 < small[stage].least < small[stage].unfused
