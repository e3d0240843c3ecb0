"""The memory bank: what is kept of one object, and the rule that says what to keep and what to look at.

It knows nothing of the network: memories are opaque here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from masklet.types import Candidates, MaskPrediction, Memory, MemorySelection

WINDOW = 6  # tracked frames that are looked at
POINTERS = 16  # object pointers that are looked at, the prompted frames' among them
CUTS = 64  # newest scene cuts that a bank with a capacity knows of

Pointers = tuple[tuple[int, Tensor], ...]


@dataclass
class MemoryBank:
    """One object's memories by frame.

    capacity : tracked memories to keep, the newest; prompted ones are kept to the same number, the first
               always among them. None keeps everything, for sessions in which a person goes back.
    anchors : tracked memories that a policy also wants to look at when they are old
    cuts : frames that begin a scene
    """

    capacity: int | None = POINTERS
    prompted: dict[int, Memory] = field(default_factory=dict)
    tracked: dict[int, Memory] = field(default_factory=dict)
    anchors: dict[int, Memory] = field(default_factory=dict)
    cuts: tuple[int, ...] = ()

    def keep(self, memory: Memory, *, spared: Callable[[Memory], bool] = lambda memory: False) -> None:
        """Keep a memory in place of what was kept of its frame, and let go of the oldest where it is full.

        spared : tracked memories to let go of only when there are no others
        """
        self.forget(memory.frame)
        kept = self.prompted if memory.prompted else self.tracked
        kept[memory.frame] = memory
        if self.capacity is not None and len(self.tracked) > self.capacity:
            *older, _ = self.tracked.values()
            del self.tracked[next((each for each in older if not spared(each)), older[0]).frame]
        if self.capacity is not None and len(self.prompted) > self.capacity:
            del self.prompted[list(self.prompted)[1]]

    def forget(self, frame: int) -> None:
        """Let go of a frame's memory, if there is one."""
        for kept in (self.prompted, self.tracked, self.anchors):
            kept.pop(frame, None)

    def copy(self) -> MemoryBank:
        """A bank of its own with the same memories."""
        return replace(
            self, prompted=dict(self.prompted), tracked=dict(self.tracked), anchors=dict(self.anchors)
        )

    def cut(self, frame: int) -> None:
        """Note that a scene begins on a frame, whichever way it was come upon."""
        cuts = sorted({*self.cuts, frame})
        self.cuts = tuple(cuts if self.capacity is None else cuts[-CUTS:])

    def scene(self, frame: int) -> MemoryBank:
        """What of the bank may be looked at from a frame: the prompted, and the tracked of the same scene."""
        if not self.cuts:
            return self
        begin = max((cut for cut in self.cuts if cut <= frame), default=-1)
        end = min((cut for cut in self.cuts if cut > frame), default=None)
        tracked, anchors = (
            {at: each for at, each in kept.items() if begin <= at and (end is None or at < end)}
            for kept in (self.tracked, self.anchors)
        )
        return replace(self, tracked=tracked, anchors=anchors)

    def behind(self, frame: int, *, reverse: bool) -> Iterator[Memory]:
        """Tracked memories from a frame back against the direction of travel, the newest first."""
        if not self.tracked:
            return
        end, step = (max(self.tracked) + 1, 1) if reverse else (min(self.tracked) - 1, -1)
        for at in range(frame + step, end, step):
            memory = self.tracked.get(at)
            if memory is not None:
                yield memory


@dataclass(frozen=True, eq=False)
class Path:
    """One of several courses that an object may have taken.

    bank : what is remembered along it
    total : how good it has been
    answers : its answers on the frames on which the courses still differ, in the order of travel
    """

    bank: MemoryBank
    total: float
    answers: dict[int, MaskPrediction]

    def __deepcopy__(self, memo: object) -> Path:
        return self  # it never changes, and holds much


@dataclass(frozen=True)
class Offer:
    """What the model offers along one path, with its numbers on the host."""

    candidates: Candidates
    iou: list[float]
    score: float


class MemoryPolicy(Protocol):
    """Three decisions about one object. `Recency` is the one to inherit from.

    An instance serves one object on one stretch: from a prompt, or from where following begins, to the next
    prompt, or the next cut between scenes. It may keep state for so long; what must live longer lives in the
    bank. Only `admit` changes state, and not for prompted memories: these are also tried out.

    capacity : tracked memories that a bank must hold for it
    present : object score above which an object is in the frame
    reads : whether it reads the numbers of memories; they are then brought to the host, once a frame
    paths : the courses followed at once, for a policy that is `Branching`; empty while there is one only
    """

    capacity: int
    present: float
    reads: bool
    paths: Sequence[Path]

    def choose(self, candidates: Candidates) -> Tensor:
        """Which candidate to believe: int64 (1,), on the candidates' device."""

    def admit(self, bank: MemoryBank, memory: Memory, candidates: Candidates) -> None:
        """Keep a memory, or do not. A person's mask is the only candidate where it was the answer."""

    def select_memories(
        self, bank: MemoryBank, frame: int, *, reverse: bool, clip_length: int | None
    ) -> MemorySelection:
        """What to look at on a frame.

        clip_length : frames in the clip, which the published code lets scale the pointers' ages; None stands
                      for 16 or more
        """


class Branching(MemoryPolicy, Protocol):
    """A policy that follows an object along several paths at once, and decides later."""

    def grow(self, offers: Sequence[Offer]) -> list[tuple[int, int, float]]:
        """The paths of the next frame: (path, candidate, total), in which pairs may be named twice.

        offers : one for each of `paths`
        """

    def keep(self, bank: MemoryBank, memory: Memory) -> None:
        """Keep a memory in a path's bank."""


class Resumable(MemoryPolicy, Protocol):
    """A policy that another one can take the place of, in a session that is made again in mid-stretch."""

    def state(self, bank: MemoryBank) -> dict[str, Tensor]:
        """What it knows besides the bank, and of no memories but the bank's; by name, on the host."""

    def take_up(self, state: Mapping[str, Tensor]) -> None:
        """Go on with what another one knew."""


class Recency:
    """SAM 2's own rule (sec. 4): all prompted frames, the six frames before, and the sixteen newest pointers.

    It reads no number back to the host, so the hot loop never waits for a GPU.
    """

    capacity: int = POINTERS
    present: float = 0.0
    reads: bool = False
    paths: Sequence[Path] = ()

    def choose(self, candidates: Candidates) -> Tensor:
        return candidates.iou.argmax(dim=1)

    def admit(self, bank: MemoryBank, memory: Memory, candidates: Candidates) -> None:
        bank.keep(memory)

    def select_memories(
        self, bank: MemoryBank, frame: int, *, reverse: bool, clip_length: int | None
    ) -> MemorySelection:
        step = -1 if reverse else 1
        reach = reach_of(clip_length)
        before = [(age, bank.tracked.get(frame - age * step)) for age in range(1, max(reach, WINDOW + 1))]
        tracked = [(age, memory) for age, memory in before if memory is not None]

        spatial = [(WINDOW, memory) for memory in bank.prompted.values()]
        spatial += [(age - 1, memory) for age, memory in tracked if age <= WINDOW]
        pointers = prompted_pointers(bank, frame, reverse=reverse)
        pointers += tuple((age, memory.pointer) for age, memory in tracked if age < reach)
        return MemorySelection(tuple(spatial), pointers, span=reach - 1)

    def state(self, bank: MemoryBank) -> dict[str, Tensor]:
        return {}

    def take_up(self, state: Mapping[str, Tensor]) -> None:
        pass


def reach_of(clip_length: int | None) -> int:
    """How many frames pointers look back, and one."""
    return POINTERS if clip_length is None else min(clip_length, POINTERS)


def prompted_pointers(bank: MemoryBank, frame: int, *, reverse: bool) -> Pointers:
    """(age, pointer) of prompted frames that lie behind.

    A prompt may lie ahead. Its map is looked at, its pointer is not: SAM 2 was trained so.
    """
    step = -1 if reverse else 1
    ages = [((frame - memory.frame) * step, memory.pointer) for memory in bank.prompted.values()]
    return tuple((age, pointer) for age, pointer in ages if age >= 0)


def remembered(
    frame: int, tokens: Float[Tensor, "n d"], prediction: MaskPrediction, *, prompted: bool
) -> Memory:
    """A memory in the form in which it is kept: tokens in bfloat16, as the published predictor stores them.

    prediction : of this one object
    """
    pointer, iou, score = prediction.pointer[0], prediction.iou[0], prediction.score[0]
    return Memory(frame, tokens.to(torch.bfloat16), pointer, iou, score, prompted)
