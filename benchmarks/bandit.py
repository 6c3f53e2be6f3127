"""
Bandits: what each strategy of exploration loses to the best arm, beside known numbers, and what a choice costs.

    python benchmarks/bandit.py
    python benchmarks/bandit.py --seeds 100

Three bandits: the course's five coins, four coins that are hard to tell apart, and five Gaussian arms, in two units of
the reward. Printed are the mean regret and its standard error after 300, 1 000 and 3 000 pulls, and its slope between
the first and the last on a logarithmic axis beside the constant of Lai & Robbins, which is a slope for t without end
and no bound at any of these. Exits with 1 where a mean is more than four standard errors of the difference from a
known one that has an error, or a bound is missed. Writes docs/images/bandit.png. Half a CPU minute, so nothing is kept
between runs.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
from common import (
    COLORS,
    Bound,
    hardware,
    in_turns,
    median_ratio,
    panels,
    parse,
    parser,
    plain_ticks,
    print_rows,
    save,
    verdict,
)
from matplotlib.axes import Axes

from sb3_ext.envs import BernoulliBanditEnv, GaussianBanditEnv
from sb3_ext.envs.bandits import BanditEnv
from sb3_ext.ops.exploration import (
    KLUCB,
    UCB1,
    UCBV,
    Boltzmann,
    CountedExploration,
    Counts,
    EpsilonGreedy,
    Exploration,
    GaussianThompson,
    Thompson,
    UCB1Tuned,
)
from sb3_ext.tabular import lai_robbins, regret_curves

TIMES = (300, 1000, 3000)
RANDOM, EPSILON = EpsilonGreedy(1.0, 1.0), EpsilonGreedy(0.1, 0.1)
COINS: dict[str, Exploration] = {
    "random": RANDOM,
    "epsilon .1": EPSILON,
    "softmax .1": Boltzmann(0.1),
    "UCB1 (c 2)": UCB1(),
    "UCB-V (zeta 1.2)": UCBV(),
    "UCB1-tuned": UCB1Tuned(),
    "KL-UCB": KLUCB(),
    "Thompson": Thompson(),
}
GAUSSIAN: dict[str, Exploration] = {
    "random": RANDOM,
    "epsilon .1": EPSILON,
    "softmax .1": Boltzmann(0.1),
    "UCB1 (c 2)": UCB1(),
    "Thompson, Gaussian": GaussianThompson(),
}
CENTS: dict[str, Exploration] = {
    "random": RANDOM,
    "epsilon .1": EPSILON,
    "softmax 10": Boltzmann(10.0),
    "UCB1 (c 20 000)": UCB1(2e4),
    "Thompson, Gaussian, 100": GaussianThompson(std=100.0, noise=100.0),
    "UCB1 (c 2)": UCB1(),  # with its settings for rewards of 1
}
REPEATED = 50  # choices per timing
MEANS = (0.1, 0.5, 0.1, 0.9, 0.1)
NO = float("nan")
# (mean, standard error) at each of TIMES from another program, 100 runs; NaN where it was not said. Of random pulls the
# exact ones: each loses the mean gap.
KNOWN_COINS = {
    "random": ((168.0, 0.0), (560.0, 0.0), (1680.0, 0.0)),
    "epsilon .1": ((23.0, 1.2), (61.6, NO), (173.9, 1.7)),
    "softmax .1": ((9.2, 1.7), (12.8, NO), (22.7, 2.7)),
    "UCB1 (c 2)": ((39.7, 0.5), (60.8, NO), (79.8, 0.9)),
    "UCB-V (zeta 1.2)": ((84.8, 0.5), (126.7, NO), (157.7, 1.0)),
    "UCB1-tuned": ((8.5, 0.2), (9.7, NO), (13.3, 0.3)),
    "KL-UCB": ((8.9, 0.3), (12.7, NO), (16.5, 0.3)),
    "Thompson": ((10.2, 0.3), (11.8, NO), (13.7, 0.3)),
}
MISSING = (NO, NO)
KNOWN_HARD = {
    "random": ((22.5, 0.0), (75.0, 0.0), (225.0, 0.0)),
    "epsilon .1": (MISSING, MISSING, (67.0, 5.0)),
    "UCB1 (c 2)": (MISSING, MISSING, (110.0, NO)),
    "UCB-V (zeta 1.2)": (MISSING, MISSING, (118.0, NO)),
    "UCB1-tuned": (MISSING, MISSING, (41.0, 3.0)),
}


class Case(NamedTuple):
    """A bandit and what pulls it."""

    title: str
    bandit: BanditEnv
    strategies: Mapping[str, Exploration]
    known: Mapping[str, tuple[tuple[float, float], ...]]
    slope: float
    """known constant of Lai & Robbins"""


class Curve(NamedTuple):
    """Regret of one strategy."""

    mean: np.ndarray
    """[T] of all runs"""
    at: np.ndarray
    """[R, 3] at each of TIMES"""

    @property
    def slope(self) -> float:
        """Of the mean over ln t, between the first and the last of TIMES."""
        return float((self.at[:, -1] - self.at[:, 0]).mean() / np.log(TIMES[-1] / TIMES[0]))


CASES = (
    Case("coins .1 .5 .1 .9 .1", BernoulliBanditEnv(MEANS), COINS, KNOWN_COINS, 2.148),
    Case("coins .5 .45 .4 .35", BernoulliBanditEnv((0.5, 0.45, 0.4, 0.35)), COINS, KNOWN_HARD, 18.23),
    Case("Gaussian .1 .5 .1 .9 .1, noise 1", GaussianBanditEnv(MEANS), GAUSSIAN, {}, 12.5),
    Case("the same x 100", GaussianBanditEnv([100.0 * m for m in MEANS], std=100.0), CENTS, {}, 1250.0),
)


def measure(case: Case, n_runs: int) -> dict[str, Curve]:
    """:return: by strategy"""
    found = {}
    for name, strategy in case.strategies.items():
        regret = regret_curves(strategy, case.bandit, TIMES[-1], n_runs)
        found[name] = Curve(regret.mean(axis=0), regret[:, np.array(TIMES) - 1])
    return found


def compare(case: Case, curves: Mapping[str, Curve]) -> int:
    """
    Print a table.

    :return: how many means are not the known ones
    """
    rows, wrong = [], 0
    for name, curve in curves.items():
        cells = [name]
        for regret, (mean, error) in zip(curve.at.T, case.known.get(name, (MISSING,) * len(TIMES)), strict=True):
            found, own = float(regret.mean()), float(regret.std(ddof=1) / np.sqrt(len(regret)))
            missed = bool(abs(found - mean) > 4.0 * np.hypot(own, error))  # never where an error is not known
            wrong += missed
            known = "" if np.isnan(mean) else f" ({mean:g})"
            cells.append(f"{found:.1f} +- {own:.1f}{known}{' FAIL' * missed}")
        rows.append((*cells, f"{curve.slope:.2f}"))
    constant = lai_robbins(case.bandit)
    print(f"\n{case.title}: Lai & Robbins {constant:.4g}, times ln 3000 {constant * np.log(TIMES[-1]):.4g}")
    print_rows(("regret (known)", *[f"T={time}" for time in TIMES], "slope"), rows)
    return wrong


def cost(n_envs: int, n_actions: int, rounds: int) -> dict[str, float]:
    """:return: CPU microseconds of one choice by strategy, and a ratio"""
    rng = np.random.default_rng(0)
    n, mean = rng.integers(1, 100, size=(n_envs, n_actions)), rng.random((n_envs, n_actions))
    counts = Counts(n, mean, mean * (1.0 + mean) / 2)
    strategies = {k: s for k, s in {**COINS, **GAUSSIAN}.items() if isinstance(s, CountedExploration)}
    works = {k: partial(s.choose_counted, counts, 0.5) for k, s in strategies.items()}
    seconds = in_turns(works, rounds, REPEATED)
    ratio = median_ratio(seconds["KL-UCB"], seconds["UCB1 (c 2)"])
    return {**{k: 1e6 * float(np.median(t)) for k, t in seconds.items()}, "KL-UCB / UCB1": ratio}


def draw(curves: Mapping[str, Mapping[str, Curve]]) -> None:
    """Write docs/images/bandit.png."""
    shown = CASES[:3]
    figure, axes = panels(len(shown), width=4.2, height=4.6)
    for axis, case, top in zip(axes, shown, (90.0, 140.0, 120.0), strict=True):
        _draw_case(axis, case, curves[case.title], top)
    axes[0].set_ylabel("mean regret")
    save(figure, "bandit")


def _draw_case(axis: Axes, case: Case, curves: Mapping[str, Curve], top: float) -> None:
    pulls = np.arange(1, TIMES[-1] + 1)
    for i, (name, curve) in enumerate(curves.items()):
        axis.plot(pulls, curve.mean, color=COLORS[i], label=f"{name}: {curve.slope:.1f}")
    slope = lai_robbins(case.bandit)
    late = pulls[TIMES[0] - 1 :]
    axis.plot(late, 0.04 * top + slope * np.log(late / TIMES[0]), "k--", label=f"Lai & Robbins: {slope:.1f}")
    axis.set(xscale="log", xlim=(10, TIMES[-1]), ylim=(0, top), xlabel="pulls", title=case.title)
    axis.legend(
        title="slope over ln t, from 300 to 3 000 pulls",
        fontsize=8,
        title_fontsize=8,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.15),
        ncols=2,
    )
    plain_ticks(axis.xaxis)


def bounds(curves: Mapping[str, Mapping[str, Curve]]) -> list[Bound]:
    """:return: what is promised of the figures"""
    found = [
        Bound(f"{case.title}: Lai & Robbins / known", lai_robbins(case.bandit) / case.slope, 1.001, 0.999)
        for case in CASES
    ]
    hard, euros, cents = (curves[case.title] for case in CASES[1:])
    ratio = float(hard["UCB1 (c 2)"].mean[-1] / hard["epsilon .1"].mean[-1])
    found.append(Bound("hard coins, 3 000 pulls: UCB1 / epsilon .1", ratio, at_least=1.0))
    pairs = zip(euros.values(), list(cents.values())[: len(euros)], strict=True)
    largest = max(float(np.abs(y.mean / x.mean / 100.0 - 1.0).max()) for x, y in pairs)
    found.append(Bound("regret in the other unit / 100 times regret, minus 1", largest, at_most=1e-9))
    return found


def main() -> int:
    """:return: exit status"""
    args = parse(parser(__doc__, seeds=1000))
    n_runs = 10 if args.quick else max(args.seeds, 2)
    print(f"{hardware()}\n{n_runs} runs of each")
    curves = {case.title: measure(case, n_runs) for case in CASES}
    wrong = sum(compare(case, curves[case.title]) for case in CASES)
    shapes = ((1, 5), (100, 5), (256, 18))
    costs = [cost(*shape, rounds=3 if args.quick else 20) for shape in shapes]
    print()
    print_rows(
        ("CPU us of a choice", *[f"[{n_envs}, {n_actions}]" for n_envs, n_actions in shapes]),
        [(name, *[of_shape[name] for of_shape in costs]) for name in costs[0]],
    )
    if not args.quick:
        draw(curves)
    missed = verdict(bounds(curves))
    print(f"{wrong} means are not the known ones")
    return int(bool(missed or wrong))


if __name__ == "__main__":
    sys.exit(main())
