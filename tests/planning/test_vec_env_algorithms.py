"""Whatever takes a VecEnv takes a TabularVecEnv: SB3's algorithms and wrappers, ours, evaluation, recording, files."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from sb3_contrib import QRDQN
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import load_results
from stable_baselines3.common.vec_env import VecFrameStack, VecMonitor, VecNormalize, VecTransposeImage

from sb3_ext import GAIL, R2D2, Rainbow, RainbowR
from sb3_ext.demonstrations import record
from sb3_ext.planning import PlannerPolicy, TabularMDP, TabularPOMDP, TabularVecEnv, expected_return, solve


def lake() -> TabularMDP:
    return TabularMDP.from_env("FrozenLake-v1", 0.99)


def hot(states: np.ndarray) -> np.ndarray:
    rows: np.ndarray = np.eye(16, dtype=np.float32)[states]
    return rows


def hot_env(n_envs: int) -> TabularVecEnv:
    space = spaces.Box(0.0, 1.0, (16,), np.float32)
    return TabularVecEnv(lake(), n_envs, observe=hot, observation_space=space)


SMALL: dict[str, Any] = {"net_arch": [8]}
CORE: dict[str, Any] = {"net_arch": [8], "lstm_hidden_size": 8}
REPLAY: dict[str, Any] = {"buffer_size": 500, "batch_size": 8, "learning_starts": 16, "policy_kwargs": SMALL}
WINDOWS: dict[str, Any] = {**REPLAY, "burn_in": 2, "sequence_length": 4, "period": 2, "policy_kwargs": CORE}
Make = Callable[[Any], BaseAlgorithm]
MODELS: dict[str, Make] = {
    "ppo": lambda env: PPO("MlpPolicy", env, n_steps=16, batch_size=16, n_epochs=1, seed=0, device="cpu"),
    "a2c": lambda env: A2C("MlpPolicy", env, seed=0, device="cpu"),
    "dqn": lambda env: DQN("MlpPolicy", env, **REPLAY, seed=0, device="cpu"),
    "qrdqn": lambda env: QRDQN("MlpPolicy", env, **REPLAY, seed=0, device="cpu"),
    "rainbow": lambda env: Rainbow("MlpPolicy", env, **REPLAY, seed=0, device="cpu"),
    "rainbowr": lambda env: RainbowR("MlpLstmPolicy", env, **WINDOWS, seed=0, device="cpu"),
    "r2d2": lambda env: R2D2("MlpLstmPolicy", env, **WINDOWS, seed=0, device="cpu"),
}


def masked() -> TabularPOMDP:
    return TabularPOMDP.from_env(gym.make("sb3_ext/MaskedFrozenLake-v0", show="nothing"))


@pytest.mark.parametrize("process", [lake, masked])
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_algorithms_learn_in_it(make: Make, process: Callable[[], Any], tmp_path: Path) -> None:
    """Also where the last observation of an episode looks like the first of the next, as where nothing is seen."""
    env = TabularVecEnv(process(), 4, horizon=8)
    model = make(env).learn(160)
    assert len(model.ep_info_buffer or ()) > 5
    model.save(tmp_path / "model")
    loaded = type(model).load(tmp_path / "model", env=env)
    observations = np.zeros(4, np.int64)
    np.testing.assert_array_equal(
        model.predict(observations, deterministic=True)[0], loaded.predict(observations, deterministic=True)[0]
    )
    loaded.learn(32)
    evaluate_policy(loaded, TabularVecEnv(process(), 2, seed=1), n_eval_episodes=4)


@pytest.mark.parametrize("make", [MODELS["dqn"], MODELS["r2d2"]], ids=["dqn", "r2d2"])
def test_a_seed_repeats_a_run(make: Make) -> None:
    first, second = (make(TabularVecEnv(lake(), 3)).learn(120) for _ in range(2))
    assert [e["l"] for e in first.ep_info_buffer or ()] == [e["l"] for e in second.ep_info_buffer or ()]
    for name, value in first.policy.state_dict().items():
        assert (value == second.policy.state_dict()[name]).all(), name


def test_evaluation_agrees_with_the_exact_return() -> None:
    mdp = lake()
    policy = PlannerPolicy.from_env("FrozenLake-v1", gamma=0.99)
    returns, lengths = evaluate_policy(
        policy,
        TabularVecEnv(mdp, 256, seed=0),
        n_eval_episodes=2560,
        return_episode_rewards=True,
    )
    exact = expected_return(mdp, solve(mdp).policy)
    assert abs(np.mean(returns) - exact) < 3 * np.std(returns) / np.sqrt(2560)
    assert isinstance(lengths, list) and max(lengths) == 100


def test_an_eval_callback_takes_it(tmp_path: Path) -> None:
    callback = EvalCallback(
        TabularVecEnv(lake(), 2), eval_freq=16, n_eval_episodes=4, log_path=str(tmp_path), verbose=0
    )
    MODELS["a2c"](TabularVecEnv(lake(), 2)).learn(64, callback)
    assert len(np.load(tmp_path / "evaluations.npz")["results"]) == 2


def test_vec_monitor_writes_the_same_episodes(tmp_path: Path) -> None:
    """SB3 warns of it as it does around environments that are in a Monitor."""
    with pytest.warns(UserWarning, match="already wrapped with a `Monitor`"):
        env = VecMonitor(TabularVecEnv(lake(), 8, seed=0), str(tmp_path / "x"))
    plain = TabularVecEnv(lake(), 8, seed=0)
    env.reset(), plain.reset()
    told = []
    for action in np.random.default_rng(0).integers(4, size=(60, 8)):
        infos, expected = env.step(action)[3], plain.step(action)[3]
        for one, other in zip(infos, expected, strict=True):
            assert ("episode" in one) == ("episode" in other)
            if "episode" in one:
                assert (one["episode"]["r"], one["episode"]["l"]) == (other["episode"]["r"], other["episode"]["l"])
                told.append(other["episode"]["l"])
    env.close()
    assert load_results(str(tmp_path))["l"].tolist() == told


def test_vec_normalize_and_frame_stacks_lie_around_it() -> None:
    env = VecNormalize(VecFrameStack(hot_env(4), 3))
    model = MODELS["ppo"](env).learn(128)
    assert env.observation_space.shape == (48,)
    assert model.get_vec_normalize_env() is env
    stack = VecFrameStack(hot_env(2), 3)
    stack.reset()
    for _ in range(100):
        observations, _, dones, infos = stack.step(np.zeros(2, int))
        for lane in np.flatnonzero(dones):
            assert isinstance(observations, np.ndarray)
            assert not observations[lane, :32].any()
            assert infos[lane]["terminal_observation"][-16:].argmax() != 0
    replayed = MODELS["rainbow"](VecNormalize(hot_env(2))).learn(80)
    assert replayed.num_timesteps == 80


def test_pictures_are_transposed() -> None:
    def picture(states: np.ndarray) -> np.ndarray:
        return np.broadcast_to((16 * states[:, None, None, None]).astype(np.uint8), (len(states), 36, 36, 1))

    space = spaces.Box(0, 255, (36, 36, 1), np.uint8)
    model = A2C("CnnPolicy", TabularVecEnv(lake(), 2, observe=picture, observation_space=space), device="cpu")
    assert isinstance(model.get_env(), VecTransposeImage)
    model.learn(20)


def test_episodes_are_recorded_and_imitated() -> None:
    expert = PlannerPolicy.from_env("FrozenLake-v1", gamma=0.99)
    demonstrations = record(expert, TabularVecEnv(lake(), 16), 20, seed=0)
    assert len(demonstrations) == 20
    again = record(expert, TabularVecEnv(lake(), 16), 20, seed=0)
    np.testing.assert_array_equal(demonstrations.lengths, again.lengths)
    ends = {(episode.terminated, episode.truncated) for episode in demonstrations.episodes}
    assert ends <= {(True, False), (False, True)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # GAIL's hints about so little data are none of this test's business
        GAIL("MlpPolicy", TabularVecEnv(lake(), 4), demonstrations, n_steps=32, device="cpu").learn(128)
