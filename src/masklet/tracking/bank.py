"""The memory bank: one object's memories by frame. It does not depend on the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from masklet.types import Memory

WINDOW = 6  # tracked frames that are selected
POINTERS = 16  # object pointers that are selected, including those of prompted frames
CUTS = 64  # newest scene cuts that a bank with a capacity stores


@dataclass
class MemoryBank:
    """One object's memories by frame.

    Attributes:
        capacity: The number of tracked memories to keep, the newest ones. The same number of prompted
            memories is kept, always including the first. None keeps everything, for sessions in which a
            person goes back.
        prompted: Memories of frames with a prompt.
        tracked: Memories of other frames.
        anchors: Tracked memories that a policy selects even when they are old.
        cuts: Frames that begin a scene.

    Example:
        >>> import torch
        >>> bank, one = MemoryBank(capacity=2), torch.tensor(1.0)
        >>> for frame in range(4):
        ...     bank.keep(Memory(frame, torch.zeros(16, 8), torch.zeros(32), one, one, prompted=frame == 0))
        >>> list(bank.prompted), list(bank.tracked)
        ([0], [2, 3])
    """

    capacity: int | None = POINTERS
    prompted: dict[int, Memory] = field(default_factory=dict)
    tracked: dict[int, Memory] = field(default_factory=dict)
    anchors: dict[int, Memory] = field(default_factory=dict)
    cuts: tuple[int, ...] = ()

    def keep(self, memory: Memory, *, spare: Callable[[Memory], bool] = lambda memory: False) -> None:
        """Store a memory, replacing an earlier one of its frame, and drop the oldest if the bank is full.

        Args:
            memory: Of this object.
            spare: Tells which tracked memories to drop only if there are no others.
        """
        self.forget(memory.frame)
        memories = self.prompted if memory.prompted else self.tracked
        memories[memory.frame] = memory
        if self.capacity is not None and len(self.tracked) > self.capacity:
            *older, _ = self.tracked.values()
            del self.tracked[next((old for old in older if not spare(old)), older[0]).frame]
        if self.capacity is not None and len(self.prompted) > self.capacity:
            del self.prompted[list(self.prompted)[1]]

    def forget(self, frame: int) -> None:
        """Drop a frame's memory, if there is one.

        Args:
            frame: From 0.
        """
        for memories in (self.prompted, self.tracked, self.anchors):
            memories.pop(frame, None)

    def copy(self) -> MemoryBank:
        """Copy the bank. The memories are shared."""
        return replace(
            self, prompted=dict(self.prompted), tracked=dict(self.tracked), anchors=dict(self.anchors)
        )

    def cut(self, frame: int) -> None:
        """Record that a scene begins on a frame, in either direction of tracking.

        Args:
            frame: The first frame of the scene.
        """
        cuts = sorted({*self.cuts, frame})
        self.cuts = tuple(cuts if self.capacity is None else cuts[-CUTS:])

    def scene(self, frame: int) -> MemoryBank:
        """The part of the bank for a frame: prompted memories, and tracked memories of the same scene.

        Args:
            frame: A frame of the scene.
        """
        begin = max((cut for cut in self.cuts if cut <= frame), default=-1)
        end = min((cut for cut in self.cuts if cut > frame), default=None)
        tracked, anchors = (
            {at: memory for at, memory in memories.items() if begin <= at and (end is None or at < end)}
            for memories in (self.tracked, self.anchors)
        )
        return replace(self, tracked=tracked, anchors=anchors)

    def behind(self, frame: int, *, reverse: bool) -> Iterator[Memory]:
        """Tracked memories before a frame, in the direction of tracking, the newest first.

        Args:
            frame: The frame from which to look back, exclusive.
            reverse: Whether tracking runs backward.
        """
        if not self.tracked:
            return
        end, backward = (max(self.tracked) + 1, 1) if reverse else (min(self.tracked) - 1, -1)
        for at in range(frame + backward, end, backward):
            memory = self.tracked.get(at)
            if memory is not None:
                yield memory
