"""
Do strategies of bandits help a table? Q-learning on FrozenLake-v1, 16 lanes, 40 000 steps, by what it explores with.

    python benchmarks/bandit_lake.py

The gap to the best policy is exact (a linear solve every 512 steps), as a part of V*: the first step at which it is at
most 2 %, and its median over the last half of the training. A minute; nothing is kept between runs.
"""

from __future__ import annotations

import sys

import numpy as np
from common import hardware, parse, parser, print_rows
from stable_baselines3.common.callbacks import BaseCallback

from sb3_ext import QLearning
from sb3_ext.ops.exploration import (
    KLUCB,
    UCB1,
    UCBV,
    Boltzmann,
    EpsilonGreedy,
    Exploration,
    GaussianThompson,
    Thompson,
    UCB1Tuned,
)
from sb3_ext.planning import TabularMDP, TabularVecEnv, evaluate, policy_table, solve

GAMMA, LANES, STEPS, EVERY = 0.99, 16, 40_000, 512
CLOSE = 0.02
STRATEGIES: dict[str, Exploration | None] = {
    "epsilon 1 to .1 (default)": None,
    "epsilon .1": EpsilonGreedy(0.1, 0.1),
    "random": EpsilonGreedy(1.0, 1.0),
    "softmax .1": Boltzmann(0.1),
    "UCB1, c 2": UCB1(),
    "UCB1, c 20": UCB1(20.0),
    "UCB1-tuned": UCB1Tuned(),
    "UCB-V": UCBV(),
    "KL-UCB": KLUCB(),
    "Thompson": Thompson(),
    "Thompson, Gaussian, noise 1": GaussianThompson(),
    "Thompson, Gaussian, noise .1": GaussianThompson(noise=0.1),
}


class Gaps(BaseCallback):
    """The exact gap of the greedy policy as a part of V*, every so many steps."""

    def __init__(self, mdp: TabularMDP) -> None:
        super().__init__()
        self.mdp, self.best = mdp, float(mdp.start @ solve(mdp).v)
        self.gaps: list[float] = []

    def _on_step(self) -> bool:
        if self.num_timesteps % EVERY == 0:
            value = float(self.mdp.start @ evaluate(self.mdp, policy_table(self.model, self.mdp)))
            self.gaps.append(1.0 - value / self.best)
        return True


def gaps(mdp: TabularMDP, strategy: Exploration | None, seed: int, n_steps: int) -> np.ndarray:
    """:return: one for each `EVERY` steps"""
    model = QLearning("TablePolicy", TabularVecEnv(mdp, LANES), gamma=GAMMA, exploration=strategy, seed=seed)
    callback = Gaps(mdp)
    model.learn(n_steps, callback=callback)
    return np.array(callback.gaps)


def main() -> int:
    """:return: exit status"""
    args = parse(parser(__doc__, seeds=3))
    mdp = TabularMDP.from_env("FrozenLake-v1", GAMMA)
    rows = []
    for name, strategy in STRATEGIES.items():
        runs = [gaps(mdp, strategy, seed, 2_048 if args.quick else STEPS) for seed in range(args.seeds)]
        close = [np.flatnonzero(run <= CLOSE) for run in runs]
        first = [str(EVERY * (int(found[0]) + 1)) if len(found) else "none" for found in close]
        late = [f"{np.median(run[len(run) // 2 :]):.3f}" for run in runs]
        rows.append((name, ", ".join(first), ", ".join(late)))
    print(hardware())
    print_rows((f"FrozenLake-v1, seeds 0 to {args.seeds - 1}", "first gap <= 2 %", "median of the last half"), rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
