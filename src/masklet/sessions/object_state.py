"""What a video session knows of one object."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float
from torch import Tensor

from masklet.model import Sam2
from masklet.sessions.answer import Answer
from masklet.sessions.compaction import CompactAnswer, Room, shown
from masklet.sessions.scene_cuts import Scenes
from masklet.sessions.tracker import gathered
from masklet.tracking.bank import WINDOW
from masklet.tracking.policies.recency import MemoryPolicy
from masklet.tracking.step import TrackedObject
from masklet.types import MaskPrediction, Masks, Memory


@dataclass
class ObjectState(TrackedObject):
    """An object of a session, with all its answers.

    answers : those that there is no room for are packed, but never those to prompts
    prompted : frames on which something is said of it, whether or not its bank still holds them
    drawn : masks that are all that is said of it on a frame, and those that a closer look found; they stand
            as they are, while the answer is what the model makes of them
    passed : frames through which it was followed, and whether backwards; a prompt there is a correction, in
             the light of the memory, while a prompt elsewhere is answered as in a picture
    pending : memories of prompts given since it was last followed: as published, corrections that are made
              one after the other do not look at each other
    at : where its policy stands, and whether on its way back; None where it must begin anew
    """

    prompted: set[int] = field(default_factory=set)
    drawn: dict[int, np.ndarray] = field(default_factory=dict)
    answers: dict[int, MaskPrediction | CompactAnswer] = field(default_factory=dict)
    passed: dict[int, bool] = field(default_factory=dict)
    pending: dict[int, Memory] = field(default_factory=dict)
    at: tuple[int, bool] | None = None

    def copy(self) -> ObjectState:
        return replace(
            self,
            bank=self.bank.copy(),
            policy=copy.deepcopy(self.policy),
            prompted=set(self.prompted),
            drawn=dict(self.drawn),
            answers=dict(self.answers),
            passed=dict(self.passed),
            pending=dict(self.pending),
        )

    def take_answer(self, frame: int, answer: Answer) -> None:
        """Take the answer to all that is said of it on a frame by now."""
        self.last = answer.prediction
        if answer.memory is not None:
            self.pending[frame] = answer.memory
        self.prompted.add(frame)
        self.at = None
        self.stand(frame, answer.exact)

    def stand(self, frame: int, mask: np.ndarray | None) -> None:
        """Let a mask stand on a frame whatever the model makes of it; None for none."""
        self.drawn.pop(frame, None)
        if mask is not None:
            self.drawn[frame] = mask

    def settle(self) -> None:
        """Hand what is pending to the bank, before the object is followed."""
        for memory in self.pending.values():
            self.bank.keep(memory)
        self.pending.clear()

    def reached(self, frame: int, *, reverse: bool) -> bool:
        """Whether it was prompted on this frame, or on one that lies behind in the direction of travel."""
        return any(at >= frame if reverse else at <= frame for at in self.prompted)

    def goes_on(self, frame: int, *, reverse: bool) -> bool:
        """Whether its policy stands just before a frame, on which no prompt begins it anew."""
        before = frame + 1 if reverse else frame - 1
        return self.at == (before, reverse) and frame not in self.prompted

    def note(self, frame: int, room: Room) -> None:
        """Take the newest answer as that of a frame, and what it changed on frames before."""
        for at, answer in self.revised.items():
            if at not in self.prompted:
                self.answers[at] = answer
                room.add(at, answer)
        if self.last is not None:
            self.answers[frame] = self.last
            if frame not in self.prompted:
                room.add(frame, self.last)
        if frame in self.bank.tracked:
            room.add(frame, self.bank.tracked[frame])

    def let_go(self, frame: int, *, reverse: bool) -> Iterator[tuple[int, CompactAnswer]]:
        """The answers just behind a frame of which there was no room for the memory, oldest first."""
        step = 1 if reverse else -1
        for at in range(frame + WINDOW * step, frame, -step):
            answer = self.answers.get(at)
            if isinstance(answer, CompactAnswer) and answer.remembered and at not in self.bank.tracked:
                yield at, answer

    def take(self, room: Room) -> None:
        """Let all that is kept take up its room."""
        for frame, answer in self.answers.items():
            if not isinstance(answer, CompactAnswer) and frame not in self.prompted:
                room.add(frame, answer)
        for frame, memory in self.bank.tracked.items():
            room.add(frame, memory)

    def hint(self, frame: int, size: tuple[int, int], model: Sam2) -> Float[Tensor, "1 h4 w4"] | None:
        """The low-res logits that stand on a frame of `size` (H, W), from which a correction starts."""
        answer = self.answers.get(frame)
        if isinstance(answer, CompactAnswer):
            return answer.hint(size, model)
        return None if answer is None else answer.logits

    def forget(self, frame: int) -> None:
        """Let go of all that was said and found on a frame."""
        self.at = None
        self.prompted.discard(frame)
        self.bank.forget(frame)
        for kept in (self.drawn, self.pending, self.answers, self.passed):
            kept.pop(frame, None)


def begin_anew(
    frame: int,
    objects: Sequence[ObjectState],
    policy: Callable[[], MemoryPolicy],
    scenes: Scenes | None,
    *,
    reverse: bool,
) -> None:
    """Give objects a new policy where a stretch begins, after a prompt, and at a cut between scenes."""
    border = frame + 1 if reverse else frame
    cut = scenes is not None and bool(objects) and scenes.begins(border)
    for each in objects:
        if cut:
            each.bank.cut(border)
        if cut or not each.goes_on(frame, reverse=reverse):
            each.policy = policy()


def give_up(
    frame: int, each: MaskPrediction | Memory, objects: Iterable[ObjectState], size: tuple[int, int]
) -> None:
    """Let go of a memory, or of all but the mask of an answer, wherever an object holds it.

    objects : those of the session now, and as they were at steps that can be taken back
    """
    if isinstance(each, Memory):
        for object in objects:
            if object.bank.tracked.get(frame) is each:
                del object.bank.tracked[frame]
        return
    holders = [object for object in objects if object.answers.get(frame) is each]
    if holders:
        packed = CompactAnswer.of(
            each, size, remembered=any(frame in object.bank.tracked for object in holders)
        )
        for object in holders:
            object.answers[frame] = packed


def standing(frame: int, objects: Iterable[ObjectState], size: tuple[int, int], model: Sam2) -> Masks:
    """The masks that stand on a frame of `size` (H, W); objects without one are left out."""
    here = [each for each in objects if frame in each.answers]
    answers = {each.id: each.answers[frame] for each in here}
    drawn = {each.id: each.drawn[frame] for each in here if frame in each.drawn}
    full = {id: each for id, each in answers.items() if not isinstance(each, CompactAnswer)}
    if len(full) < len(answers):
        masks = shown(frame, answers, size, model)
        return replace(masks, exact={**masks.exact, **drawn})
    return gathered(frame, full, size, model, drawn)
