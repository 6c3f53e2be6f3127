"""Names of inputs and actions: where they come from, in which order, and when there are none."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import PPO

from sb3_ext import envs
from sb3_ext.envs import MemoryChainEnv, PendulumPixelsEnv, TMazeEnv
from sb3_ext.viz.attribution import Saliency
from sb3_ext.viz.names import Names, names_of
from sb3_ext.viz.trace import watch

CART = ("Cart Position", "Cart Velocity", "Pole Angle", "Pole Angular Velocity")
LEFT, RIGHT = 276, 275  # pygame 1's codes, which gymnasium writes


class Named(gym.Env):
    """
    Steers.

    ## Action Space

    | Num | Action    |
    |-----|-----------|
    | 0   | *hold*    |
    | 1   | turn      |

    ## Observation Space

    Two numbers:
    - 0: `here`
    - 1: there
    - 0: of another variant
    - 2: its last one

    ## Rewards
    - 0: none
    """

    observation_space: spaces.Space[Any] = spaces.Box(0, 1, (2,), np.float32)
    action_space: spaces.Space[Any] = spaces.Discrete(2)


class WithMeanings(Named):
    __doc__ = Named.__doc__

    def get_action_meanings(self) -> list[str]:
        return ["NOOP", "FIRE"]


class WithMetadata(WithMeanings):
    metadata = {"observation_names": ("a", "b"), "action_names": ["c", "d"]}  # noqa: RUF012 - gymnasium declares it so


class WithKeys(gym.Env):
    """Says nothing."""

    observation_space = spaces.Box(0, 1, (2,), np.float32)
    action_space = spaces.Discrete(4)

    def get_keys_to_action(self) -> dict[Any, int]:
        return {(): 1, (LEFT,): 0, (RIGHT,): 2, (LEFT, RIGHT): 1, ("w", " "): 3}


def found(env: gym.Env, given: Names | None = None) -> Names:
    return names_of(env, env.observation_space, env.action_space, given)


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        (Named(), Names(("here", "there"), ("hold", "turn"))),
        (WithMeanings(), Names(("here", "there"), ("NOOP", "FIRE"))),
        (WithMetadata(), Names(("a", "b"), ("c", "d"))),
        (WithKeys(), Names((), ("left", "noop", "right", "w + space"))),
        (gym.make("CartPole-v1"), Names(CART, ("Push cart to the left", "Push cart to the right"))),
        (gym.make("MountainCarContinuous-v0"), Names(("position of the car along the x-axis", "velocity of the car"))),
        (gym.make("FrozenLake-v1"), Names((), ("Move left", "Move down", "Move right", "Move up"))),
        (MemoryChainEnv(), Names(("cue", "time", "query"), ("bit 0", "bit 1"))),
        (TMazeEnv(), Names((), ("left", "down", "right", "up"))),
        (PendulumPixelsEnv(n_torques=3), Names((), ("torque -2", "torque 0", "torque 2"))),
        (PendulumPixelsEnv(n_torques=None), Names()),
    ],
    ids=lambda x: type(x.unwrapped).__name__ if isinstance(x, gym.Env) else "",
)
def test_the_environment_s_own_names(env: gym.Env, expected: Names) -> None:
    assert found(env) == expected


def test_those_of_the_user_come_first_and_one_kind_leaves_the_other() -> None:
    assert found(WithMetadata(), Names(inputs=("x", "y"))) == Names(("x", "y"), ("c", "d"))


class Doubled(gym.ActionWrapper[Any, Any, Any]):
    """Two actions in place of the two components that its environment documents."""

    def __init__(self, env: gym.Env, *names: str) -> None:
        super().__init__(env)
        self.action_space = spaces.Discrete(2)
        if names:
            self.metadata = {**env.metadata, "action_names": names}

    def action(self, action: Any) -> Any:
        return np.full(2, action)


def test_a_wrapper_with_other_actions_leaves_the_names_below_it_behind() -> None:
    pair = Named()
    pair.action_space = spaces.Box(-1, 1, (2,))
    assert found(pair).actions == ("hold", "turn")
    assert found(Doubled(pair)) == Names(("here", "there"))
    assert found(gym.wrappers.TimeLimit(Doubled(pair, "in", "out"), 5)).actions == ("in", "out")
    longer = gym.wrappers.TimeAwareObservation(gym.make("CartPole-v1"))
    assert found(longer).inputs == ()
    hidden = envs.MaskObservation(gym.make("CartPole-v1"), [1, 3])
    assert found(hidden).inputs == CART


@pytest.mark.parametrize(
    ("names", "observation", "action", "message"),
    [
        (Names(inputs=("x",)), spaces.Box(0, 1, (2,)), spaces.Discrete(2), r"1 input name \['x'\] for Box.* needs 2"),
        (Names(actions=tuple("abc")), spaces.Box(0, 1, (2,)), spaces.Discrete(2), r"3 action names .*Discrete\(2\)"),
        (Names(actions=tuple("abc")), spaces.Box(0, 1, (2,)), spaces.Box(0, 1, (2,)), "needs 2"),
        (
            Names(inputs=("x",)),
            spaces.Discrete(1),
            spaces.Discrete(2),
            r"Discrete\(1\) has nothing that could be named",
        ),
        (Names(inputs=("x",)), spaces.Box(0, 1, (8, 8, 3)), spaces.Discrete(2), "nothing that could be named"),
        (Names(inputs=("x",)), spaces.Dict(x=spaces.Box(0, 1)), spaces.Discrete(2), "nothing that could be named"),
    ],
)
def test_a_wrong_number_is_refused(
    names: Names, observation: spaces.Space[Any], action: spaces.Space[Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        names_of(Named(), observation, action, names)


def test_an_episode_has_them_and_its_seed() -> None:
    model = PPO("MlpPolicy", "CartPole-v1", n_steps=8, batch_size=8, device="cpu")
    trace = watch(
        model, gym.make("CartPole-v1"), seed=3, film=False, explain=Saliency(), names=Names(actions=("l", "r"))
    )
    assert trace.names == Names(CART, ("l", "r")) and trace.seed == 3
    with pytest.raises(ValueError, match="2 input names"):
        watch(model, gym.make("CartPole-v1"), film=False, names=Names(inputs=("l", "r")))
