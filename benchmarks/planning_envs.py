"""
Steps per second of `TabularVecEnv` beside SB3's DummyVecEnv of the environments that it was read from, under random
actions:

    python benchmarks/planning_envs.py

DummyVecEnv is what SB3's `make_vec_env` makes, with a Monitor around each environment, because TabularVecEnv gives the
same infos; "bare" is without Monitor, which tells less. DummyVecEnv steps one environment after the other, so that its
steps per second do not grow with their number: the ratios of the table are to 16 of them, whatever the lanes of
TabularVecEnv; "same" is the ratio to as many environments as lanes, for FrozenLake up to 1 024.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from common import (
    COLORS,
    Bound,
    Table,
    hardware,
    in_turns,
    median_ratio,
    panels,
    parse,
    parser,
    print_rows,
    save,
    verdict,
)
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from sb3_ext.planning import TabularMDP, TabularVecEnv

LAKE, TAXI = "FrozenLake-v1", "Taxi-v4"
REFERENCE = 16  # lanes of DummyVecEnv
MANY = 1024
LANES = (1, 4, REFERENCE, 64, 256, MANY, 4096)
COLUMNS = ("env", "lanes", "seed", "tabular", "dummy", "bare", "ratio", "ratio_bare", "ratio_same")  # in steps/CPU-s


def seconds_per_step(envs: dict[str, VecEnv], n_steps: int, rounds: int, seed: int) -> dict[str, np.ndarray]:
    """
    :param envs: by name
    :param n_steps: of all lanes of one of them together, in one timing
    :return: [rounds] CPU seconds of each, per step of one lane
    """
    rng = np.random.default_rng(seed)

    def contestant(env: VecEnv) -> Callable[[], None]:
        assert isinstance(env.action_space, spaces.Discrete)
        calls = max(1, n_steps // env.num_envs)
        actions = rng.integers(int(env.action_space.n), size=(calls, env.num_envs))
        env.reset()

        def work() -> None:
            for each in actions:
                env.step(each)

        return work

    seconds = in_turns({name: contestant(env) for name, env in envs.items()}, rounds)
    return {
        name: seconds[name] / max(env.num_envs, n_steps // env.num_envs * env.num_envs) for name, env in envs.items()
    }


def run(env_id: str, lanes: int, seed: int, n_steps: int, rounds: int) -> dict[str, Any]:
    """
    :param n_steps: of all lanes of a contestant together, in one timing
    :return: a row of the table
    """
    tabular = TabularVecEnv(TabularMDP.from_env(env_id, 0.99), lanes, seed=seed)
    envs: dict[str, VecEnv] = {
        "tabular": tabular,
        "dummy": make_vec_env(env_id, REFERENCE, seed=seed),
        "bare": DummyVecEnv([lambda: gym.make(env_id) for _ in range(REFERENCE)]),
    }
    seconds = seconds_per_step(envs, n_steps, rounds, seed)
    row: dict[str, Any] = {"env": env_id, "lanes": lanes, "seed": seed}
    row |= {name: round(1.0 / float(np.median(values))) for name, values in seconds.items()}
    row["ratio"] = round(median_ratio(seconds["dummy"], seconds["tabular"]), 3)
    row["ratio_bare"] = round(median_ratio(seconds["bare"], seconds["tabular"]), 3)
    if env_id == LAKE and lanes <= MANY:
        # Apart, and fewer rounds: many environments are slow to make and to step.
        pair = seconds_per_step(
            {"tabular": tabular, "same": make_vec_env(env_id, lanes, seed=seed)}, n_steps, max(2, rounds // 3), seed
        )
        row["ratio_same"] = round(median_ratio(pair["same"], pair["tabular"]), 3)
    return row


def plot(table: Table) -> None:
    """Steps per second against lanes, one panel for each environment."""
    figure, axes = panels(2)
    for axis, env_id in zip(axes, (LAKE, TAXI), strict=True):
        speeds = [table.median("tabular", env=env_id, lanes=lanes) for lanes in LANES]
        axis.loglog(LANES, speeds, "o-", color=COLORS[0], label="TabularVecEnv")
        dummy = float(np.median(table.values("dummy", env=env_id)))
        axis.axhline(dummy, color=COLORS[1], label=f"DummyVecEnv, {REFERENCE} lanes")
        axis.set(title=env_id, xlabel="lanes", ylabel="steps per CPU second")
        axis.set_xticks(LANES, [str(lanes) for lanes in LANES], minor=False)
        axis.minorticks_off()
        axis.set_ylim(3e4, 1e8)
        axis.legend(loc="upper left")
    save(figure, "planning_envs")


def report(table: Table) -> int:
    """Print the table. :return: exit status"""
    print(f"\nsteps per CPU second; {hardware()}")
    print_rows(COLUMNS, [tuple(row[name] for name in COLUMNS) for row in table.rows])
    few, many = (table.median("ratio", env=LAKE, lanes=lanes) for lanes in (REFERENCE, MANY))
    return verdict(
        [
            Bound(f"{REFERENCE} lanes over DummyVecEnv of {REFERENCE}, {LAKE}", few, at_least=3.0),
            Bound(f"{MANY} lanes over DummyVecEnv of {REFERENCE}, {LAKE}", many, at_least=40.0),
        ]
    )


def main() -> int:
    args = parse(parser(__doc__, seeds=3))
    table = Table("planning_envs", COLUMNS, key=("env", "lanes", "seed"), saved=not args.quick, fresh=args.fresh)
    for seed in range(args.seeds):
        for env_id in (LAKE, TAXI):
            for lanes in (REFERENCE, MANY) if args.quick else LANES:
                if not table.has(env=env_id, lanes=lanes, seed=seed):
                    n_steps, rounds = (2_048, 2) if args.quick else (16_384, 9)
                    table.add(run(env_id, lanes, seed, n_steps, rounds))
    if not args.quick:
        plot(table)
    return report(table)


if __name__ == "__main__":
    sys.exit(main())
