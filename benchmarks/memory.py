"""
Tasks that cannot be solved without memory: R2D2, R2D2 without stored states and burn-in, stock DQN with four stacked
observations, and RecurrentPPO, the same env steps each.

    python benchmarks/memory.py

R2D2 uses its block of zoo_configs/r2d2.yml for the task. The ablation starts every window from a zero state and has no
burn-in; its windows train the same steps. DQN has rl-zoo3's tuned CartPole settings, RecurrentPPO rl-zoo3's tuned
CartPoleNoVel settings with rollouts of 128 steps, so that a rollout holds whole episodes; on pictures both use SB3's
NatureCNN. Greedy evaluations on separate environments. Finished runs stay in results/memory.csv.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import rl_zoo3.import_envs  # noqa: F401 - registers PendulumNoVel-v1
import torch as th
from common import Table, hardware, parse, parser, print_rows
from learning import RUN_COLUMNS, RUN_KEY, Result, cell_of, plot_curves, row_of, train, train_with_the_zoo
from rl_zoo3.utils import get_wrapper_class, linear_schedule
from sb3_contrib import RecurrentPPO
from stable_baselines3 import DQN
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv, VecFrameStack, VecNormalize, VecTransposeImage

import sb3_ext  # noqa: F401 - registers the memory tasks
from sb3_ext.zoo.configs import read_block


@dataclass(frozen=True)
class Task:
    """An environment and its budget."""

    name: str
    env_id: str
    n_steps: int
    chance: float
    """return of a random agent"""
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    r2d2: dict[str, Any] = field(default_factory=dict)
    """in place of the yml's"""

    @property
    def pictures(self) -> bool:
        return "Pixels" in self.env_id


def chain(length: int, n_steps: int) -> Task:
    """:return: MemoryChain with windows that span an episode"""
    span = {"sequence_length": length + 10, "period": (length + 10) // 2}
    return Task(f"MemoryChain-{length}", "sb3_ext/MemoryChain-v0", n_steps, 0.0, {"length": length}, span)


TASKS = (
    chain(10, 30_000),
    chain(20, 30_000),
    chain(40, 40_000),
    Task("RepeatPrevious", "sb3_ext/RepeatPrevious-v0", 60_000, -0.5),
    Task("PendulumNoVel", "PendulumNoVel-v1", 40_000, -1230.0),
    Task("PendulumPixels", "sb3_ext/PendulumPixels-v0", 40_000, -1230.0),
)
AGENTS = {
    "r2d2": "R2D2",
    "r2d2_zero": "R2D2, zero state, no burn-in",
    "dqn": "DQN, 4 stacked observations",
    "ppo_lstm": "RecurrentPPO",
}
N_EVALUATIONS = 10


def make_env(task: Task, n_envs: int, seed: int, stack: int = 1) -> VecEnv:
    """:return: environments with the wrappers of the yml, which make the task what it is"""
    env = make_vec_env(
        task.env_id,
        n_envs=n_envs,
        seed=seed,
        env_kwargs=task.env_kwargs,
        wrapper_class=get_wrapper_class(read_block("r2d2", task.env_id)),
    )
    if task.pictures:
        env = VecTransposeImage(env)
    return VecFrameStack(env, stack) if stack > 1 else env


def make_dqn(task: Task, env: VecEnv, seed: int) -> BaseAlgorithm:
    """rl-zoo3's dqn.yml, CartPole-v1."""
    return DQN(
        "CnnPolicy" if task.pictures else "MlpPolicy",
        env,
        learning_rate=2.3e-3 if not task.pictures else 3e-4,
        batch_size=64,
        buffer_size=100_000,
        learning_starts=1000,
        gamma=0.99,
        target_update_interval=10 if not task.pictures else 500,
        train_freq=256 // env.num_envs,
        gradient_steps=128 if not task.pictures else 32,
        exploration_fraction=0.16,
        exploration_final_eps=0.04,
        policy_kwargs={"net_arch": [256, 256]},
        seed=seed,
        device="cpu",
    )


def make_ppo(task: Task, env: VecEnv, seed: int) -> BaseAlgorithm:
    """rl-zoo3's ppo_lstm.yml, CartPoleNoVel-v1, with longer rollouts."""
    return RecurrentPPO(
        "CnnLstmPolicy" if task.pictures else "MlpLstmPolicy",
        env,
        n_steps=128,
        batch_size=256,
        gae_lambda=0.8,
        gamma=0.98,
        n_epochs=20 if not task.pictures else 4,
        learning_rate=linear_schedule(1e-3 if not task.pictures else 3e-4),
        clip_range=linear_schedule(0.2),
        policy_kwargs={
            "ortho_init": False,
            "activation_fn": th.nn.ReLU,
            "lstm_hidden_size": 64,
            "enable_critic_lstm": True,
            "net_arch": {"pi": [64], "vf": [64]},
        },
        seed=seed,
        device="cpu",
    )


def train_agent(agent: str, task: Task, seed: int, n_steps: int) -> Result:
    """:return: the finished run"""
    every, evaluations = max(n_steps // N_EVALUATIONS, 1), {"n_episodes": 20, "final_episodes": 50}
    if agent.startswith("r2d2"):
        ablation = {"state_init": "zero", "burn_in": 0} if agent == "r2d2_zero" else {}
        settings = {**task.r2d2, **ablation}
        if task.env_kwargs:
            settings["env_kwargs"] = task.env_kwargs
        return train_with_the_zoo("r2d2", task.env_id, seed, n_steps, every, **evaluations, **settings)
    stack, n_envs = (4, 4) if agent == "dqn" else (1, 8)
    env, eval_env = make_env(task, n_envs, seed, stack), make_env(task, 10, seed + 100_000, stack)
    if agent == "ppo_lstm":
        env = VecNormalize(env, norm_obs=not task.pictures, gamma=0.98)
        eval_env = VecNormalize(eval_env, norm_obs=not task.pictures, norm_reward=False, training=False)
    model = make_dqn(task, env, seed) if agent == "dqn" else make_ppo(task, env, seed)
    return train(model, eval_env, n_steps, every, **evaluations)


def run(task: Task, agent: str, seed: int, n_steps: int) -> dict[str, object]:
    """:return: one row"""
    result = train_agent(agent, task, seed, n_steps)
    return row_of(result, task.name, agent, seed, n_steps)


def report(table: Table) -> None:
    """Print the table: mean over seeds of the final return, and its spread over seeds."""
    cells: list[tuple[object, ...]] = []
    for task in TASKS:
        row: list[object] = [task.name, f"{task.n_steps // 1000}k"]
        for agent in AGENTS:
            row.append(cell_of(table, task.name, agent))
        cells.append((*row, task.chance))
    print_rows(("task", "env steps", *AGENTS.values(), "random"), cells)
    print("Final return of 50 greedy episodes: mean and standard deviation over seeds (seeds; CPU-s of a run).")


def main() -> None:
    arguments = parser(__doc__, seeds=3)
    arguments.add_argument("--tasks", nargs="+", default=[task.name for task in TASKS], help="only these")
    args = parse(arguments)
    table = Table("memory", RUN_COLUMNS, key=RUN_KEY, saved=not args.quick, fresh=args.fresh)
    for seed in range(args.seeds):
        for task in TASKS:
            for agent in AGENTS:
                if task.name in args.tasks and not table.has(task=task.name, agent=agent, seed=seed):
                    table.add(run(task, agent, seed, 1200 if args.quick else task.n_steps))
    print(hardware())
    report(table)
    if not args.quick:
        plot_curves(table, [(task.name, task.chance) for task in TASKS], AGENTS, "memory")


if __name__ == "__main__":
    main()
