"""The bank keeps what it should, and SAM 2's rule looks where it should."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from masklet.tracking.bank import MemoryBank
from masklet.tracking.policies.recency import Recency
from masklet.types import Candidates, Memory, MemorySelection


def memory(frame: int, *, prompted: bool = False) -> Memory:
    return Memory(frame, torch.zeros(4, 2), torch.zeros(8), torch.tensor(0.5), torch.tensor(1.0), prompted)


def bank(tracked: range | set[int] = range(0), prompted: tuple[int, ...] = (0,)) -> MemoryBank:
    filled = MemoryBank(None)
    for frame in prompted:
        filled.keep(memory(frame, prompted=True))
    for frame in tracked:
        filled.keep(memory(frame))
    return filled


def recalled(
    bank: MemoryBank, frame: int, *, reverse: bool = False, clip_length: int | None = None
) -> tuple[set[tuple[int, int]], set[int], int]:
    """(age row, frame) of the maps, ages of the pointers, span."""
    selection = Recency().select_memories(bank, frame, reverse=reverse, clip_length=clip_length)
    maps = {(row, kept.frame) for row, kept in selection.spatial}
    return maps, {age for age, _ in selection.pointers}, selection.span


def test_a_frame_has_one_memory() -> None:
    kept = bank(range(1, 4))
    kept.keep(memory(2, prompted=True))
    assert set(kept.prompted) == {0, 2} and set(kept.tracked) == {1, 3}
    kept.keep(memory(2))
    assert set(kept.prompted) == {0} and set(kept.tracked) == {1, 2, 3}
    kept.forget(2)
    kept.forget(77)
    assert set(kept.tracked) == {1, 3}


def test_the_oldest_go_and_the_first_prompt_stays() -> None:
    kept = MemoryBank(4)
    for frame in range(100):
        kept.keep(memory(frame, prompted=frame % 10 == 0))
        assert len(kept.tracked) <= 4 and len(kept.prompted) <= 4
    assert set(kept.tracked) == {96, 97, 98, 99} and set(kept.prompted) == {0, 70, 80, 90}


def test_without_a_capacity_all_is_kept() -> None:
    assert len(bank(range(1, 500)).tracked) == 499


def test_a_scene_has_its_own_tracked_memories_and_all_prompted_ones() -> None:
    kept = MemoryBank(None, cuts=(3, 6))
    for frame in range(8):
        kept.keep(memory(frame, prompted=frame in (0, 7)))
    kept.anchors = {2: memory(2), 6: memory(6)}
    scenes = [kept.scene(frame) for frame in range(8)]
    expected = [[1, 2]] * 3 + [[3, 4, 5]] * 3 + [[6]] * 2
    assert [list(scene.tracked) for scene in scenes] == expected
    assert [list(scene.anchors) for scene in scenes] == [[2]] * 3 + [[]] * 3 + [[6]] * 2
    assert all(list(scene.prompted) == [0, 7] for scene in scenes)


def test_a_copy_is_a_bank_of_its_own() -> None:
    first = bank(range(1, 4))
    second = first.copy()
    second.forget(0)
    second.keep(memory(9))
    assert set(first.prompted) == {0} and set(first.tracked) == {1, 2, 3}


def test_the_window_and_the_pointers_behind_a_frame() -> None:
    maps, ages, span = recalled(bank(range(1, 50)), 30)
    assert maps == {(6, 0)} | {(age - 1, 30 - age) for age in range(1, 7)}
    assert ages == {30} | set(range(1, 16)) and span == 15


def test_a_frame_itself_is_not_recalled() -> None:
    maps, ages, _ = recalled(bank(range(1, 50)), 5)
    assert maps == {(6, 0), *((age - 1, 5 - age) for age in range(1, 5))}
    assert ages == {1, 2, 3, 4, 5}


def test_a_prompt_ahead_is_looked_at_but_does_not_point() -> None:
    maps, ages, _ = recalled(bank(range(1, 10), prompted=(0, 20)), 10)
    assert {(6, 0), (6, 20)} <= maps
    assert ages == {10, *range(1, 10)}


def test_gaps_are_not_filled() -> None:
    maps, ages, _ = recalled(bank({3, 8, 9}), 10)
    assert maps == {(6, 0), (0, 9), (1, 8)} and ages == {10, 1, 2, 7}


def test_a_short_clip_scales_and_shortens_the_pointers() -> None:
    _, ages, span = recalled(bank(range(1, 9)), 8, clip_length=5)
    assert ages == {8, 1, 2, 3, 4} and span == 4
    assert recalled(bank(range(1, 40)), 30, clip_length=99) == recalled(bank(range(1, 40)), 30)


@given(st.sets(st.integers(0, 40), min_size=1), st.sets(st.integers(0, 40)), st.integers(0, 40))
def test_backwards_is_forwards_in_a_mirror(prompted: set[int], tracked: set[int], frame: int) -> None:
    def mirrored(frames: set[int]) -> set[int]:
        return {40 - at for at in frames}

    forward = recalled(bank(tracked - prompted, tuple(prompted)), frame)
    back = recalled(bank(mirrored(tracked - prompted), tuple(mirrored(prompted))), 40 - frame, reverse=True)
    assert forward == ({(row, 40 - at) for row, at in back[0]}, *back[1:])


@given(st.sets(st.integers(0, 60)), st.integers(0, 60))
def test_a_bank_of_sixteen_recalls_as_much_as_an_endless_one(prompted: set[int], frame: int) -> None:
    """So a stream in constant memory gives the numbers of a session that keeps everything."""
    prompted = set(sorted({0, *prompted})[:16])
    small, endless = MemoryBank(16), MemoryBank(None)
    for at in range(frame):
        for kept in (small, endless):
            kept.keep(memory(at, prompted=at in prompted))
    assert recalled(small, frame) == recalled(endless, frame)


def test_nothing_is_recalled_of_nothing() -> None:
    assert Recency().select_memories(MemoryBank(), 3, reverse=False, clip_length=None) == MemorySelection()


def test_the_best_candidate_is_believed() -> None:
    iou = torch.tensor([[0.2, 0.9, 0.5]])
    offered = Candidates(torch.zeros(1, 3, 4, 4), iou, torch.zeros(1, 3, 8), torch.ones(1))
    assert Recency().select_mask(offered).tolist() == [1]
