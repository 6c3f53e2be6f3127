"""With ``scale_reward`` the unit of the reward makes no difference; powers of two make none to the last bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from support.checks import assert_same_weights
from support.control import Reach, trained

from sb3_ext import DDPG, TD3
from sb3_ext.buffers.device import DeviceReplayBuffer
from sb3_ext.imitation import DAC
from sb3_ext.viz.insight import mind_of

UNITS = 2.0**-9, 2.0**7  # about 1/500 and 100


def env_of(unit: float) -> gym.Env[Any, Any]:
    return gym.wrappers.TransformReward(Reach(), lambda reward: unit * float(reward))


CASES: dict[str, tuple[type[TD3], dict[str, Any]]] = {
    "TD3": (TD3, {}),
    "DDPG": (DDPG, {}),
    "prioritized": (TD3, {"sampler": "proportional", "n_steps": 3}),
    "n-step": (TD3, {"n_steps": 3}),
    "device": (TD3, {"replay_buffer_class": DeviceReplayBuffer}),
}


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize(("cls", "keywords"), CASES.values(), ids=CASES.keys())
def test_weights_do_not_depend_on_the_unit(cls: type[TD3], keywords: dict[str, Any], unit: float) -> None:
    models = [trained(cls, env_of(x), scale_reward=True, **keywords) for x in (1.0, unit)]
    assert models[0]._n_updates > 50
    assert_same_weights(*models)
    q_means = [model.logger.name_to_value["train/q_mean"] for model in models]
    assert q_means[1] == pytest.approx(q_means[0] * unit) and q_means[0] != 0, "in units of the reward"
    plain = trained(cls, env_of(unit), **keywords)
    assert not th.equal(next(models[0].actor.parameters()), next(plain.actor.parameters())), "or nothing is scaled"


def test_a_report_shows_values_in_units_of_the_reward() -> None:
    values = []
    for unit in (1.0, UNITS[1]):
        model = trained(TD3, env_of(unit), scale_reward=True)
        obs, _ = model.policy.obs_to_tensor(np.zeros((1, *(model.observation_space.shape or ())), dtype=np.float32))
        values.append(mind_of(model).think(obs, None, np.ones(1, dtype=bool)).value)
    assert values[0] is not None and values[1] is not None and values[0] != 0
    np.testing.assert_allclose(values[1], UNITS[1] * values[0], rtol=1e-6)


def test_the_size_is_the_root_mean_square_of_all_rewards(tmp_path: Path) -> None:
    seen: list[float] = []

    def noted(reward: Any) -> float:
        seen.append(3 * float(reward))
        return seen[-1]

    model = trained(TD3, gym.wrappers.TransformReward(Reach(), noted))
    assert model.reward_size == 1, "off"
    model.scale_reward = True
    assert model.reward_size == pytest.approx(np.sqrt(np.mean(np.square(seen)))) and len(seen) == 120
    model.save(tmp_path / "model")
    loaded = TD3.load(tmp_path / "model", env=env_of(1.0), device="cpu")
    assert loaded.reward_size == model.reward_size, "a resumed run goes on with it"
    nothing = trained(TD3, env_of(0.0), scale_reward=True)
    assert nothing.reward_size == 1 and all(th.isfinite(x).all() for x in nothing.policy.parameters())


@pytest.mark.parametrize("norm_reward", [True, False])
def test_rewards_are_normalised_once(norm_reward: bool) -> None:
    env = VecNormalize(DummyVecEnv([lambda: env_of(64.0)]), norm_reward=norm_reward)
    model = trained(TD3, env, scale_reward=True)
    raw = model.replay_buffer.rewards[:120]
    expected = 1.0 if norm_reward else np.sqrt(np.square(raw.astype(np.float64)).mean())
    assert model.reward_size == pytest.approx(expected, rel=1e-6)


def test_learned_rewards_have_no_unit() -> None:
    env = Reach()
    env.observation_space = spaces.Box(-10.0, 10.0, (3,), np.float32)
    with pytest.raises(ValueError, match="scale_reward=True is for the environment's rewards"):
        DAC("MlpPolicy", env, scale_reward=True, device="cpu", buffer_size=100)
