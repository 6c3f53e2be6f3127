"""GAIL: an expert's episodes are recorded into a file, and imitated from it without the environment's reward."""

import argparse

from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from sb3_ext import GAIL
from sb3_ext.demonstrations import load, record, save


def main(steps: int, expert_steps: int) -> None:
    env = make_vec_env("CartPole-v1", n_envs=8, seed=0)
    expert = PPO("MlpPolicy", env, n_steps=128, batch_size=256, seed=0, device="cpu").learn(expert_steps)
    save(record(expert, "CartPole-v1", n_episodes=10, seed=0), "expert.npz")

    shown = load("expert.npz")
    model = GAIL("MlpPolicy", env, shown, n_steps=128, batch_size=256, learning_rate=1e-3, seed=0, device="cpu")
    model.learn(steps)
    imitator, _ = evaluate_policy(model, env, n_eval_episodes=20)
    shows, _ = evaluate_policy(expert, env, n_eval_episodes=20)
    print(f"mean return {imitator:.0f}, the expert's {shows:.0f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=30_000)
    parser.add_argument("--expert-steps", type=int, default=60_000)
    main(**vars(parser.parse_args()))
