"""Keys: those of known environments, those that environments bring, and those that a user types."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from support.player import Counter, hold, keys, nothing

from sb3_ext.demonstrations.keys import TURN_BASED, key_map, parse_keys
from sb3_ext.demonstrations.play import play

pygame = pytest.importorskip("pygame")

# pygame-ce's font module reads its own data by a deprecated call.
pytestmark = [pytest.mark.filterwarnings("ignore:.*pkg_resources.*"), pytest.mark.usefixtures("dummy_driver")]


# What a hand that holds these keys of the keyboard must be able to make the environment execute.
_TURNS = {"left": 0, "down": 1, "right": 2, "up": 3}
_ROWS = {"left": 0, "a": 0, "right": 2, "d": 2, "": 1}
PLAYED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("CartPole-v1", {}, {"left": 0, "a": 0, "right": 1, "d": 1}),
    ("MountainCar-v0", {}, _ROWS),
    ("MountainCarContinuous-v0", {}, {"left": [-1], "a": [-1], "right": [1], "d": [1], "": [0]}),
    ("Acrobot-v1", {}, _ROWS),
    ("Pendulum-v1", {}, {"left": [2], "right": [-2], "a": [0.7], "d": [-0.7], "": [0]}),
    ("sb3_ext/PendulumPixels-v0", {}, {"0": 0, "1": 1, "2": 2, "3": 3, "4": 4}),
    ("sb3_ext/PendulumPixels-v0", {"n_torques": None}, {"left": [2], "right": [-2], "a": [0.7], "d": [-0.7], "": [0]}),
    ("LunarLander-v3", {"continuous": False}, {"left": 1, "a": 1, "up": 2, "w": 2, "right": 3, "d": 3, "": 0}),
    (
        "LunarLander-v3",
        {"continuous": True},
        {"left": [-1, -1], "d": [-1, 1], "w": [1, 0], "up left": [1, -1], "w d": [1, 1], "": [-1, 0]},
    ),
    ("CarRacing-v3", {"continuous": False}, {"left": 2, "right": 1, "up": 3, "down": 4, "": 0}),
    (
        "CarRacing-v3",
        {"continuous": True},
        {"left": [-1, 0, 0], "right": [1, 0, 0], "down": [0, 0, 0.8], "up right": [1, 1, 0], "": [0, 0, 0]},
    ),
    ("FrozenLake-v1", {}, _TURNS),
    ("sb3_ext/MaskedFrozenLake-v0", {}, _TURNS),
    ("sb3_ext/GridWorld-v0", {}, _TURNS),
    ("sb3_ext/TMaze-v0", {}, _TURNS),
    ("sb3_ext/Tiger-v0", {}, {"space": 0, "left": 1, "right": 2}),
    ("CliffWalking-v1", {}, {"up": 0, "right": 1, "down": 2, "left": 3}),
    ("Taxi-v4", {}, {"down": 0, "up": 1, "right": 2, "left": 3, "1": 4, "2": 5}),
    ("ALE/Pong-v5", {}, {"space": 1, "d": 2, "a": 3, "d space": 4, "a space": 5, "": 0}),
]


@pytest.mark.parametrize(("env_id", "env_kwargs", "hands"), PLAYED)
def test_keys_reach_the_usual_environments(
    env_id: str, env_kwargs: dict[str, Any], hands: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, start in (("Box2D", ("Lunar", "Car")), ("ale_py", ("ALE",))):
        if env_id.startswith(start) and env_id != "CartPole-v1":
            pytest.importorskip(module)
    env = gym.make(env_id, render_mode="rgb_array", max_episode_steps=1000, disable_env_checker=True, **env_kwargs)
    unwrapped = type(env.unwrapped)
    executed: list[Any] = []
    first: list[Any] = []
    real_reset, real_step, real_render = unwrapped.reset, unwrapped.step, unwrapped.render

    def reset(self: Any, **keywords: Any) -> Any:
        first.clear()
        observation, info = real_reset(self, **keywords)
        first.append(observation)
        return observation, info

    def step(self: Any, action: Any) -> Any:
        if not first:  # Box2D's environments make a step of their own when they are reset
            return real_step(self, action)
        executed.append(np.asarray(action).tolist())
        return first[0], 0.0, False, False, {}

    # The first key is of the game, so that the hand which holds nothing is looked at in a running episode.
    turns = [*((names.split(), action) for names, action in hands.items() if names)]
    turns += [([], action) for names, action in hands.items() if not names]
    frames = iter([frame for names, _ in turns for frame in hold(names)] + keys("escape", "y"))

    def render(self: Any) -> Any:
        if not first:  # the picture is the observation
            return real_render(self)
        if pygame.display.get_surface() is not None:
            next(frames, nothing)()
        return np.zeros((40, 60, 3), dtype=np.uint8)

    for name, method in (("reset", reset), ("step", step), ("render", render)):
        monkeypatch.setattr(unwrapped, name, method)
    play(env, seed=0, fps=0, n_episodes=1)
    wanted = [action for _, action in turns]
    # Where keys are released, the action of no key, or the last one, is executed in between; grid worlds wait.
    between = 1 if unwrapped.__name__ in TURN_BASED else 2
    np.testing.assert_allclose(executed[::between], wanted, rtol=1e-6)
    pygame.display.init()  # names of keys are asked for again
    mapped = key_map(env, None)
    if isinstance(env.action_space, spaces.Discrete):
        every = {int(a) for a in (*mapped.actions.values(), mapped.noop) if a is not None}
        assert every == set(range(env.action_space.n)), "every action has a key"
    env.close()


@pytest.mark.parametrize(
    ("own", "played"),
    [
        ({(): 3, (276,): 1, (275,): 2, (275, 276): 0}, {"": 3, "left": 1, "right": 2, "left|right": 0}),
        ({(np.int64(273),): 1, 282: 2, (304, "a"): 3}, {"up": 1, "f1": 2, "left shift|a": 3, "": 0}),
        ({"w": 1, "wa": 2, "up": 3}, {"w": 1, "w|a": 2, "up": 3, "": 0}),
        ({("w", " "): 1, ",": 2, "+": 3}, {"w|space": 1, ",": 2, "+": 3, "": 0}),
        ({ord("w"): 1, (ord("w"), ord("a")): 2, (27,): 3}, {"w": 1, "w|a": 2, "escape": 3, "": 0}),
    ],
)
def test_an_environments_own_keys_of_every_kind_work(own: dict[Any, int], played: dict[str, int]) -> None:
    class Own(Counter):
        def get_keys_to_action(self) -> Any:
            return own

    turns = [(names.split("|") if names else [], action) for names, action in sorted(played.items(), reverse=True)]
    script = [frame for names, _ in turns for frame in hold(names)]
    demos = play(Own([*script, *keys("y")], length=2 * len(turns)), seed=0, fps=0)
    assert demos.episodes[0].actions[::2].tolist() == [action for _, action in turns]


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({(276, 299): 1}, "no key has the code 299; name it"),
        ({2**40: 1}, "no key has the code 1099511627776"),
        ({(("a", "b"),): 1}, r"no key is called \('a', 'b'\)"),
        ({None: 1}, "no key is called None"),
        ({(): 1}, "has no key; name at least one"),
    ],
)
def test_own_keys_that_are_none_are_named(own: dict[Any, int], message: str) -> None:
    class Own(Counter):
        def get_keys_to_action(self) -> Any:
            return own

    with pytest.raises(ValueError, match=message):
        play(Own([]), seed=0, fps=0)


def test_few_discrete_actions_without_keys_are_digits() -> None:
    demos = play(Counter(keys("3", "0", "2", "y")), seed=0, fps=0)
    assert demos.episodes[0].actions.tolist() == [3, 0, 2]


def test_keys_of_the_command_line() -> None:
    assert parse_keys("left=0, up+right=2.5,w=0:1:-.5,noop=1") == {
        "left": 0,
        "up+right": 2.5,
        "w": [0, 1, -0.5],
        "noop": 1,
    }


@pytest.mark.parametrize("text", ["left", "left=", "=1", "left=a", "left=1,,right=2", "left=1,left=2", ""])
def test_keys_that_cannot_be_read_are_named(text: str) -> None:
    with pytest.raises(ValueError, match="keys: "):
        parse_keys(text)
