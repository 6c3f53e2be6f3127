"""
One run of `imitation`'s GAIL, for gail.py, which starts it in a virtual environment of its own.

    python gail_peer.py '{"env_id": "CartPole-v1", "demonstrations": "demos.npz", "seed": 0, ...}'

It needs nothing of ours: the file is read with NumPy. The last line that it prints is the result, as JSON.
"""

from __future__ import annotations

import importlib
import json
import pathlib
import sys
import time
from typing import Any

import numpy as np
import torch as th
from imitation.algorithms.adversarial.gail import GAIL
from imitation.data.types import Trajectory
from imitation.rewards.reward_nets import BasicRewardNet
from imitation.util.logger import configure
from imitation.util.networks import RunningNorm
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv


def trajectories(path: str) -> list[Trajectory]:
    """:return: the episodes of one of our files, by its layout"""
    with np.load(path, allow_pickle=False) as file:
        observations, actions, lengths = file["observations"], file["actions"], file["lengths"]
    ends = np.cumsum(lengths)
    begins = ends - lengths
    return [  # of T + 1 observations each
        Trajectory(observations[b + i : e + i + 1], actions[b:e], None, True)
        for i, (b, e) in enumerate(zip(begins, ends, strict=True))
    ]


def returns(model: PPO, env: VecEnv, n_episodes: int) -> np.ndarray:
    """:return: of greedy episodes"""
    values, _ = evaluate_policy(model, env, n_episodes, deterministic=True, return_episode_rewards=True)
    return np.array(values)


def run(
    env_id: str,
    demonstrations: str,
    seed: int,
    n_envs: int,
    n_steps: int,
    every: int,
    n_episodes: int,
    final_episodes: int,
    ppo: dict[str, Any],
    gail: dict[str, Any],
    tasks: str | None = None,
) -> dict[str, Any]:
    """
    :param demonstrations: file of episodes
    :param n_envs: of the policy
    :param n_steps: env steps over all environments
    :param every: env steps between evaluations
    :param ppo: keywords of PPO
    :param gail: keywords of GAIL
    :param tasks: module beside this file that registers the task, and counts how its episodes end
    :return: evaluations, and CPU seconds without them
    """
    module = None
    if tasks is not None:
        sys.path.insert(0, str(pathlib.Path(__file__).parent))
        module = importlib.import_module(tasks)
    th.set_num_threads(1)
    np.random.seed(seed)
    th.manual_seed(seed)
    env = make_vec_env(env_id, n_envs, seed=seed)
    eval_env = make_vec_env(env_id, 10, seed=seed + 100_000)
    model = PPO("MlpPolicy", env, seed=seed, device="cpu", **ppo)
    network = BasicRewardNet(
        env.observation_space, env.action_space, hid_sizes=(64, 64), normalize_input_layer=RunningNorm
    )
    trainer = GAIL(
        demonstrations=trajectories(demonstrations),
        venv=env,
        gen_algo=model,
        reward_net=network,
        custom_logger=configure(pathlib.Path(demonstrations).parent, []),  # printing costs CPU seconds
        allow_variable_horizon=True,
        **gail,
    )
    steps: list[int] = []
    seconds: list[float] = []
    means: list[float] = []
    apart = 0.0  # CPU seconds of evaluations

    def evaluate(round_number: int) -> None:
        nonlocal apart
        done = (round_number + 1) * trainer.gen_train_timesteps
        if done < every * (len(steps) + 1):
            return
        start = time.process_time()
        mean = float(returns(model, eval_env, n_episodes).mean())
        end = time.process_time()
        apart += end - start
        steps.append(done)
        seconds.append(round(end - begin - apart, 2))
        means.append(round(mean, 3))

    begin = time.process_time()
    rounds = -(-n_steps // trainer.gen_train_timesteps)
    trainer.train(rounds * trainer.gen_train_timesteps, evaluate)
    cpu = time.process_time() - begin - apart
    final = returns(model, eval_env, final_episodes)
    ends = None
    if module is not None:
        ends = module.ends_of(
            lambda _, x: model.predict(x, deterministic=True)[0], env_id, final_episodes, seed + 100_000
        )
    return {
        "ends": ends,
        "steps": steps,
        "seconds": seconds,
        "means": means,
        "final_mean": float(final.mean()),
        "final_std": float(final.std()),
        "cpu_seconds": cpu,
    }


if __name__ == "__main__":
    result = run(**json.loads(sys.argv[1]))
    print(json.dumps(result))
