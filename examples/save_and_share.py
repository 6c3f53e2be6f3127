"""Saving and loading: SB3's zip and its replay, to go on; JSON and safetensors, for those who do not know you."""

import argparse

import gymnasium as gym
import numpy as np

from sb3_ext import Rainbow
from sb3_ext.exchange.safe_files import load_safe, save_safe


def main(steps: int) -> None:
    model = Rainbow("MlpPolicy", "CartPole-v1", seed=0).learn(steps)
    model.save("rainbow_cartpole")
    model.save_replay_buffer("rainbow_cartpole_replay")

    again = Rainbow.load("rainbow_cartpole", env=gym.make("CartPole-v1"))  # a pickle: only for files that you trust
    again.load_replay_buffer("rainbow_cartpole_replay")
    again.learn(steps, reset_num_timesteps=False)
    print(f"went on to step {again.num_timesteps}")

    save_safe(again, "rainbow_cartpole_safe")  # a folder
    acting = load_safe("rainbow_cartpole_safe")  # whatever is in the files, nothing of it is run
    observations = np.random.default_rng(0).normal(size=(100, 4)).astype(np.float32)
    same = acting.predict(observations, deterministic=True)[0] == again.predict(observations, deterministic=True)[0]
    print(f"the same action in {same.sum()} of {len(same)} states")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=5_000)
    main(parser.parse_args().steps)
