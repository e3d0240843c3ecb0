"""What an undo goes back to."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping

from masklet.sessions.events import Step
from masklet.sessions.object_state import ObjectState

STEPS = 32  # that can be taken back; fewer where together they hold on to more answers than
ANSWERS = 1_000_000

Moment = tuple[list[Step], dict[int, ObjectState]]


class History:
    """Moments of a session, the newest last; memories and answers are shared with it, not copied."""

    def __init__(self) -> None:
        self._moments: deque[Moment] = deque(maxlen=STEPS)

    def __bool__(self) -> bool:
        return bool(self._moments)

    def note(self, moment: Moment) -> None:
        self._moments.append(moment)
        while self._answers() > ANSWERS and len(self._moments) > 1:
            self._moments.popleft()

    def back(self) -> Moment:
        return self._moments.pop()

    def clear(self) -> None:
        self._moments.clear()

    def objects(self) -> Iterator[ObjectState]:
        """Every object as it was at every moment."""
        return (each for _, objects in self._moments for each in objects.values())

    def _answers(self) -> int:
        return sum(len(each.answers) for each in self.objects())


def moment(steps: list[Step], objects: Mapping[int, ObjectState]) -> Moment:
    """The present, to be kept."""
    return list(steps), {id: each.copy() for id, each in objects.items()}
