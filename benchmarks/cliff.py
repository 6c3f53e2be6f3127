"""
Q-learning, SARSA and Expected SARSA on CliffWalking-v1, beside what exact planning says that they go to.

    python benchmarks/cliff.py

With a constant epsilon SARSA and Expected SARSA go to the best policy that explores so, and keep away from the cliff;
Q-learning goes to the best policy there is, along the edge, and falls where it explores. Nothing is measured by
episodes: "on-line" is the exact return, gamma 1, of the policy with its epsilon, "greedy" that of the same table
without, -200 where it walks in circles. Nothing is random in this world but what explores, so the steps of Q-learning
and Expected SARSA are whole; SARSA, which draws its next action, has its default. Finished runs stay in
results/cliff.csv. The plot shows both after each part of the training, medians of all seeds. Exit status 1 where a
median is more than 5 % off on-line, or its greedy path is not as long as it has to be.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
from common import COLORS, Bound, Table, hardware, panels, parse, parser, plain_ticks, print_rows, save, verdict
from stable_baselines3.common.callbacks import BaseCallback

from sb3_ext import SARSA, ExpectedSARSA, QLearning
from sb3_ext.ops.exploration import EpsilonGreedy
from sb3_ext.planning import TabularMDP, TabularVecEnv, epsilon_soft_value_iteration, evaluate, expected_return, solve
from sb3_ext.tabular import TableMixin

EPSILONS = (0.1, 0.05, 0.01)
N_ENVS = 16
N_STEPS = {"Q-learning": 200_000, "SARSA": 1_000_000, "Expected SARSA": 200_000}
N_POINTS = 40
WITHIN = 0.05  # of the return on-line
LIMIT = 200  # steps of an episode: the environment has none, and a table that knows nothing yet walks in circles
ALGORITHMS: dict[str, Callable[..., TableMixin]] = {
    "Q-learning": partial(QLearning, visit_power=0.0),
    "SARSA": SARSA,
    "Expected SARSA": partial(ExpectedSARSA, visit_power=0.0),
}
COLUMNS = ("algorithm", "epsilon", "seed", "env_steps", "online", "greedy", "cpu_seconds", "curve")


class Worth(NamedTuple):
    """Exact returns, gamma 1."""

    online: float
    greedy: float


def worth(mdp: TabularMDP, q: np.ndarray, epsilon: float) -> Worth:
    """
    :param mdp: with gamma 1
    :param q: [S, A]; ties go to the first action, as `predict` takes it
    :param epsilon: of the policy on-line
    """
    greedy = np.eye(mdp.n_actions)[q.argmax(axis=1)]
    online = (1.0 - epsilon) * greedy + epsilon / mdp.n_actions
    # Far from where it walks, a greedy policy may never end, which is no matter here: its path is counted to a limit.
    return Worth(float(mdp.start @ evaluate(mdp, online)), expected_return(mdp, greedy, LIMIT))


class Exact(BaseCallback):
    """
    Notes what the table is worth.

    :param mdp: of the environment
    :param epsilon: of the policy on-line
    :param every: steps between two notes
    """

    def __init__(self, mdp: TabularMDP, epsilon: float, every: int) -> None:
        super().__init__()
        self.mdp, self.epsilon, self.every = mdp, epsilon, every
        self.curve: list[tuple[int, float, float]] = []

    def note(self) -> None:
        """Add a point: steps, on-line, greedy."""
        assert isinstance(self.model, TableMixin)
        q = self.model.policy.values(np.arange(self.mdp.n_states))
        self.curve.append((self.num_timesteps, *worth(self.mdp, q, self.epsilon)))

    def _on_step(self) -> bool:
        if self.num_timesteps >= (len(self.curve) + 1) * self.every:
            self.note()
        return True


def run(name: str, epsilon: float, seed: int, n_steps: int) -> dict[str, object]:
    """:return: a row; a point of the curve is steps:on-line:greedy"""
    mdp = TabularMDP.from_env("CliffWalking-v1", 1.0)
    env = TabularVecEnv(replace(mdp, horizon=LIMIT), N_ENVS, seed=seed)
    constant = EpsilonGreedy(epsilon, epsilon)
    model = ALGORITHMS[name]("TablePolicy", env, gamma=1.0, exploration=constant, seed=seed)
    exact = Exact(mdp, epsilon, n_steps // N_POINTS)
    begin = time.process_time()
    model.learn(n_steps, callback=exact, log_interval=10**9)
    cpu = time.process_time() - begin
    exact.note()  # after the last update
    _, online, greedy = exact.curve[-1]
    return {
        "algorithm": name,
        "epsilon": epsilon,
        "seed": seed,
        "env_steps": n_steps,
        "online": f"{online:.4f}",
        "greedy": f"{greedy:.1f}",
        "cpu_seconds": f"{cpu:.1f}",
        "curve": " ".join(f"{steps}:{a:.2f}:{b:.0f}" for steps, a, b in exact.curve),
    }


def goals() -> dict[tuple[str, float], Worth]:
    """:return: (algorithm, epsilon) -> what the table is worth that it goes to"""
    mdp = TabularMDP.from_env("CliffWalking-v1", 1.0)
    found = {}
    for epsilon in EPSILONS:
        best, soft = solve(mdp).q, epsilon_soft_value_iteration(mdp, epsilon).q
        for name in ALGORITHMS:
            q = best if name == "Q-learning" else soft
            found[name, epsilon] = worth(mdp, q, epsilon)
    return found


def show(table: Table) -> None:
    """Print a row for each algorithm and epsilon."""
    rows: list[tuple[object, ...]] = []
    for (name, epsilon), (online, greedy) in goals().items():
        where = {"algorithm": name, "epsilon": epsilon}
        reached, paths = table.values("online", **where), table.values("greedy", **where)
        if len(reached):
            spread = f"{reached.min():.2f} to {reached.max():.2f}"
            right = f"{int((paths == greedy).sum())} of {len(paths)}"
            rows.append(
                (f"{name}, epsilon {epsilon:g}", f"{online:.2f}", f"{np.median(reached):.2f}", spread,
                 f"{greedy:.0f}", f"{np.median(paths):.0f}", right)
            )  # fmt: skip
    header = ("", "on-line: exact", "reached", "of all seeds", "greedy: exact", "reached", "seeds")
    print_rows(header, rows)


def plot(table: Table) -> None:
    """Write docs/images/cliff.png: on-line above, greedy below, a column for each epsilon."""
    figure, axes = panels(2 * len(EPSILONS), width=3.4, height=2.6, columns=len(EPSILONS))
    exact = goals()
    for column, epsilon in enumerate(EPSILONS):
        for row, kind in enumerate(("on-line", "greedy")):
            axis = axes[row * len(EPSILONS) + column]
            for name, color in zip(ALGORITHMS, COLORS, strict=False):
                curves = [
                    np.array([[float(x) for x in point.split(":")] for point in line["curve"].split()])
                    for line in table.rows
                    if line["algorithm"] == name and line["epsilon"] == str(epsilon)
                ]
                if not curves:
                    continue
                middle = np.median([curve[:, 1 + row] for curve in curves], axis=0)
                axis.plot(curves[0][:, 0] / 1e3, middle.clip(min=-100.0), color=color, label=name)
                axis.axhline(exact[name, epsilon][row], color=color, linestyle=":", linewidth=1)
            axis.set_title(f"{kind}, epsilon {epsilon:g}")
            axis.set_ylim(-60.0 if row == 0 else -26.0, -10.0)
            axis.set_xscale("log")
            plain_ticks(axis.xaxis)
            axis.set_xlabel("steps, thousands")
    axes[0].set_ylabel("exact return")
    axes[len(EPSILONS)].set_ylabel("exact return")
    axes[len(EPSILONS) - 1].legend(loc="lower right")
    save(figure, "cliff")


def bounds(table: Table) -> list[Bound]:
    """:return: what the medians have to keep to"""
    kept = []
    for (name, epsilon), (online, greedy) in goals().items():
        where = {"algorithm": name, "epsilon": epsilon}
        label = f"{name}, epsilon {epsilon:g}"
        off = abs(table.median("online", **where) / online - 1.0)
        longer = abs(table.median("greedy", **where) - greedy)
        kept += [
            Bound(f"{label}: on-line, off {online:.2f} by", 100.0 * off, at_most=100.0 * WITHIN, unit=" %"),
            Bound(f"{label}: greedy, off {greedy:.0f} by", longer, at_most=0.0),
        ]
    return kept


def main() -> int:
    """:return: exit status, 0 if all bounds are kept"""
    args = parse(parser(__doc__, seeds=5))
    table = Table("cliff", COLUMNS, ("algorithm", "epsilon", "seed"), saved=not args.quick, fresh=args.fresh)
    for seed in range(args.seeds):
        for epsilon in EPSILONS:
            for name in ALGORITHMS:
                if not table.has(algorithm=name, epsilon=epsilon, seed=seed):
                    table.add(run(name, epsilon, seed, 20_000 if args.quick else N_STEPS[name]))
    print(f"CliffWalking-v1, {N_ENVS} environments, {hardware()}\n")
    show(table)
    if not args.quick:
        plot(table)
    return verdict(bounds(table))


if __name__ == "__main__":
    sys.exit(main())
