"""
Does what TD3 and DDPG learn depend on the unit of the reward? The same task at units from 1/500 to 100.

    python benchmarks/reward_units_continuous.py

"defaults" are the constructor's, which are SB3's; "block" is that of Pendulum-v1 in zoo_configs; "prioritized" lays
LayerNormPolicy and loss-adjusted priorities over it, as the MuJoCo blocks have them. All act
with Gaussian noise of 0.1. A score is the return in units of 1, 0 for random actions and 1 for what the same agent
reaches at unit 1. Finished runs stay in results/reward_units_continuous.csv.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import yaml
from common import Table, hardware, parse, parser, print_rows
from learning import RUN_COLUMNS, row_of, train
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.noise import NormalActionNoise

from sb3_ext import DDPG, TD3
from sb3_ext.zoo import config_path

UNITS = {"1/500": 1 / 500, "1/100": 1 / 100, "1": 1.0, "100": 100.0}
KEY = ("task", "agent", "unit", "seed")
SHARE = 0.9  # of what unit 1 reaches


@dataclass(frozen=True)
class Task:
    """An environment and its budget."""

    env_id: str
    n_steps: int
    random: float
    """mean return of random actions"""


TASKS = (Task("Pendulum-v1", 10_000, -1230.0), Task("InvertedPendulum-v5", 10_000, 6.0))
AGENTS = tuple(f"{algo}-{settings}" for settings in ("block", "prioritized", "defaults") for algo in ("td3", "ddpg"))


def settings_of(algo: str, settings: str) -> dict[str, Any]:
    """:return: keywords of the constructor, without the noise"""
    if settings == "defaults":
        return {"policy": "MlpPolicy"}
    block = yaml.safe_load(config_path(algo).read_text())["Pendulum-v1"]
    block = {key: value for key, value in block.items() if key not in ("n_timesteps", "noise_type", "noise_std")}
    return {**block, "policy": "LayerNormPolicy", "prioritized": True} if settings == "prioritized" else block


def run(task: Task, agent: str, unit: str, seed: int, n_steps: int) -> dict[str, object]:
    """:return: one row; returns are in units of 1"""
    algo, settings = agent.split("-")
    scale = UNITS[unit]

    def scaled(env: gym.Env) -> gym.Env:
        return gym.wrappers.TransformReward(env, lambda reward: scale * float(reward))

    env = make_vec_env(task.env_id, 1, seed=seed, wrapper_class=scaled)
    shape = env.action_space.shape
    assert shape is not None
    noise = NormalActionNoise(np.zeros(shape), 0.1 * np.ones(shape))
    cls = {"td3": TD3, "ddpg": DDPG}[algo]
    model = cls(env=env, action_noise=noise, seed=seed, device="cpu", **settings_of(algo, settings))
    eval_env = make_vec_env(task.env_id, 10, seed=seed + 100_000)
    result = train(model, eval_env, n_steps, max(n_steps // 5, 1), 10, 50)
    return {**row_of(result, task.env_id, agent, seed, n_steps), "unit": unit}


def report(table: Table) -> None:
    """Print the mean return of each agent at each unit, and its score."""
    cells: list[tuple[object, ...]] = []
    for task in TASKS:
        for agent in AGENTS:
            means = {unit: table.values("final_mean", task=task.env_id, agent=agent, unit=unit) for unit in UNITS}
            if all(len(values) for values in means.values()):
                best = means["1"].mean() - task.random
                scores = {unit: (values.mean() - task.random) / best for unit, values in means.items()}
                shown = [f"{means[unit].mean():.0f} ({scores[unit]:.2f})" for unit in UNITS]
                kept = "yes" if min(scores.values()) >= SHARE else "no"
                cells.append((f"{task.env_id}, {agent}", *shown, kept, min(len(x) for x in means.values())))
    print_rows(("task, agent", *[f"unit {unit}" for unit in UNITS], f">= {SHARE}", "seeds"), cells)


def main() -> None:
    arguments = parser(__doc__, seeds=2)
    arguments.add_argument("--agents", nargs="+", default=list(AGENTS), choices=list(AGENTS), help="only these")
    arguments.add_argument("--tasks", nargs="+", default=[t.env_id for t in TASKS], help="only these")
    args = parse(arguments)
    columns = (*RUN_COLUMNS, "unit")
    table = Table("reward_units_continuous", columns, key=KEY, saved=not args.quick, fresh=args.fresh)
    for seed in range(args.seeds):
        for agent in args.agents:
            for task in TASKS:
                for unit in UNITS:
                    if task.env_id in args.tasks and not table.has(task=task.env_id, agent=agent, unit=unit, seed=seed):
                        table.add(run(task, agent, unit, seed, 300 if args.quick else task.n_steps))
    print(hardware())
    report(table)


if __name__ == "__main__":
    main()
