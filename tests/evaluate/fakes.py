"""Predictors with predictable answers, so that a protocol's results can be counted by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from masklet.datasets import PngVideo
from masklet.evaluate.baselines import make_candidate, make_masks
from masklet.types import ImageCandidates, Masks, Prompt


@dataclass
class Forgetful:
    """Gives the true masks for some frames after a prompt, then empty ones until the next prompt.

    prompts : (frame, object, prompt) in order
    """

    clip: PngVideo
    span: int = 100
    identity: str = "forgetful"
    prompts: list[tuple[int, int, Prompt]] = field(default_factory=list)
    starts: list[int | None] = field(default_factory=list)

    def video(self, frames: object) -> Forgetful:
        return self

    def image(self, image: np.ndarray) -> Forgetful:
        return self

    def prompt(self, frame: int, id: int, prompt: Prompt) -> Masks:
        self.prompts.append((frame, id, prompt))
        return self._masks(frame, [id])

    def propagate(self, start: int | None = None) -> Iterator[Masks]:
        self.starts.append(start)
        first = min(frame for frame, _, _ in self.prompts) if start is None else start
        for frame in range(first, len(self.clip.frames)):
            yield self._masks(frame, [id for id, at in self.clip.first_frames.items() if at <= frame])

    def segment(self, prompt: Prompt, *, hint: ImageCandidates | None = None) -> ImageCandidates:
        raise NotImplementedError

    def _masks(self, frame: int, ids: list[int]) -> Masks:
        size = self.clip.frames.size
        truth = self.clip.truth(frame).masks
        knows = {id for at, id, _ in self.prompts if at <= frame < at + self.span}
        empty = np.zeros(size, dtype=np.float32)
        answers = {id: truth[id].astype(np.float32) if id in knows and id in truth else empty for id in ids}
        return make_masks(frame, answers, size)


@dataclass
class Undecided:
    """Offers an empty mask, the left half of the image, and all of it, in this order; records its prompts."""

    size: tuple[int, int]
    identity: str = "undecided"
    calls: list[tuple[Prompt, np.ndarray | None]] = field(default_factory=list)

    def video(self, frames: object) -> Undecided:
        raise NotImplementedError

    def image(self, image: np.ndarray) -> Undecided:
        return self

    def segment(self, prompt: Prompt, *, hint: ImageCandidates | None = None) -> ImageCandidates:
        self.calls.append((prompt, None if hint is None else hint.best))
        nothing, half, all = (np.zeros(self.size, dtype=bool) for _ in range(3))
        half[:, : self.size[1] // 2], all[:] = True, True
        ranked = tuple(make_candidate(mask).ranked[0] for mask in (nothing, half, all))
        return ImageCandidates(self.size, ranked)
