"""An evaluation saves results as it goes, resumes, never mixes with another, survives failing samples."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from masklet.errors import MaskletError
from masklet.evaluate.protocols import SemiSupervised
from masklet.evaluate.runner import Evaluation, PredictorSpec
from masklet.evaluate.samples import file_stamp, find_clips, find_images

from .small import GREY, square, write_frame, write_labels, write_moving_square

REPEAT = PredictorSpec("repeat")


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
    """Records the clips that are evaluated."""

    marks: Path = Path()

    def run(self, subject, clip):
        with open(self.marks, "a") as file:
            file.write(clip.name)
        return super().run(subject, clip)


def run_of(root, **changes):
    settings = {"protocol": SemiSupervised(), "predictor": REPEAT, "data": "data", "out": root / "out"}
    return Evaluation(**settings | changes)


def test_one_bad_item_is_named_and_the_others_are_kept(three, tmp_path):
    done = []
    with pytest.raises(MaskletError, match=r"1 of 3 could not be evaluated. b: .*00003"):
        run_of(tmp_path).run(find_clips(three), on_done=done.append)
    assert done == ["a", "b", "c"]
    assert sorted(file.name for file in (tmp_path / "out/items").iterdir()) == ["a.json", "c.json"]


def test_a_killed_run_measures_only_what_is_left(three, tmp_path):
    items, marks = [clip for clip in find_clips(three) if clip.name != "b"], tmp_path / "marks"
    run = run_of(tmp_path, protocol=Counting(marks=marks))
    first = run.run(items)
    (tmp_path / "out/items/c.json").unlink()
    again = run.run(items)
    assert marks.read_text() == "acc"
    assert [row.scores["J"] for row in again] == [row.scores["J"] for row in first]
    assert [row.sample for row in again] == ["a", "c"]


def test_corrected_labels_are_evaluated_anew(three, tmp_path):
    items, marks = [clip for clip in find_clips(three) if clip.name != "b"], tmp_path / "marks"
    run = run_of(tmp_path, protocol=Counting(marks=marks))
    first = run.run(items)
    write_labels(three / "c/masks/00002.png", square(0, top=0))
    again = run.run(find_clips(three)[::2])
    assert marks.read_text() == "acc"
    assert again[0].scores["J"] == first[0].scores["J"] and again[1].scores["J"] < first[1].scores["J"]
    gone = find_clips(three)[::2]
    (three / "c/frames/00001.png").unlink()
    with pytest.raises(MaskletError, match=r"1 of 2 could not be evaluated\. c: .*cannot be read"):
        run.run(gone)


@pytest.mark.parametrize("content", ["[1]", "{", "5"])
def test_damaged_results_are_made_anew_and_settings_of_something_else_refused(three, tmp_path, content):
    run, clips = run_of(tmp_path), find_clips(three)[:1]
    first = run.run(clips)
    (tmp_path / "out/items/a.json").write_text(content)
    assert run.run(clips)[0].scores["J"] == first[0].scores["J"]
    (tmp_path / "out/run.json").write_text(content)
    with pytest.raises(MaskletError, match=r"run\.json was not written by masklet"):
        run.run(clips)


def test_results_of_an_earlier_version_are_recognised(three, tmp_path):
    run, clips = run_of(tmp_path), find_clips(three)[:1]
    run.run(clips)
    manifest = tmp_path / "out/run.json"
    settings = json.loads(manifest.read_text())["run"]["settings"]
    for changed, message in (({}, None), ({"predictor": "flow"}, r"with other predictor \(flow\): choose")):
        manifest.unlink()
        (tmp_path / "out/settings.json").write_text(json.dumps(settings | changed))
        if message is None:
            run.run(clips)
        else:
            with pytest.raises(MaskletError, match=message):
                run.run(clips)
    (tmp_path / "out/settings.json").write_text("{")
    with pytest.raises(MaskletError, match=r"settings\.json cannot be read"):
        run.run(clips)


def test_images_whose_labels_change_are_evaluated_anew(tmp_path):
    write_frame(tmp_path / "set/images/a.png", GREY)
    write_labels(tmp_path / "set/masks/a.png", square(4))
    (before,) = find_images(tmp_path / "set")
    stamp = file_stamp(before)
    assert file_stamp(find_images(tmp_path / "set")[0]) == stamp
    write_labels(tmp_path / "set/masks/a.png", square(9))
    assert file_stamp(before) != stamp
    (tmp_path / "set/masks/a.png").unlink()
    with pytest.raises(MaskletError, match="cannot be read"):
        file_stamp(before)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"protocol": SemiSupervised(frames="all")},
            "masklet evaluate with other protocol: choose another folder",
        ),
        ({"predictor": PredictorSpec("flow")}, r"with other predictor \(repeat\): choose"),
        ({"data": "elsewhere"}, r"with other data \(data\): choose"),
    ],
)
def test_results_of_two_runs_are_not_mixed(three, tmp_path, changes, says):
    run_of(tmp_path).run(find_clips(three)[:1])
    with pytest.raises(MaskletError, match=says):
        run_of(tmp_path, **changes).run(find_clips(three)[:1])


def test_a_benchmark_without_hidden_truth_is_refused(tmp_path):
    for frame in range(3):
        write_frame(tmp_path / f"data/a/frames/{frame}.png")
    write_labels(tmp_path / "data/a/masks/0.png", square(4))
    with pytest.raises(MaskletError, match="nothing to score"):
        run_of(tmp_path).run(find_clips(tmp_path / "data"))


@pytest.mark.slow
def test_processes_give_the_same_rows_in_the_same_order(three, tmp_path):
    items = [clip for clip in find_clips(three) if clip.name != "b"]
    alone = run_of(tmp_path).run(items)
    together = run_of(tmp_path, out=tmp_path / "jobs").run(items, jobs=2)
    assert [(row.sample, row.scores["J&F"]) for row in together] == [
        (row.sample, row.scores["J&F"]) for row in alone
    ]
    with pytest.raises(MaskletError, match=r"1 of 3 could not be evaluated. b: "):
        run_of(tmp_path, out=tmp_path / "jobs").run(find_clips(three), jobs=2)
