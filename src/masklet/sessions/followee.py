"""What a video session knows of one object."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace

from masklet.tracking import TrackedObject
from masklet.types import MaskPrediction, Memory


@dataclass
class Followee(TrackedObject):
    """An object of a session, with all its answers.

    prompted : frames on which something is said of it, whether or not its bank still holds them
    passed : frames through which it was followed, and whether backwards; a prompt there is a correction, in
             the light of the memory, while a prompt elsewhere is answered as in a picture
    pending : memories of prompts given since it was last followed: as published, corrections that are made
              one after the other do not look at each other
    """

    prompted: set[int] = field(default_factory=set)
    answers: dict[int, MaskPrediction] = field(default_factory=dict)
    passed: dict[int, bool] = field(default_factory=dict)
    pending: dict[int, Memory] = field(default_factory=dict)

    def copy(self) -> Followee:
        return replace(
            self,
            bank=self.bank.copy(),
            policy=copy.deepcopy(self.policy),
            prompted=set(self.prompted),
            answers=dict(self.answers),
            passed=dict(self.passed),
            pending=dict(self.pending),
        )

    def settle(self) -> None:
        """Hand what is pending to the bank, before the object is followed."""
        for memory in self.pending.values():
            self.bank.keep(memory)
        self.pending.clear()

    def reached(self, frame: int, *, reverse: bool) -> bool:
        """Whether it was prompted on this frame, or on one that lies behind in the direction of travel."""
        return any(at >= frame if reverse else at <= frame for at in self.prompted)
