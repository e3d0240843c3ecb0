"""The store of a session's results: records by object, frame and event.

A record has the answer, in full or as a mask only, and its memory. It is valid from the event that made it
until another event replaces it. Undo only moves the position in the events, so that earlier records are valid
again. `InMemoryStore` keeps records in a dict, the studio in rows of its database.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from numbers import Real
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from masklet import rle
from masklet.errors import OptionError
from masklet.model import Sam2, fill_mask
from masklet.results import ReadImage
from masklet.sessions.events import Prompted, Propagated, SessionEvent, prompts_after
from masklet.sessions.object_state import History, ObjectState
from masklet.tracking.bank import POINTERS, MemoryBank
from masklet.tracking.policies.recency import MemoryPolicy
from masklet.tracking.step import TrackedObject
from masklet.transforms import mask_to_square
from masklet.types import FrameFeatures, MaskPrediction, Masks, Memory, Prompt


@dataclass(frozen=True, slots=True)
class MemoryRecord:
    """The model's results for one object on one frame.

    Attributes:
        answer: Compact if its logits exceeded the budget.
        memory: None if the policy did not store it, or it exceeded the budget.
        exact: COCO run lengths of a finer mask, which is shown instead of the answer: drawn by a user, or
            refined by zoom.
        anchor: Whether the policy may select the memory when it is old.
        policy_state: The policy's state after this frame, if the store saves it.
    """

    answer: MaskPrediction | CompactAnswer
    memory: Memory | None
    exact: str | None = None
    anchor: bool = False
    policy_state: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        held = 0 if self.memory is None else self.memory.tokens.nbytes
        return held + (self.answer.logits.nbytes if isinstance(self.answer, MaskPrediction) else 0)


@dataclass(frozen=True, slots=True)
class CompactAnswer:
    """An answer of which only the mask is kept, as shown to the user.

    Attributes:
        counts: The mask as COCO run lengths, at the size of the source.
        had_memory: Whether it had a memory, which was removed too.
    """

    counts: str
    iou: float
    score: float
    had_memory: bool

    @classmethod
    def of(cls, answer: MaskPrediction, size: tuple[int, int], *, had_memory: bool) -> CompactAnswer:
        """Compact the answer of one object, on frames of `size` (H, W)."""
        mask = Masks(0, (0,), answer.logits, size, answer.iou, answer.score).rle()[0]
        return cls(mask["counts"], float(answer.iou), float(answer.score), had_memory)

    def mask(self, size: tuple[int, int]) -> np.ndarray:
        """bool (H, W)"""
        return rle.decode({"size": list(size), "counts": self.counts})

    def hint(self, size: tuple[int, int], model: Sam2) -> Float[Tensor, "1 h4 w4"]:
        """Low-res logits made from the mask, in place of the original ones."""
        square = mask_to_square(self.mask(size), model.config.image_size).to(model.device)
        return fill_mask(square, model.config.mask_size)


def to_masks(
    frame: int,
    records: Mapping[int, MemoryRecord],
    size: tuple[int, int],
    model: Sam2,
    image: ReadImage | None = None,
) -> Masks:
    """The masks of objects on a frame of `size` (H, W), from their records."""
    if not records:
        return replace(Masks.empty(frame, size), image=image)
    rows, exact = [], {}
    for id, record in records.items():
        answer, counts = record.answer, record.exact
        if isinstance(answer, MaskPrediction):
            rows.append((answer.logits, answer.iou, answer.score))
        else:
            counts = answer.counts if counts is None else counts
            numbers = [[answer.iou], [answer.score]]
            iou, score = torch.tensor(numbers, dtype=torch.float32, device=model.device)
            rows.append((answer.hint(size, model), iou, score))
        if counts is not None:
            exact[id] = rle.decode({"size": list(size), "counts": counts})
    low_res, iou, score = (torch.cat(parts) for parts in zip(*rows, strict=True))
    return Masks(frame, tuple(records), low_res, size, iou, score, exact=exact, image=image)


def fill_bank(bank: MemoryBank, obj: ObjectState, records: Mapping[int, MemoryRecord]) -> None:
    """Fill an empty bank with an object's memories: those of its conditioning frames, and the others in
    order."""
    for frame in obj.conditioning:
        memory = records[frame].memory if frame in records else None
        if memory is not None:
            bank.prompted[frame] = replace(memory, prompted=True)
    for frame, record in records.items():
        if record.memory is None or frame in bank.prompted:
            continue
        bank.tracked[frame] = replace(record.memory, prompted=False)
        if record.anchor:
            bank.anchors[frame] = bank.tracked[frame]


@torch.inference_mode()
def rebuild_memory(
    model: Sam2, features: FrameFeatures, frame: int, answer: CompactAnswer, size: tuple[int, int]
) -> Memory:
    """A memory to replace one that was removed, made as if a user had drawn the mask."""
    mask = mask_to_square(answer.mask(size), model.config.image_size).to(model.device)
    adopted = model.adopt(features, mask)
    iou, score = torch.full_like(adopted.iou, answer.iou), torch.full_like(adopted.score, answer.score)
    adopted = replace(adopted, iou=iou, score=score)
    tokens = model.memorize(features, adopted, binary=True)[0].to(model.memory_dtype)
    return Memory(frame, tokens, adopted.pointer[0], iou[0], score[0], prompted=False)


UNDO = 32  # events that can be undone; one if more than SUPERSEDED records are kept only for undo
SUPERSEDED = 1_000_000


class MemoryStore(Protocol):
    """The events of a session, and the model's results."""

    @property
    def history(self) -> History:
        """The session's current position."""

    @property
    def next_number(self) -> int:
        """The number of the next event."""

    def append(self, event: SessionEvent) -> None:
        """Record an event. Undone events can no longer be redone."""

    def extend(self, event: SessionEvent) -> None:
        """Replace the last event by a longer one."""

    def put(self, id: int, frame: int, record: MemoryRecord, tracked: TrackedObject | None = None) -> None:
        """Record the last event's result for an object; `tracked` if it was tracked there."""

    def end(self, id: int, frame: int | None) -> None:
        """End the validity of an object's record on a frame, or of all its records, at the last event."""

    def record(self, obj: ObjectState, frame: int) -> MemoryRecord | None:
        """An object's valid record on a frame."""

    def joined_prompt(self, obj: ObjectState, event: Prompted) -> Prompt:
        """All prompts of an object on a frame, including that of an event about to be recorded."""

    def load_bank(self, obj: ObjectState, frame: int) -> MemoryBank:
        """An object's memories when it was last tracked: at least those that policies can select on a
        frame."""

    def load_policy(self, obj: ObjectState, make: Callable[[], MemoryPolicy]) -> MemoryPolicy:
        """The policy of an object, with its state at the object's position."""

    def save_policy(self, obj: TrackedObject) -> None:
        """Record the state of an object's policy and bank after the last event."""

    def missing(self, obj: ObjectState, frames: Iterable[int]) -> Iterator[tuple[int, CompactAnswer]]:
        """The frames, of those given, whose memory was removed."""

    def refill(self, obj: ObjectState, memory: Memory) -> None:
        """Store a memory that was recomputed."""

    def make_room(self, objects: Mapping[int, TrackedObject], frame: int) -> None:
        """Remove records beyond the budget, also from the banks of objects that were tracked to a frame."""


@dataclass(eq=False, slots=True)
class Entry:
    """A record and the events for which it is valid: since <= event < until; until is None if nothing
    replaced it.

    Attributes:
        evicted: The event at which a full bank removed its memory.
    """

    serial: int
    since: int
    record: MemoryRecord
    until: int | None = None
    evicted: int | None = None

    def holds(self, event: int) -> bool:
        return self.since <= event and (self.until is None or self.until > event)

    def is_evicted(self, event: int) -> bool:
        return self.evicted is not None and self.evicted <= event


@dataclass(frozen=True)
class PolicyRecord:
    """An object's policy, and the scene cuts known to its bank, after an event."""

    number: int
    policy: MemoryPolicy
    cuts: tuple[int, ...]


class InMemoryStore:
    """Records in a dict, in full up to a budget of bytes; only the masks of the oldest are kept.

    Args:
        size: (H, W) of the frames.
        budget: Bytes of full answers and memories. Those of prompts are not counted, and always kept.
        capacity: Memories in each object's bank; None for all.
    """

    def __init__(self, size: tuple[int, int], budget: float, capacity: int | None) -> None:
        self.history = History()
        self.nbytes = 0  # of full records, without those of prompts
        self._size, self._budget, self._capacity = size, _check_budget(budget), capacity
        self._entries: dict[int, dict[int, list[Entry]]] = {}  # by object and frame, the newest last
        self._policies: dict[int, list[PolicyRecord]] = {}
        self._in_bank: dict[int, set[int]] = {}  # frames in banks that may be full
        self._full: OrderedDict[Entry, tuple[int, int]] = OrderedDict()  # object and frame, by age
        self._superseded: deque[tuple[int, int, int, Entry]] = deque()  # until, object, frame
        self._undone: list[History] = []
        self._oldest = 0  # the earliest event to which undo can go back
        self._serial = 0

    @property
    def next_number(self) -> int:
        return self.history.number + 1

    def append(self, event: SessionEvent) -> None:
        if self._undone:
            self._forget_undone()
        self.history = self.history.after(event)
        if not isinstance(event, Propagated):
            self._forget_old()

    def extend(self, event: SessionEvent) -> None:
        if self._undone:
            self._forget_undone()
        self.history = self.history.extended(event)

    def undo(self) -> bool:
        """Go back to before the user's last event; False if there is none."""
        target = next((at.before for at in self.history.back() if not isinstance(at.event, Propagated)), None)
        if target is None or target.number < self._oldest:
            return False
        self._undone.append(self.history)
        self.history = target
        return True

    def redo(self) -> bool:
        """Go forward to the position before the last undo; False if there was none."""
        if not self._undone:
            return False
        self.history = self._undone.pop()
        return True

    def put(self, id: int, frame: int, record: MemoryRecord, tracked: TrackedObject | None = None) -> None:
        self._supersede(id, frame)
        self._serial += 1
        entry = Entry(self._serial, self.history.number, record)
        self._entries.setdefault(id, {}).setdefault(frame, []).append(entry)
        if frame not in self.history.state.objects[id].prompts:
            self._hold(id, frame, entry)

    def end(self, id: int, frame: int | None) -> None:
        for at in self._entries.get(id, {}) if frame is None else [frame]:
            self._supersede(id, at)

    def record(self, obj: ObjectState, frame: int) -> MemoryRecord | None:
        entry = self._entry_at(obj.id, frame, self.history.number)
        return None if entry is None else entry.record

    def joined_prompt(self, obj: ObjectState, event: Prompted) -> Prompt:
        return prompts_after(obj.prompts, event)[event.frame]

    def load_bank(self, obj: ObjectState, frame: int) -> MemoryBank:
        policies = self._policies.get(obj.id, [])
        at = self._settled(obj)
        cuts = next((policy.cuts for policy in reversed(policies) if policy.number <= at), ())
        bank = MemoryBank(self._capacity, cuts=cuts)
        fill_bank(bank, obj, self._records_in_bank(obj))
        self._in_bank[obj.id] = {*bank.prompted, *bank.tracked}
        while self._capacity is not None and len(bank.prompted) > self._capacity:
            del bank.prompted[list(bank.prompted)[1]]
        return bank

    def load_policy(self, obj: ObjectState, make: Callable[[], MemoryPolicy]) -> MemoryPolicy:
        if obj.position is None:
            return make()
        return next(at.policy for at in reversed(self._policies[obj.id]) if at.number <= self.history.number)

    def save_policy(self, obj: TrackedObject) -> None:
        number, bank = self.history.number, obj.bank
        policies = self._policies.setdefault(obj.id, [])
        while policies and policies[-1].number >= number:
            policies.pop()
        policies.append(PolicyRecord(number, obj.policy, bank.cuts))
        if self._capacity is not None:
            in_bank = {*bank.prompted, *bank.tracked}
            for frame in self._in_bank.get(obj.id, set()) - in_bank:
                entry = self._entry_at(obj.id, frame, number)
                if entry is not None:
                    entry.evicted = number
            self._in_bank[obj.id] = in_bank

    def missing(self, obj: ObjectState, frames: Iterable[int]) -> Iterator[tuple[int, CompactAnswer]]:
        at = self._settled(obj)
        for frame in frames:
            entry = self._entry_at(obj.id, frame, at)
            if entry is None or entry.is_evicted(at) or frame in obj.cleared:
                continue
            answer = entry.record.answer
            if entry.record.memory is None and isinstance(answer, CompactAnswer) and answer.had_memory:
                yield frame, answer

    def refill(self, obj: ObjectState, memory: Memory) -> None:
        entry = self._entry_at(obj.id, memory.frame, self._settled(obj))
        assert entry is not None
        entry.record = replace(entry.record, memory=memory)
        self._hold(obj.id, memory.frame, entry)

    def make_room(self, objects: Mapping[int, TrackedObject], frame: int) -> None:
        enough = POINTERS * len(self.history.state.objects)
        while self.nbytes > self._budget and len(self._full) > enough:
            entry, (id, at) = self._full.popitem(last=False)
            before = entry.record
            self.nbytes -= before.nbytes
            if before.anchor:  # there are few, and once recomputed they cannot be distinguished from others
                continue
            entry.record = self._compact(before)
            if id in objects and before.memory is not None:
                tracked = objects[id].bank.tracked
                if at in tracked and tracked[at].tokens is before.memory.tokens:
                    del tracked[at]

    def _compact(self, record: MemoryRecord) -> MemoryRecord:
        answer = record.answer
        if isinstance(answer, MaskPrediction):
            answer = CompactAnswer.of(answer, self._size, had_memory=record.memory is not None)
        return replace(record, answer=answer, memory=None)

    def _hold(self, id: int, frame: int, entry: Entry) -> None:
        """Count a record's bytes."""
        self._full[entry] = id, frame
        self.nbytes += entry.record.nbytes

    def _supersede(self, id: int, frame: int) -> None:
        """End the newest entry of a frame, if any, at the last event; undo may go back to it."""
        number, entries = self.history.number, self._entries.get(id, {}).get(frame, [])
        if not entries or entries[-1].until is not None:
            return
        last = entries[-1]
        if last.since == number:  # undo cannot go back to it
            entries.remove(last)
            self._release(last)
        else:
            last.until = number
            self._superseded.append((number, id, frame, last))

    def _settled(self, obj: ObjectState) -> int:
        """The event that last tracked an object; if that is not recorded yet, the one before it.

        Until it is recorded, its number may be that of an undone event.
        """
        return min(obj.settled, self.history.number)

    def _entry_at(self, id: int, frame: int, event: int) -> Entry | None:
        """The entry of an object on a frame that is valid at an event."""
        entries = self._entries.get(id, {}).get(frame, [])
        return next((entry for entry in reversed(entries) if entry.holds(event)), None)

    def _records_in_bank(self, obj: ObjectState) -> dict[int, MemoryRecord]:
        """An object's records when it was last tracked, in the order in which they were made."""
        settled = self._settled(obj)
        entries = [
            (at, entry)
            for at, some in self._entries.get(obj.id, {}).items()
            for entry in some
            if entry.holds(settled)
            and entry.since >= obj.begun
            and at not in obj.cleared
            and not entry.is_evicted(settled)
        ]
        return {at: entry.record for at, entry in sorted(entries, key=lambda item: item[1].serial)}

    def _release(self, entry: Entry) -> None:
        """Subtract a record's bytes."""
        if self._full.pop(entry, None) is not None:
            self.nbytes -= entry.record.nbytes

    def _forget_undone(self) -> None:
        """Remove the results of undone events: a new event ends redo."""
        self._undone.clear()
        here = self.history.number
        for by_frame in self._entries.values():
            for frame, entries in list(by_frame.items()):
                for entry in entries:
                    if entry.since > here:
                        self._release(entry)
                entries[:] = [entry for entry in entries if entry.since <= here]
                for entry in entries:
                    entry.until = None if entry.until is None or entry.until > here else entry.until
                    entry.evicted = None if entry.evicted is None or entry.evicted > here else entry.evicted
                if not entries:
                    del by_frame[frame]
        for policies in self._policies.values():
            policies[:] = [policy for policy in policies if policy.number <= here]
        self._superseded = deque(
            item for item in self._superseded if item[3].until == item[0] and item[3].since <= here
        )

    def _forget_old(self) -> None:
        """Remove records that no undo can restore and no bank needs."""
        events = (at for at in self.history.back() if not isinstance(at.event, Propagated))
        undoable = list(islice(events, UNDO))
        assert undoable[-1].before is not None
        floor = undoable[-1].before
        if len(self._superseded) > SUPERSEDED:
            floor = undoable[0].before or floor
        self._oldest = max(self._oldest, floor.number)
        remaining = []
        while self._superseded and self._superseded[0][0] <= self._oldest:
            until, id, frame, entry = self._superseded.popleft()
            obj = floor.state.objects.get(id)
            if obj is not None and entry.holds(obj.settled):
                remaining.append((until, id, frame, entry))
            elif entry in (entries := self._entries.get(id, {}).get(frame, [])):
                entries.remove(entry)
                self._release(entry)
        self._superseded.extendleft(reversed(remaining))
        for policies in self._policies.values():
            while len(policies) > 1 and policies[1].number <= self._oldest:
                del policies[0]


def _check_budget(budget: object) -> float:
    if isinstance(budget, bool) or not isinstance(budget, Real) or not float(budget) >= 0:
        raise OptionError(f"budget must be a number of bytes, 0 or more. Got {budget!r:.60}.")
    return float(budget)
