"""
The same tasks with their rewards in other units, 1/500 to 100, with the `default` blocks of zoo_configs/ alone.

    python benchmarks/reward_units.py

"Reached" is the best of the nine evaluations of a run (20 greedy episodes, in units of the task), which is what
`sb3-ext train` keeps as best_model.zip. The bound is on the share of what is reached at unit 1, both less what chance
gives. "Late" is the mean of the last three evaluations, "final" 50 episodes of the last weights. Finished runs stay in
results/reward_units.csv.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import gymnasium as gym
import numpy as np
import rl_zoo3.import_envs  # noqa: F401 - registers CartPoleNoVel-v1
from common import Bound, Table, hardware, parse, parser, print_rows, verdict
from learning import RUN_COLUMNS, train
from rl_zoo3.utils import linear_schedule
from stable_baselines3.common.env_util import make_vec_env

import sb3_ext  # noqa: F401 - registers RepeatPrevious
from sb3_ext import R2D2, Rainbow, RainbowR
from sb3_ext.deep_q_learning import DeepQLearning
from sb3_ext.zoo.configs import read_block

UNITS = ("1/500", "1/100", "1", "100")
ALGORITHMS: dict[str, Callable[..., DeepQLearning]] = {"rainbow": Rainbow, "r2d2": R2D2, "rainbowr": RainbowR}
NAMES = {"rainbow": "Rainbow", "r2d2": "R2D2", "rainbowr": "RainbowR"}
KEY = ("task", "agent", "unit", "seed")


@dataclass(frozen=True)
class Task:
    """An environment, its learner and its budget."""

    env_id: str
    agent: str
    n_steps: int
    chance: float
    """return of a random agent"""


TASKS = (
    Task("CartPole-v1", "rainbow", 20_000, 22.0),
    Task("CartPoleNoVel-v1", "r2d2", 30_000, 22.0),
    Task("CartPoleNoVel-v1", "rainbowr", 30_000, 22.0),
    Task("sb3_ext/RepeatPrevious-v0", "r2d2", 16_000, -0.5),
    Task("sb3_ext/RepeatPrevious-v0", "rainbowr", 16_000, -0.5),
)
N_EVALUATIONS = 9


def run(task: Task, unit: str, seed: int, n_steps: int) -> dict[str, object]:
    """:return: one row"""
    factor = float(Fraction(unit))
    block = read_block(task.agent, "default")
    del block["n_timesteps"]
    n_envs, policy = block.pop("n_envs", 1), block.pop("policy")
    if "learning_rate" in block:
        block["learning_rate"] = linear_schedule(block["learning_rate"].removeprefix("lin_"))
    env = make_vec_env(
        task.env_id,
        n_envs,
        seed,
        wrapper_class=lambda env: gym.wrappers.TransformReward(env, lambda reward: factor * float(reward)),
    )
    eval_env = make_vec_env(task.env_id, 10, seed + 100_000)
    model = ALGORITHMS[task.agent](policy, env, seed=seed, device="cpu", **block)
    result = train(model, eval_env, n_steps, max(n_steps // N_EVALUATIONS, 1), n_episodes=20, final_episodes=50)
    means = result.curve.means
    return {
        "task": task.env_id,
        "agent": task.agent,
        "unit": unit,
        "seed": seed,
        "env_steps": n_steps,
        "late": round(float(np.mean(means[-3:])), 3),
        "final_mean": round(result.final_mean, 3),
        "final_std": round(result.final_std, 3),
        "best": max(means),
        "cpu_seconds": round(result.cpu_seconds, 1),
        "curve": " ".join(f"{s}:{m}" for s, m in zip(result.curve.steps, means, strict=True)),
    }


def report(table: Table, agents: list[str]) -> list[Bound]:
    """Print the table of these agents. :return: for each task and unit, the share of what unit 1 reaches"""
    cells: list[tuple[object, ...]] = []
    bounds = []
    for task in TASKS:
        if task.agent not in agents:
            continue
        row: list[object] = [f"{task.env_id.removeprefix('sb3_ext/')}, {NAMES[task.agent]}"]
        at_one = table.values("best", task=task.env_id, agent=task.agent, unit="1").mean() - task.chance
        for unit in UNITS:
            here = {"task": task.env_id, "agent": task.agent, "unit": unit}
            reached, late, final = (table.values(name, **here).mean() for name in ("best", "late", "final_mean"))
            row.append(f"{reached:.3g} ({late:.3g}, {final:.3g})")
            if unit != "1":
                bounds.append(Bound(f"{row[0]}, unit {unit}", float((reached - task.chance) / at_one), at_least=0.9))
        cpu = table.median("cpu_seconds", task=task.env_id, agent=task.agent)
        cells.append((*row, f"{task.n_steps // 1000}k", f"{cpu:.0f}"))
    print_rows(
        ("reached (late, final), means over seeds", *(f"unit {u}" for u in UNITS), "steps", "CPU-s of a run"), cells
    )
    return bounds


def main() -> None:
    arguments = parser(__doc__, seeds=3)
    arguments.add_argument("--agents", nargs="+", default=list(ALGORITHMS), help="only these")
    args = parse(arguments)
    columns = (*KEY, "env_steps", "late", *RUN_COLUMNS[4:])
    table = Table("reward_units", columns, key=KEY, saved=not args.quick, fresh=args.fresh)
    for seed in range(args.seeds):
        for task in TASKS:
            for unit in UNITS:
                done = table.has(task=task.env_id, agent=task.agent, unit=unit, seed=seed)
                if task.agent in args.agents and not done:
                    table.add(run(task, unit, seed, 2000 if args.quick else task.n_steps))
    print(hardware())
    bounds = report(table, args.agents)
    if not args.quick:
        raise SystemExit(verdict(bounds))


if __name__ == "__main__":
    main()
