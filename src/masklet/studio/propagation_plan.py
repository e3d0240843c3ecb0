"""Ways through a video that are to be followed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass
class Course:
    """A way through a video that is to be followed, or what is left of it.

    frame : the next one; stop lies just behind the last
    objects : None for all that there are
    total : frames, with those of the courses before and after
    then : the course after this one
    """

    person: str
    batch: str
    frame: int
    stop: int
    reverse: bool
    objects: list[int] | None
    direction: str
    total: int
    then: Course | None = None

    @property
    def left(self) -> int:
        """Frames that are not yet followed."""
        return max(0, self.frame - self.stop if self.reverse else self.stop - self.frame)

    @property
    def done(self) -> int:
        """Frames that were followed, on this course and those before."""
        return self.total - self.left - (self.then.left if self.then else 0)

    @property
    def rest(self) -> Course | None:
        """What is still to be followed."""
        return self if self.left else self.then

    def to_json(self) -> dict[str, Any]:
        names = ("frame", "stop", "reverse", "objects", "direction", "total", "batch")
        return {name: getattr(self, name) for name in names} | {
            "then": None if self.then is None else self.then.to_json()
        }

    @classmethod
    def from_json(cls, said: dict[str, Any], person: str) -> Course:
        then = said["then"]
        return cls(
            **{**said, "person": person, "then": None if then is None else cls.from_json(then, person)}
        )
