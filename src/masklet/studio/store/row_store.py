"""The records of a session in rows of the database.

It reads only what a click or the next frames need.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace

import torch
from safetensors.torch import load, save
from sqlalchemy import or_, select
from sqlalchemy.orm import Session
from torch import Tensor

from masklet import rle
from masklet.caches import LruCache
from masklet.model import Sam2
from masklet.sessions.events import Prompted, Propagated, SessionEvent, event_to_json, prompts_after
from masklet.sessions.memory_store import MemoryRecord, Rebuild, fill_bank, to_masks
from masklet.sessions.object_state import History, ObjectState
from masklet.studio.store.object_history import CANDIDATE, find_prompt
from masklet.studio.store.tables import Result, ResultParts
from masklet.studio.store.video_history import Change, NewResult, holds_at
from masklet.tracking.bank import POINTERS, MemoryBank
from masklet.tracking.policies.recency import MemoryPolicy
from masklet.tracking.step import TrackedObject
from masklet.types import MaskPrediction, Memory, Prompt

KEPT = 2 * POINTERS  # memories of a kind that stay loaded
GOOD_IOU = 0.5  # the highest demand of any policy on a memory


@dataclass(frozen=True)
class ChosenCandidate:
    """The origin and quality of a mask that a user selected among the candidates of a click."""

    iou: float
    score: float
    positive: tuple[tuple[float, float], ...]
    negative: tuple[tuple[float, float], ...]
    rank: int


class RowStore:
    """A `MemoryStore` over the rows of one video.

    Args:
        change: The transaction to read and write in; another one may take its place between two frames.
        size: (H, W) of the frames.
        batch: The batch of events that are undone together; by default each event alone.
    """

    def __init__(
        self,
        model: Sam2,
        cache: ResultCache,
        change: Change,
        size: tuple[int, int],
        batch: str | None = None,
    ) -> None:
        self.change = change
        self._model, self._cache, self._size, self._batch = model, cache, size, batch
        self._newest: dict[tuple[int, int], MemoryRecord] = {}  # by object and frame
        self.candidate: ChosenCandidate | None = None  # the candidate of the next mask

    @property
    def history(self) -> History:
        return self.change.state.history

    def advance(self, after: History) -> None:
        event = after.event
        assert event is not None
        fields, title = event_to_json(event), _title(event)
        do = fields.pop("do")
        self._newest.clear()
        if after.number == self.history.number:
            self.change.extend(after.number, fields)
            return
        if self.candidate is not None and isinstance(event, Prompted):
            fields[CANDIDATE] = asdict(self.candidate)
            title = f"candidate {self.candidate.rank + 1} on frame {event.frame}"
        self.change.add(do, fields, title, batch=self._batch)

    def put(self, id: int, frame: int, record: MemoryRecord, tracked: TrackedObject | None = None) -> None:
        answer = record.answer
        assert isinstance(answer, MaskPrediction)
        if self.candidate is not None:  # a person's mask has an IoU of 1, unlike the network's
            answer = replace(
                answer,
                iou=torch.full_like(answer.iou, self.candidate.iou),
                score=torch.full_like(answer.score, self.candidate.score),
            )
            memory = record.memory
            if memory is not None:
                memory = replace(memory, iou=answer.iou[0], score=answer.score[0])
            record = replace(record, answer=answer, memory=memory)
        state = {} if tracked is None else tracked.policy.state(tracked.bank)
        tokens = None if record.memory is None else record.memory.tokens
        tensors = ResultTensors(answer, tokens, state, record.exact is not None)
        counts = record.exact or to_masks(frame, {id: record}, self._size, self._model).rle()[0]["counts"]
        x0, y0, x1, y1 = rle.boxes([rle.RLE(size=list(self._size), counts=counts)])[0].tolist()
        iou, score = float(answer.iou[0]), float(answer.score[0])
        row = NewResult(
            object=id,
            frame=frame,
            prompted=tracked is None,
            anchor=record.anchor,
            counts=counts,
            box=[x0, y0, x1, y1] if x1 > x0 else None,
            iou=round(iou, 4),
            score=round(score, 3),
            confidence=round(max(iou, 0.0) / (1 + math.exp(-min(max(score, -50.0), 50.0))), 4),
        )
        self._cache.put(self.change.put(self.history.number, row, tensors.to_bytes()), tensors)
        self._newest[id, frame] = record

    def end(self, id: int, frame: int | None) -> None:
        which = [Result.object == id] + ([] if frame is None else [Result.frame == frame])
        self.change.end(self.history.number, *which)

    def record(self, obj: ObjectState, frame: int) -> MemoryRecord | None:
        newest = self._newest.get((obj.id, frame))
        if newest is not None or not obj.has_answer(frame):
            return newest
        row = self.change.database.scalar(
            select(Result).where(
                holds_at(self.change.video, self.change.state.head),
                Result.object == obj.id,
                Result.since >= obj.begun,
                Result.frame == frame,
            )
        )
        if row is None:
            return None
        edits = {event.number for event in self.change.state.records if event.do == "edit"}
        return replace(self._records(obj, [row])[frame], edited=row.since in edits)

    def joined_prompt(self, obj: ObjectState, event: Prompted) -> Prompt:
        prompts, frame = obj.prompts, event.frame
        if frame in prompts and prompts[frame].mask is not None:  # of which the state has a pixel
            drawn = find_prompt(self.change.state.records, frame, obj.id)
            prompts = {} if drawn is None else {frame: drawn}
        return prompts_after(prompts, event)[frame]

    def load_bank(self, obj: ObjectState, frame: int) -> MemoryBank:
        bank = MemoryBank(None)
        if not obj.bank.settled:
            return bank
        near = range(frame - POINTERS, frame + POINTERS + 1)
        wanted = {*obj.bank.conditioning, *self._find_far_frames(obj.id, near)}
        settled = min(obj.bank.settled, self.change.state.head)
        rows = self.change.database.scalars(
            select(Result)
            .where(
                Result.video == self.change.video,
                Result.object == obj.id,
                Result.since >= obj.begun,
                Result.since <= settled,
                or_(Result.until.is_(None), Result.until > settled),
                or_(Result.frame.between(near.start, near.stop - 1), Result.frame.in_(wanted)),
                Result.frame.not_in(obj.bank.cleared),
            )
            .order_by(Result.id)
        )
        fill_bank(bank, obj, self._records(obj, list(rows)))
        return bank

    def load_policy(self, obj: ObjectState, make: Callable[[], MemoryPolicy]) -> MemoryPolicy:
        policy = make()
        if obj.position is None or obj.is_fixed(obj.position[0]):
            return policy
        frame = obj.position[0]
        record = self.record(obj, frame)
        if record is not None and record.policy_state:
            policy.load_state(record.policy_state)
        return policy

    def save_policy(self, obj: TrackedObject) -> None:
        """Each row has the policy's state after its frame."""

    def refill(self, obj: ObjectState, bank: MemoryBank, frames: Iterable[int], rebuild: Rebuild) -> None:
        """Nothing is missing: rows are never compacted."""

    def make_room(self, objects: Mapping[int, TrackedObject], frame: int) -> None:
        """Remove data that tracking from a frame on does not need. It stays in the database."""
        for obj in objects.values():
            tracked, anchors = obj.bank.tracked, obj.bank.anchors
            if len(tracked) <= 2 * KEPT:
                continue
            nearest = sorted(tracked, key=lambda at: abs(at - frame))
            seen = [at for at in nearest if float(tracked[at].score) > 0]
            good = [at for at in seen if float(tracked[at].iou) > GOOD_IOU]
            for at in set(tracked) - {*nearest[:KEPT], *seen[:KEPT], *good[:KEPT]}:
                del tracked[at]
            for at in sorted(anchors, key=lambda at: abs(at - frame))[KEPT:]:
                del anchors[at]

    def _records(self, obj: ObjectState, rows: list[Result]) -> dict[int, MemoryRecord]:
        tensors = self._cache.get(self.change.database, [row.id for row in rows])
        return {row.frame: self._record(obj, row, tensors[row.id]) for row in rows}

    @staticmethod
    def _record(obj: ObjectState, row: Result, tensors: ResultTensors) -> MemoryRecord:
        prompt = obj.prompts.get(row.frame) if row.prompted else None
        is_drawn = prompt is not None and prompt.is_mask_only  # older rows are not marked as exact
        exact = row.counts if tensors.is_exact or is_drawn else None
        memory = tensors.memory(row.frame, prompted=row.prompted)
        return MemoryRecord(tensors.answer, memory, exact, row.anchor, tensors.policy_state)

    def _find_far_frames(self, id: int, near: range) -> set[int]:
        """Frames far off that policies may want to look at: of each kind the nearest, on either side.

        Policies that skip frames without the object look back as far as necessary.
        """
        mine = (
            holds_at(self.change.video, self.change.state.head),
            Result.object == id,
            Result.prompted.is_(False),
        )
        seen = Result.score > 0
        frames: set[int] = set()
        for kind in (seen, seen & (Result.iou > GOOD_IOU), Result.anchor):
            query = select(Result.frame).where(*mine, kind).limit(KEPT)
            before = query.where(Result.frame < near.start).order_by(Result.frame.desc())
            behind = query.where(Result.frame >= near.stop).order_by(Result.frame)
            for some in (before, behind):
                frames.update(self.change.database.scalars(some))
        return frames


def _title(event: SessionEvent) -> str:
    """The title of an event in the list of changes."""
    match event:
        case Prompted(frame, _, prompt):
            kind = "mask" if prompt.mask is not None else "box" if prompt.box is not None else "click"
            return f"{kind} on frame {frame}"
        case Propagated(start, _, reverse):
            return f"track {'backward' if reverse else 'forward'} from frame {start}"
    return f"clear frame {event.frame}" if hasattr(event, "frame") else "change"


POLICY = "policy."  # prefix of the names of a policy's state
EXACT = "close"  # name of the mark of an exact mask


@dataclass(frozen=True)
class ResultTensors:
    """The parts of a result from which the model can continue.

    Attributes:
        tokens: The memory's tokens; None if the policy stored no memory.
        policy_state: The policy's state after the frame.
        is_exact: Whether the mask of the result is finer than the answer: a person's, or refined by zoom.
    """

    answer: MaskPrediction
    tokens: Tensor | None
    policy_state: Mapping[str, Tensor] = field(default_factory=dict)
    is_exact: bool = False

    def memory(self, frame: int, *, prompted: bool) -> Memory | None:
        if self.tokens is None:
            return None
        answer = self.answer
        return Memory(frame, self.tokens, answer.pointer[0], answer.iou[0], answer.score[0], prompted)

    @property
    def nbytes(self) -> int:
        tensors = (*vars(self.answer).values(), *self.policy_state.values(), self.tokens)
        return sum(tensor.nbytes for tensor in tensors if tensor is not None)

    def to_bytes(self) -> bytes:
        parts = {name: tensor.contiguous().cpu() for name, tensor in vars(self.answer).items()}
        if self.tokens is not None:
            parts["tokens"] = self.tokens.contiguous().cpu()
        if self.is_exact:
            parts[EXACT] = torch.ones((), dtype=torch.float32, device="cpu")
        parts |= {POLICY + name: tensor.contiguous() for name, tensor in self.policy_state.items()}
        return save(parts)

    @classmethod
    def from_bytes(cls, parts: bytes, device: torch.device) -> ResultTensors:
        tensors = load(parts)
        state = {
            name.removeprefix(POLICY): tensors.pop(name) for name in list(tensors) if name.startswith(POLICY)
        }
        tensors = {name: tensor.to(device) for name, tensor in tensors.items()}
        tokens, is_exact = tensors.pop("tokens", None), tensors.pop(EXACT, None)
        return cls(MaskPrediction(**tensors), tokens, state, is_exact is not None)


class ResultCache:
    """The tensors of results by their id. A result never changes, so the cache is never stale."""

    def __init__(self, max_bytes: int, device: torch.device) -> None:
        self._device = device
        self._cache: LruCache[int, ResultTensors] = LruCache(
            max_bytes, size=lambda tensors: tensors.nbytes, min_items=1
        )

    def get(self, database: Session, results: Iterable[int]) -> dict[int, ResultTensors]:
        wanted = list(results)
        cached = {id: tensors for id in wanted if (tensors := self._cache.get(id)) is not None}
        absent = [id for id in wanted if id not in cached]
        for start in range(0, len(absent), 500):
            some = absent[start : start + 500]
            for row in database.scalars(select(ResultParts).where(ResultParts.result.in_(some))):
                cached[row.result] = ResultTensors.from_bytes(row.parts, self._device)
                self.put(row.result, cached[row.result])
        return cached

    def put(self, id: int, tensors: ResultTensors) -> None:
        self._cache[id] = tensors
