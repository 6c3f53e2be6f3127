"""
Hundreds of actors on paper: one learner's thread, actors with jitter and latency, and the product's own window between
them. Arithmetic, not training: it says where the time would go, and how old blocks would be, on machines that are not
here.

`simulate(case)` returns a row; `CASES` are those of docs/scale_out.md.
"""

from __future__ import annotations

import argparse
import heapq
from bisect import bisect_right
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from sb3_ext.distributed.pacing import Window

PAPER = 5 / 16_640
"""R2D2, section 2.3: 5 updates a second, while 256 actors make 65 steps a second each"""


@dataclass(frozen=True)
class Case:
    """
    :param n_actors: of these
    :param lanes: environments of each
    :param speed: transitions per second of an actor, over all its lanes
    :param jitter: standard deviation of the time of a block, as a share of it
    :param chunk: steps of each lane in a block
    :param orders: that an actor may have at a time
    :param ratio: updates per transition
    :param updates: per second that the learner's device makes
    :param latency: seconds that an order or a block is on its way
    :param ingest: seconds of the learner's thread for a block, and for each transition of it
    :param slow: share of actors that are 4 times slower
    :param newest: an actor acts with the newest weights there are when it begins an order (shared memory), not with
        those of when the order was sent (Ray)
    """

    n_actors: int = 256
    lanes: int = 1
    speed: float = 65.0
    jitter: float = 0.1
    chunk: int = 80
    orders: int = 2
    ratio: float = PAPER
    updates: float = 5.5
    latency: float = 0.003
    ingest: tuple[float, float] = (0.2e-3, 4e-6)
    slow: float = 0.0
    newest: bool = True


class Row(NamedTuple):
    """What a case came to, after the warm-up."""

    env_steps_per_s: float
    updates_per_s: float
    learner_idle: float
    """share of the learner's time"""
    ingest: float
    """share of the learner's time"""
    actors_busy: float
    """mean share of the actors' time"""
    lag_updates: tuple[float, float, float]
    """p50, p95 and maximum of the updates since the weights that a block was made with, when it is stored"""
    lag_steps: float
    """p50 of the transitions that were stored since then"""
    off_ratio: float
    """largest number of transitions that were stored and that no update stands for yet"""
    window: int
    """transitions: what `off_ratio` never exceeds"""


PROCESSES = Case(n_actors=32, lanes=8, speed=1850.0, chunk=40, ratio=8 * PAPER, updates=50.0)
FAST = Case(updates=50.0, ratio=8 * PAPER)

CASES = {
    "K 400, orders 1, 5.5/s": Case(chunk=400, orders=1),
    "K 80, orders 1, 5.5/s": Case(orders=1),
    "K 80, orders 2, 5.5/s": Case(),
    "K 40, orders 2, 5.5/s": Case(chunk=40),
    "K 80, orders 2, 50/s, 8 R": FAST,
    "K 40, orders 2, 50/s, 8 R": replace(FAST, chunk=40),
    "K 80, orders 2, 50/s, 20 R": replace(FAST, ratio=20 * PAPER),
    "K 80, orders 4, 50/s, 20 R": replace(FAST, ratio=20 * PAPER, orders=4),
    "8 R, a tenth of the actors 4 times slower": replace(FAST, slow=0.1),
    "8 R, each transition stored by `add`": replace(FAST, ingest=(0.2e-3, 117e-6)),
    "32 processes x 8 lanes, K 40, orders 2, 50/s, 8 R": PROCESSES,
}


class _Course:
    """Of one case. `now` is the clock of the learner's thread."""

    def __init__(self, case: Case, seed: int) -> None:
        self.case, self.rng = case, np.random.default_rng(seed)
        self.block = case.chunk * case.lanes
        self.tick = case.n_actors * case.lanes
        self.window = Window(case.n_actors, self.block, case.orders, self.tick)
        self.seconds = np.full(case.n_actors, self.block / case.speed)  # of a block
        self.seconds[: round(case.slow * case.n_actors)] *= 4
        self.free = np.zeros(case.n_actors)  # when an actor has done its orders
        self.pipe: list[tuple[float, float, int]] = []  # a block is there, was begun, by whom
        self.published = [0.0]  # when each update was, and how much was stored then
        self.stored_at = [0]
        self.now = self.idle = self.ingest = 0.0
        self.stored = self.taken = 0
        self.work: list[tuple[float, float]] = []  # of actors
        self.lags: list[tuple[float, int, int]] = []
        self.off_ratio: list[tuple[float, float]] = []

    @property
    def n_updates(self) -> int:
        return len(self.published) - 1

    def send(self) -> None:
        everyone = range(self.case.n_actors)
        while (actor := self.window.next_actor(everyone)) is not None:
            self.window.ordered(actor)
            begun = max(self.free[actor], self.now + self.case.latency)
            done = begun + self.seconds[actor] * max(self.rng.normal(1, self.case.jitter), 0.1)
            self.free[actor] = done
            self.work.append((begun, done))
            weights_of = begun if self.case.newest else self.now
            heapq.heappush(self.pipe, (done + self.case.latency, weights_of, actor))

    def receive(self, waits: bool) -> None:
        if waits and self.pipe[0][0] > self.now:
            self.idle += self.pipe[0][0] - self.now
            self.now = self.pipe[0][0]
        came = self.now
        while self.pipe and self.pipe[0][0] <= came:
            self.store(*heapq.heappop(self.pipe)[1:])

    def store(self, weights_of: float, actor: int) -> None:
        per_block, per_transition = self.case.ingest
        seconds = per_block + per_transition * self.block
        self.now += seconds
        self.ingest += seconds
        self.window.delivered(actor)
        self.stored += self.block
        version = bisect_right(self.published, weights_of) - 1
        self.lags.append((self.now, self.n_updates - version, self.stored - self.stored_at[version]))
        self.off_ratio.append((self.now, self.stored - self.n_updates / self.case.ratio))

    def collect(self) -> None:
        """One tick."""
        self.receive(waits=False)
        self.send()
        while self.window.credit < self.tick:
            self.receive(waits=True)
            self.send()
        self.window.taken(self.tick)
        self.taken += self.tick

    def train(self) -> None:
        """What is due."""
        while self.n_updates + 1 <= self.taken * self.case.ratio:
            self.now += 1 / self.case.updates
            self.published.append(self.now)
            self.stored_at.append(self.stored)


def simulate(case: Case, seconds: float = 120.0, warm_up: float = 60.0, seed: int = 0) -> Row:
    """
    :param case: what there is
    :param seconds: of the course that are looked at
    :param warm_up: seconds before them; actors begin at one time, and only jitter draws them apart
    :param seed: of the jitter
    :return: what it came to
    """
    course = _Course(case, seed)
    before = (0.0, 0, 0, 0.0, 0.0)
    while course.now < warm_up + seconds:
        if course.now < warm_up:
            before = (course.now, course.stored, course.n_updates, course.idle, course.ingest)
        course.collect()
        course.train()
    began, stored, n_updates, idle, ingest = before
    wall = course.now - began
    busy = sum(max(min(done, course.now) - max(begun, began), 0.0) for begun, done in course.work)
    lags = np.array([lag[1:] for lag in course.lags if lag[0] >= began])
    median, p95 = np.quantile(lags[:, 0], [0.5, 0.95])
    return Row(
        env_steps_per_s=(course.stored - stored) / wall,
        updates_per_s=(course.n_updates - n_updates) / wall,
        learner_idle=(course.idle - idle) / wall,
        ingest=(course.ingest - ingest) / wall,
        actors_busy=busy / (wall * case.n_actors),
        lag_updates=(float(median), float(p95), float(lags[:, 0].max())),
        lag_steps=float(np.median(lags[:, 1])),
        off_ratio=max(off for now, off in course.off_ratio if now >= began),
        window=course.window.limit,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few seconds of each course")
    parser.add_argument("--sent", action="store_true", help="weights are those of when an order is sent, as with Ray")
    args = parser.parse_args()
    seconds, warm_up = (5.0, 5.0) if args.quick else (120.0, 60.0)
    print(
        "| case | env steps/s | updates/s | learner idle % | ingest % | actors busy % | lag, updates p50/p95/max ",
        end="",
    )
    print("| lag, env steps p50 | off the ratio, k steps, of W |\n|" + "---|" * 9)
    for name, case in CASES.items():
        row = simulate(replace(case, newest=not args.sent), seconds, warm_up)
        lags = "/".join(f"{lag:.0f}" for lag in row.lag_updates)
        shares = " | ".join(f"{100 * share:.0f}" for share in (row.learner_idle, row.ingest, row.actors_busy))
        print(f"| {name} | {row.env_steps_per_s:.0f} | {row.updates_per_s:.1f} | {shares} | {lags} ", end="")
        print(f"| {row.lag_steps:.0f} | {row.off_ratio / 1000:.1f} of {row.window / 1000:.1f} |")


if __name__ == "__main__":
    main()
