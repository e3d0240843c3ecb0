"""The rows: what is done, in which order, and how often. Slow machines repeat less."""

from __future__ import annotations

import gc
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from benchmarks.results import Row
from benchmarks.subject import FULL, STAGES, Subject, Work
from benchmarks.timing import in_turns

ROUNDS = 12  # at most
FRAMES = FULL + ROUNDS + 1
NAMES = {
    "encode": "encode a frame",
    "attend 1": "look at 1 memory",
    "attend 7": "look at 7 memories",
    "decode": "decode",
    "memorize": "memorise",
    "click": "click, once encoded",
    "picture": "picture: encode and click",
    "follow 1": "follow 1 object",
    "follow 3": "follow 3 objects",
    "follow 8": "follow 8 objects",
    "follow 16": "follow 16 objects",
    "again": "1 object once more, after a correction",
    "everything": "masks of everything, a second",
}
OBJECTS = {"follow 1": 1, "follow 3": 3, "follow 8": 8, "follow 16": 16}


@dataclass(frozen=True)
class Bench:
    """One model's subjects on a machine.

    seconds : that a row may take, beyond which it is not repeated
    left_out : rows that a subject is left out of
    """

    model: str
    work: Work
    subjects: Mapping[str, Subject]
    seconds: float
    left_out: Mapping[str, Collection[str]]

    def run(self, wanted: set[str]) -> Iterator[Row]:
        """Measure the wanted rows of NAMES."""
        if wanted & {"picture", "click"}:
            yield from self._rows("picture", lambda each, _: each.picture())
            yield from self._rows("click", lambda each, _: each.click(), warm_up=True)
        if "attend 1" in wanted:
            self._open("attend 1", 1)
            yield from self._attend_one()
        for row, objects in OBJECTS.items():
            if row in wanted:
                yield from self._follow(row, objects, stages=objects == 1)
        if "again" in wanted:
            yield from self._again()
        if "everything" in wanted:
            yield from self._everything()

    def _attend_one(self) -> Iterator[Row]:
        """Of one and the same frame: only the stage is of interest."""
        stages = self._staged(lambda each, _: each.follow(1), least=1)
        yield from (Row(self.model, "attend 1", name, tuple(seen["attend"])) for name, seen in stages.items())

    def _follow(self, row: str, objects: int, *, stages: bool) -> Iterator[Row]:
        self._open(row, objects)
        for each in self._asked(row).values():
            each.remember()
        if stages:
            for name, seen in self._staged(lambda each, turn: each.follow(FULL + turn), least=3).items():
                for stage in STAGES:
                    key = "attend 7" if stage == "attend" else stage
                    yield Row(self.model, key, name, tuple(seen[stage]))
                if self.work.device.type == "cpu":  # where watching the stages costs nothing
                    yield Row(self.model, row, name, tuple(seen["all"]))
            if self.work.device.type == "cpu":
                return
        compiles = self.work.device.type == "cuda"
        yield from self._rows(row, lambda each, turn: each.follow(FULL + turn), warm_up=compiles)

    def _again(self) -> Iterator[Row]:
        self._open("again", 1)
        for each in self._asked("again").values():
            each.remember()
        # At least two frames: peers keep the features of the last.
        turns = 2 if self.work.device.type == "cpu" else ROUNDS
        for turn in range(turns):
            for each in self._asked("again").values():
                each.edit(FULL + turn)
        yield from self._rows("again", lambda each, turn: each.edit(FULL + turn), rounds=turns)

    def _everything(self) -> Iterator[Row]:
        found: dict[str, int] = {}

        def counted(name: str, generate: Callable[[], int]) -> Callable[[int], None]:
            return lambda _: found.update({name: generate()})

        actions = {name: counted(name, each.generator()) for name, each in self._asked("everything").items()}
        spent = in_turns(actions, self.work.device, seconds=self.seconds, rounds=ROUNDS)
        for name, values in spent.items():
            rates = tuple(found[name] / seconds for seconds in values)
            yield Row(self.model, "everything", name, rates, "masks/s")

    def _asked(self, row: str) -> dict[str, Subject]:
        return {name: each for name, each in self.subjects.items() if row not in self.left_out.get(name, ())}

    def _open(self, row: str, objects: int) -> None:
        gc.collect()
        for each in self._asked(row).values():
            each.open(objects)
            each.watch.read()

    def _rows(
        self,
        row: str,
        action: Callable[[Subject, int], None],
        *,
        warm_up: bool = False,
        rounds: int = ROUNDS,
    ) -> Iterator[Row]:
        if warm_up:
            for each in self._asked(row).values():
                action(each, 0)
        actions = {name: _bound(action, each) for name, each in self._asked(row).items()}
        spent = in_turns(actions, self.work.device, seconds=self.seconds, rounds=rounds)
        yield from (Row(self.model, row, name, tuple(values)) for name, values in spent.items())

    def _staged(
        self, action: Callable[[Subject, int], None], *, least: int
    ) -> dict[str, dict[str, list[float]]]:
        """Seconds by subject and stage, and of all together: a turn that warms up, and those that count."""
        seen: dict[str, dict[str, list[float]]] = {name: {} for name in self.subjects}

        def watched(name: str, each: Subject) -> Callable[[int], None]:
            def act(turn: int) -> None:
                each.watch.read()
                was, each.watch.on = each.watch.on, True
                action(each, turn)
                each.watch.on = was
                for stage, spent in each.watch.read().items():
                    seen[name].setdefault(stage, []).append(spent)

            return act

        actions = {name: watched(name, each) for name, each in self.subjects.items()}
        whole = in_turns(actions, self.work.device, seconds=self.seconds, rounds=ROUNDS, least=1 + least)
        for name, values in whole.items():
            seen[name]["all"] = values
        return {
            name: {stage: values[1:] or values for stage, values in stages.items()}
            for name, stages in seen.items()
        }


def _bound(action: Callable[[Subject, int], None], subject: Subject) -> Callable[[int], None]:
    return lambda turn: action(subject, turn)
