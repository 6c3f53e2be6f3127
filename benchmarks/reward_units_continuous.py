"""
Does what TD3 and DDPG learn depend on the unit of the reward? The same tasks at units from 1/500 to 100.

    python benchmarks/reward_units_continuous.py

Pendulum-v1 pays at each step, the other task, a point on a line that looks for a place, once at its end. "defaults"
are the constructor's, which are SB3's; "block" is that of Pendulum-v1 in zoo_configs; "prioritized" lays
LayerNormPolicy and loss-adjusted priorities over it, as the MuJoCo blocks have them; "scaled" adds scale_reward=True.
All act with Gaussian noise of 0.1. A score is the return in units of 1, 0 for random actions and 1 for what the same
agent reaches at unit 1 without scale_reward. Finished runs stay in results/reward_units_continuous.csv.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import yaml
from common import Table, hardware, parse, parser, print_rows
from gymnasium import spaces
from learning import RUN_COLUMNS, row_of, train
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.noise import NormalActionNoise

from sb3_ext import DDPG, TD3
from sb3_ext.buffers import Proportional
from sb3_ext.zoo import config_path

UNITS = {"1/500": 1 / 500, "1/100": 1 / 100, "1": 1.0, "100": 100.0}
KEY = ("task", "agent", "unit", "seed")
SHARE = 0.9  # of what unit 1 reaches


class Search(gym.Env):
    """A point on a line. The episode ends with a reward of 1 close to 0.5, without after 30 steps."""

    def __init__(self) -> None:
        self.observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.x, self.t = float(self.np_random.uniform(-1, 1)), 0
        return np.array([self.x], np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.t += 1
        self.x = min(max(self.x + 0.1 * float(action[0]), -1.0), 1.0)
        found = abs(self.x - 0.5) < 0.05
        return np.array([self.x], np.float32), float(found), found, self.t == 30, {}


@dataclass(frozen=True)
class Task:
    """An environment and its budget."""

    name: str
    make: Callable[[], gym.Env]
    n_steps: int
    random: float
    """mean return of random actions"""


TASKS = (
    Task("Pendulum-v1", lambda: gym.make("Pendulum-v1"), 10_000, -1230.0),
    Task("search", Search, 5_000, 0.29),
)
SETTINGS = ("block", "block-scaled", "prioritized", "prioritized-scaled", "defaults", "defaults-scaled")
AGENTS = tuple(f"{algo}-{settings}" for settings in SETTINGS for algo in ("td3", "ddpg"))


def settings_of(algo: str, settings: str) -> dict[str, Any]:
    """:return: keywords of the constructor, without the noise"""
    base, _, scaled = settings.partition("-")
    more: dict[str, Any] = {"scale_reward": True} if scaled else {}
    if base == "defaults":
        return {"policy": "MlpPolicy", **more}
    block = yaml.safe_load(config_path(algo).read_text())["Pendulum-v1"]
    block = {key: value for key, value in block.items() if key not in ("n_timesteps", "noise_type", "noise_std")}
    if base == "prioritized":
        more |= {"policy": "LayerNormPolicy", "sampler": Proportional(alpha=0.4)}
    return {**block, **more}


def run(task: Task, agent: str, unit: str, seed: int, n_steps: int) -> dict[str, object]:
    """:return: one row; returns are in units of 1"""
    algo, _, settings = agent.partition("-")
    scale = UNITS[unit]

    def scaled() -> gym.Env:
        return gym.wrappers.TransformReward(task.make(), lambda reward: scale * float(reward))

    env = make_vec_env(scaled, 1, seed=seed)
    shape = env.action_space.shape
    assert shape is not None
    noise = NormalActionNoise(np.zeros(shape), 0.1 * np.ones(shape))
    cls = {"td3": TD3, "ddpg": DDPG}[algo]
    model = cls(env=env, action_noise=noise, seed=seed, device="cpu", **settings_of(algo, settings))
    eval_env = make_vec_env(task.make, 10, seed=seed + 100_000)
    result = train(model, eval_env, n_steps, max(n_steps // 5, 1), 10, 50)
    return {**row_of(result, task.name, agent, seed, n_steps), "unit": unit}


def report(table: Table) -> None:
    """Print the mean return of each agent at each unit, its score and the number of seeds."""
    cells: list[tuple[object, ...]] = []
    for task in TASKS:
        for agent in AGENTS:
            means = {unit: table.values("final_mean", task=task.name, agent=agent, unit=unit) for unit in UNITS}
            if not any(len(values) for values in means.values()):
                continue
            # What is not scaled is compared with itself at unit 1; what is, with the same settings without.
            plain = table.values("final_mean", task=task.name, agent=agent.removesuffix("-scaled"), unit="1")
            best = plain.mean() - task.random if len(plain) else float("nan")
            scores = {unit: (x.mean() - task.random) / best for unit, x in means.items() if len(x)}
            shown = [f"{means[u].mean():.4g} ({scores[u]:.2f}, {len(means[u])})" if u in scores else "-" for u in UNITS]
            cells.append((f"{task.name}, {agent}", *shown, "yes" if min(scores.values()) >= SHARE else "no"))
    print_rows(("task, agent", *[f"unit {unit}" for unit in UNITS], f">= {SHARE}"), cells)


def main() -> None:
    arguments = parser(__doc__, seeds=2)
    arguments.add_argument("--agents", nargs="+", default=list(AGENTS), choices=list(AGENTS), help="only these")
    arguments.add_argument("--tasks", nargs="+", default=[t.name for t in TASKS], help="only these")
    arguments.add_argument("--units", nargs="+", default=list(UNITS), choices=list(UNITS), help="only these")
    args = parse(arguments)
    if args.quick:  # every algorithm and kind of settings once
        args.agents, args.units = args.agents[::3], ["1"]
    columns = (*RUN_COLUMNS, "unit")
    table = Table("reward_units_continuous", columns, key=KEY, saved=not args.quick, fresh=args.fresh)
    for seed in range(args.seeds):
        for agent in args.agents:
            for task in TASKS:
                for unit in args.units:
                    if task.name in args.tasks and not table.has(task=task.name, agent=agent, unit=unit, seed=seed):
                        table.add(run(task, agent, unit, seed, 300 if args.quick else task.n_steps))
    print(hardware())
    report(table)


if __name__ == "__main__":
    main()
