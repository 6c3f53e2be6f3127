"""
Tasks that need a memory: R2D2, R2D2 without stored states and burn-in, stock DQN with four stacked observations, and
RecurrentPPO, the same env steps each, beside what is best without a memory and with one, exactly.

    python benchmarks/memory.py

R2D2 uses its block of zoo_configs/r2d2.yml for the task. The ablation starts every window from a zero state and has no
burn-in; its windows train the same steps. DQN has rl-zoo3's tuned CartPole settings, RecurrentPPO rl-zoo3's tuned
CartPoleNoVel settings with rollouts of 128 steps, so that a rollout holds whole episodes; on pictures both use SB3's
NatureCNN, and both get numbered observations one-hot. Greedy evaluations on separate environments. Finished runs stay
in results/memory.csv, exact values in results/memory_exact.csv.

The exact values are expected returns under the task's discount. Where that is 1 they are what an evaluation estimates;
on the other tasks evaluations are discounted too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
import rl_zoo3.import_envs  # noqa: F401 - registers PendulumNoVel-v1
import torch as th
from common import Table, hardware, parse, parser, print_rows
from gymnasium import spaces
from gymnasium.wrappers import FlattenObservation
from learning import (
    RUN_COLUMNS,
    RUN_KEY,
    Level,
    Panel,
    Result,
    cell_of,
    lanes_for,
    plot_curves,
    row_of,
    train,
    train_with_the_zoo,
)
from rl_zoo3.utils import get_wrapper_class, linear_schedule
from sb3_contrib import RecurrentPPO
from stable_baselines3 import DQN
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv, VecFrameStack, VecNormalize, VecTransposeImage

import sb3_ext  # noqa: F401 - registers the memory tasks
from sb3_ext.planning import TabularPOMDP, evaluate, memory_value
from sb3_ext.zoo.configs import read_block

TOLD = "r2d2_told"


@dataclass(frozen=True)
class Task:
    """An environment and its budget."""

    name: str
    env_id: str
    n_steps: int
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    r2d2: dict[str, Any] = field(default_factory=dict)
    """in place of the yml's"""
    gamma: float = 1.0
    """discount of what is evaluated, and of the exact values"""
    n_episodes: int = 20
    """of an evaluation on the way"""
    final_episodes: int = 50
    chance: float | None = None
    """return of a random agent, where no tables say what it is"""
    agents: tuple[str, ...] = ("r2d2", "r2d2_zero", "dqn", "ppo_lstm")

    @property
    def digits(self) -> int:
        """that an evaluation of as many episodes is worth"""
        return 2 if self.final_episodes < 1000 else 3

    @property
    def pictures(self) -> bool:
        return "Pixels" in self.env_id


def chain(length: int, n_steps: int) -> Task:
    """:return: MemoryChain with windows that span an episode"""
    span = {"sequence_length": length + 10, "period": (length + 10) // 2}
    return Task(f"MemoryChain-{length}", "sb3_ext/MemoryChain-v0", n_steps, {"length": length}, span)


TASKS = (
    chain(10, 30_000),
    chain(20, 30_000),
    chain(40, 40_000),
    Task("RepeatPrevious", "sb3_ext/RepeatPrevious-v0", 60_000),
    Task("TMaze", "sb3_ext/TMaze-v0", 30_000, gamma=0.98),
    # One episode in five reaches the goal: 20 of them would say nothing.
    Task(
        "MaskedFrozenLake",
        "sb3_ext/MaskedFrozenLake-v0",
        200_000,
        r2d2={"env_wrapper": None, "policy": "MlpLstmPolicy"},
        gamma=0.99,
        n_episodes=1000,
        final_episodes=5000,
        agents=("r2d2", "r2d2_zero", "dqn", "ppo_lstm", TOLD),
    ),
    Task("PendulumNoVel", "PendulumNoVel-v1", 40_000, chance=-1230.0),
    Task("PendulumPixels", "sb3_ext/PendulumPixels-v0", 40_000, chance=-1230.0),
)
AGENTS = {
    "r2d2": "R2D2",
    "r2d2_zero": "R2D2, zero state, no burn-in",
    "dqn": "DQN, 4 stacked observations",
    "ppo_lstm": "RecurrentPPO",
    TOLD: "R2D2, shown its last action",
}
N_EVALUATIONS = 10
EXACT_COLUMNS = ("task", "gamma", "without", "lower", "upper", "with_state", "random")


def make_env(task: Task, n_envs: int, seed: int, stack: int = 1) -> VecEnv:
    """:return: environments with the wrappers of the yml, which make the task what it is"""
    of_yml = get_wrapper_class({**read_block("r2d2", task.env_id), **task.r2d2})

    def wrap(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
        env = env if of_yml is None else of_yml(env)
        return FlattenObservation(env) if isinstance(env.observation_space, spaces.Discrete) else env

    env = make_vec_env(task.env_id, n_envs=n_envs, seed=seed, env_kwargs=task.env_kwargs, wrapper_class=wrap)
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
    every = max(n_steps // N_EVALUATIONS, 1)
    evaluations = {"n_episodes": task.n_episodes, "final_episodes": task.final_episodes}
    if agent.startswith("r2d2"):
        ablation = {"state_init": "zero", "burn_in": 0} if agent == "r2d2_zero" else {}
        settings = {**({} if agent == TOLD else task.r2d2), **ablation}
        if task.env_kwargs:
            settings["env_kwargs"] = task.env_kwargs
        return train_with_the_zoo(
            "r2d2", task.env_id, seed, n_steps, every, **evaluations, discount=task.gamma, **settings
        )
    stack, n_envs = (4, 4) if agent == "dqn" else (1, 8)
    env, eval_env = (
        make_env(task, n_envs, seed, stack),
        make_env(task, lanes_for(task.n_episodes), seed + 100_000, stack),
    )
    if agent == "ppo_lstm":
        env = VecNormalize(env, norm_obs=not task.pictures, gamma=0.98)
        eval_env = VecNormalize(eval_env, norm_obs=not task.pictures, norm_reward=False, training=False)
    model = make_dqn(task, env, seed) if agent == "dqn" else make_ppo(task, env, seed)
    return train(model, eval_env, n_steps, every, **evaluations, gamma=task.gamma)


def run(task: Task, agent: str, seed: int, n_steps: int) -> dict[str, object]:
    """:return: one row"""
    result = train_agent(agent, task, seed, n_steps)
    return row_of(result, task.name, agent, seed, n_steps)


def exact_values(task: Task) -> dict[str, object]:
    """:return: a row of `EXACT_COLUMNS`"""
    pomdp = TabularPOMDP.from_env(gym.make(task.env_id, **task.env_kwargs), task.gamma)
    value, mdp = memory_value(pomdp), pomdp.mdp
    assert value.without_is_best
    random = float(mdp.start @ evaluate(mdp, np.full((mdp.n_states, mdp.n_actions), 1.0 / mdp.n_actions)))
    numbers = {"without": value.without, "lower": value.lower, "upper": value.upper}
    numbers.update(with_state=value.with_state, random=random)
    return {"task": task.name, "gamma": task.gamma, **{name: round(number, 6) for name, number in numbers.items()}}


def known(task: Task, exact: Table) -> tuple[float, ...]:
    """:return: exact values: the best without memory, two bounds of the best with one, a random agent's"""
    return tuple(float(exact.values(name, task=task.name)[0]) for name in ("without", "lower", "upper", "random"))


def panel_of(task: Task, exact: Table) -> Panel:
    """:return: with lines where the best are, or where a random agent is"""
    if task.chance is not None:
        return Panel(task.name, [Level(task.chance, task.chance, "random agent")])
    without, lower, upper, _ = known(task, exact)
    levels = [Level(without, without, "best without memory", "-."), Level(lower, upper, "best with memory", "--")]
    return Panel(task.name, levels, "" if task.gamma == 1.0 else f"return discounted by {task.gamma}")


def report(table: Table, exact: Table) -> None:
    """Print the table: mean over seeds of the final return, and its spread over seeds; then what is exact."""
    cells: list[tuple[object, ...]] = []
    for task in TASKS:
        agents = [cell_of(table, task.name, agent, task.digits) for agent in AGENTS]
        best: tuple[object, ...] = ("-", "-", task.chance)
        if task.chance is None:
            without, lower, upper, random = (f"{value:.4g}" for value in known(task, exact))
            best = (without, lower if lower == upper else f"{lower} to {upper}", random)
        cells.append((task.name, f"{task.n_steps // 1000}k", *agents, *best))
    print_rows(("task", "env steps", *AGENTS.values(), "best without memory", "best with memory", "random"), cells)
    print("Final return of 50 greedy episodes (MaskedFrozenLake 5 000): mean and standard deviation over seeds (seeds;")
    print("CPU-s of a run). On TMaze and MaskedFrozenLake returns are discounted. The last three columns are exact.")


def main() -> None:
    arguments = parser(__doc__, seeds=3)
    arguments.add_argument("--tasks", nargs="+", default=[task.name for task in TASKS], help="only these")
    arguments.add_argument("--agents", nargs="+", choices=AGENTS, default=list(AGENTS), help="only these")
    args = parse(arguments)
    table = Table("memory", RUN_COLUMNS, key=RUN_KEY, saved=not args.quick, fresh=args.fresh)
    for seed in range(args.seeds):
        for task in TASKS:
            for agent in [name for name in task.agents if name in args.agents]:
                if task.name in args.tasks and not table.has(task=task.name, agent=agent, seed=seed):
                    table.add(run(task, agent, seed, 1200 if args.quick else task.n_steps))
    exact = Table("memory_exact", EXACT_COLUMNS, key=("task",), saved=not args.quick, fresh=args.fresh)
    for task in TASKS:
        if task.chance is None and not exact.has(task=task.name):
            exact.add(exact_values(task))
    print(hardware())
    report(table, exact)
    if not args.quick:
        plot_curves(table, [panel_of(task, exact) for task in TASKS], AGENTS, "memory", columns=4)


if __name__ == "__main__":
    main()
