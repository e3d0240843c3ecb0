"""Rows that are measured in one process: the actions, their order, and their repetitions."""

from __future__ import annotations

import gc
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from benchmarks.implementation import FULL, STAGES, Implementation, Workload
from benchmarks.results import Row
from benchmarks.timing import Seconds, time_in_turns

MAX_ROUNDS = 12
FRAMES = FULL + MAX_ROUNDS + 1
ROW_NAMES = {
    "encode": "encode a frame",
    "attend 1": "attend to 1 memory",
    "attend 7": "attend to 7 memories",
    "decode": "decode",
    "memorize": "memorise",
    "click": "click, once encoded",
    "picture": "image: encode and click",
    "follow 1": "track 1 object",
    "follow 3": "track 3 objects",
    "follow 8": "track 8 objects",
    "follow 16": "track 16 objects",
    "again": "1 object once more, after a correction",
    "everything": "masks of everything, a second",
}
OBJECTS = {"follow 1": 1, "follow 3": 3, "follow 8": 8, "follow 16": 16}

Action = Callable[[Implementation, int], None]  # takes the number of the round


@dataclass(frozen=True)
class Benchmark:
    """A benchmark of one model in several implementations.

    seconds : rows that take longer are not repeated
    left_out : rows that an implementation does not run, by its name
    """

    model: str
    work: Workload
    implementations: Mapping[str, Implementation]
    seconds: float
    left_out: Mapping[str, Collection[str]]

    def run(self, keys: set[str]) -> Iterator[Row]:
        """Measure rows of ROW_NAMES."""
        if keys & {"picture", "click"}:
            yield from self._time_row("picture", lambda implementation, _: implementation.segment_image())
            yield from self._time_row("click", lambda implementation, _: implementation.click(), warm_up=True)
        if "attend 1" in keys:
            self._open("attend 1", 1)
            yield from self._time_first_frame()
        for key, objects in OBJECTS.items():
            if key in keys:
                yield from self._time_tracking(key, objects, stages=objects == 1)
        if "again" in keys:
            yield from self._time_propagation()
        if "everything" in keys:
            yield from self._time_everything()

    def _time_first_frame(self) -> Iterator[Row]:
        """Time the same frame each time, because only one stage matters."""
        by_stage = self._time_stages(lambda implementation, _: implementation.track_frame(1), min_rounds=1)
        for name, seconds in by_stage.items():
            yield Row(self.model, "attend 1", name, tuple(seconds["attend"]))

    def _time_tracking(self, key: str, objects: int, *, stages: bool) -> Iterator[Row]:
        self._open(key, objects)
        for implementation in self._running(key).values():
            implementation.fill_memory()
        on_cpu = self.work.device.type == "cpu"
        if stages:
            for name, seconds in self._time_stages(_track_next, min_rounds=3).items():
                for stage in STAGES:
                    row = "attend 7" if stage == "attend" else stage
                    yield Row(self.model, row, name, tuple(seconds[stage]))
                if on_cpu:  # timing the stages costs nothing on a CPU
                    yield Row(self.model, key, name, tuple(seconds["all"]))
            if on_cpu:
                return
        yield from self._time_row(key, _track_next, warm_up=not on_cpu)  # a GPU compiles first

    def _time_propagation(self) -> Iterator[Row]:
        self._open("again", 1)
        running = self._running("again").values()
        for implementation in running:
            implementation.fill_memory()
        # At least two frames, because peers cache the features of the last.
        rounds = 2 if self.work.device.type == "cpu" else MAX_ROUNDS
        for turn in range(rounds):
            for implementation in running:
                implementation.propagate_frame(FULL + turn)
        yield from self._time_row(
            "again",
            lambda implementation, turn: implementation.propagate_frame(FULL + turn),
            rounds=rounds,
        )

    def _time_everything(self) -> Iterator[Row]:
        counts: dict[str, int] = {}

        def count(name: str, generate: Callable[[], int]) -> Callable[[int], None]:
            return lambda _: counts.update({name: generate()})

        running = self._running("everything")
        actions = {name: count(name, running[name].make_generator()) for name in running}
        times = self._time_in_turns(actions, MAX_ROUNDS)
        for name, values in times.items():
            rates = tuple(counts[name] / seconds for seconds in values)
            yield Row(self.model, "everything", name, rates, "masks/s")

    def _running(self, key: str) -> dict[str, Implementation]:
        return {
            name: implementation
            for name, implementation in self.implementations.items()
            if key not in self.left_out.get(name, ())
        }

    def _open(self, key: str, objects: int) -> None:
        gc.collect()
        for implementation in self._running(key).values():
            implementation.open(objects)
            implementation.stopwatch.read()

    def _time_row(
        self, key: str, action: Action, *, warm_up: bool = False, rounds: int = MAX_ROUNDS
    ) -> Iterator[Row]:
        running = self._running(key)
        if warm_up:
            for implementation in running.values():
                action(implementation, 0)
        actions = {name: _bind(action, implementation) for name, implementation in running.items()}
        times = self._time_in_turns(actions, rounds)
        yield from (Row(self.model, key, name, tuple(values)) for name, values in times.items())

    def _time_in_turns(
        self, actions: Mapping[str, Callable[[int], None]], rounds: int, *, min_rounds: int = 1
    ) -> Seconds:
        return time_in_turns(
            actions,
            self.work.device,
            seconds=self.seconds,
            rounds=rounds,
            min_rounds=min_rounds,
            clock=self.work.clock,
        )

    def _time_stages(self, action: Action, *, min_rounds: int) -> dict[str, dict[str, list[float]]]:
        """Seconds by implementation and stage, and of all stages as "all". The first round is a warm-up."""
        times: dict[str, dict[str, list[float]]] = {name: {} for name in self.implementations}

        def time_action(name: str, implementation: Implementation) -> Callable[[int], None]:
            def run(turn: int) -> None:
                stopwatch = implementation.stopwatch
                stopwatch.read()
                was_on, stopwatch.on = stopwatch.on, True
                action(implementation, turn)
                stopwatch.on = was_on
                for stage, seconds in stopwatch.read().items():
                    times[name].setdefault(stage, []).append(seconds)

            return run

        actions = {name: time_action(name, self.implementations[name]) for name in self.implementations}
        totals = self._time_in_turns(actions, MAX_ROUNDS, min_rounds=1 + min_rounds)
        for name, values in totals.items():
            times[name]["all"] = values
        return {
            name: {stage: values[1:] or values for stage, values in stages.items()}
            for name, stages in times.items()
        }


def _track_next(implementation: Implementation, turn: int) -> None:
    implementation.track_frame(FULL + turn)


def _bind(action: Action, implementation: Implementation) -> Callable[[int], None]:
    return lambda turn: action(implementation, turn)
