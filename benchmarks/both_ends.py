"""
GAIL where an episode may end well and badly: an absorbing state for each final observation beside one for all.

    python benchmarks/both_ends.py

Two small tasks (both_ends_tasks.py) and LunarLander-v3, ten demonstrations of a scripted expert, other ones for each
seed. Beside GAIL stand GAIL with one absorbing state for all ends, behaviour cloning, GAIL that begins with it, and
the GAIL of `imitation` 1.0.1. All have the settings of `default` in zoo_configs/gail.yml, which were chosen on other
tasks, but for one with LunarLander's own block. `imitation` is installed beside today's gymnasium with --no-deps: the
versions that it asks for have no LunarLander-v3 (``--peer-python`` takes another interpreter).

How 50 greedy episodes of the last weights ended. Finished rows stay in results/both_ends.csv.
"""

from __future__ import annotations

import pathlib
import sys
import time
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from both_ends_tasks import EXPERTS, Ends, ends_of
from common import Bound, Table, hardware, parse, parser, print_rows, verdict
from gail import EVALUATIONS, N_ENVS, OURS, PPO_SETTINGS, ask_peer
from learning import RUN_COLUMNS, Curve, Result, row_of, train
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecEnv

from sb3_ext.demonstrations import Demonstrations, Episode
from sb3_ext.imitation import GAIL, behaviour_cloning
from sb3_ext.imitation.discriminator import Discriminator
from sb3_ext.zoo.configs import read_block


@dataclass(frozen=True)
class Task:
    """An environment and its budget."""

    env_id: str
    n_steps: int
    at_least: float
    """return that GAIL has to reach on every seed"""


TASKS = (
    Task("Bridge-v0", 50_000, 0.9),
    Task("Docking-v0", 50_000, 0.9),
    Task("LunarLander-v3", 300_000, 150.0),
)
AGENTS = {
    "gail": "GAIL",
    "one_end": "GAIL, one absorbing state for all ends",
    "gail_bc": "GAIL after cloning",
    "gail_block": "GAIL, its block of gail.yml",
    "bc": "behaviour cloning",
    "imitation": "GAIL of imitation",
}
N_DEMONSTRATIONS = 10
BC_EPOCHS = 50
COLUMNS = (*RUN_COLUMNS, "goals", "failures", "expert")


class OneEnd(Discriminator):
    """As in Kostrikov et al. (2019), and here before: what the absorbing state remembers is hidden."""

    def _state(self, observations: Any, absorbing: th.Tensor) -> th.Tensor:  # Any: a tensor or a dictionary of them
        state = super()._state(observations, absorbing)
        return th.cat([state[:, :-1] * (1.0 - absorbing.unsqueeze(-1)), state[:, -1:]], dim=-1)


def demonstrations_of(env_id: str, seed: int) -> Demonstrations:
    """:return: episodes of the scripted expert"""
    env, act = gym.make(env_id), EXPERTS[env_id]
    episodes = []
    for i in range(N_DEMONSTRATIONS):
        start = 1000 * seed + i
        observation, _ = env.reset(seed=start)
        observations, actions, rewards, over = [observation], [], [], False
        while not over:
            actions.append(act(env, observation))
            observation, reward, terminated, truncated, _ = env.step(actions[-1])
            observations.append(observation)
            rewards.append(float(reward))
            over = terminated or truncated
        arrays = np.array(observations), np.array(actions, dtype=env.action_space.dtype), np.array(rewards)
        episodes.append(Episode(*arrays, terminated, truncated, start))
    return Demonstrations(tuple(episodes), env.observation_space, env.action_space, env_id)


def block_of(env_id: str) -> dict[str, Any]:
    """:return: settings of GAIL's constructor"""
    block = read_block("gail", env_id)
    for name in ("n_envs", "n_timesteps", "policy"):  # those of the others here
        del block[name]
    block["learning_rate"] = LinearSchedule(float(block["learning_rate"].removeprefix("lin_")), 0.0, 1.0)
    return block


def environments(env_id: str, n: int, seed: int) -> VecEnv:
    """:return: n of them, without pictures, which the small tasks have not"""
    return make_vec_env(lambda: gym.make(env_id), n, seed=seed)


def run(task: Task, agent: str, seed: int, n_steps: int, python: pathlib.Path) -> dict[str, object]:
    """:return: one row; that of behaviour cloning has a curve of one point"""
    demonstrations = demonstrations_of(task.env_id, seed)
    every = max(n_steps // 10, 1)
    expert = {"expert": round(float(demonstrations.returns.mean()), 3)}
    if agent == "imitation":
        answer = ask_peer(task.env_id, demonstrations, seed, n_steps, every, python, tasks="both_ends_tasks")
        curve = Curve(answer["steps"], answer["seconds"], answer["means"])
        return expert | row(task, agent, seed, n_steps, Ends(*answer["ends"]), curve, answer["cpu_seconds"])
    env = environments(task.env_id, N_ENVS, seed)
    if agent == "bc":
        th.set_num_threads(1)
        clone = PPO("MlpPolicy", env, seed=seed, device="cpu", **PPO_SETTINGS)
        begin = time.process_time()
        behaviour_cloning(clone, demonstrations, BC_EPOCHS, seed=seed)
        cpu = time.process_time() - begin
        ends = judged(clone, task.env_id, seed)
        return expert | row(task, agent, seed, 0, ends, Curve([0], [cpu], [ends.mean]), cpu)
    bc_epochs = BC_EPOCHS if agent == "gail_bc" else 0
    settings = {**PPO_SETTINGS, **OURS, "bc_epochs": bc_epochs}
    if agent == "gail_block":
        settings |= block_of(task.env_id)
    model = GAIL("MlpPolicy", env, demonstrations, seed=seed, device="cpu", **settings)
    if agent == "one_end":
        model.discriminator.__class__ = OneEnd
    result = train(model, environments(task.env_id, 10, seed + 100_000), n_steps, every, 10, 10)
    ends = judged(model, task.env_id, seed)
    return expert | row(task, agent, seed, n_steps, ends, result.curve, result.cpu_seconds)


def judged(model: BaseAlgorithm, env_id: str, seed: int) -> Ends:
    """:return: of the greedy agent's last episodes"""
    n = EVALUATIONS["final_episodes"]
    return ends_of(lambda _, x: model.predict(x, deterministic=True)[0], env_id, n, seed + 100_000)


def row(
    task: Task, agent: str, seed: int, n_steps: int, ends: Ends, curve: Curve, cpu_seconds: float
) -> dict[str, object]:
    """:return: of `COLUMNS`, but for the expert"""
    result = Result(curve, ends.mean, ends.std, cpu_seconds)
    return {**row_of(result, task.env_id, agent, seed, n_steps), "goals": ends.goals, "failures": ends.failures}


def report(table: Table) -> None:
    """Print how episodes ended."""
    cells: list[tuple[object, ...]] = []
    n = EVALUATIONS["final_episodes"]
    for task in TASKS:
        for agent, label in AGENTS.items():
            where = {"task": task.env_id, "agent": agent}
            finals = table.values("final_mean", **where)
            if len(finals) == 0:
                continue
            shares = [f"{table.values(name, **where).mean() / n:.0%}" for name in ("goals", "failures")]
            each = " ".join(f"{x:.2f}" if abs(x) < 10 else f"{x:.0f}" for x in finals)
            cpu = f"{table.median('cpu_seconds', **where):.0f}"
            expert = f"{table.values('expert', **where).mean():.2f}"
            cells.append((task.env_id, label, each, *shares, expert, cpu))
    print_rows(("task", "agent", "return of each seed", "goals", "failures", "expert's return", "CPU-s"), cells)


def bounds(table: Table) -> list[Bound]:
    """:return: what the table has to keep to"""
    result = []
    for task in TASKS:
        agent = "gail_block" if task.env_id == "LunarLander-v3" else "gail"
        finals = table.values("final_mean", task=task.env_id, agent=agent)
        worst = float(finals.min()) if len(finals) else float("nan")
        result.append(Bound(f"{task.env_id}: GAIL's return on its worst seed", worst, at_least=task.at_least))
    return result


def main() -> int:
    arguments = parser(__doc__, seeds=3)
    arguments.add_argument(
        "--peer-python", type=pathlib.Path, default=pathlib.Path(sys.executable), help="interpreter that has imitation"
    )
    arguments.add_argument("--agents", nargs="+", default=list(AGENTS), choices=list(AGENTS), help="only these")
    arguments.add_argument("--tasks", nargs="+", default=[task.env_id for task in TASKS], help="only these")
    args = parse(arguments)
    table = Table("both_ends", COLUMNS, key=("task", "agent", "seed"), saved=not args.quick, fresh=args.fresh)
    for seed in range(args.seeds):
        for task in TASKS:
            for agent in AGENTS:
                wanted = agent in args.agents and task.env_id in args.tasks
                if agent == "gail_block" and task.env_id != "LunarLander-v3":  # the others have none
                    continue
                if wanted and not table.has(task=task.env_id, agent=agent, seed=seed):
                    table.add(run(task, agent, seed, 2048 if args.quick else task.n_steps, args.peer_python))
    print(hardware())
    report(table)
    return verdict(bounds(table))


if __name__ == "__main__":
    sys.exit(main())
