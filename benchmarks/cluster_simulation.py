"""A job on 1,000 nodes that fail and straggle, simulated with SimPy: utilisation, tail, cost.

python -m benchmarks.cluster_simulation

The driver works like that of masklet.jobs: one queue, one item at a time per node, lost items are queued
again. A node that finds the queue empty is released. `Scenario` lists the assumptions.
"""

from __future__ import annotations

import argparse
import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

import simpy

MILLION = 1_000_000  # hours of video


@dataclass(frozen=True)
class Scenario:
    """The assumptions of a simulation.

    Attributes:
        name: The name in the table.
        nodes: The number of nodes, each with one GPU.
        hours: Hours of video in the simulated job.
        item_minutes: Median length of an item; lengths are log-normal.
        spread: Standard deviation of the logarithm of the lengths.
        speed: Seconds of video that a GPU processes per second.
        preemptions: Preemptions of a node per hour.
        replacement_minutes: Minutes until a lost node is replaced.
        start_minutes: Minutes until a node has started Ray and loaded the model.
        slow_share: The share of slow nodes.
        slow_factor: How many times slower these are.
        dispatch_seconds: Seconds that the driver needs for each item, one at a time.
        dollars: Cost of a node per hour.
    """

    name: str
    nodes: int = 1000
    hours: float = 50_000
    item_minutes: float = 5.0
    spread: float = 1.0
    speed: float = 1.5
    preemptions: float = 0.05
    replacement_minutes: float = 5.0
    start_minutes: float = 1.5
    slow_share: float = 0.02
    slow_factor: float = 3.0
    dispatch_seconds: float = 0.004
    dollars: float = 1.0


@dataclass(frozen=True)
class Result:
    """The results of a simulation.

    Attributes:
        utilisation: Node seconds of finished items, divided by all paid node seconds.
        hours: Duration of the job.
        tail: The share of the duration in which the last hundredth of the items ended.
        repeated: The share of work that was lost and repeated.
        driver: The share of time in which the driver was busy.
        cost: Dollars for a million hours of video.
    """

    utilisation: float
    hours: float
    tail: float
    repeated: float
    driver: float
    cost: float


class Job:
    """One simulated job; times are in seconds."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self._scenario = scenario
        self._rng = random.Random(seed)
        self._env = simpy.Environment()
        self._driver = simpy.Resource(self._env, capacity=1)
        self._queue = deque(self._lengths())
        self._count = self._left = len(self._queue)
        self._done, self._lost, self._driver_busy = 0.0, 0.0, 0.0
        self._ends: list[float] = []
        self._paid = 0.0
        self._finished = self._env.event()
        self._alive: dict[int, float] = {}  # when each living node started
        self._nodes_started = 0

    def run(self) -> Result:
        scenario = self._scenario
        for number in range(scenario.nodes):
            is_slow = number < scenario.slow_share * scenario.nodes
            self._env.process(self._node(scenario.slow_factor if is_slow else 1.0))
        self._env.run(until=self._finished)
        total = self._env.now
        paid = self._paid + sum(total - start for start in self._alive.values())
        cost = paid / 3600 * scenario.dollars * MILLION / scenario.hours
        nearly = sorted(self._ends)[int(0.99 * self._count)]
        return Result(
            self._done / paid,
            total / 3600,
            1 - nearly / total,
            self._lost / (self._done + self._lost),
            self._driver_busy / total,
            cost,
        )

    def _lengths(self) -> Iterator[float]:
        """GPU seconds of the items on a node of normal speed."""
        scenario, total = self._scenario, 0.0
        while total < scenario.hours * 3600:
            seconds = 60 * self._rng.lognormvariate(0.0, scenario.spread) * scenario.item_minutes
            total += seconds
            yield seconds / scenario.speed

    def _node(self, slowness: float) -> Iterator[simpy.Event]:
        scenario, env = self._scenario, self._env
        while self._left:
            key, started = self._begin()
            life = (
                self._rng.expovariate(scenario.preemptions / 3600) if scenario.preemptions else float("inf")
            )
            yield env.timeout(60 * scenario.start_minutes)
            while self._left:
                if not self._queue:
                    self._paid += env.now - self._alive.pop(key)
                    return  # released; the replacement of a lost node processes its lost item
                item = self._queue.popleft()
                with self._driver.request() as turn:
                    yield turn
                    self._driver_busy += scenario.dispatch_seconds
                    yield env.timeout(scenario.dispatch_seconds)
                left = life - (env.now - started)
                if item * slowness > left:
                    yield env.timeout(max(0.0, left))
                    self._lost += max(0.0, left)
                    self._queue.append(item)
                    break
                yield env.timeout(item * slowness)
                self._done += item
                self._ends.append(env.now)
                self._left -= 1
                if not self._left and not self._finished.triggered:
                    self._finished.succeed()
            self._paid += env.now - self._alive.pop(key)
            yield env.timeout(60 * scenario.replacement_minutes)

    def _begin(self) -> tuple[int, float]:
        """The number of a new node, and when it starts."""
        self._nodes_started += 1
        self._alive[self._nodes_started] = self._env.now
        return self._nodes_started, self._env.now


BASE = Scenario("5-minute items")
SCENARIOS = (
    BASE,
    replace(BASE, name="... no preemption, no slow nodes", preemptions=0.0, slow_share=0.0),
    replace(BASE, name="... a node is lost every 2 hours", preemptions=0.5),
    replace(BASE, name="... 10 % of nodes 3 times slower", slow_share=0.1),
    replace(BASE, name="1-hour items", item_minutes=60.0),
    replace(BASE, name="... and a node is lost every 2 hours", item_minutes=60.0, preemptions=0.5),
    replace(BASE, name="... the same, split to 5 minutes", item_minutes=5.0, spread=0.3, preemptions=0.5),
    replace(BASE, name="20-second items", item_minutes=1 / 3, hours=5_000),
    replace(BASE, name="5-second items", item_minutes=1 / 12, hours=1_500),
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--dispatch", type=float, default=BASE.dispatch_seconds, help="driver seconds per item"
    )
    parser.add_argument("--speed", type=float, default=BASE.speed, help="seconds of video per second")
    parser.add_argument("--dollars", type=float, default=BASE.dollars, help="cost of a node per hour")
    parser.add_argument("--scale", type=float, default=1.0, help="factor of the simulated hours")
    arguments = parser.parse_args()
    print(
        f"{BASE.nodes} nodes, each {arguments.speed:g} s of video a second, {arguments.dollars:g} $ an hour;"
    )
    print(f"the driver needs {1000 * arguments.dispatch:g} ms for an item")
    print(
        "| scenario | utilisation | time of the last 1 % | work repeated | driver busy | $ for 10^6 hours |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for scenario in SCENARIOS:
        changed = replace(
            scenario,
            hours=scenario.hours * arguments.scale,
            dispatch_seconds=arguments.dispatch,
            speed=arguments.speed,
            dollars=arguments.dollars,
        )
        result = Job(changed, seed=0).run()
        print(
            f"| {scenario.name} | {result.utilisation:.0%} | {result.tail:.0%} of {result.hours:.1f} h "
            f"| {result.repeated:.1%} | {result.driver:.0%} | {result.cost:,.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
