"""
What `OptimalityGap` costs: CPU seconds in it, over those of the training that it measures every 1 000 steps, within one
run:

    python benchmarks/optimality_gap_cost.py

Every measurement counts, and what is solved before the first step; that is told apart, too. Not counted is that SciPy
is imported, once, a fifth of a second. The agents have their defaults, but for 16 environments in place of one where
the name says so. Taxi has 500 states, so that a measurement costs more; R2D2 has no table, and is estimated.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from common import Bound, Table, hardware, parse, parser, print_rows, verdict
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env

from sb3_ext import R2D2
from sb3_ext.planning import OptimalityGap, TabularMDP
from sb3_ext.planning.episodes import acting_states

COLUMNS = ("agent", "env", "seed", "n_steps", "training_s", "gap_s", "before_ms", "measurement_ms", "share")


class Contest(NamedTuple):
    """An agent on an environment."""

    agent: str
    env_id: str
    n_envs: int
    make: Callable[..., BaseAlgorithm]
    n_steps: int


def ppo(env: Any, seed: int) -> PPO:  # Any: a VecEnv
    n_steps = 2048 // env.num_envs
    return PPO("MlpPolicy", env, n_steps=n_steps, seed=seed, device="cpu")


def dqn(env: Any, seed: int) -> DQN:
    return DQN("MlpPolicy", env, seed=seed, device="cpu")


def r2d2(env: Any, seed: int) -> R2D2:
    return R2D2("MlpLstmPolicy", env, learning_starts=1000, seed=seed, device="cpu")


CONTESTS = (
    Contest("PPO", "FrozenLake-v1", 1, ppo, 20_480),
    Contest("PPO, 16 envs", "FrozenLake-v1", 16, ppo, 40_960),
    Contest("DQN", "FrozenLake-v1", 1, dqn, 20_000),
    Contest("PPO", "Taxi-v4", 1, ppo, 20_480),
    Contest("DQN", "Taxi-v4", 1, dqn, 20_000),
    Contest("R2D2, 16 envs, estimated", "FrozenLake-v1", 16, r2d2, 4_000),
)


class Timed(OptimalityGap):
    """Knows what it costs."""

    before = during = 0.0

    def _init_callback(self) -> None:
        begin = time.process_time()
        super()._init_callback()
        self.before += time.process_time() - begin

    def _measure_now(self) -> None:
        begin = time.process_time()
        super()._measure_now()
        self.during += time.process_time() - begin


def run(contest: Contest, seed: int, n_steps: int) -> dict[str, Any]:
    """:return: a row of the table"""
    model = contest.make(make_vec_env(contest.env_id, contest.n_envs, seed=seed), seed)
    gap = Timed(every=1000)
    begin = time.process_time()
    model.learn(n_steps, callback=gap)
    spent = gap.before + gap.during
    training = time.process_time() - begin - spent
    return {
        "agent": contest.agent,
        "env": contest.env_id,
        "seed": seed,
        "n_steps": n_steps,
        "training_s": round(training, 3),
        "gap_s": round(spent, 4),
        "before_ms": round(1e3 * gap.before, 2),
        "measurement_ms": round(1e3 * gap.during / len(gap.history), 3),
        "share": round(spent / training, 5),
    }


def report(table: Table) -> int:
    """Print the table. :return: exit status"""
    print(f"\nCPU seconds; {hardware()}")
    print_rows(COLUMNS, [tuple(row[name] for name in COLUMNS) for row in table.rows])
    return verdict(
        [
            Bound(
                f"{c.agent} on {c.env_id}, share",
                100 * table.median("share", agent=c.agent, env=c.env_id),
                1.0,
                unit=" %",
            )
            for c in CONTESTS
            if c.make is ppo and c.env_id == "FrozenLake-v1"
        ]
    )


def main() -> int:
    args = parse(parser(__doc__, seeds=3))
    acting_states(TabularMDP.from_env("FrozenLake-v1", 0.99))  # imports SciPy
    table = Table("optimality_gap_cost", COLUMNS, key=("agent", "env", "seed"), saved=not args.quick, fresh=args.fresh)
    for seed in range(args.seeds):
        for contest in CONTESTS:
            if not table.has(agent=contest.agent, env=contest.env_id, seed=seed):
                table.add(run(contest, seed, 2_048 if args.quick else contest.n_steps))
    return report(table)


if __name__ == "__main__":
    sys.exit(main())
