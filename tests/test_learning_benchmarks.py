"""What the learning benchmarks measure with."""

from __future__ import annotations

import numpy as np
import pytest
from learning import returns_of
from stable_baselines3 import DQN
from stable_baselines3.common.env_util import make_vec_env

import sb3_ext  # noqa: F401 - registers the corridor


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_returns_are_discounted_from_the_start_of_each_episode(gamma: float) -> None:
    """An agent that always walks to the right and up gets 4 or -0.1 after as many steps as the corridor has."""
    env = make_vec_env("sb3_ext/TMaze-v0", n_envs=3, seed=0, env_kwargs={"length": 2})
    agent = DQN("MlpPolicy", env, device="cpu")

    def right_and_up(observation: np.ndarray, *_: object, **__: object) -> tuple[np.ndarray, None]:
        return np.where(np.asarray(observation) == 3, 3, 2), None

    agent.predict = right_and_up  # type: ignore[assignment, method-assign]
    returns = returns_of(agent, env, 60, gamma)
    assert len(returns) == 60
    assert {round(float(x), 6) for x in returns} == {round(4 * gamma**2, 6), round(-0.1 * gamma**2, 6)}
