"""The protocol by which an algorithm collects from environments that it does not step."""

from __future__ import annotations

import re
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import RolloutReturn, TrainFreq
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    VecEnv,
    VecEnvWrapper,
    VecFrameStack,
    VecNormalize,
    VecTransposeImage,
)
from support.q_models import make_env, make_rainbow, make_rainbowr

from sb3_ext import DAC, DDPG, GAIL, TD3
from sb3_ext.remote import source_of


class Told(DummyVecEnv):
    """A source that collects nothing and remembers what it was asked for."""

    def __init__(self, n_envs: int = 2, env_id: str = "CartPole-v1", refuses: bool = False) -> None:
        super().__init__([lambda: gym.make(env_id)] * n_envs)
        self.told: list[str] = []
        self.refuses = refuses

    def check(self, model: OffPolicyAlgorithm) -> None:
        if self.refuses:
            raise ValueError("not this one")
        self.told.append("check")

    def attach(self, model: OffPolicyAlgorithm) -> None:
        self.told.append("attach")

    def reset(self) -> Any:
        self.told.append("reset")
        return super().reset()

    def collect_for(
        self, model: OffPolicyAlgorithm, callback: BaseCallback, train_freq: TrainFreq, log_interval: int | None
    ) -> RolloutReturn:
        self.told.append(f"collect {train_freq.frequency} {log_interval}")
        model.num_timesteps += 50
        return RolloutReturn(50, 0, continue_training=True)


@pytest.mark.parametrize("make", [make_rainbow, make_rainbowr])
def test_what_an_algorithm_asks_of_a_source(make: Any) -> None:
    env = Told()
    model = make(env=env, train_freq=3, gradient_steps=0)
    assert env.told == ["check"]
    env.told.clear()
    model.learn(100, log_interval=7)
    assert env.told == ["check", "attach", "reset", "collect 3 7", "collect 3 7"]


def test_nothing_is_hooked_into_a_source() -> None:
    """Final observations are kept where environments are stepped."""
    env = Told()
    make_rainbow(env=VecNormalize(env))
    assert "step_wait" not in vars(env) and "step" not in vars(env.envs[0])


def test_a_source_is_found_under_what_normalises_and_transposes() -> None:
    env = Told()
    assert source_of(env) is env and source_of(VecNormalize(env)) is env
    pictures = DummyVecEnv([lambda: gym.make("CartPole-v1")])
    assert source_of(pictures) is None and source_of(VecNormalize(pictures)) is None and source_of(None) is None


class Doubles(VecEnvWrapper):
    def reset(self) -> Any:
        return self.venv.reset()

    def step_wait(self) -> Any:
        return self.venv.step_wait()


@pytest.mark.parametrize(
    "wrapped", [Doubles, lambda env: VecFrameStack(env, 2), lambda env: VecNormalize(Doubles(env))]
)
def test_a_wrapper_that_would_see_no_step_is_refused(wrapped: Any) -> None:
    with pytest.raises(
        ValueError, match=r"(Doubles|VecFrameStack) around Told would see no step: put it into make_env"
    ):
        make_rainbow(env=wrapped(Told()))


def test_a_model_keeps_its_environments_where_others_are_refused() -> None:
    env = make_env(2)
    model = make_rainbow(env=env)
    with pytest.raises(ValueError, match="not this one"):
        model.set_env(Told(refuses=True))
    assert model.get_env() is env
    with pytest.raises(ValueError, match="not this one"):
        make_rainbow(env=Told(refuses=True))


@pytest.mark.parametrize("algorithm", [TD3, DDPG, DAC, GAIL])
def test_others_refuse_in_one_line(algorithm: Any) -> None:
    env_id = "Pendulum-v1"
    line = re.escape(
        f"{algorithm.__name__} does not learn from actors: use R2D2, Rainbow or RainbowR, or a plain VecEnv"
    )
    with pytest.raises(ValueError, match=f"^{line}$"):
        algorithm("MlpPolicy", Told(1, env_id))
    model = algorithm("MlpPolicy", env_id)
    model.set_env(Told(1, env_id))
    with pytest.raises(ValueError, match=f"^{line}$"):
        model.learn(10)


def test_images_are_found_under_the_wrapper_of_sb3() -> None:
    class Pictures(Told):
        def __init__(self) -> None:
            super().__init__()
            self.observation_space = gym.spaces.Box(0, 255, (36, 36, 1), np.uint8)

    env: VecEnv = VecTransposeImage(Pictures())
    assert isinstance(source_of(env), Pictures)
