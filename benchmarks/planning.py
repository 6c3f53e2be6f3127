"""
The planner: exact values beside known ones, its solvers beside each other, and a million states.

    python benchmarks/planning.py --check
    OMP_NUM_THREADS=1 python benchmarks/planning.py

`--check` prints the known values of gymnasium's environments and of the course's maze, and exits with 1 where one of
them differs by 1e-6 or linear programming by 1e-9. Without it, by CPU time: a sweep against one sparse product and
maximum; sweeps to stop by MacQueen's bounds against those by the largest change; `solve` against value iteration,
policy iteration and modified policy iteration; the table of Taxi; and how `solve` grows from a hundred states to a
million, each with 4 actions of 3 outcomes (12 million outcomes), with the peak memory of its process.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from common import (
    COLORS,
    Bound,
    Table,
    hardware,
    in_turns,
    log_log_slope,
    median_ratio,
    panels,
    parse,
    parser,
    print_rows,
    save,
    verdict,
)
from planning_rows import LAKE, MAZE, MAZE_VALUES, ROWS, TAXI

from sb3_ext.envs import GridWorldEnv
from sb3_ext.planning import (
    Outcomes,
    Solution,
    TabularMDP,
    best_return,
    expected_return,
    lp_value,
    policy_iteration,
    solve,
    value_iteration,
)
from sb3_ext.planning.fixed_point import Greedy, Lookahead, iterate, largest

COLUMNS = ("panel", "case", "seed", "value")
SIZES = (100, 1_000, 10_000, 100_000, 1_000_000)
GROWTH_ERROR = 1e-4
LARGEST_VALUE = 200.0
TOL = 1e-6
GRID = ["." * 99 + "+", *["." * 100] * 98, "S" + "." * 99]  # 100 x 100, the end in a corner


def garnet(n_states: int, gamma: float, seed: int, n_actions: int = 4, branches: int = 3) -> TabularMDP:
    """A generic process: random next states, probabilities and rewards, no ends (Archibald et al., 1995)."""
    rng = np.random.default_rng(seed)
    n_rows = n_states * n_actions
    cuts = np.sort(rng.random((n_rows, branches - 1)), axis=1)
    probability = np.diff(cuts, axis=1, prepend=0.0, append=1.0).ravel()
    outcomes = Outcomes(
        np.repeat(np.arange(n_rows), branches),
        rng.integers(n_states, size=n_rows * branches),
        probability,
        np.repeat(rng.standard_normal(n_rows), branches),
        np.zeros(n_rows * branches, bool),
    )
    return TabularMDP(outcomes, n_states, n_actions, np.eye(1, n_states)[0], gamma)


def processes(quick: bool, seed: int) -> dict[str, TabularMDP]:
    """:return: on which the solvers are compared"""
    grid = GRID[:9] + GRID[-1:] if quick else GRID
    return {
        "FrozenLake": TabularMDP.from_env(LAKE, 0.99),
        "Taxi": TabularMDP.from_env(TAXI, 0.99),
        "Garnet 10k": garnet(500 if quick else 10_000, 0.99, seed),
        "grid 100x100": TabularMDP.from_env(GridWorldEnv(grid, default_reward=0.0), 0.99),
    }


def modified_policy_iteration(mdp: TabularMDP, tol: float, n_evaluations: int = 10) -> Solution:
    """As Puterman and Shin have it: a fixed number of sweeps of each greedy policy."""
    look, first = Lookahead.of(mdp), np.arange(mdp.n_states) * mdp.n_actions

    def improve(q: np.ndarray, v: np.ndarray) -> np.ndarray:
        taken = first + q.argmax(axis=1)
        rows, reward = mdp.matrix[taken], mdp.reward.ravel()[taken]
        for _ in range(n_evaluations):
            v = reward + mdp.gamma * (rows @ v)
        return v

    found = iterate(look, Greedy(), tol, 100_000, improve=improve)
    q = look(found.v)
    return Solution(found.v, q, q.argmax(axis=1), found.bound, found.n_sweeps, found.converged, found.log)


# ---------------------------------------------------------------------- panels: rows (panel, case, value)

Rows = Iterator[tuple[str, str, float]]


class Settings(NamedTuple):
    """What a panel is measured with."""

    quick: bool
    seed: int

    @property
    def rounds(self) -> int:
        """How often things take turns."""
        return 1 if self.quick else 7


def sweep(settings: Settings) -> Rows:
    """One sweep of value iteration, of fifty, against its product and maximum, the latter in the faster of two ways."""
    for n_states in (10_000,) if settings.quick else (10_000, 100_000):
        mdp = garnet(n_states, 0.99, settings.seed)
        v = np.random.default_rng(0).random(n_states)

        def least(mdp: TabularMDP = mdp, v: np.ndarray = v) -> None:
            for _ in range(50):
                largest((mdp.matrix @ v).reshape(mdp.reward.shape))

        def numpys(mdp: TabularMDP = mdp, v: np.ndarray = v) -> None:
            for _ in range(50):
                (mdp.matrix @ v).reshape(mdp.reward.shape).max(axis=1)

        def ours(mdp: TabularMDP = mdp) -> None:
            assert value_iteration(mdp, tol=1e-300, max_sweeps=50).n_sweeps == 50

        seconds = in_turns({"ours": ours, "least": least, "numpys": numpys}, settings.rounds)
        yield "sweep", f"{n_states} states", median_ratio(seconds["ours"], seconds["least"])
        yield "sweep, NumPy's maximum", f"{n_states} states", median_ratio(seconds["ours"], seconds["numpys"])


def macqueen(settings: Settings) -> Rows:
    """Sweeps on Garnet 500 until the largest change, or the interval of MacQueen's bounds, promises the error."""
    mdp = garnet(500, 0.99, settings.seed)
    ours = value_iteration(mdp, tol=TOL)
    wanted, v, plain, change = TOL * max(1.0, float(np.abs(ours.v).max())), np.zeros(500), 0, np.inf
    while change * mdp.gamma / (1.0 - mdp.gamma) > wanted:
        new = largest(Lookahead.of(mdp)(v))
        change, v, plain = float(np.abs(new - v).max()), new, plain + 1
    yield "sweeps", "largest change", plain
    yield "sweeps", "MacQueen", ours.n_sweeps


METHODS: dict[str, Callable[[TabularMDP], Solution]] = {
    "value iteration": lambda mdp: value_iteration(mdp, tol=TOL),
    "policy iteration": policy_iteration,
    "modified policy iteration": lambda mdp: modified_policy_iteration(mdp, TOL),
    "solve": lambda mdp: solve(mdp, tol=TOL),
}


def methods(settings: Settings) -> Rows:
    """All solvers to the same error on four processes."""
    for name, mdp in processes(settings.quick, settings.seed).items():
        found, once = {}, {}
        for method, work in METHODS.items():
            begin = time.process_time()
            found[method] = work(mdp)
            once[method] = time.process_time() - begin
        for solution in found.values():
            assert solution.converged and np.abs(solution.v - found["solve"].v).max() < 1e-3
        calls = 20 if mdp.n_states <= 500 else 1
        # What is 20 times as slow as the fastest is timed once.
        works = {
            method: (lambda mdp=mdp, work=work: work(mdp))
            for method, work in METHODS.items()
            if once[method] < 20.0 * min(once.values())
        }
        seconds = in_turns(works, min(settings.rounds, 5), calls)
        for method, alone in once.items():
            yield method, name, float(np.median(seconds[method])) if method in seconds else alone


def reading(settings: Settings) -> Rows:
    """The table of Taxi, with its environment made anew."""
    seconds = in_turns({"read": lambda: TabularMDP.from_env(TAXI, 0.99)}, settings.rounds)
    yield "from_env", TAXI, float(np.median(seconds["read"]))


def growth(settings: Settings) -> Rows:
    """Each size in a process of its own, whose memory it is."""
    for size in SIZES[:2] if settings.quick else SIZES:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            measured = pool.apply(solve_one_size, (size, settings.seed))
        for panel, value in measured.items():
            yield panel, str(size), value


def solve_one_size(n_states: int, seed: int) -> dict[str, float]:
    """:return: CPU seconds and peak memory"""
    small = garnet(50, 0.99, seed)
    solve(small)  # scipy is imported before the clock runs
    repeats = max(1, 20_000 // n_states)
    before = _peak_gigabytes()
    begin = time.process_time()
    for _ in range(repeats):
        mdp = garnet(n_states, 0.99, seed)
    built = time.process_time()
    for _ in range(repeats):
        found = solve(mdp, tol=GROWTH_ERROR / LARGEST_VALUE)
    solved = time.process_time()
    assert found.bound <= GROWTH_ERROR
    return {
        "build s": (built - begin) / repeats,
        "solve s": (solved - built) / repeats,
        "peak GB": _peak_gigabytes(),
        "peak GB before": before,
        "bound": found.bound,
        "sweeps": float(found.n_sweeps),
        "V(start)": float(mdp.start @ found.v),
    }


def _peak_gigabytes() -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


PANELS = {"sweep": sweep, "macqueen": macqueen, "methods": methods, "reading": reading, "growth": growth}


def measure(table: Table, args: argparse.Namespace) -> None:
    """Add the rows that are missing, panel by panel."""
    for seed in range(args.seeds):
        for name, panel in PANELS.items():
            if table.has(panel=f"{name} is measured", seed=seed):
                continue
            for of, case, value in panel(Settings(args.quick, seed)):
                table.add({"panel": of, "case": case, "seed": seed, "value": f"{value:.8g}"})
                print(f"{of}, {case}, seed {seed}: {value:.6g}", flush=True)
            table.add({"panel": f"{name} is measured", "case": "", "seed": seed, "value": 1})


def bounds(table: Table) -> list[Bound]:
    """:return: what is promised of the figures"""

    def median(panel: str, case: str) -> float:
        return table.median("value", panel=panel, case=case)

    numpys = "sweep, NumPy's maximum"
    cases = dict.fromkeys(row["case"] for row in table.rows if row["panel"] == numpys)
    found = [
        Bound(f"sweep / (sparse product and NumPy's maximum), {case}", median(numpys, case), at_most=1.3)
        for case in cases
    ]
    fewer = median("sweeps", "largest change") / median("sweeps", "MacQueen")
    found.append(Bound("sweeps by the largest change / by MacQueen's bounds", fewer, at_least=20.0))
    for name in ("FrozenLake", "Taxi", "Garnet 10k", "grid 100x100"):
        fastest = min(median(method, name) for method in METHODS if method != "solve")
        found.append(Bound(f"solve / the fastest method, {name}", median("solve", name) / fastest, at_most=1.5))
    found.append(Bound("from_env of Taxi", median("from_env", TAXI), at_most=0.2, unit=" s"))
    found.append(Bound("a million states, error", median("bound", "1000000"), at_most=GROWTH_ERROR))
    return found


def draw(table: Table) -> None:
    """Write docs/images/planning_solvers.png from the table."""
    figure, (left, right) = panels(2, width=4.4)
    sizes = np.array(SIZES)
    for panel, color in (("build s", COLORS[4]), ("solve s", COLORS[0])):
        seconds = np.array([table.median("value", panel=panel, case=str(size)) for size in sizes])
        slope = log_log_slope(sizes[1:], seconds[1:])
        label = f"{panel.split()[0]}, slope {slope:.2f} above 1 000"
        left.loglog(sizes, seconds, "o-", color=color, label=label)
    left.set(xlabel="states (4 actions, 3 outcomes each)", ylabel="CPU seconds", title="To a certain error of 1e-4")
    left.legend()
    names = ("FrozenLake", "Taxi", "Garnet 10k", "grid 100x100")
    for i, method in enumerate(METHODS):
        seconds = np.array([table.median("value", panel=method, case=name) for name in names])
        right.bar(np.arange(4) + 0.2 * (i - 1.5), seconds, 0.2, color=COLORS[i], label=method)
    right.set(yscale="log", ylabel="CPU seconds", title="To a certain error of 1e-6")
    right.set_ylim(top=20.0 * right.get_ylim()[1])
    right.set_xticks(np.arange(4), names)
    right.legend(fontsize=8)
    save(figure, "planning_solvers")


# ---------------------------------------------------------------------- --check


def check() -> int:
    """:return: exit status, 1 where a known value is missed"""
    lines, wrong = [], 0
    for row in ROWS:
        mdp = row.mdp()
        found, swept = policy_iteration(mdp), value_iteration(mdp, tol=1e-10)
        reached = best = None
        if row.reached is not None:
            reached, best = expected_return(mdp, found.policy), best_return(mdp)
        value = float(mdp.start @ found.v)
        program = float(np.abs(lp_value(mdp) - found.v).max())
        pairs = [(value, row.value), (float(mdp.start @ swept.v), row.value), (reached, row.reached), (best, row.best)]
        missed = any(abs((x or 0.0) - (known or 0.0)) > 1e-6 for x, known in pairs) or not program < 1e-9
        wrong += missed
        lines.append(_line(row.name, row.gamma, value, reached, best, found, swept, program, missed))
    for gamma, known in MAZE_VALUES.items():
        mdp = TabularMDP.from_env(MAZE, gamma)
        found, swept = policy_iteration(mdp), value_iteration(mdp, tol=1e-10)
        program = float(np.abs(lp_value(mdp) - found.v).max())
        missed = bool(np.abs(found.v - np.array(known.split(), float)).max() > 1e-6) or not program < 1e-9
        wrong += missed
        value = float(mdp.start @ found.v)
        lines.append(_line("maze, all cells", gamma, value, None, None, found, swept, program, missed))
    header = ("environment", "gamma", "V*(start)", "return", "best", "bound", "sweeps", "PI", "|PI-LP|", "")
    print_rows(header, lines)
    print(f"\n{len(lines) - wrong} of {len(lines)} rows are the known ones")
    return 1 if wrong else 0


def _line(
    name: str,
    gamma: float,
    value: float,
    reached: float | None,
    best: float | None,
    found: Solution,
    swept: Solution,
    program: float,
    missed: bool,
) -> tuple[str, ...]:
    numbers = ["-" if x is None else f"{x:.6f}" for x in (value, reached, best)]
    rest = (f"{found.bound:.1e}", str(swept.n_sweeps), str(found.n_sweeps), f"{program:.0e}")
    return (name, f"{gamma:g}", *numbers, *rest, "FAIL" if missed else "ok")


def main() -> int:
    """:return: exit status"""
    arguments = parser(__doc__, seeds=3)
    arguments.add_argument("--check", action="store_true", help="print the known values instead, 1 where one is missed")
    args = parse(arguments)
    if args.check:
        return check()
    print(hardware())
    table = Table("planning", COLUMNS, ("panel", "case", "seed"), saved=not args.quick, fresh=args.fresh)
    measure(table, args)
    if not args.quick:
        draw(table)
        gigabytes, before = (table.median("value", panel=p, case="1000000") for p in ("peak GB", "peak GB before"))
        print(f"a million states: {gigabytes:.2f} GB at most, {before:.2f} GB before they were there")
    return verdict(bounds(table))


if __name__ == "__main__":
    sys.exit(main())
