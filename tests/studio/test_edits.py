"""Edits of masks: what they change, what they leave alone, and that undo takes each back at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masklet import rle
from masklet.sessions.answer import PreparedPrompt
from masklet.studio.edits import edit_mask, match_components, smooth_mask, split_components
from studio.small import SIZE, Caller, counts


def disk(x: int, y: int, radius: int) -> np.ndarray:
    rows, columns = np.indices(SIZE)
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


RING = disk(20, 24, 10) & ~disk(20, 24, 2)
DISK = disk(20, 24, 10)
ISLAND = disk(50, 10, 2)


def draw(caller: Caller, video: str, frame: int, mask: np.ndarray, object: int = 1) -> None:
    drawn = {"size": list(SIZE), "counts": counts(mask)}
    caller.post(f"{video}/prompts", {"frame": frame, "object": object, "mask": drawn})


def mask_of(caller: Caller, video: str, frame: int, object: int = 1) -> np.ndarray | None:
    for mask in caller.masks(video).get(frame, ()):
        if mask["object"] == object:
            return rle.decode({"size": list(SIZE), "counts": mask["counts"]})
    return None


def edit(caller: Caller, video: str, operation: str, **fields: Any) -> Any:
    return caller.post(f"{video}/edits", {"operation": operation, "object": 1, **fields})


@pytest.fixture
def video(caller: Caller) -> str:
    """A video with the same drawn ring and island on frames 0 to 3."""
    video = caller.video()
    for frame in range(4):
        draw(caller, video, frame, RING | ISLAND)
    return video


def test_holes_are_filled_on_a_range_and_one_undo_brings_all_back(caller: Caller, video: str) -> None:
    before = caller.masks(video)
    answer = edit(caller, video, "fill", start=1, stop=3, amount=100)
    assert answer["frames"] == 2 and answer["reviewed"] == 0 and answer["objects"] == [1]
    for frame in range(4):
        expected = (DISK if frame in (1, 2) else RING) | ISLAND
        assert np.array_equal(mask_of(caller, video, frame), expected), frame
    assert caller.get(video)["undo"] == "fill holes of object 1"
    caller.post(f"{video}/undo")
    assert caller.masks(video) == before
    caller.post(f"{video}/redo")
    assert np.array_equal(mask_of(caller, video, 1), DISK | ISLAND)


def test_reviewed_frames_keep_their_masks(caller: Caller, video: str) -> None:
    caller.ask("PUT", f"{video}/reviewed", json={"start": 1, "stop": 2, "reviewed": True})
    answer = edit(caller, video, "drop", amount=50)
    assert answer["frames"] == 3 and answer["reviewed"] == 1
    assert np.array_equal(mask_of(caller, video, 1), RING | ISLAND)
    assert np.array_equal(mask_of(caller, video, 2), RING)


def test_an_edit_of_several_objects_is_one_step_of_undo(caller: Caller, video: str) -> None:
    draw(caller, video, 1, RING, object=2)
    draw(caller, video, 1, DISK, object=3)  # without a hole: nothing to fill
    before = caller.masks(video)
    answer = edit(caller, video, "fill", others=[2, 3, 3], start=0, stop=2, amount=100)
    assert answer["frames"] == 2 and answer["objects"] == [1, 2]
    assert np.array_equal(mask_of(caller, video, 0), DISK | ISLAND)
    assert np.array_equal(mask_of(caller, video, 1, 2), DISK)
    caller.post(f"{video}/undo")
    assert caller.masks(video) == before


def test_several_objects_are_merged_and_copied_at_once(caller: Caller, video: str) -> None:
    draw(caller, video, 1, DISK, object=2)
    draw(caller, video, 2, DISK, object=3)
    before = caller.masks(video)
    edit(caller, video, "merge", others=[2, 3])
    assert {mask["object"] for masks in caller.masks(video).values() for mask in masks} == {1}
    assert np.array_equal(mask_of(caller, video, 2), DISK | ISLAND)
    caller.post(f"{video}/undo")
    assert caller.masks(video) == before
    edit(caller, video, "copy", object=2, others=[3], start=2, stop=4)
    assert np.array_equal(mask_of(caller, video, 3, 3), DISK)
    assert mask_of(caller, video, 3, 2) is None


def test_a_mask_grows_and_shrinks_by_pixels(caller: Caller, video: str) -> None:
    edit(caller, video, "fill", amount=100)
    edit(caller, video, "drop", amount=50)
    edit(caller, video, "grow", amount=2, stop=1)
    grown = mask_of(caller, video, 0)
    assert grown is not None and not (DISK & ~grown).any() and not (grown & ~disk(20, 24, 13)).any()
    edit(caller, video, "shrink", amount=3, start=1, stop=2)
    shrunk = mask_of(caller, video, 1)
    assert shrunk is not None and shrunk.any() and not (shrunk & ~disk(20, 24, 8)).any()


def test_an_edited_mask_is_exported_as_it_is_seen(caller: Caller, video: str) -> None:
    edit(caller, video, "fill", amount=100)
    content = caller.exported(video, "coco")
    assert counts_of(content) == [mask["counts"] for entry in caller.masks(video).values() for mask in entry]


def counts_of(content: bytes) -> list[str]:
    import json

    return [annotation["segmentation"]["counts"] for annotation in json.loads(content)["annotations"]]


def test_a_mask_is_copied_to_the_next_frame_and_can_be_tracked_from(caller: Caller, video: str) -> None:
    answer = edit(caller, video, "copy", start=3, stop=5)
    assert answer["frames"] == 1
    assert np.array_equal(mask_of(caller, video, 4), RING | ISLAND)
    assert caller.get(video)["objects"][0]["prompted"] == [0, 1, 2, 3, 4]
    caller.post(f"{video}/undo")
    assert mask_of(caller, video, 4) is None


def test_objects_are_merged_and_parted_again(caller: Caller, video: str) -> None:
    draw(caller, video, 0, disk(50, 40, 4), object=2)
    draw(caller, video, 5, disk(50, 40, 4), object=2)
    answer = edit(caller, video, "merge", others=[2])
    assert answer["objects"] == [1, 2]
    assert np.array_equal(mask_of(caller, video, 0), RING | ISLAND | disk(50, 40, 4))
    assert np.array_equal(mask_of(caller, video, 5), disk(50, 40, 4))
    assert [obj["id"] for obj in caller.get(video)["objects"]] == [1]
    caller.post(f"{video}/undo")
    assert [obj["id"] for obj in caller.get(video)["objects"]] == [1, 2]
    assert np.array_equal(mask_of(caller, video, 5, 2), disk(50, 40, 4)) and mask_of(caller, video, 5) is None


def test_pieces_become_objects_that_keep_their_number_over_frames(caller: Caller, video: str) -> None:
    answer = edit(caller, video, "split", amount=5)
    assert answer["objects"] == [1, 2]
    for frame in range(4):
        assert np.array_equal(mask_of(caller, video, frame), RING), frame
        assert np.array_equal(mask_of(caller, video, frame, 2), ISLAND), frame
    names = [obj["name"] for obj in caller.get(video)["objects"]]
    assert names == ["object 1", "object 1 part 2"]
    caller.post(f"{video}/undo")
    assert np.array_equal(mask_of(caller, video, 0), RING | ISLAND)
    assert len(caller.get(video)["objects"]) == 1


def test_masks_that_an_edit_gave_to_an_object_are_not_missing(caller: Caller, video: str) -> None:
    """Filling what is missing leaves the masks of merged and split objects as they are."""
    draw(caller, video, 5, DISK, object=2)
    edit(caller, video, "merge", others=[2])
    edit(caller, video, "split", amount=5)
    before = {(frame, id): mask_of(caller, video, frame, id) for frame in (1, 3, 5) for id in (1, 3)}
    assert before[5, 1] is not None and before[3, 3] is not None
    caller.follow(video, scope="missing")
    for (frame, id), mask in before.items():
        if mask is not None:
            assert np.array_equal(mask_of(caller, video, frame, id), mask), (frame, id)
    assert mask_of(caller, video, 4, 3) is not None


def test_a_click_on_an_edited_mask_goes_with_its_box(
    caller: Caller, video: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxed, prepare = list[bool](), PreparedPrompt.of

    def record(*arguments: Any, **options: Any) -> PreparedPrompt:
        boxed.append(options["boxed"])
        return prepare(*arguments, **options)

    monkeypatch.setattr(PreparedPrompt, "of", record)
    video = caller.video()
    caller.click(video)
    caller.click(video, x=30)
    edit(caller, video, "grow", start=0, stop=1, amount=2)
    caller.click(video, x=31)
    caller.post(f"{video}/undo")
    caller.post(f"{video}/undo")
    caller.click(video, x=32)
    assert boxed == [False, False, True, False]


def test_an_edit_survives_tracking_of_later_frames(caller: Caller, video: str) -> None:
    caller.follow(video, start=0)
    edit(caller, video, "fill", stop=3, amount=100)
    caller.follow(video, start=4)
    assert np.array_equal(mask_of(caller, video, 2), DISK | ISLAND)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"operation": "fill", "start": 3, "stop": 2}, 422),
        ({"operation": "melt"}, 422),
        ({"operation": "merge"}, 422),
        ({"operation": "merge", "others": [1]}, 422),
        ({"operation": "merge", "others": [9]}, 404),
        ({"operation": "grow", "object": 7}, 404),
        ({"operation": "fill", "start": 6, "stop": 8}, 409),
        ({"operation": "grow", "amount": -1}, 422),
    ],
)
def test_an_edit_that_cannot_be_done_is_refused_with_a_sentence(
    caller: Caller, video: str, fields: dict[str, Any], status: int
) -> None:
    refused = caller.ask("POST", f"{video}/edits", status, json={"object": 1, **fields})
    assert refused["message"].endswith(".") and caller.get(video)["undo"] == "mask on frame 3"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"operation": "fill", "stop": 1, "amount": 2}, "no mask on frame 0 has a hole of up to 2 pixels"),
        ({"operation": "drop", "stop": 3, "amount": 1}, "no mask on frames 0 to 2 has an island of up to 1"),
        ({"operation": "split", "stop": 1, "amount": 9999}, "each mask on frame 0 is one piece"),
        ({"operation": "grow", "start": 6, "stop": 8}, "Track the object there first"),
        ({"operation": "copy", "start": 6, "stop": 8}, "no mask on frame 6 to copy"),
    ],
)
def test_an_edit_that_changes_nothing_says_why(
    caller: Caller, video: str, fields: dict[str, Any], words: str
) -> None:
    refused = caller.ask("POST", f"{video}/edits", 409, json={"object": 1, **fields})
    assert words.casefold() in refused["message"].casefold()


def test_smoothing_removes_what_is_on_one_frame_only() -> None:
    masks = {frame: disk(20 + 2 * frame, 24, 8) for frame in range(5)}
    masks[2] = masks[2] | disk(50, 40, 3)
    smoothed = smooth_mask(masks, 2, 2)
    assert not (smoothed & disk(50, 40, 3)).any()
    assert (smoothed ^ disk(24, 24, 8)).sum() <= 40


@given(st.lists(st.tuples(st.integers(0, 63), st.integers(0, 47), st.integers(1, 6)), min_size=1, max_size=5))
@settings(max_examples=50, deadline=None)
def test_pieces_are_the_mask_and_every_piece_finds_one_object(disks: list[tuple[int, int, int]]) -> None:
    mask = np.any([disk(*values) for values in disks], axis=0)
    pieces = split_components(mask, 3)
    assert np.array_equal(np.any(pieces, axis=0), mask)
    assert sum(int(piece.sum()) for piece in pieces) == int(mask.sum())
    matched = match_components(pieces, {1: pieces[0]}, range(2, 100))
    assert len(matched) == len(pieces) and np.array_equal(matched[1], pieces[0])


@given(st.tuples(st.integers(0, 63), st.integers(0, 47), st.integers(1, 20)), st.integers(1, 9))
@settings(max_examples=50, deadline=None)
def test_growing_adds_and_shrinking_takes_away(values: tuple[int, int, int], amount: int) -> None:
    mask = disk(*values)
    assert not (mask & ~edit_mask(mask, "grow", amount)).any()
    assert not (edit_mask(mask, "shrink", amount) & ~mask).any()
