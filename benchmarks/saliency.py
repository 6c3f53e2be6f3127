"""
How much saliency lies on the pole of sb3_ext/PendulumPixels-v0, for an agent that learned to swing it up and for a
network of the same making with random weights.

    sb3-ext train --algo r2d2 --env sb3_ext/PendulumPixels-v0 -n 150000 --eval-freq 10000 --seed 0
    python benchmarks/saliency.py logs/r2d2/sb3_ext-PendulumPixels-v0_1/best_model.zip

Printed is the share of the saliency on the pole and one pixel around it over the share of the area, as a mean over all
steps of five episodes, and the lowest and highest episode.
"""

from __future__ import annotations

import argparse

import gymnasium as gym
import numpy as np
import torch as th
from common import hardware, print_rows
from rl_zoo3.wrappers import YAMLCompatResizeObservation
from scipy.ndimage import binary_dilation

from sb3_ext import R2D2
from sb3_ext.viz.attribution import Saliency
from sb3_ext.viz.trace import watch

N_EPISODES = 5


def ratios(model: R2D2, env: gym.Env, seed: int) -> dict[str, float]:
    """:return: of one episode, by stream"""
    trace = watch(model, env, seed=seed, explain=Saliency(), film=False)
    assert isinstance(trace.observations, np.ndarray)
    pictures = trace.observations[:-1].reshape(len(trace), *env.observation_space.shape[:2])  # type: ignore[index]
    near = np.stack([binary_dilation(picture > 0) for picture in pictures])
    return {
        stream: float(np.mean((heat * near).sum(axis=(1, 2)) / heat.sum(axis=(1, 2))) / near.mean())
        for stream, heat in trace.attributions.items()
    }


def pictures_of(side: int) -> gym.Env:
    """:return: the task with pictures of so many rows and columns"""
    return YAMLCompatResizeObservation(gym.make("sb3_ext/PendulumPixels-v0"), [side, side])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("agent", nargs="?", help="zip of R2D2")
    arguments.add_argument("--quick", action="store_true", help="an untrained agent, one episode: does it run?")
    given = arguments.parse_args()
    if given.agent is None and not given.quick:
        arguments.error("name the zip of an agent, or --quick")
    th.set_num_threads(1)
    n_episodes = 1 if given.quick else N_EPISODES
    trained = (
        R2D2("CnnLstmPolicy", pictures_of(36), device="cpu") if given.quick else R2D2.load(given.agent, device="cpu")
    )
    env = pictures_of(trained.observation_space.shape[-1])  # type: ignore[index]
    random = R2D2("CnnLstmPolicy", env, policy_kwargs=trained.policy_kwargs, device="cpu", seed=0)
    rows: list[tuple[object, ...]] = []
    for name, model in (("trained", trained), ("random", random)):
        of_episodes = [ratios(model, env, seed) for seed in range(n_episodes)]
        for stream in of_episodes[0]:
            found = [episode[stream] for episode in of_episodes]
            rows.append((name, stream, f"{np.mean(found):.2f} [{min(found):.2f}, {max(found):.2f}]"))
    print(hardware())
    print_rows(("network", "stream", "saliency on the pole / share of the area"), rows)


if __name__ == "__main__":
    main()
