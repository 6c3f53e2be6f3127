"""What each wrapper lets through: hidden numbers, flicker, the previous action and reward; and wrong input."""

from __future__ import annotations

import itertools
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.envs.classic_control.pendulum import PendulumEnv
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecTransposeImage
from support.wrapped import CountingEnv, episode, vector_env

from sb3_ext.envs import (
    DiscreteTorque,
    FlickeringObservation,
    MaskObservation,
    MemoryChainEnv,
    PendulumPixelsEnv,
    PreviousActionReward,
    RepeatPreviousEnv,
)


@pytest.mark.parametrize("drop", [False, True])
def test_mask_hides_exactly_the_named_entries(drop: bool) -> None:
    env, plain = MaskObservation(gym.make("CartPole-v1"), [3, 1], drop=drop), gym.make("CartPole-v1")
    for masked, full in zip(episode(env, [0, 1, 1, 0], 5), episode(plain, [0, 1, 1, 0], 5), strict=True):
        shown, original = (masked, full) if isinstance(full, np.ndarray) else (masked[0], full[0])
        expected = [original[0], original[2]] if drop else [original[0], 0.0, original[2], 0.0]
        np.testing.assert_array_equal(shown, np.array(expected, np.float32))
        assert env.observation_space.contains(shown)
        assert original.all()  # what was hidden was not 0
    assert env.observation_space.shape == ((2,) if drop else (4,))


def test_mask_leaves_the_array_of_the_wrapped_env_as_it_is() -> None:
    original = np.ones(4, np.float32)
    assert MaskObservation(vector_env(), [0]).observation(original).sum() == 3
    assert original.sum() == 4


def test_mask_agrees_with_rl_zoo3_on_cartpole() -> None:
    zoo = pytest.importorskip("rl_zoo3.wrappers")
    ours, theirs = MaskObservation(gym.make("CartPole-v1"), [1, 3]), zoo.MaskVelocityWrapper(gym.make("CartPole-v1"))
    assert ours.observation_space == theirs.observation_space
    np.testing.assert_equal(episode(ours, [0, 1, 1], 2), episode(theirs, [0, 1, 1], 2))


def test_hidden_numbers_lie_in_the_space_where_its_bounds_excluded_zero() -> None:
    env = MaskObservation(vector_env(low=2.0, high=5.0), [1])
    assert isinstance(env.observation_space, spaces.Box)
    np.testing.assert_array_equal(env.observation_space.low, np.array([2, 0, 2, 2], np.float32))
    np.testing.assert_array_equal(env.observation_space.high, np.full(4, 5, np.float32))
    env_below = FlickeringObservation(vector_env(low=-5.0, high=-2.0))
    assert env_below.observation_space == spaces.Box(-5.0, 0.0, (4,), np.float32)


def test_flicker_blanks_all_or_nothing_at_its_frequency() -> None:
    steps = 4000
    env = FlickeringObservation(CountingEnv(spaces.Box(0, 9999, (3,), np.float32), spaces.Discrete(2), steps), 0.3)
    observations = [seen[0] for seen in episode(env, [0] * steps, seed=1)[1:]]
    blank = [not observation.any() for observation in observations]
    assert np.mean(blank) == pytest.approx(0.3, abs=4 * np.sqrt(0.3 * 0.7 / steps))
    for t, observation in enumerate(observations, start=1):
        assert blank[t - 1] or (observation == t).all()
    # Independent draws: two blanks in a row come with probability 0.09.
    pairs = np.mean([one and two for one, two in itertools.pairwise(blank)])
    assert pairs == pytest.approx(0.09, abs=4 * np.sqrt(0.09 * 0.91 / (steps / 2)))


@pytest.mark.parametrize(("probability", "blank"), [(0.0, False), (1.0, True)])
def test_flicker_at_0_shows_all_and_at_1_shows_nothing_also_at_reset(probability: float, blank: bool) -> None:
    env = FlickeringObservation(gym.make("CartPole-v1"), probability)
    first, *steps = episode(env, [0, 1] * 4, seed=0)
    assert [not observation.any() for observation in [first, *(step[0] for step in steps)]] == [blank] * 9


def test_flicker_repeats_with_the_seed() -> None:
    def pattern(seed: int) -> list[bool]:
        env = FlickeringObservation(gym.make("sb3_ext/PendulumPixels-v0"))
        first, *steps = episode(env, [0] * 40, seed)
        return [bool(observation.any()) for observation in [first, *(step[0] for step in steps)]]

    assert pattern(0) == pattern(0)
    assert pattern(0) != pattern(1)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-9, 9, (2,), np.float32),
        spaces.Box(0, 255, (40, 40, 3), np.uint8),
        spaces.Discrete(5),
        spaces.Dict(
            {"position": spaces.Box(0, 9, (2,), np.float32), "camera": spaces.Box(0, 255, (40, 40, 1), np.uint8)}
        ),
    ],
    ids=["vector", "image", "discrete", "dict"],
)
def test_previous_action_and_reward_arrive_also_in_the_terminal_observation(space: spaces.Space[Any]) -> None:
    venv = DummyVecEnv([lambda: PreviousActionReward(Monitor(CountingEnv(space, spaces.Discrete(3), length=3)))])
    names = set(space.spaces) if isinstance(space, spaces.Dict) else {"observation"}

    def check(observation: Any, t: int, one_hot: list[float], reward: float) -> None:
        assert set(observation) == names | {"previous_action", "previous_reward"}
        assert all((np.asarray(observation[name]) == t).all() for name in names)
        np.testing.assert_array_equal(np.ravel(observation["previous_action"]), one_hot)
        np.testing.assert_array_equal(np.ravel(observation["previous_reward"]), [reward])
        assert observation["previous_action"].dtype == observation["previous_reward"].dtype == np.float32

    check(venv.reset(), 0, [0, 0, 0], 0.0)
    for _ in range(2):  # nothing of the first episode is left in the second
        check(venv.step(np.array([2]))[0], 1, [0, 0, 1], 12.0)
        check(venv.step(np.array([0]))[0], 2, [1, 0, 0], 20.0)
        first_of_next, _, done, infos = venv.step(np.array([1]))
        assert done[0]
        check(infos[0]["terminal_observation"], 3, [0, 1, 0], 31.0)
        check(first_of_next, 0, [0, 0, 0], 0.0)
        assert infos[0]["episode"]["r"] == 12.0 + 20.0 + 31.0


def test_previous_action_counts_from_the_first_action() -> None:
    env = PreviousActionReward(CountingEnv(spaces.Box(0, 9, (1,), np.float32), spaces.Discrete(3, start=-1)))
    env.reset()
    np.testing.assert_array_equal(env.step(-1)[0]["previous_action"], [1, 0, 0])
    np.testing.assert_array_equal(env.step(1)[0]["previous_action"], [0, 0, 1])


def test_previous_action_reward_leaves_images_to_vec_transpose_image() -> None:
    venv = VecTransposeImage(DummyVecEnv([lambda: PreviousActionReward(PendulumPixelsEnv())]))
    assert isinstance(venv.observation_space, spaces.Dict)
    assert venv.observation_space["observation"] == spaces.Box(0, 255, (1, 84, 84), np.uint8)
    observation = venv.reset()
    assert isinstance(observation, dict)
    assert observation["observation"].shape == (1, 1, 84, 84)
    assert observation["previous_action"].shape == (1, 5)


def test_previous_action_reward_trains_and_evaluates_in_sb3() -> None:
    venv = make_vec_env("sb3_ext/MemoryChain-v0", n_envs=2, seed=0, wrapper_class=PreviousActionReward)
    model = PPO("MultiInputPolicy", venv, n_steps=32, batch_size=32, n_epochs=1, seed=0, device="cpu").learn(64)
    returns, lengths = evaluate_policy(model, venv, n_eval_episodes=4, return_episode_rewards=True)
    assert set(np.ravel(returns)) <= {-1.0, 1.0}
    assert lengths == [11] * 4


def test_wrappers_can_be_rebuilt_from_the_spec_as_json() -> None:
    env: gym.Env = DiscreteTorque(gym.make("Pendulum-v1"), n_torques=3)
    env = PreviousActionReward(FlickeringObservation(MaskObservation(env, [2], drop=True), probability=0.25))
    assert env.spec is not None
    again = gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert again.observation_space == env.observation_space
    assert again.action_space == env.action_space == spaces.Discrete(3)
    assert again.get_wrapper_attr("probability") == 0.25
    np.testing.assert_equal(episode(env, [0, 2, 1] * 5, seed=7), episode(again, [0, 2, 1] * 5, seed=7))


def test_wrappers_can_be_named_in_an_rl_zoo3_yml() -> None:
    zoo = pytest.importorskip("rl_zoo3.utils")
    yaml = pytest.importorskip("yaml")
    text = """
    env_wrapper:
      - sb3_ext.envs.DiscreteTorque: {n_torques: 3}
      - sb3_ext.envs.MaskObservation: {indices: [2]}
      - sb3_ext.envs.FlickeringObservation: {probability: 0.1}
      - sb3_ext.envs.PreviousActionReward
    """
    wrap = zoo.get_wrapper_class(yaml.safe_load(text))
    venv = make_vec_env("Pendulum-v1", n_envs=2, seed=0, wrapper_class=wrap)
    assert venv.action_space == spaces.Discrete(3)
    observation = venv.reset()
    assert isinstance(observation, dict)
    assert {key: value.shape for key, value in observation.items()} == {
        "observation": (2, 3),
        "previous_action": (2, 3),
        "previous_reward": (2, 1),
    }


IMAGE = CountingEnv(spaces.Box(0, 255, (40, 40, 3), np.uint8), spaces.Discrete(2))


TORQUE_2D = CountingEnv(spaces.Box(0, 1, (2,), np.float32), spaces.Box(-1, 1, (2,), np.float32))


TORQUE_UNBOUNDED = CountingEnv(spaces.Box(0, 1, (2,), np.float32), spaces.Box(-np.inf, np.inf, (1,), np.float32))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: MaskObservation(vector_env(), [4]), r"indices \[4\] must be in 0..3: the observation has 4 entries"),
        (lambda: MaskObservation(vector_env(), [-1]), r"indices \[-1\] must be in 0..3"),
        (lambda: MaskObservation(vector_env(), [1, 1]), r"indices \[1, 1\] name an entry twice"),
        (lambda: MaskObservation(vector_env(), []), r"non-empty list of whole numbers in 0..3, got \[\]"),
        (lambda: MaskObservation(vector_env(), [1.0]), r"whole numbers in 0..3, got \[1.0\]"),  # type: ignore[list-item]
        (lambda: MaskObservation(vector_env(), [True, False]), r"whole numbers in 0..3, got \[True, False\]"),
        (lambda: MaskObservation(vector_env(n=2), [0, 1], drop=True), r"all 2 entries .* use drop=False"),
        (lambda: MaskObservation(IMAGE, [0]), r"shape \(n,\), got \(40, 40, 3\): flatten it first"),
        (lambda: FlickeringObservation(vector_env(), 1.5), r"probability 1.5 must be in \[0, 1\]"),
        (lambda: FlickeringObservation(vector_env(), -0.1), r"probability -0.1 must be in \[0, 1\]"),
        (lambda: FlickeringObservation(PreviousActionReward(vector_env())), r"needs a Box observation space, got Dict"),
        (lambda: RepeatPreviousEnv(k=-1), r"k -1 must be 0 or more"),
        (lambda: RepeatPreviousEnv(k=4, length=4), r"length 4 must be greater than k 4"),
        (lambda: RepeatPreviousEnv(render_mode="human"), r"render_mode 'human' must be None, \"ansi\" or"),
        (lambda: MemoryChainEnv(length=0), r"length 0 must be 1 or more"),
        (lambda: MemoryChainEnv(render_mode="human"), r"render_mode 'human' must be None, \"ansi\" or"),
        (lambda: DiscreteTorque(PendulumEnv(), n_torques=1), r"n_torques 1 must be 2 or more"),
        (lambda: PendulumPixelsEnv(n_torques=1), r"n_torques 1 must be 2 or more"),
        (lambda: PendulumPixelsEnv(render_mode="human"), r"render_mode 'human' must be None or \"rgb_array\""),
        (lambda: DiscreteTorque(TORQUE_2D), r"bounded Box action space of shape \(1,\), got Box\(-1.0, 1.0, \(2,\)"),
        (lambda: DiscreteTorque(TORQUE_UNBOUNDED), r"bounded Box action space of shape \(1,\), got Box\(-inf"),
        (lambda: DiscreteTorque(vector_env()), r"bounded Box action space of shape \(1,\), got Discrete\(3\)"),
        (lambda: PreviousActionReward(PendulumEnv()), r"needs a Discrete action space, got Box"),
        (
            lambda: PreviousActionReward(PreviousActionReward(vector_env())),
            r"already has the keys \['previous_action', 'previous_reward'\]",
        ),
    ],
)
def test_wrong_input_is_refused_at_the_door_with_its_number(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
