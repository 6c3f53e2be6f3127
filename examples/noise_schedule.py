"""TD3 with noise of exploration that falls to a fifth in the course of training."""

import argparse

import numpy as np
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.noise import NormalActionNoise

from sb3_ext import TD3
from sb3_ext.td3 import Scheduled


def main(steps: int) -> None:
    noise = NormalActionNoise(mean=np.zeros(1), sigma=0.3 * np.ones(1))  # one number for each action
    model = TD3("MlpPolicy", "Pendulum-v1", action_noise=Scheduled(noise, final=0.2), seed=0).learn(steps)
    env = model.get_env()
    assert env is not None
    mean, _ = evaluate_policy(model, env, n_eval_episodes=20)
    print(f"mean return {mean:.0f}; about -150 is as good as it gets")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10_000)
    main(parser.parse_args().steps)
