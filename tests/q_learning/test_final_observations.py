"""The last observation of an episode reaches replay as the environment gave it, whatever stands between."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    SubprocVecEnv,
    VecEnv,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
    VecTransposeImage,
)
from support.worlds import LENGTH, Outliers

from sb3_ext import R2D2, Rainbow, RainbowR
from sb3_ext.deep_q_learning import DeepQLearning
from sb3_ext.vec_envs import RAW_FINAL_OBSERVATION, keep_final_observations, raw_final_observation

ALL = pytest.mark.parametrize("cls", [R2D2, Rainbow, RainbowR])
SMALL: dict[str, Any] = dict(learning_starts=20, batch_size=4, buffer_size=2000, train_freq=8, seed=0, device="cpu")


def dummy(kind: str = "box", n_envs: int = 2, **keywords: Any) -> DummyVecEnv:
    return DummyVecEnv([lambda: Outliers(kind, **keywords)] * n_envs)


def model_of(cls: type[DeepQLearning], env: VecEnv | gym.Env, **keywords: Any) -> DeepQLearning:
    recurrent = cls is not Rainbow
    dictionary = isinstance(env.observation_space, spaces.Dict)
    name = ("MultiInput" if dictionary else "Mlp") + ("LstmPolicy" if recurrent else "Policy")
    windows = dict(burn_in=2, sequence_length=4, period=2) if recurrent else {}
    arch = dict(net_arch=[8], **({"lstm_hidden_size": 8} if recurrent else {}))
    return cls(name, env, n_steps=2, policy_kwargs=arch, **{**SMALL, **windows, **keywords})


def stored_episodes(model: DeepQLearning) -> list[tuple[int, dict[str, np.ndarray]]]:
    """:return: number and observations of each stored episode of every env, the final observation last"""
    replay = model.replay_buffer
    assert replay is not None
    episodes, n = [], LENGTH + 1
    for lane in range(model.n_envs):
        for number in range(1, int(replay._head[lane]) // n + 1):
            first = lane * replay.buffer_size + (number - 1) * n
            episodes.append((number, {key: x[first : first + n] for key, x in replay._cells.observations.items()}))
    assert len(episodes) >= 10 * model.n_envs
    return episodes


def assert_as_given(model: DeepQLearning) -> None:
    for number, episode in stored_episodes(model):
        expected = [*range(LENGTH), 200 + number % 50]
        for x in episode.values():
            assert (x == np.reshape(expected, (-1, *[1] * (x.ndim - 1)))).all(), (number, x[-1].ravel()[:3])


@pytest.mark.parametrize("kind", ["box", "bytes", "ints", "dict"])
@ALL
def test_under_vec_normalize_the_raw_one_is_stored(cls: type[DeepQLearning], kind: str) -> None:
    model = model_of(cls, VecNormalize(dummy(kind), clip_obs=2.0))
    model.learn(200)
    assert model._n_updates > 0
    assert_as_given(model)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda env: VecNormalize(VecMonitor(env), clip_obs=2.0),
        lambda env: VecMonitor(VecNormalize(env, clip_obs=2.0)),
        lambda env: VecNormalize(VecNormalize(env, norm_obs=False), clip_obs=2.0),
    ],
)
def test_wrappers_on_either_side_do_no_harm(wrap: Callable[[VecEnv], VecEnv]) -> None:
    model = model_of(Rainbow, wrap(dummy()))
    model.learn(200)
    assert_as_given(model)


@pytest.mark.parametrize("kind", ["picture", "mixed"])
@ALL
def test_pictures_that_vec_normalize_leaves_alone_are_stored_as_the_model_sees_them(
    cls: type[DeepQLearning], kind: str
) -> None:
    normalizer = VecNormalize(
        dummy(kind, 1), norm_obs=kind == "mixed", norm_obs_keys=["a"] if kind == "mixed" else None
    )
    model = model_of(cls, normalizer, learning_starts=90)
    assert isinstance(model.env, VecTransposeImage), "SB3 puts it around VecNormalize"
    model.learn(100)
    assert_as_given(model)
    assert model.replay_buffer is not None and model._n_updates > 0
    assert model.replay_buffer._cells.observations["b" if kind == "mixed" else ""].shape[1:] == (3, 36, 40)


@pytest.mark.parametrize("order", ["transposed first", "stacked first"])
def test_frame_stacks_under_vec_normalize(order: str) -> None:
    env: VecEnv = dummy("picture", 1)
    env = VecFrameStack(VecTransposeImage(env), 2) if order == "transposed first" else VecFrameStack(env, 2)
    model = model_of(Rainbow, VecNormalize(env, norm_obs=False, norm_reward=True))
    model.learn(100)
    for number, episode in stored_episodes(model):
        assert episode[""].shape[1:] == (6, 36, 40)
        assert episode[""][-1, :, 0, 0].tolist() == [LENGTH - 1] * 3 + [200 + number % 50] * 3


@ALL
def test_a_frame_stack_around_vec_normalize_is_refused(cls: type[DeepQLearning]) -> None:
    with pytest.raises(ValueError, match=r"VecFrameStack around VecNormalize: .* make VecNormalize the outer one"):
        model_of(cls, VecFrameStack(VecNormalize(dummy()), 2))
    model = model_of(cls, dummy())
    with pytest.raises(ValueError, match="make VecNormalize the outer one"):
        model.set_env(VecFrameStack(VecNormalize(dummy()), 2))


def test_environments_that_come_later_are_watched_too() -> None:
    model = model_of(Rainbow, VecNormalize(dummy()))
    model.set_env(VecNormalize(dummy(), clip_obs=2.0))
    model.learn(200)
    assert_as_given(model)


def test_evaluation_compares_the_same_chains_of_wrappers() -> None:
    """A wrapper of ours in the one chain would be missed in the other."""
    evaluation = EvalCallback(VecNormalize(VecMonitor(dummy(n_envs=1)), training=False), eval_freq=40, verbose=0)
    model = model_of(Rainbow, VecNormalize(VecMonitor(dummy())))
    model.learn(200, callback=evaluation)
    assert evaluation.last_mean_reward == LENGTH


# ---------------------------------------------------------------------- arrays that are written to again


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("kind", ["box", "dict"])
@ALL
def test_an_environment_may_write_into_what_it_returned(cls: type[DeepQLearning], kind: str, normalized: bool) -> None:
    env: VecEnv = dummy(kind, reuses=True)
    model = model_of(cls, VecNormalize(env, clip_obs=2.0) if normalized else env)
    model.learn(200)
    assert_as_given(model)


def test_an_environment_that_sb3_wraps_may_too() -> None:
    model = model_of(Rainbow, Outliers(reuses=True))
    model.learn(100)
    assert_as_given(model)


def test_in_another_process_it_is_noticed() -> None:
    keep = SubprocVecEnv([lambda: Outliers(reuses=True)], start_method="fork")
    model = model_of(Rainbow, keep, gradient_steps=0)
    with pytest.warns(UserWarning, match=r"final observations of 5 episodes equal .* return copies"):
        model.learn(100)
    keep.close()


@pytest.mark.parametrize("kind", ["box", "dict"])
def test_in_another_process_nothing_is_said_where_all_is_well(kind: str) -> None:
    env = VecNormalize(SubprocVecEnv([lambda: Outliers(kind)], start_method="fork"), clip_obs=2.0)
    model = model_of(Rainbow, env, gradient_steps=0)
    model.learn(100)
    assert_as_given(model)
    env.close()


# ---------------------------------------------------------------------- the hooks


def test_hooks_are_put_once_and_belong_to_one_environment() -> None:
    venv = dummy(n_envs=1)
    env = VecNormalize(venv, clip_obs=2.0)
    for _ in range(3):
        keep_final_observations(env)
    assert venv.envs[0].step.method.__self__ is venv.envs[0]  # type: ignore[attr-defined]  # a hook, and no hook of one
    twin = copy.deepcopy(venv)
    assert twin.envs[0].step.method.__self__ is twin.envs[0]  # type: ignore[attr-defined]
    assert twin.step_wait.method.__self__ is twin  # type: ignore[attr-defined]
    again = pickle.loads(pickle.dumps(venv.envs[0]))
    again.reset()
    again.step(0)
    assert again.t == 1 and venv.envs[0].unwrapped.episode == 0


def test_infos_hold_both() -> None:
    env = VecNormalize(dummy(n_envs=1), clip_obs=2.0)
    keep_final_observations(env)
    env.reset()
    for _ in range(LENGTH):
        _, _, dones, infos = env.step(np.zeros(1, dtype=int))
    assert dones[0] and infos[0][RAW_FINAL_OBSERVATION].tolist() == [201, 201]
    assert np.abs(infos[0]["terminal_observation"]).max() <= 2
    np.testing.assert_array_equal(raw_final_observation(infos[0]), [201, 201])
    assert raw_final_observation({"terminal_observation": 1}) == 1 and raw_final_observation({}) is None


# ---------------------------------------------------------------------- discrete observations


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Discrete(5, start=1), r"observation space Discrete\(5, start=1\) must begin at 0"),
        (spaces.MultiDiscrete([3, 4], start=[0, -2]), r"observation space MultiDiscrete\(.*\) must begin at 0"),
        (spaces.Dict({"a": spaces.Discrete(5, start=1)}), r"observation space 'a' Discrete\(5, start=1\) must begin"),
        (spaces.Dict({"a": spaces.MultiDiscrete([3], start=[1])}), r"observation space 'a' MultiDiscrete"),
    ],
)
@ALL
def test_discrete_observations_that_do_not_begin_at_zero_are_refused(
    cls: type[DeepQLearning], space: spaces.Space[Any], message: str
) -> None:
    env = Outliers()
    env.observation_space = space
    with pytest.raises(ValueError, match=message):
        model_of(cls, env)
