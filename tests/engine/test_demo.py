"""The loop: a simulated person's review, and weights that are shipped only when they are better."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from masklet import rle
from masklet.auto import Grid
from masklet.datasets import find_items
from masklet.datasets.types import Clip
from masklet.engine import demo
from masklet.engine.demo import ClipMaker, DemoSize, run_demo
from masklet.engine.proposal_folder import ProposalFolder, write_accepted
from masklet.engine.proposals import Masklet, Measures
from masklet.engine.rounds import Calibration, ClipLabeller, ClipResult, Round, StepResults, process_clips
from masklet.engine.simulated_reviewer import SimulatedReviewer, find_object
from masklet.engine.weights import RoundTraining, WeightChoice, best_by_more_than_chance
from masklet.errors import MaskletError
from masklet.media import open_frames
from masklet.run_folder import Run
from toy_models import clip, toy_network

pytestmark = pytest.mark.filterwarnings("ignore")

FRAMES, SIZE = 3, (48, 64)
MEASURES = Measures(0.9, 5.0, 0.9, 0.9, 1.1)


@pytest.fixture
def truth() -> np.ndarray:
    """Two objects that stand still: (t, n, H, W)."""
    masks = np.zeros((FRAMES, 2, *SIZE), dtype=bool)
    masks[:, 0, 4:20, 4:20], masks[:, 1, 26:44, 30:60] = True, True
    return masks


def masklet_of(mask: np.ndarray) -> Masklet:
    return Masklet("clip", 1, (rle.encode(mask),) * FRAMES, MEASURES)


def person(truth: np.ndarray, *taken: Masklet) -> SimulatedReviewer:
    return SimulatedReviewer(toy_network(), open_frames(clip(FRAMES)), truth, taken)


def test_a_masklet_is_right_for_the_object_that_it_covers(truth: np.ndarray) -> None:
    assert find_object(masklet_of(truth[0, 1]), truth) == (1, 1.0)
    half = truth[0, 1].copy()
    half[:, 48:] = False
    row, j = find_object(masklet_of(half), truth)
    assert row == 1 and j == pytest.approx(0.6)
    assert find_object(masklet_of(~truth.any(axis=1)[0]), truth) == (None, 0.0)


def test_a_person_accepts_an_object_once_and_rejects_the_background(truth: np.ndarray) -> None:
    reviewer = person(truth)
    outcomes = [
        reviewer.review(masklet_of(mask)) for mask in (truth[0, 0], ~truth.any(axis=1)[0], truth[0, 0])
    ]
    assert outcomes == ["accepted", "rejected", "rejected"]
    assert list(reviewer.accepted) == [0] and reviewer.seconds == pytest.approx(3 * FRAMES * 0.1)


def test_a_strict_person_corrects_what_another_accepts(truth: np.ndarray) -> None:
    nearly = truth[0, 1].copy()
    nearly[:, 54:] = False  # 24 of 30 columns: a J of 0.8
    lenient, strict = person(truth), person(truth)
    lenient.accept_from = 0.75
    assert lenient.review(masklet_of(nearly)) == "accepted"
    assert strict.review(masklet_of(nearly)) in ("corrected", "rejected")
    assert strict.seconds > lenient.seconds
    for row, codes in strict.accepted.items():
        assert find_object(Masklet("clip", 1, tuple(codes), MEASURES), truth) >= (row, strict.accept_from)


def test_objects_of_masklets_that_were_taken_are_not_labelled_again(truth: np.ndarray) -> None:
    taken = [masklet_of(mask) for mask in truth[0]]
    reviewer = person(truth, *taken)
    assert reviewer.review(taken[0]) == "rejected" and reviewer.add_missing() == 0
    assert not reviewer.accepted


def test_what_a_person_accepts_is_right_and_takes_time(truth: np.ndarray) -> None:
    """A toy network needs every frame painted."""
    reviewer = person(truth)
    count = reviewer.add_missing()
    assert count == len(reviewer.accepted)
    for row, codes in reviewer.accepted.items():
        assert find_object(Masklet("clip", 1, tuple(codes), MEASURES), truth)[0] == row
    assert reviewer.seconds > 2 * (1.0 + 1.5)


def test_weights_that_are_no_better_than_before_are_not_shipped() -> None:
    before = np.array([0.4, 0.5, 0.6])
    better = before + np.array([0.02, 0.03, 0.01])
    by_chance = before + np.array([0.1, -0.05, -0.02])
    assert best_by_more_than_chance({"before": before, "mean": before, "after": before - 0.1}) == "before"
    assert best_by_more_than_chance({"before": before, "mean": by_chance, "after": before}) == "before"
    assert best_by_more_than_chance({"before": before, "mean": better, "after": by_chance}) == "mean"
    assert "did not help" in WeightChoice("before", "nano", {"before": before, "mean": before}).line()
    assert "selects mean" in WeightChoice("mean", "x", {"before": before, "mean": better}).line()


BAD = replace(MEASURES, iou=0.1)


def test_clips_with_a_result_are_not_processed_again(tmp_path: Path) -> None:
    """A run that is stopped at its third clip goes on there."""
    clips = ClipMaker("cells", 64, 2).clips(1, 3)
    processed = list[int]()

    def process(stop: int) -> Callable[[int, Clip], ClipResult]:
        def run(number: int, clip: Clip) -> ClipResult:
            if number == stop:
                raise KeyboardInterrupt
            processed.append(number)
            return ClipResult((MEASURES, BAD), (True, number > 0), {"accepted": number}, 1.5)

        return run

    results = StepResults(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        process_clips(results, "round-1", clips, process(2))
    rows = process_clips(StepResults(tmp_path), "round-1", clips, process(9))
    assert processed == [0, 1, 2]
    assert rows[2] == ClipResult((MEASURES, BAD), (True, True), {"accepted": 2}, 1.5)
    (tmp_path / "round-1-clip-000.json").write_text("{")
    with pytest.raises(MaskletError, match="Remove it"):
        process_clips(results, "round-1", clips, process(9))


def test_a_round_sums_its_clips_up() -> None:
    clips = [ClipResult((MEASURES, BAD), (True, True), {"accepted": 2, "rejected": 1}, 30.0)] * 2
    calibration = Calibration.from_clips(clips * 2)
    assert calibration.proposed == 8 and calibration.in_sample[-1].precision == 1.0
    result = Round.from_clips(clips, calibration.gates)
    assert (result.proposed, result.reviewed, result.seconds) == (4, {"accepted": 4, "rejected": 2}, 60.0)
    assert result.gates[-1].recall == result.passed[0] / 4
    assert "0.25 minutes of review for each" in "\n".join(result.lines(1))
    taken = Round.from_clips([*clips, replace(clips[0], taken=2, is_judged=False)], calibration.gates)
    assert taken.accepted == 6 + 2


def test_gates_are_trusted_for_what_they_hold_on_clips_that_did_not_set_them() -> None:
    """See tests/engine/test_gates.py: the limits stop every wrong masklet only where they were set."""
    wrong = replace(MEASURES, iou=0.5)
    easy = ClipResult((MEASURES,) * 36 + (wrong,) * 12, (True,) * 36 + (False,) * 12)
    faint = ClipResult((replace(MEASURES, iou=0.4),) * 4, (True,) * 4)
    overfitted = Calibration.from_clips([easy, faint])
    assert overfitted.in_sample[-1].precision == 1.0 and overfitted.scores[-1].precision == 0.75
    assert not overfitted.is_trusted and "not trusted" in "\n".join(overfitted.lines())
    assert Calibration.from_clips([easy, easy]).is_trusted
    few = ClipResult((MEASURES,) * 2, (True,) * 2)
    assert not Calibration.from_clips([few] * 3).is_trusted, "6 masklets that pass say too little"
    assert Calibration.from_clips([few] * 4).is_trusted


def test_every_round_trains_from_the_first_weights_and_calibrates_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the masklets of all rounds; and the limits of a round know what the person said in the last one."""
    starts, proposed = list[str](), list[int]()

    class Training(RoundTraining):
        def run(self, data: Path, weights: str | Path, out: Path) -> Path:
            starts.append(str(weights))
            return out / "last.safetensors"

    def run_round(self: object, number: int, calibration: Calibration) -> list[ClipResult]:
        proposed.append(calibration.proposed)
        return [ClipResult((MEASURES,), (True,), {"accepted": 1}, 1.0)]

    def choose(self: object, number: int, before: object, scores: np.ndarray, trained: Path) -> WeightChoice:
        return WeightChoice("after", trained, {"before": scores, "after": scores + 0.1})

    monkeypatch.setattr(demo, "load_network", lambda weights: toy_network())
    for name, method in {
        "calibrate": lambda self: [ClipResult((MEASURES, BAD), (True, False))],
        "choose_zoom": lambda self, weights, report: np.array([0.5]),
        "measure": lambda self, name, weights, series: np.array([0.5]),
        "run_round": run_round,
        "choose_weights": choose,
        "save": lambda self, weights, path: None,
    }.items():
        monkeypatch.setattr(demo._Demo, name, method)
    training, lines = Training("memory", 1, 1e-4), list[str]()
    size = demo.DemoSize(1, 3, 1, 2)
    demo.run_demo(tmp_path, "nano", ClipMaker("cells", 64, 2), training, size, lines.append)
    assert starts == ["nano"] * 3
    assert proposed == [2, 3, 4]
    assert (tmp_path / "gates.json").is_file() and "Round 3: 1 masklets proposed" in lines


def test_only_clips_that_were_judged_as_a_whole_set_the_next_limits() -> None:
    """Of the others nobody knows whether what passed is right, and what did not pass is no fair sample."""
    judged = ClipResult((MEASURES, BAD) * 4, (True, False) * 4)
    partly = ClipResult((BAD,) * 8, (True,) * 8, taken=0, is_judged=False)
    assert (
        Calibration.from_clips([judged, judged, partly]).gates == Calibration.from_clips([judged] * 2).gates
    )
    assert Calibration.from_clips([judged, partly]).proposed == 8


@pytest.mark.parametrize("is_full_review", [False, True])
def test_trusted_gates_are_still_measured_on_clips_that_are_reviewed_as_a_whole(
    is_full_review: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two masklets one passes, and is right; the other covers the background."""
    (clip_of_cells,) = ClipMaker("cells", 64, 2).clips(1, 1)
    masks = clip_of_cells.masks
    right = Masklet("clip", 1, tuple(rle.encode(mask) for mask in masks[:, 0]), MEASURES)
    background = Masklet("clip", 2, (rle.encode(~masks[0].any(axis=0)),) * 2, BAD)
    labeller = ClipLabeller(toy_network(), Grid(points_per_side=2), 2)
    monkeypatch.setattr(ClipLabeller, "propose", lambda self, clip: ([right, background], [True, False]))
    trusted = Calibration.from_clips([ClipResult((MEASURES,) * 9, (True,) * 9)] * 2)
    result = labeller.label(clip_of_cells, trusted, tmp_path / "clip", is_full_review=is_full_review)
    assert trusted.is_trusted and (tmp_path / "clip").is_dir()
    assert (result.taken, result.is_judged) == ((0, True) if is_full_review else (1, False))
    assert result.reviewed["accepted"] == int(is_full_review) and result.reviewed["rejected"] == 1


def test_an_interrupted_attempt_leaves_nothing_in_the_training_data(tmp_path: Path) -> None:
    (clip_of_cells,) = ClipMaker("cells", 64, 2).clips(1, 1)
    labeller = ClipLabeller(toy_network(), Grid(points_per_side=2), 1)
    folder = tmp_path / "round-1-clip-000"
    (folder / "masks").mkdir(parents=True)
    (folder / "masks" / "00099.png").write_bytes(b"half")
    result = labeller.label(clip_of_cells, Calibration.from_clips([]), folder)
    assert not (folder / "masks" / "00099.png").exists()
    accepted = sum(count for name, count in result.reviewed.items() if name != "rejected")
    assert folder.exists() == (accepted > 0)


def test_the_first_frame_is_corrected_first(truth: np.ndarray) -> None:
    """All others are tracked from it. A toy network needs every correction painted."""
    reviewer = person(truth)
    corrected = list[int]()
    correct = reviewer._correct_frame

    def record(frame: int, mask: np.ndarray, answer: np.ndarray) -> object:
        corrected.append(frame)
        return correct(frame, mask, answer)

    reviewer._correct_frame = record  # type: ignore[assignment, method-assign]
    wrong = truth[0, 0].copy()
    wrong[:12] = False
    reviewer.review(masklet_of(wrong))
    assert corrected[0] == 0


def test_a_demo_of_an_earlier_version_is_recognised(tmp_path: Path) -> None:
    maker, training = ClipMaker("cells", 64, 2), RoundTraining("memory", 1, 1e-4)
    settings = {"model": "nano", **maker.to_json(), **training.to_json(), "clips": 1}
    (tmp_path / "steps").mkdir()
    (tmp_path / "steps" / "settings.json").write_text(json.dumps({**settings, "size": 32}))
    with pytest.raises(MaskletError, match=r"masklet engine demo with other size \(32\)"):
        run_demo(tmp_path, "nano", maker, training, DemoSize(1, 1, 2, 4), print)


def proposals_with(setting: str) -> Run:
    return Run("engine propose", "1", {"setting": setting}, {})


def test_proposals_are_never_mixed_with_others(tmp_path: Path, truth: np.ndarray) -> None:
    run = proposals_with("exact")
    folder = ProposalFolder(tmp_path, run)
    contents = {"a/clip": "1", "a-clip": "2", "b": "3"}
    folder.begin(contents)
    for source in contents:
        (folder.accept(source, source) / "frames").mkdir(parents=True)
    assert sorted(path.name for path in (tmp_path / "accepted").iterdir()) == ["a-clip", "a-clip_", "b"]
    folder.finish("b", [masklet_of(truth[0, 0])])
    (tmp_path / "accepted" / "of a person").mkdir()
    for name in ("studio", "review"):
        (tmp_path / name).mkdir()
    again = ProposalFolder(tmp_path, run)  # the first was killed
    again.begin(contents)
    assert sorted(path.name for path in (tmp_path / "accepted").iterdir()) == ["b", "of a person"]
    assert not (tmp_path / "studio").exists() and again.is_done("b") and not again.is_done("a-clip")
    (kept,) = again.masklets()
    assert kept.video == "b" and kept.measures == MEASURES
    np.testing.assert_array_equal(kept.mask(0), truth[0, 0])
    (tmp_path / "studio").mkdir()
    again.finish_project(again.unreviewed)
    more = ProposalFolder(tmp_path, run)
    more.begin({**contents, "c": "4"})
    assert (tmp_path / "studio").exists() and more.projects == 1 and more.unreviewed == []
    with pytest.raises(MaskletError, match="proposals for b, which is not among the given videos"):
        ProposalFolder(tmp_path, run).begin({"a/clip": "1"})
    with pytest.raises(MaskletError, match="proposals for b, which has changed since"):
        ProposalFolder(tmp_path, run).begin({"b": "other"})
    with pytest.raises(MaskletError, match=r"masklet engine propose with other setting \(exact\): choose"):
        ProposalFolder(tmp_path, proposals_with("fast"))


def test_a_run_without_a_project_makes_place_for_other_settings(tmp_path: Path, truth: np.ndarray) -> None:
    killed = ProposalFolder(tmp_path, proposals_with("exact"))
    killed.begin({"a": "1"})
    killed.accept("a", "a").mkdir(parents=True)
    killed.finish("a", [masklet_of(truth[0, 0])])
    other = ProposalFolder(tmp_path, proposals_with("fast"))
    other.begin({"b": "2"})
    assert list((tmp_path / "accepted").iterdir()) == [] and other.masklets() == []


def test_proposals_of_an_earlier_version_are_recognised(tmp_path: Path) -> None:
    run = proposals_with("exact")
    (tmp_path / "accepted" / "clip").mkdir(parents=True)
    marker = {"key": run.key, "is_complete": False, "accepted": ["clip"]}
    (tmp_path / "proposals.json").write_text(json.dumps(marker))
    ProposalFolder(tmp_path, run).begin({})  # it was killed, and makes place
    assert not (tmp_path / "accepted" / "clip").exists()
    (tmp_path / "run.json").unlink()
    (tmp_path / "queue.json").touch()
    (tmp_path / "proposals.json").write_text(json.dumps({**marker, "is_complete": True}))
    with pytest.raises(MaskletError, match="masklet engine propose with other settings or inputs: choose"):
        ProposalFolder(tmp_path, run)
    (tmp_path / "proposals.json").write_text("{")
    with pytest.raises(MaskletError, match=r"proposals\.json cannot be read"):
        ProposalFolder(tmp_path, run)
    (tmp_path / "proposals.json").unlink()  # of a still earlier one
    with pytest.raises(MaskletError, match="masklet engine propose with other settings or inputs: choose"):
        ProposalFolder(tmp_path, run)


def test_the_list_of_videos_and_what_a_person_put_there_are_not_written_over(
    tmp_path: Path, truth: np.ndarray
) -> None:
    """A video may be called as the list, or as a folder of reviewed masklets."""
    (tmp_path / "accepted" / "reviewed").mkdir(parents=True)
    folder = ProposalFolder(tmp_path, proposals_with("exact"))
    folder.begin({"videos.mp4": "1", "reviewed.mp4": "2"})
    for name in ("videos", "reviewed"):
        assert not folder.accept(f"{name}.mp4", name).exists()
        folder.finish(f"{name}.mp4", [masklet_of(truth[0, 0])])
    again = ProposalFolder(tmp_path, proposals_with("exact"))
    assert [masklet.video for masklet in again.masklets()] == ["videos.mp4", "reviewed.mp4"]


def test_accepted_masklets_that_overlap_are_trained_on_whole(tmp_path: Path, truth: np.ndarray) -> None:
    whole, part = truth[0, 1].copy(), truth[0, 1].copy()
    part[:34] = False
    codes = {id: (rle.encode(mask),) * FRAMES for id, mask in ((1, whole), (2, part))}
    write_accepted(tmp_path / "accepted" / "clip", open_frames(clip(FRAMES)), codes)
    (item,) = find_items(tmp_path / "accepted")
    for frame in range(FRAMES):
        np.testing.assert_array_equal(item.open().masks(frame, [1, 2]), [whole, part])


def test_a_demo_does_not_go_on_with_other_weights_of_the_same_name(tmp_path: Path) -> None:
    maker, training, weights = (
        ClipMaker("cells", 64, 2),
        RoundTraining("memory", 1, 1e-4),
        tmp_path / "toy.bin",
    )
    weights.write_bytes(b"one")
    for expected in ("toy.bin", "with other weights"):  # the first is no checkpoint, which is seen later
        with pytest.raises(MaskletError, match=expected):
            run_demo(tmp_path / "out", str(weights), maker, training, DemoSize(1, 1, 2, 4), print)
        (tmp_path / "out" / "steps").mkdir(exist_ok=True)
        weights.write_bytes(b"other")
