"""GAIL in small worlds: SB3 around it, the spaces it trains in, and what is saved."""

from __future__ import annotations

import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, EvalCallback
from stable_baselines3.common.envs import IdentityEnvBox, IdentityEnvMultiBinary, IdentityEnvMultiDiscrete
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from support.experts import SMALL, demonstrations_of, gail, tagged
from support.worlds import TaggedEnv

from sb3_ext.demonstrations import Demonstrations, Episode
from sb3_ext.imitation import GAIL, behaviour_cloning
from sb3_ext.imitation.discriminator import ShapedDiscriminator
from sb3_ext.imitation.rollouts import log_prob_of


def test_schedules_advance_over_the_whole_training() -> None:
    model = gail(learning_rate=lambda p: 1e-3 * p, discriminator_learning_rate=lambda p: 2e-3 * p, clip_range=0.2)
    rates: list[tuple[float, ...]] = []
    weights: list[th.Tensor] = []

    class Watch(BaseCallback):
        def _on_step(self) -> bool:
            return True

        def _on_rollout_start(self) -> None:
            rates.append(
                (model.policy.optimizer.param_groups[0]["lr"], model.adversary.optimizer.param_groups[0]["lr"])
            )
            weights.append(next(model.policy.parameters()).detach().clone())

    model.learn(48 * 4, callback=Watch())
    np.testing.assert_allclose(rates[1:], [(7.5e-4, 1.5e-3), (5e-4, 1e-3), (2.5e-4, 5e-4)], rtol=1e-6)
    assert all((a != b).any() for a, b in pairwise(weights))


def test_callbacks_of_every_kind_are_called(tmp_path: Path) -> None:
    calls: list[str] = []

    class Counts(BaseCallback):
        def _init_callback(self) -> None:
            calls.append("init")

        def _on_step(self) -> bool:
            return True

    def function(locals_: dict[str, Any], globals_: dict[str, Any]) -> bool:
        calls.append("function")
        return True

    gail().learn(1, callback=[Counts(), Counts()])
    assert calls == ["init", "init"]
    gail().learn(1, callback=CallbackList([Counts()]))
    gail().learn(1, callback=function)
    assert calls.count("function") == 16
    stop = gail()
    stop.learn(1000, callback=lambda *_: False)
    assert stop.num_timesteps == 3
    evaluated = gail()
    watched = Monitor(TaggedEnv())
    evaluated.learn(96, callback=EvalCallback(watched, eval_freq=16, best_model_save_path=str(tmp_path), verbose=0))
    assert (tmp_path / "best_model.zip").is_file()


@pytest.mark.parametrize(
    "env",
    [IdentityEnvBox(), IdentityEnvMultiDiscrete(3), IdentityEnvMultiBinary(3)],
    ids=["Box", "MultiDiscrete", "MultiBinary"],
)
def test_every_action_space_trains(env: gym.Env) -> None:
    model = GAIL("MlpPolicy", env, demonstrations_of(env), **SMALL)
    model.learn(32)
    assert np.isfinite(model.rollout_buffer.advantages).all()


class Pictures(gym.Env):
    """Random images, alone or in a dictionary, channels last as environments give them."""

    def __init__(self, in_dict: bool) -> None:
        self.picture = spaces.Box(0, 255, (36, 36, 1), np.uint8)
        speed = spaces.Box(-1, 1, (2,), np.float32)
        self.observation_space = spaces.Dict({"picture": self.picture, "speed": speed}) if in_dict else self.picture
        self.action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.t = 0
        return self.observation_space.sample(), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.t += 1
        return self.observation_space.sample(), 0.0, self.t == 5, False, {}


@pytest.mark.parametrize("in_dict", [False, True], ids=["image", "dictionary"])
@pytest.mark.parametrize("inputs", ["sa", "ss"])
def test_images_train_from_demonstrations_with_channels_last(in_dict: bool, inputs: str) -> None:
    env = Pictures(in_dict)
    policy = "MultiInputPolicy" if in_dict else "CnnPolicy"
    small = {"discriminator_batch_size": 8, "discriminator_updates": 2}
    model = GAIL(policy, env, demonstrations_of(env), inputs=inputs, **{**SMALL, **small})
    model.learn(16)
    assert model.adversary.expert is not None
    seen: Any = model.adversary.expert.observations
    assert (seen["picture"] if in_dict else seen).shape[1:] == (1, 36, 36)


@pytest.mark.parametrize(
    "keywords", [{"shaped": True, "reward": "airl"}, {"reward": "fairl"}, {"use_sde": True}], ids=str
)
def test_the_family_trains(keywords: dict[str, Any]) -> None:
    env = gym.make("Pendulum-v1")
    model = GAIL(
        "MlpPolicy",
        VecNormalize(DummyVecEnv([lambda: gym.make("Pendulum-v1")])),
        demonstrations_of(env),
        **SMALL,
        **keywords,
    )
    model.learn(48)
    assert isinstance(model.discriminator, ShapedDiscriminator) == keywords.get("shaped", False)
    assert np.isfinite(model.rollout_buffer.advantages).all()


def test_shaped_logits_use_the_policys_own_probabilities() -> None:
    model = gail(shaped=True, reward="airl", normalize_reward=False)
    model.learn(1)
    steps = model._recorder.steps(model.adversary)
    flat = model.rollout_buffer.log_probs.reshape(3, -1).T  # PPO has flattened them, environment by environment
    np.testing.assert_array_equal(steps.log_prob.numpy(), flat.reshape(-1))
    assert (steps.log_prob < 0).all()


@pytest.mark.parametrize("squashed", [False, True])
def test_log_probabilities_of_executed_actions_are_those_of_the_rollout(squashed: bool) -> None:
    """Pendulum's executed actions are twice the squashed policy's own."""
    squash: dict[str, Any] = {"use_sde": True, "policy_kwargs": {"squash_output": True}} if squashed else {}
    env = VecNormalize(DummyVecEnv([lambda: gym.make("Pendulum-v1")]), training=False)
    statistics: Any = env.obs_rms  # Any: one, or a dictionary of them
    statistics.mean += 3.0  # frozen, so that the rollout and the call below see the same
    demonstrations = demonstrations_of(gym.make("Pendulum-v1"))
    model = GAIL("MlpPolicy", env, demonstrations, shaped=True, learning_rate=0.0, **SMALL, **squash)
    model.policy.log_std.data.fill_(-2.0)  # no action is clipped, and tanh can be inverted
    model.learn(1)
    steps = model._recorder.steps(model.adversary)
    assert steps.actions.abs().max() < 1.9
    th.testing.assert_close(log_prob_of(model, steps), steps.log_prob, rtol=1e-3, atol=1e-3)
    ended = steps._replace(next_absorbing=th.ones(len(steps.absorbing)))
    assert (log_prob_of(model, model.adversary.absorbing_steps(ended)) == 0).all()


def test_multibinary_demonstrations_have_log_probabilities() -> None:
    env = IdentityEnvMultiBinary(3)
    losses = behaviour_cloning(PPO("MlpPolicy", env, seed=0, device="cpu"), demonstrations_of(env), n_epochs=1)
    assert np.isfinite(losses).all()
    model = GAIL("MlpPolicy", env, demonstrations_of(env), shaped=True, **SMALL)
    model.learn(16)
    steps = model._recorder.steps(model.adversary)
    assert (steps.log_prob < 0).all()


def test_save_load_and_resume(tmp_path: Path) -> None:
    env, demonstrations = tagged(), demonstrations_of(TaggedEnv())
    model = gail(env, demonstrations, reward="airl", inputs="s", discriminator_learning_rate=3e-3)
    model.learn(96)
    model.save(tmp_path / "model")
    loaded = GAIL.load(tmp_path / "model", device="cpu")
    observation = np.ones((3, 3), dtype=np.float32)
    np.testing.assert_array_equal(
        loaded.predict(observation, deterministic=True)[0], model.predict(observation, deterministic=True)[0]
    )
    assert loaded.reward_settings == model.reward_settings and loaded.demonstrations is None
    for name, value in model.discriminator.state_dict().items():
        th.testing.assert_close(loaded.discriminator.state_dict()[name], value, rtol=0, atol=0)
    assert loaded.adversary.scale.divisor == model.adversary.scale.divisor
    moments = [o.state_dict()["state"][0]["exp_avg"] for o in (loaded.adversary.optimizer, model.adversary.optimizer)]
    th.testing.assert_close(*moments, rtol=0, atol=0)
    with pytest.raises(ValueError, match=r"GAIL learns from demonstrations and has none"):
        loaded.learn(1)
    resumed = GAIL.load(tmp_path / "model", env=env, demonstrations=demonstrations, device="cpu")
    resumed.learn(96, reset_num_timesteps=False)
    assert resumed.num_timesteps == 192


def test_keywords_of_load_replace_the_saved_settings(tmp_path: Path) -> None:
    gail(discriminator_updates=2).save(tmp_path / "model")
    changed: dict[str, Any] = {"discriminator_updates": 3, "reward": "logd", "discriminator_learning_rate": 1e-4}
    loaded = GAIL.load(tmp_path / "model", device="cpu", **changed)
    settings = loaded.reward_settings
    assert (settings.discriminator_updates, settings.reward, loaded.adversary.settings) == (3, "logd", settings)
    assert float(loaded.adversary.form(th.zeros(1))) < 0 and loaded.adversary.learning_rate(1.0) == 1e-4
    decaying = GAIL.load(
        tmp_path / "model",
        env=tagged(),
        demonstrations=demonstrations_of(TaggedEnv()),
        device="cpu",
        weight_decay=0.5,
    )
    decaying.learn(1)
    assert [group["weight_decay"] for group in decaying.adversary.optimizer.param_groups] == [0.5]
    with pytest.raises(ValueError, match="discriminator_updates 0 must be at least 1"):
        GAIL.load(tmp_path / "model", device="cpu", discriminator_updates=0)


def test_demonstrations_are_not_in_the_zip(tmp_path: Path) -> None:
    marker = np.float32(123456.789)
    episode = Episode(np.full((4, 3), marker, dtype=np.float32), np.zeros(3, dtype=np.int64), None, True, False)
    space = TaggedEnv()
    model = gail(demonstrations=Demonstrations((episode,), space.observation_space, space.action_space))
    model.learn(48)
    model.save(tmp_path / "model.zip")
    with zipfile.ZipFile(tmp_path / "model.zip") as archive:
        assert not any(marker.tobytes() in archive.read(name) for name in archive.namelist())
        assert b"demonstrations" not in archive.read("data")


def test_the_same_seed_gives_the_same_run() -> None:
    one = gail().learn(150)
    other = gail().learn(150)
    for a, b in zip(one.discriminator.parameters(), other.discriminator.parameters(), strict=True):
        th.testing.assert_close(a, b, rtol=0, atol=0)


def test_without_a_seed_runs_differ() -> None:
    one, other = (next(gail(seed=None).discriminator.parameters()) for _ in range(2))
    assert (one != other).any()
