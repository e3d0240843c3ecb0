"""The base class of memory policies, and SAM 2's own policy: recency."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from torch import Tensor

from masklet.tracking.bank import POINTERS, WINDOW, MemoryBank
from masklet.types import Candidates, Memory, MemorySelection

PROMPTED_ROW = WINDOW  # the row of the age table for prompted memories, after those of the six ages


class MemoryPolicy:
    """Decides, for one object, which mask to select, and which memories to store and to attend to.

    To write a policy, inherit from `Recency`, or from this class, and override the methods that differ. An
    instance serves one object from a prompt, or from the start of tracking, to the next prompt or scene cut,
    and may hold state meanwhile. State that must last longer belongs in the bank. Only `store` may change
    state, and not for prompted memories.

    Attributes:
        capacity: The number of tracked memories that a bank must hold for it.
        present: The object score above which an object is in the frame.
        reads: Whether it reads numbers, such as scores, of memories. They are then moved to the host once a
            frame.
        latency: The number of frames for which an answer may still be revised; 0 if it is final at once.
        resumable: Whether `state` and `load_state` can move it to another session.

    Example:
        >>> class Doubtful(Recency):
        ...     reads = True
        ...
        ...     def store(self, bank, memory, candidates):
        ...         if memory.prompted or float(memory.iou) > 0.5:
        ...             bank.keep(memory)
        >>> Doubtful().capacity
        16
    """

    capacity: int = POINTERS
    present: float = 0.0
    reads: bool = False
    latency: int = 0
    resumable: bool = True

    def select_mask(self, candidates: Candidates) -> Tensor:
        """Select one of an object's candidates: by default, the one with the highest predicted IoU.

        Args:
            candidates: Of this one object.

        Returns:
            Int64 (1,), on the candidates' device.
        """
        return candidates.iou.argmax(dim=1)

    def store(self, bank: MemoryBank, memory: Memory, candidates: Candidates) -> None:
        """Store a memory, or ignore it. By default, all are stored.

        Args:
            bank: The object's memories.
            memory: The memory of the frame that was just tracked.
            candidates: The network's candidates on that frame. If a person drew the mask, it is the only one.
        """
        bank.keep(memory)

    def select_memories(
        self, bank: MemoryBank, frame: int, *, reverse: bool, clip_length: int | None
    ) -> MemorySelection:
        """Select the memories to attend to on a frame.

        Args:
            bank: The object's memories, as seen from this frame.
            frame: The frame's number.
            reverse: Whether tracking runs backward.
            clip_length: The number of frames in the clip, by which the published code scales the pointers'
                ages. None means 16 or more.

        Returns:
            The memories with their ages.
        """
        raise NotImplementedError(f"{type(self).__name__} must override select_memories")

    def state(self, bank: MemoryBank) -> dict[str, Tensor]:
        """Return the state outside the bank, by name, on the host. It refers only to memories in the bank.

        Args:
            bank: The object's memories.
        """
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Load the state of another instance.

        Args:
            state: What `state` returned.
        """


class Recency(MemoryPolicy):
    """SAM 2's own rule (sec. 4): all prompted frames, the six previous frames, the sixteen newest pointers.

    It reads no numbers back to the host, so tracking never waits for the GPU.

    Example:
        >>> Recency().select_memories(MemoryBank(), 3, reverse=False, clip_length=None)
        MemorySelection(spatial=(), pointers=(), span=15, weights=())
    """

    def select_memories(
        self, bank: MemoryBank, frame: int, *, reverse: bool, clip_length: int | None
    ) -> MemorySelection:
        direction, ages = -1 if reverse else 1, range(1, POINTERS)
        tracked = [(age, memory) for age in ages if (memory := bank.tracked.get(frame - age * direction))]
        recent = [(age - 1, memory) for age, memory in tracked if age <= WINDOW]
        prompted = bank.prompted.values()
        return make_selection(prompted, frame, recent, tracked, reverse=reverse, clip_length=clip_length)


def make_selection(
    ageless: Collection[Memory],
    frame: int,
    spatial: Sequence[tuple[int, Memory]],
    tracked: Sequence[tuple[int, Memory]],
    *,
    reverse: bool,
    clip_length: int | None,
) -> MemorySelection:
    """Select memories whose maps have no age, such as all prompted ones, followed by those of other frames.

    Of a memory of a later frame, only the map is used and not the pointer, as in SAM 2's training.

    Args:
        ageless: Memories, for their maps and pointers.
        spatial: (age row, memory), for their maps.
        tracked: (age, memory), for their pointers, as far back as pointers reach.
    """
    span, direction = min(clip_length or POINTERS, POINTERS) - 1, -1 if reverse else 1
    ages = [((frame - memory.frame) * direction, memory.pointer) for memory in ageless]
    pointers = [(age, pointer) for age, pointer in ages if age >= 0]
    pointers += [(age, memory.pointer) for age, memory in tracked if age <= span]
    maps = [(PROMPTED_ROW, memory) for memory in ageless]
    return MemorySelection((*maps, *spatial), tuple(pointers), span)
