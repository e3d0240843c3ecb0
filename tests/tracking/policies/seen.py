"""What policies are tested on: made-up frames, followed without a network."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from hypothesis import strategies as st

from masklet.tracking.bank import MemoryBank
from masklet.tracking.policies.recency import MemoryPolicy
from masklet.types import Candidates, Memory, MemorySelection

SIDE = 16


@dataclass(frozen=True)
class Seen:
    """What the decoder would offer on a frame: three rectangles (x, y, width, height), and its numbers."""

    ious: tuple[float, float, float]
    score: float
    rectangles: tuple[tuple[int, int, int, int], ...]

    @property
    def candidates(self) -> Candidates:
        logits = torch.full((1, 3, SIDE, SIDE), -1.0)
        for rectangle_logits, (x, y, width, height) in zip(logits[0], self.rectangles, strict=True):
            rectangle_logits[y : y + height, x : x + width] = 1.0
        return Candidates(logits, torch.tensor([self.ious]), torch.zeros(1, 3, 4), torch.tensor([self.score]))

    def area(self, choice: int) -> int:
        x, y, width, height = self.rectangles[choice]
        return (min(x + width, SIDE) - x) * (min(y + height, SIDE) - y)

    def box(self, choice: int) -> tuple[float, float, float, float]:
        x, y, width, height = self.rectangles[choice]
        return (x, y, min(x + width, SIDE), min(y + height, SIDE)) if self.area(choice) else (0, 0, 0, 0)


SIZES = st.sampled_from([0, 3, 4, 4, 5, 9])
RECTANGLES = st.tuples(st.integers(0, 12), st.integers(0, 12), SIZES, SIZES)
IOUS = st.sampled_from([0.0, 0.05, 0.25, 0.45, 0.6, 0.85, 0.9, 0.95])
SCORES = st.sampled_from([-6.0, -0.5, 0.0, 0.4, 3.0, 8.0])
SEEN = st.builds(Seen, st.tuples(IOUS, IOUS, IOUS), SCORES, st.tuples(RECTANGLES, RECTANGLES, RECTANGLES))
CLIPS = st.lists(SEEN, min_size=1, max_size=40)

# A mask that stands still, mostly seen: without these the rules' later parts would hardly be reached.
STILL = (4, 4, 6, 6)
STEADY = st.builds(
    Seen,
    st.tuples(st.sampled_from([0.85, 0.9]), st.sampled_from([0.2, 0.86]), st.just(0.1)),
    st.sampled_from([5.0, 5.0, 5.0, 5.0, -3.0]),
    st.tuples(st.sampled_from([STILL, STILL, (5, 4, 6, 6), (0, 0, 0, 0)]), RECTANGLES, st.just(STILL)),
)
STEADY_CLIPS = st.lists(STEADY, min_size=24, max_size=50)

SelectedFrames = tuple[list[tuple[int, int]], list[tuple[int, int]], tuple[float, ...]]


def memory_frames(selection: MemorySelection) -> SelectedFrames:
    """(age row, frame) of the maps, (age, frame) of the pointers, weights."""
    maps = [(row, memory.frame) for row, memory in selection.spatial]
    return maps, [(age, int(pointer[0])) for age, pointer in selection.pointers], selection.weights


def track_clip(
    policy: MemoryPolicy,
    clip: list[Seen],
    *,
    capacity: int | None = None,
    prompts: tuple[int, ...] = (0,),
    reverse: bool = False,
) -> list[tuple[SelectedFrames, int | None]]:
    """For each frame of the clip what is recalled, and which candidate is believed.

    reverse : the clip's first frame is 100, and the frames count downwards
    """
    bank, made = MemoryBank(capacity), []
    for place, seen in enumerate(clip):
        frame = 100 - place if reverse else place
        candidates, prompted = seen.candidates, place in prompts
        selection = policy.select_memories(bank, frame, reverse=reverse, clip_length=None)
        choice = 0 if prompted else int(policy.select_mask(candidates))
        memory = frame_memory(frame, candidates, choice, policy.present, prompted=prompted)
        policy.store(bank, memory, candidates)
        made.append((memory_frames(selection), choice))
    return made


def frame_memory(
    frame: int, candidates: Candidates, choice: int, present: float, *, prompted: bool
) -> Memory:
    answer = candidates.pick(torch.tensor([choice])).hide_absent(present)
    pointer = torch.full((4,), float(frame))
    return Memory(frame, torch.zeros(4, 2), pointer, answer.iou[0], answer.score[0], prompted)


def mirrored(made: list[tuple[SelectedFrames, int | None]]) -> list[tuple[SelectedFrames, int | None]]:
    def turn(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
        return [(age, 100 - frame) for age, frame in pairs]

    return [((turn(maps), turn(pointers), weights), choice) for (maps, pointers, weights), choice in made]
