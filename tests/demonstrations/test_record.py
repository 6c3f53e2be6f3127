"""Recording against environments that keep a diary of what happened in them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    SubprocVecEnv,
    VecEnv,
    VecEnvWrapper,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
    VecTransposeImage,
)
from support.demo_worlds import ACTIONS, OBSERVATIONS, PAIRS

from sb3_ext.demonstrations import Episode, record
from sb3_ext.demonstrations.record import executed


class Diary(gym.Env):
    """
    Writes down all that happens to it. Reward = 1 + action / 8; observation = random numbers; the lengths of episodes
    are random; every third episode ends by truncation.

    :param observation_space: to draw from
    :param action_space: any
    :param mean_length: of its episodes
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any] = OBSERVATIONS["vector"],
        action_space: spaces.Space[Any] = ACTIONS["discrete"],
        mean_length: int = 4,
    ) -> None:
        self.observation_space, self.action_space, self.mean_length = observation_space, action_space, mean_length
        self.episodes: list[dict[str, Any]] = []
        self.draws = np.random.default_rng(0)

    def _draw(self) -> Any:
        if isinstance(self.observation_space, spaces.Box) and self.observation_space.dtype == np.float32:
            # float64: what many environments return whatever their space says.
            observation: Any = self.draws.normal(3, 2, self.observation_space.shape)
        else:
            observation = self.observation_space.sample()
        self.episodes[-1]["observations"].append(observation)
        return observation

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self.draws = np.random.default_rng(seed)
            self.observation_space.seed(seed)
        self.episodes.append({"seed": seed, "observations": [], "actions": [], "rewards": [], "end": None})
        self.left = int(self.draws.integers(1, 2 * self.mean_length))
        return self._draw(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        reward = 1 + float(np.mean(action)) / 8
        self.episodes[-1]["actions"].append(np.array(action))
        self.episodes[-1]["rewards"].append(reward)
        self.left -= 1
        over, cut = self.left == 0, len(self.episodes) % 3 == 0
        if over:
            self.episodes[-1]["end"] = (not cut, cut)
        return self._draw(), reward, over and not cut, over and cut, {}


class Anything:
    """Random actions, out of the Box too; writes down what it was shown. Its state counts steps of each episode."""

    def __init__(self, action_space: spaces.Space[Any]) -> None:
        self.action_space = copy.deepcopy(action_space)
        self.action_space.seed(0)
        self.seen: list[Any] = []
        self.rng = np.random.default_rng(0)

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[np.ndarray, Any]:
        n_envs = len(episode_start)
        assert (state is None) == (len(self.seen) == 0)
        state = np.where(episode_start, 0, 0 if state is None else state) + 1
        self.seen.append((observation, state))
        if isinstance(self.action_space, spaces.Box):
            return self.rng.normal(0, 2, (n_envs, *self.action_space.shape)), state
        return np.stack([np.asarray(self.action_space.sample()) for _ in range(n_envs)]), state


def diaries(n: int = 1, **options: Any) -> tuple[VecEnv, list[Diary]]:
    envs = [Diary(**options) for _ in range(n)]
    return DummyVecEnv([lambda env=env: env for env in envs]), envs  # type: ignore[misc]


def stacked(space: spaces.Space[Any], rows: list[Any]) -> Any:
    if isinstance(space, spaces.Dict):
        return {key: np.stack([row[key] for row in rows]).astype(part.dtype) for key, part in space.items()}
    return np.stack(rows).astype(space.dtype)


def written(diary: Diary, number: int) -> Episode:
    """An episode from the environment's own notes. SB3 passes rewards on as float32."""
    page = diary.episodes[number]
    return Episode(
        stacked(diary.observation_space, page["observations"]),
        np.stack(page["actions"]).astype(diary.action_space.dtype),
        np.array(page["rewards"], dtype=np.float32).astype(np.float64),
        terminated=page["end"][0],
        truncated=page["end"][1],
        seed=page["seed"],
    )


@pytest.mark.parametrize(("observations", "actions"), PAIRS)
@pytest.mark.parametrize("n_envs", [1, 3])
def test_a_recording_is_what_the_environment_wrote_down(observations: str, actions: str, n_envs: int) -> None:
    # Images channels-first already, so that nothing is turned.
    env, envs = diaries(n_envs, observation_space=OBSERVATIONS[observations], action_space=ACTIONS[actions])
    demos = record(Anything(ACTIONS[actions]), env, 7, seed=5)
    # 7 = 2 + 2 + 3, lane by lane in turn, whichever were shorter.
    places = [(k, i) for k in range(7) for i in range(n_envs) if k < (7 + i) // n_envs]
    assert list(demos.episodes) == [written(envs[i], k) for k, i in places]
    assert {e.terminated for e in demos.episodes} == {True, False}
    assert [e.seed for e in demos.episodes[:n_envs]] == [5 + i for i in range(n_envs)]
    assert all(e.seed is None for e in demos.episodes[n_envs:])


class OneArray(VecEnvWrapper):
    """Gives the same array at every step."""

    def reset(self) -> Any:
        self.array = np.array(self.venv.reset())
        return self.array

    def step_wait(self) -> Any:
        self.array[:], *rest = self.venv.step_wait()
        return self.array, *rest


def test_a_reused_array_is_copied() -> None:
    env, envs = diaries(2)
    demos = record(Anything(env.action_space), OneArray(env), 4)
    assert list(demos.episodes) == [written(envs[i], k) for k in range(2) for i in range(2)]


def test_actions_are_those_that_were_executed() -> None:
    space = ACTIONS["box"]
    assert isinstance(space, spaces.Box)
    env, _ = diaries(action_space=space)
    demos = record(Anything(space), env, 4)
    actions = np.concatenate([e.actions for e in demos.episodes])
    assert ((actions == space.low) | (actions == space.high)).mean() > 0.5
    assert executed(np.array([[5.0, -5.0, 0.2]]), space, 1).tolist() == [[1, space.low[1], np.float32(0.2)]]
    with pytest.raises(ValueError, match=r"actions: the model gave shape \(1, 2\)"):
        executed(np.zeros((1, 2)), space, 1)
    with pytest.raises(ValueError, match="takes integers"):
        executed(np.zeros(1), spaces.Discrete(2), 1)


def test_recurrent_states_follow_the_episodes() -> None:
    env, envs = diaries(2)
    model = Anything(env.action_space)
    record(model, env, 6)
    states = np.array([state for _, state in model.seen])
    for i in range(2):
        lengths = [len(page["actions"]) for page in envs[i].episodes if page["end"]]
        expected = [t + 1 for length in lengths for t in range(length)]
        assert states[: len(expected), i].tolist() == expected


def test_min_return_drops_and_counts(caplog: pytest.LogCaptureFixture) -> None:
    env, envs = diaries(2)
    with caplog.at_level("INFO", logger="sb3_ext.demonstrations.record"):
        demos = record(Anything(env.action_space), env, 4, min_return=9.0)
    good = [
        [written(diary, k) for k, page in enumerate(diary.episodes) if page["end"] and sum(page["rewards"]) >= 9]
        for diary in envs
    ]
    assert list(demos.episodes) == [good[0][0], good[1][0], good[0][1], good[1][1]]
    assert demos.returns.min() >= 9
    (line,) = caplog.messages
    n_tried = int(line.split()[3])
    assert line == f"kept 4 of {n_tried} episodes, {n_tried - 4} dropped" and n_tried > 4


def test_min_return_out_of_reach_says_what_was_reached() -> None:
    env, envs = diaries(1)
    with pytest.raises(
        ValueError, match=r"min_return 1000: 0 of 5 episodes reached it, 2 are wanted; the returns were"
    ):
        record(Anything(env.action_space), env, 2, min_return=1000, max_episodes=5)
    assert sum(page["end"] is not None for page in envs[0].episodes) == 5
    for n, limit in [(0, None), (3, 2)]:
        with pytest.raises(ValueError, match=f"n_episodes {n} must be in 1 to max_episodes"):
            record(Anything(env.action_space), env, n, max_episodes=limit)


def test_progress_is_told_episode_by_episode() -> None:
    env, _ = diaries(2)
    told: list[int] = []
    record(Anything(env.action_space), env, 4, on_kept=told.append)
    assert sorted(set(told)) == [1, 2, 3, 4] and told == sorted(told)


def test_short_episodes_have_no_advantage() -> None:
    """One lane's episodes are 20 times longer: the first to finish would all be short."""
    envs = [Diary(mean_length=2), Diary(mean_length=40)]
    demos = record(Anything(envs[0].action_space), DummyVecEnv([lambda env=env: env for env in envs]), 10)  # type: ignore[misc]
    assert list(demos.episodes) == [written(envs[i], k) for k in range(5) for i in range(2)]


def normalized(env: VecEnv, **options: Any) -> VecNormalize:
    """With statistics far from zero and one."""
    env = VecNormalize(env, **options)
    rms = env.obs_rms if isinstance(getattr(env, "obs_rms", None), dict) else {"": getattr(env, "obs_rms", None)}
    for part in rms.values():
        if part is not None:
            part.mean += 3.0
            part.var *= 4.0
    env.ret_rms.var = np.array(100.0)
    return env


@pytest.mark.parametrize("wrap", [lambda env: env, VecMonitor], ids=["outer", "below VecMonitor"])
def test_vec_normalize_is_taken_out(wrap: Callable[[VecEnv], VecEnv]) -> None:
    env, envs = diaries(2)
    normalizer = normalized(env)
    statistics: Any = normalizer.obs_rms  # of a Box
    before = (statistics.count, normalizer.ret_rms.count)
    model = Anything(env.action_space)
    demos = record(model, wrap(normalizer), 6)
    assert list(demos.episodes) == [written(envs[i], k) for k in range(3) for i in range(2)]
    assert demos.observation_space == envs[0].observation_space
    # The model saw (x - 3) / 2, and nobody learned from it.
    shown = np.concatenate([observation[0][None] for observation, _ in model.seen])
    raw = np.concatenate([np.array(page["observations"][:-1]) for page in envs[0].episodes if page["end"]])
    np.testing.assert_allclose(shown[: len(raw)], (raw - 3) / 2, atol=1e-5)
    assert before == (statistics.count, normalizer.ret_rms.count)


def test_normalized_rewards_below_a_frame_stack_are_the_environments() -> None:
    env, envs = diaries(2)
    normalizer = normalized(env, norm_obs=False)
    demos = record(Anything(env.action_space), VecFrameStack(normalizer, 2), 6)
    for episode, (k, i) in zip(demos.episodes, [(k, i) for k in range(3) for i in range(2)], strict=True):
        plain = written(envs[i], k)
        np.testing.assert_array_equal(episode.rewards, plain.rewards)
        assert isinstance(plain.observations, np.ndarray)
        before = np.concatenate([np.zeros((1, 3), np.float32), plain.observations[:-1]])
        np.testing.assert_array_equal(episode.observations, np.concatenate([before, plain.observations], axis=1))
    assert normalizer.training and normalizer.ret_rms.count < 1


def test_normalized_observations_that_are_mixed_afterwards_are_refused() -> None:
    env, _ = diaries()
    with pytest.raises(ValueError, match=r"VecFrameStack lies around a VecNormalize .* make VecNormalize the outer"):
        record(Anything(env.action_space), VecFrameStack(VecNormalize(env), 2), 1)
    with pytest.raises(ValueError, match="one VecNormalize inside of another"):
        record(Anything(env.action_space), VecNormalize(VecNormalize(env)), 1)


HWC = spaces.Box(0, 255, (5, 4, 3), np.uint8)


@pytest.mark.parametrize("wrap", [lambda env: env, VecTransposeImage], ids=["plain", "wrapped"])
def test_images_are_stored_as_the_learner_sees_them(wrap: Callable[[VecEnv], VecEnv]) -> None:
    env, envs = diaries(observation_space=HWC)
    model = Anything(env.action_space)
    demos = record(model, wrap(env), 3)
    assert demos.observation_space == spaces.Box(0, 255, (3, 5, 4), np.uint8)
    for k, episode in enumerate(demos.episodes):
        plain = written(envs[0], k)
        np.testing.assert_array_equal(episode.observations, np.transpose(plain.observations, (0, 3, 1, 2)), strict=True)  # type: ignore[arg-type]
    assert model.seen[0][0].shape == (1, 3, 5, 4)


def test_a_dict_with_an_image_and_a_normalized_vector() -> None:
    space = spaces.Dict({"vector": OBSERVATIONS["vector"], "image": HWC})
    env, envs = diaries(observation_space=space)
    model = Anything(env.action_space)
    demos = record(model, normalized(env, norm_obs_keys=["vector"]), 3)
    for k, episode in enumerate(demos.episodes):
        plain = written(envs[0], k)
        assert isinstance(plain.observations, dict) and isinstance(episode.observations, dict)
        np.testing.assert_array_equal(episode.observations["vector"], plain.observations["vector"], strict=True)
        turned = np.transpose(plain.observations["image"], (0, 3, 1, 2))
        np.testing.assert_array_equal(episode.observations["image"], turned, strict=True)
        np.testing.assert_allclose(
            model.seen[0][0]["vector"],
            (demos.episodes[0].observations["vector"][:1] - 3) / 2,
            atol=1e-5,
        )


class AlwaysRight:
    def predict(self, observation: Any, *_: Any, **__: Any) -> tuple[np.ndarray, None]:
        return np.ones(len(observation), dtype=np.int64), None


def test_an_environment_and_its_id_are_enough() -> None:
    by_id = record(AlwaysRight(), "CartPole-v1", 2, seed=3)
    env = gym.make("CartPole-v1")
    assert record(AlwaysRight(), env, 2, seed=3) == by_id
    assert by_id.env_id == "CartPole-v1"
    assert {"gymnasium", "stable_baselines3", "sb3_ext", "numpy", "torch"} <= by_id.versions.keys()
    # A second formula: gymnasium alone.
    observation, _ = env.reset(seed=3)
    rows, over = [observation], False
    while not over:
        observation, _, over, _, _ = env.step(1)
        rows.append(observation)
    np.testing.assert_array_equal(by_id.episodes[0].observations, np.stack(rows), strict=True)
    assert by_id.episodes[0].terminated and by_id.episodes[0].seed == 3


def test_a_time_limit_truncates() -> None:
    env = gym.make("Pendulum-v1", max_episode_steps=5)
    (episode,) = record(Anything(env.action_space), env, 1).episodes
    assert (episode.terminated, episode.truncated, len(episode)) == (False, True, 5)


def test_a_termination_at_the_time_limit_is_a_termination() -> None:
    class BothAtOnce(gym.Wrapper):
        """As gymnasium's time limit, which rl-zoo3 replaces by its own once it is imported."""

        def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
            observation, reward, terminated, _, info = self.env.step(action)
            return observation, reward, terminated, terminated, info

    env = BothAtOnce(gym.make("CartPole-v1"))
    (episode,) = record(AlwaysRight(), env, 1, seed=12).episodes
    assert (episode.terminated, episode.truncated, len(episode)) == (True, False, 9)


def test_other_processes() -> None:
    envs = SubprocVecEnv([Diary, Diary], start_method="fork")
    demos = record(Anything(ACTIONS["discrete"]), envs, 4, seed=1, env_id="My-v0")
    envs.close()
    local, _ = diaries(2)
    assert demos.env_id == "My-v0"
    again = record(Anything(ACTIONS["discrete"]), local, 4, seed=1)
    assert [len(e) for e in demos.episodes] == [len(e) for e in again.episodes]
    for a, b in zip(demos.episodes, again.episodes, strict=True):
        np.testing.assert_array_equal(a.observations, b.observations, strict=True)


def test_spaces_that_cannot_be_recorded_are_refused_before_a_step() -> None:
    env, envs = diaries(action_space=spaces.Discrete(2), observation_space=spaces.Tuple([spaces.Discrete(2)]))
    with pytest.raises(ValueError, match=r"observations: .* is not a space of arrays"):
        record(Anything(env.action_space), env, 1)
    assert envs[0].episodes == []


@pytest.mark.parametrize("algorithm", [PPO, SAC, RecurrentPPO])
def test_models_of_sb3_give_the_same_twice(algorithm: Any) -> None:
    small: dict[str, Any] = dict(net_arch=[8])
    policy = "MlpLstmPolicy" if algorithm is RecurrentPPO else "MlpPolicy"
    small |= dict(lstm_hidden_size=8) if algorithm is RecurrentPPO else {}
    model = algorithm(policy, "Pendulum-v1", policy_kwargs=small, seed=0, device="cpu")
    once, twice = (record(model, "Pendulum-v1", 1, deterministic=False, seed=4) for _ in range(2))
    assert once == twice
    assert once != record(model, "Pendulum-v1", 1, deterministic=True, seed=4)
    state, starts = None, np.array([True])
    best = record(model.policy, "Pendulum-v1", 1, seed=4).episodes[0]
    assert isinstance(best.observations, np.ndarray)
    with th.no_grad():
        for t in range(3):
            action, state = model.predict(best.observations[t : t + 1], state, starts, deterministic=True)
            np.testing.assert_allclose(best.actions[t], np.clip(action[0], -2, 2), rtol=1e-6)
            starts = np.array([False])
