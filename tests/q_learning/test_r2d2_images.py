"""R2D2 on pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv
from support.worlds import TaggedEnv

from sb3_ext.r2d2 import R2D2


class TaggedPictures(TaggedEnv):
    """`TaggedEnv` whose observation is a picture of its step's brightness."""

    def __init__(self, number: int = 0) -> None:
        super().__init__(number)
        self.observation_space = spaces.Box(0, 255, (36, 36, 1), np.uint8)

    def _obs(self) -> np.ndarray:
        return np.full((36, 36, 1), self.t, dtype=np.uint8)


def make_image_model(**kwargs: Any) -> R2D2:
    env = DummyVecEnv([lambda: Monitor(TaggedPictures())] * 2)
    return R2D2(
        "CnnLstmPolicy", env, burn_in=2, sequence_length=4, period=2, n_step=2, learning_starts=20, batch_size=4,
        seed=0, device="cpu", buffer_size=1000, **kwargs,
    )  # fmt: skip


def test_the_image_policy_has_the_sizes_of_the_paper() -> None:
    model = make_image_model()
    assert model.policy.lstm_hidden_size == 512
    assert model.policy.net_arch == [512]


def test_pictures_are_stored_once_as_bytes() -> None:
    model = make_image_model(gradient_steps=0, policy_kwargs=dict(lstm_hidden_size=8))
    model.learn(60)
    assert model.replay_buffer is not None
    cells = model.replay_buffer._cells[""]
    assert cells.dtype == np.uint8 and cells.shape == (1000, 1, 36, 36)
