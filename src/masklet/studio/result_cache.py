"""What the model must know again of a result, as bytes and back; and the newest of it, kept in memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from threading import Lock

import torch
from safetensors.torch import load, save
from sqlalchemy import select
from sqlalchemy.orm import Session
from torch import Tensor

from masklet.studio.tables import Knowledge
from masklet.types import MaskPrediction, Memory

STATE = "policy."  # before the names of what a policy knew


class Known:
    """An answer, the memory that was made of it where the policy kept one, and what the policy then knew.

    close : whether it was drawn or found by a closer look: the mask that is kept is finer than the answer
    """

    def __init__(
        self, answer: MaskPrediction, tokens: Tensor | None, state: Mapping[str, Tensor], close: bool = False
    ) -> None:
        self.answer = answer
        self.close = close
        self.tokens = tokens
        self.state = state

    def memory(self, frame: int, *, prompted: bool) -> Memory | None:
        if self.tokens is None:
            return None
        answer = self.answer
        return Memory(frame, self.tokens, answer.pointer[0], answer.iou[0], answer.score[0], prompted)

    @property
    def nbytes(self) -> int:
        tensors = (*vars(self.answer).values(), *self.state.values(), self.tokens)
        return sum(each.nbytes for each in tensors if each is not None)

    def to_bytes(self) -> bytes:
        parts = {name: tensor.contiguous().cpu() for name, tensor in vars(self.answer).items()}
        if self.tokens is not None:
            parts["tokens"] = self.tokens.contiguous().cpu()
        if self.close:
            parts["close"] = torch.ones((), dtype=torch.float32, device="cpu")
        parts |= {STATE + name: tensor.contiguous() for name, tensor in self.state.items()}
        return save(parts)

    @classmethod
    def from_bytes(cls, parts: bytes, device: torch.device) -> Known:
        tensors = load(parts)
        state = {name.removeprefix(STATE): tensors.pop(name) for name in list(tensors) if STATE in name}
        tensors = {name: tensor.to(device) for name, tensor in tensors.items()}
        tokens, close = tensors.pop("tokens", None), tensors.pop("close", None)
        return cls(MaskPrediction(**tensors), tokens, state, close is not None)


class Rows:
    """What is known of results by their id. A result never changes, so what is kept is never old.

    budget : bytes
    """

    def __init__(self, budget: int, device: torch.device) -> None:
        self._budget = budget
        self._device = device
        self._kept: OrderedDict[int, Known] = OrderedDict()
        self._held = 0
        self._lock = Lock()

    def get(self, database: Session, results: Iterable[int]) -> dict[int, Known]:
        wanted = list(results)
        with self._lock:
            found = {id: self._kept[id] for id in wanted if id in self._kept}
        absent = [id for id in wanted if id not in found]
        for start in range(0, len(absent), 500):
            some = absent[start : start + 500]
            for row in database.scalars(select(Knowledge).where(Knowledge.result.in_(some))):
                found[row.result] = Known.from_bytes(row.parts, self._device)
                self.put(row.result, found[row.result])
        return found

    def put(self, id: int, known: Known) -> None:
        with self._lock:
            if id not in self._kept:
                self._held += known.nbytes
            self._kept[id] = known
            self._kept.move_to_end(id)
            while self._held > self._budget and len(self._kept) > 1:
                _, old = self._kept.popitem(last=False)
                self._held -= old.nbytes
