"""What tables do not take: one line each, before anything is allocated or learned."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import DQN
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize
from support.table_models import Corridor

from sb3_ext import ExpectedSARSA, QLearning
from sb3_ext.envs import TupleToMultiDiscrete
from sb3_ext.planning import OptimalityGap, TabularMDP
from sb3_ext.tabular import QTablePolicy, StateNumbers


def seen_as(space: spaces.Space[Any]) -> Corridor:
    return Corridor(space=space)


def acting_in(space: spaces.Space[Any]) -> Corridor:
    env = Corridor()
    env.action_space = space
    return env


def one_line(error: pytest.ExceptionInfo[ValueError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("env", "words"),
    [
        (gym.make("CartPole-v1"), "it needs Discrete observations, MultiDiscrete ones or a Tuple of Discrete ones, got "
                                  "Box(4,): number them in a gymnasium.ObservationWrapper, or use sb3_ext.Rainbow"),
        (seen_as(spaces.MultiBinary(3)), "got MultiBinary(3,)"),
        (seen_as(spaces.Dict({"a": spaces.Discrete(3)})), "got Dict: number them"),
        (seen_as(spaces.Tuple([spaces.Discrete(3), spaces.Box(0, 1)])), "needs a Tuple of Discrete observations, got "),
        (seen_as(spaces.MultiDiscrete(np.array([[2, 3], [2, 3]]))), "must have one axis, got (2, 2): flatten them"),
        (acting_in(spaces.Box(-1, 1, (2,))), "it needs Discrete actions, got Box(2,): number them in a "
                                             "gymnasium.ActionWrapper, or use stable_baselines3.PPO"),
        (acting_in(spaces.MultiDiscrete([2, 3])), "it needs Discrete actions, got MultiDiscrete(2,)"),
        (acting_in(spaces.Discrete(2, start=1)), "action space Discrete(2, start=1) must begin at 0"),
    ],
)  # fmt: skip
def test_spaces_that_have_no_table(env: gym.Env[Any, Any], words: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011  # the words are compared below, as they stand
        QLearning("TablePolicy", env)
    assert words in one_line(error)


def test_a_table_larger_than_the_memory_is_refused_before_it_is_made() -> None:
    """1e9 states times 6 actions of 24 bytes: value, count and mean square."""
    for space, n in (
        (spaces.Discrete(10**9), "1e+09"),
        (spaces.MultiDiscrete([1000] * 9), "1e+27"),
        (spaces.MultiDiscrete([1000] * 2000), "1e+6000"),
    ):
        env = seen_as(space)
        env.action_space = spaces.Discrete(6)
        with pytest.raises(
            ValueError, match=rf"a table of {n.replace('+', '.')} states x 6 actions takes .* GB, and"
        ) as error:
            QLearning("TablePolicy", env)
        if n == "1e+09":
            assert "takes 144 GB" in one_line(error)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"learning_rate": -0.1}, "learning_rate -0.1 must lie in [0.0, 1.0]"),
        ({"learning_rate": 1.5}, "learning_rate 1.5 must lie in"),
        ({"learning_rate": float("nan")}, "learning_rate nan must lie in"),
        ({"visit_power": -0.1}, "visit_power -0.1 must lie in [0.0, 1.0]"),
        ({"visit_power": 1.1}, "visit_power 1.1 must lie in"),
        ({"gamma": 1.01}, "gamma 1.01 must lie in"),
        ({"gamma": "1e-3"}, "gamma '1e-3' must lie in"),  # as YAML reads it
        ({"learning_rate": "1e-3"}, "learning_rate '1e-3' must lie in"),
        ({"initial_value": "1e-3"}, "initial_value '1e-3' must be a finite number"),
        ({"initial_value": float("inf")}, "initial_value inf must be a finite number"),
        ({"exploration": "epsilon"}, "exploration 'epsilon' is none of"),
        ({"exploration": {"epsilon_greedy": {"final": 2.0}}}, "final 2.0 must lie in"),
        ({"policy_kwargs": {"initial_value": 1.0}}, "policy_kwargs 'initial_value' is a keyword of QLearning itself"),
    ],
)
def test_settings_out_of_range(setting: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011  # as above
        QLearning("TablePolicy", Corridor(), **setting)
    assert words in one_line(error)
    model = QLearning("TablePolicy", Corridor())
    if "policy_kwargs" not in setting:
        vars(model).update(setting)
        with pytest.raises(ValueError) as error:  # noqa: PT011  # as above
            model.learn(10)
        assert words in one_line(error), "a setting may be changed between two trainings"


def test_a_schedule_out_of_range_is_named_when_it_gets_there() -> None:
    model = QLearning("TablePolicy", Corridor(), learning_rate=lambda progress: progress - 0.5)
    with pytest.raises(ValueError, match=r"learning_rate -0\.\d+ must lie in"):
        model.learn(100)


@pytest.mark.parametrize("reward", [np.nan, np.inf])
def test_a_reward_that_is_no_number_spoils_no_table(reward: float) -> None:
    model = QLearning("TablePolicy", Corridor(reward=reward))
    with pytest.raises(ValueError, match=rf"a reward of {reward}: QLearning learns from numbers"):
        model.learn(100)
    assert np.isfinite(model.policy.q.numpy()).all()


def test_normalised_rewards_are_refused_everywhere() -> None:
    normalized = VecNormalize(make_vec_env("FrozenLake-v1", 1), norm_obs=False)
    words = "QLearning keeps a table, which learns in any unit of the reward: take VecNormalize off"
    with pytest.raises(ValueError, match=words):
        QLearning("TablePolicy", normalized)
    model = QLearning("TablePolicy", "FrozenLake-v1")
    before = model.get_env()
    with pytest.raises(ValueError, match=words):
        model.set_env(normalized)
    assert model.get_env() is before


def test_policies_of_others_are_refused() -> None:
    with pytest.raises(ValueError, match="policy DQNPolicy is not for QLearning: use TablePolicy"):
        QLearning(DQN.policy_aliases["MlpPolicy"], Corridor())  # type: ignore[arg-type]


def test_expected_sarsa_needs_probabilities() -> None:
    with pytest.raises(ValueError, match="exploration UCB1 does not tell its probabilities"):
        ExpectedSARSA("TablePolicy", Corridor(), exploration="ucb1")


def test_a_model_of_another_environment_is_named_by_the_callback() -> None:
    model = QLearning("TablePolicy", "FrozenLake-v1")
    other = TabularMDP.from_env("CliffWalking-v1", gamma=0.99)
    with pytest.raises(ValueError, match="the model has 16 states, the table 48"):
        model.learn(10, callback=OptimalityGap(other, every=5))


def test_observations_that_are_none() -> None:
    model = QLearning("TablePolicy", Corridor())
    for wrong, words in (
        (np.array([1.5]), "observation array"),
        (-1, "observation -1"),
        ({"a": np.zeros(1)}, "is none"),
    ):
        with pytest.raises(ValueError, match=words):
            model.predict(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"needs a Tuple of Discrete observations, got Discrete\(4\)"):
        TupleToMultiDiscrete(Corridor())


def test_policies_check_what_they_are_given() -> None:
    four, two = spaces.Discrete(4), spaces.Discrete(2)
    for given, words in (
        ((four, spaces.Box(-1, 1)), "needs Discrete actions that begin at 0, got Box"),
        ((four, two, None, float("nan")), "initial_value nan"),
        ((four, two, None, 0.0, True), "use_sde=False"),
    ):
        with pytest.raises(ValueError, match=words):
            QTablePolicy(*given)


def test_numbers_of_states_by_hand() -> None:
    pairs = StateNumbers(spaces.Tuple([spaces.Discrete(3, start=1), spaces.Discrete(2, start=-1)]), "a test")
    assert pairs.n_states == 6
    assert pairs.numbers((np.array([1, 1, 3]), np.array([-1, 0, 0]))).tolist() == [0, 1, 5]
    grid = StateNumbers(spaces.MultiDiscrete(np.array([[2, 3], [2, 2]])), "a test")
    assert grid.n_states == 24
    assert grid.numbers(np.array([[[1, 2], [1, 1]], [[0, 1], [0, 0]]])).tolist() == [23, 4]
    assert grid.numbers(np.array([[1, 2], [1, 1]])).tolist() == [23] and not grid.is_batch(np.zeros((2, 2)))
