"""The store of a session's results: records by object, frame and event.

A record has the answer, in full or as a mask only, and its memory. It is valid from the event that made it
until another event replaces it. Undo only moves the position in the events, so that earlier records are valid
again. `InMemoryStore` keeps records in a dict, the studio in rows of its database.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from numbers import Real
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from masklet import rle
from masklet.errors import OptionError
from masklet.model import Sam2, fill_mask
from masklet.results import ReadImage
from masklet.sessions.events import Prompted, Propagated, prompts_after
from masklet.sessions.object_state import History, ObjectState
from masklet.tracking.bank import POINTERS, MemoryBank
from masklet.tracking.policies.recency import MemoryPolicy
from masklet.tracking.step import TrackedObject
from masklet.transforms import mask_to_square
from masklet.types import MaskPrediction, Masks, Memory, Prompt


@dataclass(frozen=True, slots=True)
class MemoryRecord:
    """The model's results for one object on one frame.

    Attributes:
        answer: Compact if its logits exceeded the budget.
        memory: None if the policy did not store it, or it exceeded the budget.
        exact: COCO run lengths of a mask that is shown instead of the answer: drawn by a user, refined by
            zoom, or the mask of a compact answer.
        anchor: Whether the policy may select the memory when it is old.
        policy_state: The policy's state after this frame, if the store saves it.
        edited: Whether a person changed the mask without a prompt.
    """

    answer: MaskPrediction | CompactAnswer
    memory: Memory | None
    exact: str | None = None
    anchor: bool = False
    policy_state: Mapping[str, Tensor] = field(default_factory=dict)
    edited: bool = False

    @property
    def nbytes(self) -> int:
        held = 0 if self.memory is None else self.memory.tokens.nbytes
        return held + (self.answer.logits.nbytes if isinstance(self.answer, MaskPrediction) else 0)

    def compact(self, size: tuple[int, int]) -> MemoryRecord:
        """The record without memory and logits, with the mask as shown to the user, of `size` (H, W)."""
        answer, exact = self.answer, self.exact
        if isinstance(answer, MaskPrediction):
            masks = Masks(0, (1,), answer.logits, size, answer.iou, answer.score)
            exact = masks.rle()[0]["counts"]
            answer = CompactAnswer(float(answer.iou), float(answer.score), self.memory is not None)
        return replace(self, answer=answer, memory=None, exact=exact)


@dataclass(frozen=True, slots=True)
class CompactAnswer:
    """The numbers of an answer of which only the mask is kept, in `MemoryRecord.exact`.

    Attributes:
        had_memory: Whether it had a memory, which was removed too.
    """

    iou: float
    score: float
    had_memory: bool

    def with_mask(self, mask: np.ndarray, model: Sam2) -> tuple[Tensor, Tensor, Tensor]:
        """Low-res logits made from the mask, in place of the original ones; IoU and score."""
        square = mask_to_square(mask, model.config.image_size).to(model.device)
        numbers = torch.tensor([[self.iou], [self.score]], dtype=torch.float32, device=model.device)
        return fill_mask(square, model.config.mask_size), *numbers


def to_masks(
    frame: int,
    records: Mapping[int, MemoryRecord],
    size: tuple[int, int],
    model: Sam2,
    image: ReadImage | None = None,
) -> Masks:
    """The masks of objects on a frame of `size` (H, W), from their records."""
    exact = {
        id: rle.decode({"size": list(size), "counts": record.exact})
        for id, record in records.items()
        if record.exact is not None
    }
    rows = {
        id: (answer.logits, answer.iou, answer.score)
        if isinstance(answer := record.answer, MaskPrediction)
        else answer.with_mask(exact[id], model)
        for id, record in records.items()
    }
    return Masks.stack(frame, size, rows, exact, image)


def fill_bank(bank: MemoryBank, obj: ObjectState, records: Mapping[int, MemoryRecord]) -> None:
    """Fill an empty bank with an object's memories: those of its conditioning frames, and the others in
    order."""
    for frame in obj.bank.conditioning:
        memory = records[frame].memory if frame in records else None
        if memory is not None:
            bank.prompted[frame] = replace(memory, prompted=True)
    for frame, record in records.items():
        if record.memory is None or frame in bank.prompted:
            continue
        bank.tracked[frame] = replace(record.memory, prompted=False)
        if record.anchor:
            bank.anchors[frame] = bank.tracked[frame]


Rebuild = Callable[[int, CompactAnswer, np.ndarray], Memory]  # of a frame, an answer and its mask

UNDO = 32  # events that can be undone; one if more than SUPERSEDED records are kept only for undo
SUPERSEDED = 1_000_000


class MemoryStore(Protocol):
    """The events of a session, and the model's results."""

    @property
    def history(self) -> History:
        """The session's current position."""

    def advance(self, after: History) -> None:
        """Go to the position after one more event, or after the last one if that became longer.

        Undone events can no longer be redone.
        """

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

    def refill(self, obj: ObjectState, bank: MemoryBank, frames: Iterable[int], rebuild: Rebuild) -> None:
        """Recompute the memories that were removed, of those on some frames, and add them to the bank."""

    def make_room(self, objects: Mapping[int, TrackedObject], frame: int) -> None:
        """Remove records beyond the budget, also from the banks of objects that were tracked to a frame."""


@dataclass(eq=False, slots=True)
class Version:
    """The record of an object on a frame that is valid from an event on, until the next version.

    Attributes:
        serial: Increases from version to version, over all objects.
        since: The event.
        record: None if no record is valid.
    """

    id: int
    frame: int
    serial: int
    since: int
    record: MemoryRecord | None


@dataclass(frozen=True)
class PolicyRecord:
    """An object's policy and the contents of its bank after an event.

    Attributes:
        cuts: The scene cuts known to the bank.
        frames: The frames of its memories; None for a bank without a capacity.
        anchors: The frames of its anchors, which a full bank keeps longer.
    """

    number: int
    policy: MemoryPolicy
    cuts: tuple[int, ...]
    frames: frozenset[int] | None
    anchors: frozenset[int]

    def remembers(self, version: Version) -> bool:
        """Whether the memory of a valid version was not removed from a full bank."""
        if self.frames is None or version.since > self.number:
            return True
        return version.frame in self.frames | self.anchors

    def drop_others(self, bank: MemoryBank) -> None:
        """Remove from a bank what was an anchor or a tracked memory once and is not any more."""
        if self.frames is not None:
            for frame in bank.anchors.keys() - self.anchors:
                del bank.anchors[frame]
            for frame in self.anchors - self.frames:
                bank.tracked.pop(frame, None)


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
        self._versions: dict[int, dict[int, list[Version]]] = {}  # by object and frame, the newest last
        self._policies: dict[int, list[PolicyRecord]] = {}
        self._full: OrderedDict[Version, int] = OrderedDict()  # the bytes of each, oldest first
        self._superseded: deque[tuple[int, Version]] = deque()  # with the event that replaced each
        self._undoable: deque[History] = deque(maxlen=UNDO)  # positions to go back to, the newest last
        self._undone: list[History] = []
        self._serials = count()

    def advance(self, after: History) -> None:
        if self._undone:
            self._forget_undone()
        before, self.history = self.history, after
        if not isinstance(after.event, Propagated):
            if len(self._superseded) > SUPERSEDED:
                self._undoable.clear()
            self._undoable.append(before)
            self._forget_before(self._undoable[0])

    def undo(self) -> bool:
        """Go back to before the user's last event; False if there is none."""
        if not self._undoable:
            return False
        self._undone.append(self.history)
        self.history = self._undoable.pop()
        return True

    def redo(self) -> bool:
        """Go forward to the position before the last undo; False if there was none."""
        if not self._undone:
            return False
        self._undoable.append(self.history)
        self.history = self._undone.pop()
        return True

    def put(
        self, id: int, frame: int, record: MemoryRecord | None, tracked: TrackedObject | None = None
    ) -> None:
        versions = self._versions.setdefault(id, {}).setdefault(frame, [])
        if versions and versions[-1].since == self.history.number:  # undo cannot go back to it
            self._release(versions.pop())
        elif versions:
            self._superseded.append((self.history.number, versions[-1]))
        versions.append(Version(id, frame, next(self._serials), self.history.number, record))
        if record is not None and frame not in self.history.state.objects[id].prompts:
            self._hold(versions[-1], record)

    def end(self, id: int, frame: int | None) -> None:
        for at in self._versions.get(id, {}) if frame is None else [frame]:
            self.put(id, at, None)

    def record(self, obj: ObjectState, frame: int) -> MemoryRecord | None:
        version = self._version_at(obj.id, frame, self.history.number)
        return None if version is None else version.record

    def joined_prompt(self, obj: ObjectState, event: Prompted) -> Prompt:
        return prompts_after(obj.prompts, event)[event.frame]

    def load_bank(self, obj: ObjectState, frame: int) -> MemoryBank:
        saved = self._saved_policy(obj)
        bank = MemoryBank(self._capacity, cuts=() if saved is None else saved.cuts)
        remembered = list(self._remembered(obj, self._versions.get(obj.id, {})))
        remembered.sort(key=lambda pair: pair[0].serial)
        fill_bank(bank, obj, {version.frame: record for version, record in remembered})
        if saved is not None:
            saved.drop_others(bank)
        while self._capacity is not None and len(bank.prompted) > self._capacity:
            del bank.prompted[list(bank.prompted)[1]]
        return bank

    def load_policy(self, obj: ObjectState, make: Callable[[], MemoryPolicy]) -> MemoryPolicy:
        saved = None if obj.position is None else self._saved_policy(obj)
        return make() if saved is None else saved.policy

    def save_policy(self, obj: TrackedObject) -> None:
        number, bank = self.history.number, obj.bank
        frames = None if self._capacity is None else frozenset((*bank.prompted, *bank.tracked))
        policies = self._policies.setdefault(obj.id, [])
        if policies and policies[-1].number == number:
            policies.pop()
        policies.append(PolicyRecord(number, obj.policy, bank.cuts, frames, frozenset(bank.anchors)))

    def refill(self, obj: ObjectState, bank: MemoryBank, frames: Iterable[int], rebuild: Rebuild) -> None:
        for version, record in self._remembered(obj, frames):
            answer, frame = record.answer, version.frame
            if record.memory is not None or not isinstance(answer, CompactAnswer) or not answer.had_memory:
                continue
            mask = rle.decode({"size": list(self._size), "counts": record.exact})
            memory = rebuild(frame, answer, mask)
            version.record = replace(record, memory=memory)
            self._hold(version, version.record)
            bank.keep(replace(memory, prompted=frame in obj.bank.conditioning))

    def make_room(self, objects: Mapping[int, TrackedObject], frame: int) -> None:
        enough = POINTERS * len(self.history.state.objects)
        while self.nbytes > self._budget and len(self._full) > enough:
            version, nbytes = self._full.popitem(last=False)
            self.nbytes -= nbytes
            record = version.record
            assert record is not None
            if record.anchor:  # there are few, and once recomputed they cannot be distinguished from others
                continue
            version.record = record.compact(self._size)
            if version.id in objects and record.memory is not None:
                tracked = objects[version.id].bank.tracked
                if version.frame in tracked and tracked[version.frame].tokens is record.memory.tokens:
                    del tracked[version.frame]

    def _hold(self, version: Version, record: MemoryRecord) -> None:
        """Count a record's bytes."""
        self._full[version] = record.nbytes
        self.nbytes += record.nbytes

    def _release(self, version: Version) -> None:
        """Subtract a record's bytes."""
        self.nbytes -= self._full.pop(version, 0)

    def _version_at(self, id: int, frame: int, event: int) -> Version | None:
        """The version of an object on a frame that is valid at an event."""
        versions = self._versions.get(id, {}).get(frame, [])
        return next((version for version in reversed(versions) if version.since <= event), None)

    def _settled(self, obj: ObjectState) -> int:
        """The event that last tracked an object; if that is not recorded yet, the one before it.

        Until it is recorded, its number may be that of an undone event.
        """
        return min(obj.bank.settled, self.history.number)

    def _saved_policy(self, obj: ObjectState) -> PolicyRecord | None:
        """The policy that was saved when an object was last tracked."""
        at, policies = self._settled(obj), reversed(self._policies.get(obj.id, []))
        return next((saved for saved in policies if saved.number <= at), None)

    def _remembered(self, obj: ObjectState, frames: Iterable[int]) -> Iterator[tuple[Version, MemoryRecord]]:
        """An object's records on some frames that were in its bank when it was last tracked."""
        at, saved = self._settled(obj), self._saved_policy(obj)
        for frame in frames:
            version = self._version_at(obj.id, frame, at)
            if version is None or version.record is None or version.since < obj.begun:
                continue
            if frame in obj.bank.cleared:
                continue
            if saved is None or saved.remembers(version):
                yield version, version.record

    def _forget_undone(self) -> None:
        """Remove the results of undone events: a new event ends redo."""
        self._undone.clear()
        here = self.history.number
        for by_frame in self._versions.values():
            for versions in by_frame.values():
                while versions and versions[-1].since > here:
                    self._release(versions.pop())
        for policies in self._policies.values():
            policies[:] = [saved for saved in policies if saved.number <= here]
        self._superseded = deque(item for item in self._superseded if item[0] <= here)

    def _forget_before(self, floor: History) -> None:
        """Remove records that were replaced before a position to which undo can go back.

        Some of them are still in a bank: a prompt replaces the answer on its frame at once, but the bank has
        the old memory until the object is tracked next. Those stay.
        """
        remaining = []
        while self._superseded and self._superseded[0][0] <= floor.number:
            number, version = self._superseded.popleft()
            obj = floor.state.objects.get(version.id)
            if obj is not None and version.since <= obj.bank.settled < number:
                remaining.append((number, version))
            else:
                self._versions[version.id][version.frame].remove(version)
                self._release(version)
        self._superseded.extendleft(reversed(remaining))
        for policies in self._policies.values():
            while len(policies) > 1 and policies[1].number <= floor.number:
                del policies[0]


def _check_budget(budget: object) -> float:
    if isinstance(budget, bool) or not isinstance(budget, Real) or not float(budget) >= 0:
        raise OptionError(f"budget must be a number of bytes, 0 or more. Got {budget!r:.60}.")
    return float(budget)
