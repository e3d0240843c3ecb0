"""The tensors of results, as bytes and back; and the newest of them, kept in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from safetensors.torch import load, save
from sqlalchemy import select
from sqlalchemy.orm import Session
from torch import Tensor

from masklet.byte_cache import ByteCache
from masklet.studio.store.tables import ResultParts
from masklet.types import MaskPrediction, Memory

POLICY = "policy."  # before the names of what a policy knew


@dataclass(frozen=True)
class ResultTensors:
    """What the model must have of a result to go on from it.

    Attributes:
        tokens: Of the memory; None where the policy kept none.
        policy_state: What the policy knew behind the frame.
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
            parts["close"] = torch.ones((), dtype=torch.float32, device="cpu")
        parts |= {POLICY + name: tensor.contiguous() for name, tensor in self.policy_state.items()}
        return save(parts)

    @classmethod
    def from_bytes(cls, parts: bytes, device: torch.device) -> ResultTensors:
        tensors = load(parts)
        state = {name.removeprefix(POLICY): tensors.pop(name) for name in list(tensors) if POLICY in name}
        tensors = {name: tensor.to(device) for name, tensor in tensors.items()}
        tokens, is_exact = tensors.pop("tokens", None), tensors.pop("close", None)
        return cls(MaskPrediction(**tensors), tokens, state, is_exact is not None)


class ResultCache:
    """The tensors of results by their id. A result never changes, so what is kept is never old."""

    def __init__(self, max_bytes: int, device: torch.device) -> None:
        self._device = device
        self._cache: ByteCache[int, ResultTensors] = ByteCache(max_bytes, size=_nbytes, min_items=1)

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
        self._cache.put(id, tensors)


def _nbytes(tensors: ResultTensors) -> int:
    return tensors.nbytes
