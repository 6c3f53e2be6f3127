"""Policies of TD3 and DDPG: normalised networks, statistics of observations, and which policy of a training is best."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.envs import BitFlippingEnv
from stable_baselines3.common.torch_layers import CombinedExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from support.checks import assert_same_weights
from support.control import SMALL, Reach, arch, batch_of, noise, trained

from sb3_ext import DDPG, TD3
from sb3_ext.buffers.device import DeviceReplayBuffer
from sb3_ext.networks.normalizer import RunningNormalizer
from sb3_ext.td3.policies import NormalizedExtractor, SimbaPolicy

# ---------------------------------------------------------------------- policies


@pytest.mark.parametrize("cls", [TD3, DDPG])
@pytest.mark.parametrize("policy", ["LayerNormPolicy", "SimbaPolicy"])
def test_normalised_policies_train_save_and_load(cls: type[TD3], policy: str, tmp_path: Path) -> None:
    arch = {"net_arch": [16, 16], "optimizer_class": th.optim.AdamW, "optimizer_kwargs": {"weight_decay": 1e-2}}
    model = trained(cls, policy=policy, policy_kwargs=arch)
    assert model.critic.n_critics == (2 if cls is TD3 else 1) and isinstance(model.actor.optimizer, th.optim.AdamW)
    x = np.array([[0.3, 0.5, 10.0]])
    model.save(tmp_path / "model")
    loaded = cls.load(tmp_path / "model", env=Reach(), device="cpu")
    assert_same_weights(model, loaded)
    np.testing.assert_array_equal(loaded.predict(x)[0], model.predict(x)[0])
    loaded.learn(50, reset_num_timesteps=False)
    batch = batch_of(model.replay_buffer)
    obs, actions = batch.observations, batch.actions
    th.testing.assert_close(model.critic.q1_forward(obs, actions), model.critic(obs, actions)[0])
    model.policy.save(tmp_path / "policy")  # without the algorithm
    alone = type(model.policy).load(tmp_path / "policy", device="cpu")
    np.testing.assert_array_equal(alone.predict(x)[0], model.predict(x)[0])


COUNT = "features_extractor.normalizer.count"


def normalizer_of(model: TD3) -> RunningNormalizer:
    extractor = model.actor.features_extractor
    assert isinstance(extractor, NormalizedExtractor)
    return extractor.normalizer


def test_statistics_of_observations_are_training_s_alone_and_saved(tmp_path: Path) -> None:
    env = Reach()
    seen: list[np.ndarray] = []
    model = TD3("SimbaPolicy", env, action_noise=noise(), **SMALL, policy_kwargs={"net_arch": [16]})

    def note(local: dict[str, Any], _: dict[str, Any]) -> bool:
        seen.append(local["self"]._last_obs[0].copy())
        return True

    model.learn(80, callback=note)
    assert isinstance(model.policy, SimbaPolicy)
    networks = (model.actor, model.actor_target, model.critic, model.critic_target)
    assert len({id(net.features_extractor) for net in networks}) == 1
    normalizer = normalizer_of(model)
    np.testing.assert_allclose(normalizer.mean, np.mean(seen, axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(normalizer.variance, np.var(seen, axis=0), rtol=1e-4, atol=1e-6)
    for _ in range(20):
        model.predict(np.array([[100.0, 100.0, 100.0]]), deterministic=True)
    assert float(normalizer.count) == 80
    model.save(tmp_path / "model")
    loaded = TD3.load(tmp_path / "model", env=Reach(), device="cpu")
    theirs = normalizer_of(loaded)
    assert float(theirs.count) == 80 and th.equal(theirs.mean, normalizer.mean)
    loaded.learn(10, reset_num_timesteps=False)
    assert float(theirs.count) == 90 and int(loaded.policy.state_dict()[f"critic_target.{COUNT}"]) == 90
    assert not any("normalizer" in name for name, _ in loaded.policy.named_parameters())


class Random(gym.Env):
    """Observations drawn from a space."""

    def __init__(self, space: spaces.Space[Any]) -> None:
        self.observation_space = space
        self.action_space = spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return self.observation_space.sample(), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.observation_space.sample(), 0.0, False, False, {}


@pytest.mark.parametrize(
    "space", [spaces.Box(0, 255, (1, 8, 8), np.uint8), spaces.MultiDiscrete([2, 3]), spaces.Discrete(4)], ids=str
)
def test_simba_s_statistics_are_of_what_its_networks_read(space: spaces.Space[Any]) -> None:
    space.seed(0)
    model = TD3("SimbaPolicy", Random(space), **{**SMALL, "buffer_size": 200}, policy_kwargs={"net_arch": [8]})
    model.learn(150)
    batch = model.replay_buffer.sample(100)  # type: ignore[union-attr]
    features = model.actor.extract_features(batch.observations, model.actor.features_extractor)
    assert features.mean(dim=0).abs().max() < 0.7
    assert features.std(dim=0).mean() == pytest.approx(1.0, abs=0.2)


# ---------------------------------------------------------------------- the best policy


class Scripted(gym.Env):
    """Episodes of two steps with given returns."""

    def __init__(self, returns: list[float]) -> None:
        self.observation_space = spaces.Box(-1, 1, (1,), np.float32)
        self.action_space = spaces.Box(-1, 1, (1,), np.float32)
        self.returns, self.episode = returns, -1

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        self.t = 0
        self.episode += 1
        return np.zeros(1, np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.t += 1
        half = self.returns[min(self.episode, len(self.returns) - 1)] / 2
        return np.zeros(1, np.float32), half, self.t == 2, False, {}


def test_the_best_policy_is_the_one_whose_worst_episode_was_best(tmp_path: Path) -> None:
    # Two random episodes, then pairs: (5, 4) is kept, 3 is worse at once, (9, 1) has a bad one, (4.5, 6) is kept.
    env = Scripted([100.0, 100.0, 5.0, 4.0, 3.0, 9.0, 1.0, 4.5, 6.0, -1.0, -1.0, -1.0])
    model = TD3("MlpPolicy", env, checkpoint_episodes=2, **{**SMALL, **arch(), "learning_starts": 4, "batch_size": 4})
    ends: list[tuple[int, float]] = []

    def note(local: dict[str, Any], _: dict[str, Any]) -> bool:
        if local["dones"][0]:  # before the episode counts
            ends.append((model._n_updates, model._worst_of_best))
        return True

    model.learn(24, callback=note)
    # Nothing is trained while a policy is assessed; afterwards all that was due is: two updates an episode.
    assert [n for n, _ in ends] == [0, 0, 0, 0, 4, 6, 6, 10, 10, 14, 16, 18]
    assert [worst for _, worst in ends] == [-np.inf] * 4 + [4.0] * 5 + [4.5] * 3
    best, now = model.best_actor, model.actor
    assert any(not th.equal(a, b) for a, b in zip(best.parameters(), now.parameters(), strict=True))
    x = np.zeros((1, 1), np.float32)
    np.testing.assert_array_equal(model.predict(x, deterministic=True)[0], best.predict(x)[0])
    np.testing.assert_array_equal(model.predict(x)[0], now.predict(x)[0])
    model.save(tmp_path / "model")
    loaded = TD3.load(tmp_path / "model", device="cpu")
    np.testing.assert_array_equal(loaded.predict(x, deterministic=True)[0], best.predict(x)[0])
    assert loaded._worst_of_best == 4.5


class Long(gym.Env):
    """Episodes of ``length`` steps that pay ``reward`` in all; the observation is the number of the episode."""

    def __init__(self, length: int, reward: float) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
        self.action_space = spaces.Box(-1, 1, (1,), np.float32)
        self.length, self.reward, self.episode = length, reward, -1

    def _obs(self) -> np.ndarray:
        return np.array([self.episode], np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        self.t = 0
        self.episode += 1
        return self._obs(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.t += 1
        return self._obs(), self.reward / self.length, self.t == self.length, False, {}


def test_short_episodes_are_not_preferred_and_returns_are_the_environment_s() -> None:
    env = VecNormalize(DummyVecEnv([lambda: Long(2, 100.0), lambda: Long(9, -50.0)]))
    keywords = {**SMALL, **arch(), "learning_starts": 0, "batch_size": 4}
    model = TD3("MlpPolicy", env, checkpoint_episodes=2, **keywords)
    worst: list[tuple[float, int]] = []

    def note(local: dict[str, Any], _: dict[str, Any]) -> bool:
        worst.append((model._worst_of_best, model._n_updates))
        return True

    model.learn(24, callback=note)
    assert worst[:9] == [(-np.inf, 0)] * 9, "the long one is under way"
    assert worst[9][0] == pytest.approx(-50.0) and worst[9][1] > 0


def test_an_episode_that_a_second_learn_finds_under_way_does_not_count() -> None:
    model = TD3("MlpPolicy", Long(4, 8.0), checkpoint_episodes=1, **{**SMALL, **arch(), "learning_starts": 0})
    model.learn(2)
    model.learn(2, reset_num_timesteps=False)  # the second half of an episode that was begun before
    assert model._worst_of_best == -np.inf and model._n_updates == 0
    model.learn(4, reset_num_timesteps=False)
    assert model._worst_of_best == pytest.approx(8.0)


def test_the_first_episode_after_a_reset_counts_from_its_beginning() -> None:
    model = TD3("MlpPolicy", Long(4, 8.0), checkpoint_episodes=1, **{**SMALL, **arch(), "learning_starts": 0})
    model.learn(2)
    model.learn(4)  # which resets
    assert model._worst_of_best == pytest.approx(8.0)


# ---------------------------------------------------------------------- a second learn


@pytest.mark.parametrize("replay", [None, DeviceReplayBuffer])
def test_no_sum_goes_on_into_a_second_learn(replay: Any) -> None:
    kwargs: dict[str, Any] = {"optimize_memory_usage": True, "n_steps": 3}
    if replay is not None:
        kwargs = {"replay_buffer_class": replay, "replay_buffer_kwargs": {"n_steps": 3, "gamma": 0.99}}
    model = TD3("MlpPolicy", Long(50, 1.0), **{**SMALL, **arch(), **kwargs})
    for _ in range(3):
        model.learn(20)
    stored: Any = model.replay_buffer
    if replay is None:
        batch = stored._get_samples(stored._active_leaves())
    else:
        batch = stored.gather(th.arange(60), th.zeros(60, dtype=th.long))
    assert len(batch.observations) >= 57 and len(batch.observations.unique()) == 3
    assert th.equal(batch.observations, batch.next_observations), "the observation is the number of the episode"


# ---------------------------------------------------------------------- bad input


def test_simba_s_blocks_are_equally_wide() -> None:
    with pytest.raises(ValueError, match=r"net_arch \[16, 8\] must be one width for each residual block"):
        TD3("SimbaPolicy", Reach(), **SMALL, policy_kwargs={"net_arch": [16, 8]})
    with pytest.raises(ValueError, match="activation_fn Tanh must be ReLU"):
        TD3("SimbaPolicy", Reach(), **SMALL, policy_kwargs={"activation_fn": th.nn.Tanh})


@pytest.mark.parametrize("policy", ["LayerNormPolicy", "SimbaPolicy"])
def test_normalised_policies_of_dictionaries_need_an_extractor(policy: str) -> None:
    env = BitFlippingEnv(n_bits=4, continuous=True)
    with pytest.raises(ValueError, match=f"{policy} reads vectors"):
        TD3(policy, env, **SMALL)
    kwargs = {"net_arch": [8], "features_extractor_class": CombinedExtractor}
    assert TD3(policy, env, **SMALL, policy_kwargs=kwargs).learn(40)._n_updates > 0
