"""A run writes each item's rows as it goes, continues, does not mix with another, and survives what fails."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from masklet.errors import MaskletError
from masklet.evaluate.layouts import clips
from masklet.evaluate.runner import Named, Run
from masklet.evaluate.semi_supervised import SemiSupervised

from .small import square, write_frame, write_labels, write_moving_square

REPEAT = Named("repeat")


@pytest.fixture
def three(tmp_path):
    """Three clips, of which the second has a frame that cannot be read."""
    root = tmp_path / "data"
    for name in ("a", "b", "c"):
        write_moving_square(root)
        (root / "moving").rename(root / name)
    (root / "b" / "frames" / "00003.png").write_bytes(b"no image")
    return root


@dataclass(frozen=True)
class Counting(SemiSupervised):
    """Leaves a mark for each clip that is measured."""

    marks: Path = Path()

    def run(self, subject, clip):
        with open(self.marks, "a") as file:
            file.write(clip.name)
        return super().run(subject, clip)


def run_of(root, **changes):
    settings = {"measurement": SemiSupervised(), "open": REPEAT, "data": "data", "out": root / "out"}
    return Run(**settings | changes)


def test_one_bad_item_is_named_and_the_others_are_kept(three, tmp_path):
    done = []
    with pytest.raises(MaskletError, match=r"1 of 3 could not be measured. b: .*00003"):
        run_of(tmp_path).rows(clips(three), done=done.append)
    assert done == ["a", "b", "c"]
    assert sorted(file.name for file in (tmp_path / "out/items").iterdir()) == ["a.json", "c.json"]


def test_a_killed_run_measures_only_what_is_left(three, tmp_path):
    items, marks = [clip for clip in clips(three) if clip.name != "b"], tmp_path / "marks"
    run = run_of(tmp_path, measurement=Counting(marks=marks))
    first = run.rows(items)
    (tmp_path / "out/items/c.json").unlink()
    again = run.rows(items)
    assert marks.read_text() == "acc"
    assert [row.scores["J"] for row in again] == [row.scores["J"] for row in first]
    assert [row.item for row in again] == ["a", "c"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"measurement": SemiSupervised(frames="all")}, "its protocol is"),
        ({"open": Named("flow")}, "its subject is repeat, this one's is flow"),
        ({"data": "elsewhere"}, "its data is data"),
    ],
)
def test_results_of_two_runs_are_not_mixed(three, tmp_path, changes, says):
    run_of(tmp_path).rows(clips(three)[:1])
    with pytest.raises(MaskletError, match=says):
        run_of(tmp_path, **changes).rows(clips(three)[:1])


def test_a_benchmark_without_hidden_truth_is_refused(tmp_path):
    for frame in range(3):
        write_frame(tmp_path / f"data/a/frames/{frame}.png")
    write_labels(tmp_path / "data/a/masks/0.png", square(4))
    with pytest.raises(MaskletError, match="nothing to score"):
        run_of(tmp_path).rows(clips(tmp_path / "data"))


@pytest.mark.slow
def test_processes_give_the_same_rows_in_the_same_order(three, tmp_path):
    items = [clip for clip in clips(three) if clip.name != "b"]
    alone = run_of(tmp_path).rows(items)
    together = run_of(tmp_path, out=tmp_path / "jobs").rows(items, jobs=2)
    assert [(row.item, row.scores["J&F"]) for row in together] == [
        (row.item, row.scores["J&F"]) for row in alone
    ]
    with pytest.raises(MaskletError, match=r"1 of 3 could not be measured. b: "):
        run_of(tmp_path, out=tmp_path / "jobs").rows(clips(three), jobs=2)
