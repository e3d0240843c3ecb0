"""Whether objects are still visible, by their masks. It depends neither on the network nor on tracking."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch

from masklet.errors import OptionError, check_count
from masklet.types import Masks

State = Literal["seen", "doubtful", "lost"]
Kind = Literal["appeared", "doubtful", "sure", "lost", "found"]


@dataclass(frozen=True)
class Event:
    """A change of an object's visibility.

    Attributes:
        frame: The frame on which the change was noticed.
        id: The object.
        kind: appeared, doubtful, sure, lost or found.
        since: The frame on which the change began. `lost` and `found` are reported a few frames later.

    Example:
        >>> Event(frame=12, id=1, kind="lost", since=10)
        Event(frame=12, id=1, kind='lost', since=10)
    """

    frame: int
    id: int
    kind: Kind
    since: int


@dataclass
class _Visibility:
    """The state of one object, and the current run of frames that may change it.

    Attributes:
        since: The first frame of the run.
        run: The number of consecutive frames that indicate `lost` or `found`.
    """

    state: State
    since: int = 0
    run: int = 0


@dataclass
class VisibilityMonitor:
    """Reports when objects appear, become doubtful, are sure again, are lost, and are found.

    A visible object becomes doubtful on the first frame without it (its score is at most `low`, or its mask
    is empty), sure again at a score of `high`, and lost after `patience` frames without it in a row. A lost
    object is found after `patience` frames in a row with a score of `high`. Scores between `low` and `high`
    change nothing, so a wavering score causes no events.

    Args:
        low: An object is missing at this object score (a logit) and below.
        high: An object is visible at this object score and above.
        patience: The number of frames after which an object is lost, or found.

    Raises:
        OptionError: `low` is above `high`, or `patience` is below 1.

    Example:
        >>> monitor, size = VisibilityMonitor(patience=1), (4, 6)
        >>> seen, gone = (torch.full((1, 2, 2), logit) for logit in (3.0, -3.0))
        >>> one = torch.ones(1)
        >>> [event.kind for event in monitor.step(Masks(0, (1,), seen, size, one, 5 * one))]
        ['appeared']
        >>> [event.kind for event in monitor.step(Masks(1, (1,), gone, size, one, -5 * one))]
        ['lost']
    """

    low: float = 0.0
    high: float = 1.0
    patience: int = 3
    _objects: dict[int, _Visibility] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise OptionError(f"low must not be above high. Got low={self.low} and high={self.high}.")
        check_count(self.patience, "patience")

    @property
    def states(self) -> dict[int, State]:
        """By object id: seen, doubtful or lost."""
        return {id: obj.state for id, obj in self._objects.items()}

    def step(self, masks: Masks) -> list[Event]:
        """Return the events of the next frame, in the direction of tracking. It reads masks from the device.

        Args:
            masks: The masks of the next frame.
        """
        if not masks.ids:
            return []
        has_mask = masks.low_res.flatten(1).amax(dim=1) > 0
        scores = torch.where(has_mask, masks.score, -torch.inf).tolist()
        events = (self._update(masks.frame, id, score) for id, score in zip(masks.ids, scores, strict=True))
        return [event for event in events if event is not None]

    def forget(self, *ids: int) -> None:
        """Forget objects that are no longer tracked. If they come back, they count as new.

        Args:
            *ids: Object ids; unknown ones are ignored.
        """
        for id in ids:
            self._objects.pop(id, None)

    def _update(self, frame: int, id: int, score: float) -> Event | None:
        missing, sure = score <= self.low, score >= self.high
        obj = self._objects.get(id)
        if obj is None:
            self._objects[id] = _Visibility("doubtful" if missing else "seen", frame, int(missing))
            return Event(frame, id, "doubtful" if missing else "appeared", frame)
        if not (sure if obj.state == "lost" else missing):
            obj.run = 0
            return self._change(obj, frame, id, "sure") if sure and obj.state == "doubtful" else None
        if obj.run == 0:
            obj.since = frame
        obj.run += 1
        if obj.run >= self.patience:
            return self._change(obj, frame, id, "found" if obj.state == "lost" else "lost")
        return self._change(obj, frame, id, "doubtful") if obj.state == "seen" else None

    def _change(self, obj: _Visibility, frame: int, id: int, kind: Kind) -> Event:
        states: dict[Kind, State] = {"doubtful": "doubtful", "lost": "lost", "sure": "seen", "found": "seen"}
        obj.state = states[kind]
        if kind != "doubtful":  # the run continues while the object is doubtful
            obj.run = 0
        return Event(frame, id, kind, frame if kind == "sure" else obj.since)
