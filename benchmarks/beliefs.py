"""
What a memory is worth in processes whose values are known, beside the CPU time of knowing it; and how the interval
narrows with the number of beliefs.

    python benchmarks/beliefs.py

"Known" are closed forms, and bounds of an earlier prototype that the interval must lie within. Exit status 1 where a
value differs from the known one by more than 1e-6, or the tiger takes too long.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium as gym
from common import Bound, hardware, parse, parser, print_rows, verdict

from sb3_ext.envs import MemoryChainEnv, RepeatPreviousEnv, TigerEnv, TMazeEnv
from sb3_ext.planning import TabularPOMDP, best_memoryless, solve, solve_beliefs

Values = tuple[float, float, float, float]
DIGITS = 1e-6
LIMITS = (1_000, 10_000, 100_000, 1_000_000)  # beliefs


class Task(NamedTuple):
    name: str
    make: Callable[[], gym.Env[Any, Any]]
    gamma: float
    known: Values
    """without memory, least and most with memory, with the state"""


def lake(show: str) -> Callable[[], gym.Env[Any, Any]]:
    return lambda: gym.make("sb3_ext/MaskedFrozenLake-v0", show=show)


def maze(length: int) -> Task:
    best = 4.0 * 0.98**length
    return Task(f"T-maze {length}", lambda: TMazeEnv(length), 0.98, (1.95 * 0.98**length, best, best, best))


TASKS = (
    Task("tiger", TigerEnv, 0.75, (-4.0, 1.9334390, 1.9334390, 40.0)),
    Task("tiger", TigerEnv, 0.95, (-20.0, 19.3713684, 19.3713684, 200.0)),
    *(maze(n) for n in (5, 10, 50)),
    Task("MemoryChain 10", MemoryChainEnv, 1.0, (0.0, 1.0, 1.0, 1.0)),
    Task("RepeatPrevious 4", RepeatPreviousEnv, 1.0, (-0.5, 1.0, 1.0, 1.0)),
    Task("lake, row", lake("row"), 0.99, (0.1417048, 0.20796, 0.20961, 0.5420259)),
    Task("lake, column", lake("column"), 0.99, (0.1001045, 0.13690, 0.14009, 0.5420259)),
    Task("lake, nothing", lake("nothing"), 0.99, (0.0448486, 0.05871, 0.05874, 0.5420259)),
)


def measure(task: Task, max_beliefs: int) -> tuple[tuple[object, ...], float, float]:
    """:return: a row of the table, how far it is from what is known, CPU seconds"""
    pomdp = TabularPOMDP.from_env(task.make(), task.gamma)
    begin = time.process_time()
    found = solve_beliefs(pomdp, tol=DIGITS, max_beliefs=max_beliefs)
    seconds = time.process_time() - begin
    without, with_state = best_memoryless(pomdp).value, float(pomdp.mdp.start @ solve(pomdp.mdp).v)
    low, high = task.known[1:3]
    apart = max(
        abs(without - task.known[0]),
        low - found.lower if high > low else found.lower - high,
        found.upper - high if high > low else low - found.upper,
        abs(with_state - task.known[3]),
    )
    values = (f"{x:.7f}" for x in (without, found.lower, found.upper, with_state))
    return (task.name, f"{task.gamma:g}", *values, found.n_beliefs, f"{seconds:.2f}"), apart, seconds


def main() -> None:
    args = parse(parser(__doc__, seeds=1))
    print(hardware(), end="\n\n")
    tasks = [task for task in TASKS if not (args.quick and task.name.startswith("Repeat"))]
    rows, bounds = [], []
    for task in tasks:
        row, apart, seconds = measure(task, max_beliefs=10_000)
        rows.append(row)
        bounds.append(Bound(f"{task.name}, {task.gamma:g}: beyond what is known by", apart, at_most=DIGITS))
        if (task.name, task.gamma) == ("tiger", 0.95):
            bounds.append(Bound("tiger, 0.95: an interval of 1e-6 takes", seconds, at_most=2.0, unit=" s"))
    print_rows(("process", "gamma", "without", "with, least", "most", "with the state", "beliefs", "CPU s"), rows)

    print("\nFrozenLake that shows its row")
    narrowing = []
    for limit in LIMITS[: 2 if args.quick else None]:
        begin = time.process_time()
        found = solve_beliefs(TabularPOMDP.from_env(lake("row")()), DIGITS, limit, seconds=600.0)
        seconds = time.process_time() - begin
        narrowing.append((found.n_beliefs, f"{found.lower:.6f}", f"{found.upper:.6f}", f"{seconds:.2f}"))
    print_rows(("beliefs", "least", "most", "CPU s"), narrowing)
    sys.exit(verdict(bounds))


if __name__ == "__main__":
    main()
