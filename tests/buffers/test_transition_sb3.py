"""The transition replay beside SB3's own, and under SB3's algorithms."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import DQN, SAC, TD3
from stable_baselines3.common.buffers import DictReplayBuffer, NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from support.places import (
    N_ACTIONS,
    SPACES,
    VECTOR,
)
from support.transitions import GAMMA, World, as_numpy, assert_same_samples, make_buffer, played

from sb3_ext.buffers import (
    PrioritizedReplayBuffer,
    Uniform,
)


class Blank(gym.Env[Any, Any]):
    """Only its spaces matter."""

    def __init__(self, space: spaces.Space[Any]) -> None:
        self.observation_space, self.action_space = space, spaces.Discrete(N_ACTIONS)


def normalizing(kind: str) -> VecNormalize:
    keys = ["vector"] if kind == "dict" else None
    env = VecNormalize(DummyVecEnv([lambda: Blank(SPACES[kind])]), norm_obs_keys=keys, clip_obs=50.0, clip_reward=20.0)
    statistics: Any = env.obs_rms
    one = statistics["vector"] if keys else statistics
    one.mean, one.var = np.full(3, 2.0), np.full(3, 4.0)
    env.ret_rms.var = np.array(9.0)
    return env


@pytest.mark.parametrize(
    ("kind", "normalize"),
    [("vector", False), ("vector", True), ("number", False), ("image", False), ("dict", False), ("dict", True)],
)
@pytest.mark.parametrize("box_actions", [False, True])
def test_fields_are_those_of_sb3s_buffer(kind: str, normalize: bool, box_actions: bool) -> None:
    """n_steps = 1, one environment, every transition: values, shapes and dtypes."""
    world = World(kind, 1, 1, 1000, box_actions=box_actions)
    ours = make_buffer(world, gamma=None)
    cls = DictReplayBuffer if kind == "dict" else ReplayBuffer
    theirs = cls(500, ours.observation_space, ours.action_space, "cpu")  # type: ignore[arg-type]
    for _ in range(300):
        transition = world.transition()
        ours.add(**transition)
        theirs.add(**transition)
    env = normalizing(kind) if normalize else None
    samples = ours.sample(1, env)
    assert samples._fields[:6] == ReplayBufferSamples._fields
    assert samples.discounts is None  # as theirs: the algorithm uses its own gamma
    expected = as_numpy(theirs._get_samples(np.arange(300), env))
    for name, x in as_numpy(samples).items():
        assert (x.dtype, x.shape) == (expected[name].dtype, expected[name].shape), name
        np.testing.assert_array_equal(x, expected[name])


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("n_steps", [2, 3, 5])
def test_returns_are_those_of_sb3s_n_step_buffer(n_steps: int, normalize: bool) -> None:
    """Where both have the item: SB3's also gives those at the end of the data, cut short there."""
    world = World("vector", 1, n_steps, 1000)
    ours = make_buffer(world)
    theirs = NStepReplayBuffer(500, VECTOR, ours.action_space, "cpu", n_steps=n_steps, gamma=GAMMA)
    for _ in range(300):
        transition = world.transition()
        ours.add(**transition)
        theirs.add(**transition)
    env = normalizing("vector") if normalize else None
    samples = ours.sample(1, env)
    n_items = len(samples.weights)
    assert 300 - n_steps < n_items <= 300
    sb3 = theirs._get_samples(np.arange(n_items), env)
    assert samples.discounts is not None
    assert sb3.discounts is not None
    np.testing.assert_allclose(samples.discounts.numpy(), sb3.discounts.numpy(), rtol=1e-6)
    expected = as_numpy(sb3)
    for name, x in as_numpy(samples).items():
        assert (x.dtype, x.shape) == (expected[name].dtype, expected[name].shape), name
        np.testing.assert_allclose(x, expected[name], rtol=1e-5, err_msg=name)


def test_vec_normalize_clips_each_reward_before_they_are_summed() -> None:
    buffer, env = played(3, None, gamma=1.0), normalizing("vector")
    env.ret_rms.var, env.clip_reward = np.array(1.0), 1.2
    assert buffer.sample(1, env).rewards.item() == pytest.approx(1.0 + 1.2 + 1.2)
    assert buffer.sample(1).rewards.item() == pytest.approx(1.0 + 1.25 + 1.5)  # the cells stay raw


class Small(gym.Env[Any, Any]):
    """Reward 1 for the action 1 (or near 1); Dict observations where asked for; limited to 20 steps."""

    def __init__(self, box_actions: bool, dict_observations: bool) -> None:
        box = spaces.Box(-1.0, 1.0, (3,), np.float32)
        self.observation_space = spaces.Dict({"a": box, "b": spaces.Discrete(5)}) if dict_observations else box
        self.action_space = spaces.Box(-1, 1, (1,), np.float32) if box_actions else spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.t = 0
        return self._obs(), {}

    def _obs(self) -> Any:
        x = self.np_random.uniform(-1, 1, 3).astype(np.float32)
        return {"a": x, "b": self.t % 5} if isinstance(self.observation_space, spaces.Dict) else x

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.t += 1
        return self._obs(), 1.0 - abs(1.0 - float(np.asarray(action).item())), False, self.t >= 20, {}


def stock(cls: type[OffPolicyAlgorithm], n_envs: int, dict_observations: bool, **kwargs: Any) -> OffPolicyAlgorithm:
    env = DummyVecEnv([lambda: Small(cls is not DQN, dict_observations) for _ in range(n_envs)])
    if cls is DQN:
        kwargs |= {"exploration_final_eps": 0.2, "target_update_interval": 50}
    if cls is SAC:
        kwargs |= {"ent_coef": 0.01}
    return cls(
        "MultiInputPolicy" if dict_observations else "MlpPolicy",
        env,
        **{
            "policy_kwargs": {"net_arch": [16]},
            "learning_rate": 3e-3,
            "buffer_size": 200,
            "learning_starts": 40,
            "batch_size": 32,
            "gamma": 0.5,
            "train_freq": 1,
            "gradient_steps": -1,
            "replay_buffer_class": PrioritizedReplayBuffer,
            "seed": 0,
            "device": "cpu",
            **kwargs,
        },
    )


@pytest.mark.parametrize("cls", [DQN, TD3, SAC])
@pytest.mark.parametrize(
    ("n_envs", "dict_observations", "kwargs"),
    [
        (1, False, {}),
        (3, False, {"replay_buffer_kwargs": {"n_steps": 3, "gamma": 0.5}}),
        (1, True, {"replay_buffer_kwargs": {"n_steps": 2, "gamma": 0.5, "sampler": Uniform()}}),
        (3, True, {}),
    ],
)
def test_stock_algorithms_learn_with_it(
    cls: type[OffPolicyAlgorithm], n_envs: int, dict_observations: bool, kwargs: dict[str, Any]
) -> None:
    """Beyond the ring's end, with a second ``learn`` that resets the environments."""
    model = stock(cls, n_envs, dict_observations, **kwargs)
    model.learn(150)
    model.learn(250)
    buffer = model.replay_buffer
    assert isinstance(buffer, PrioritizedReplayBuffer)
    assert buffer.full
    env = model.get_env()
    assert env is not None
    observation: Any = env.reset()
    actions, _ = model.predict(observation, deterministic=True)
    assert np.mean(actions) > 0.5  # at random: 0.5 or 0


def test_stock_algorithms_keep_their_gamma_where_the_buffer_has_none() -> None:
    """A discount in the batch would replace that of the model."""
    cases: list[tuple[dict[str, Any], float | None]] = [
        ({}, None), ({"gamma": 0.7}, 0.7), ({"n_steps": 2, "gamma": 0.5}, 0.25)
    ]  # fmt: skip
    for keywords, expected in cases:
        model = stock(DQN, 1, False, replay_buffer_kwargs=keywords, learning_starts=1000)
        model.learn(10)
        assert model.replay_buffer is not None
        discounts = model.replay_buffer.sample(4).discounts
        assert (discounts is None) == (expected is None)
        if discounts is not None and expected is not None:
            np.testing.assert_allclose(discounts.numpy(), expected, rtol=1e-6)


def test_a_stock_algorithm_saves_and_loads_it(tmp_path: Any) -> None:
    """The sampler among the keywords is saved with the model, and must not bring its leaves back."""
    keywords = {"n_steps": 3, "gamma": 0.5, "sampler": Uniform()}
    model = stock(SAC, 2, False, replay_buffer_kwargs=keywords)
    model.learn(100)
    model.save_replay_buffer(tmp_path / "replay.pkl")
    model.save(tmp_path / "model.zip")
    resumed = SAC.load(tmp_path / "model.zip", env=model.get_env())
    assert isinstance(resumed.replay_buffer, PrioritizedReplayBuffer)
    assert resumed.replay_buffer.n_drawable == 0
    resumed.load_replay_buffer(tmp_path / "replay.pkl")
    one, other = model.replay_buffer, resumed.replay_buffer
    assert isinstance(one, PrioritizedReplayBuffer)
    assert isinstance(other, PrioritizedReplayBuffer)
    assert one.n_drawable == other.n_drawable > 80
    draws = []
    for each in (one, other):
        set_random_seed(0)
        draws.append(each.sample(16))
    assert_same_samples(draws[0], draws[1])
    resumed.learn(50)
    assert other.n_drawable > one.n_drawable
    acting_only = SAC.load(tmp_path / "model.zip", buffer_size=1)
    assert acting_only.replay_buffer is not None
    assert acting_only.replay_buffer.size() == 0
