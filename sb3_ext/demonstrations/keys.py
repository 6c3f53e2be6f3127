"""Which action the held keys mean: those we give to known environments, the environment's own, or the player's."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral
from typing import Any

import gymnasium as gym
import numpy as np

from sb3_ext.demonstrations.array_spaces import out_of_space

Keys = Mapping[Any, Any]
"""Names of keys -> action. Any: gymnasium's `get_keys_to_action` has tuples and codes as keys; actions are arrays."""
NOOP = "noop"
_ARROWS = {"left": 0, "down": 1, "right": 2, "up": 3}
_STEER = {"left": (-1, 0, 0), "right": (1, 0, 0), "up": (0, 1, 0), "down": (0, 0, 0.8)}
# Positive torque turns against the clock: the upright pendulum falls to the left.
_TORQUE = {"left": 2, "right": -2, "a": 0.7, "d": -0.7, NOOP: 0}
# Class of the unwrapped environment, so that variants by other ids are known too -> maps, the first one that fits.
# Where there is no noop the last action is held, for these environments have no action that does nothing.
DEFAULT_KEYS: dict[str, tuple[dict[str, Any], ...]] = {
    "CartPoleEnv": ({"left,a": 0, "right,d": 1},),
    "MountainCarEnv": ({"left,a": 0, "right,d": 2, NOOP: 1},),
    "Continuous_MountainCarEnv": ({"left,a": -1, "right,d": 1, NOOP: 0},),
    "AcrobotEnv": ({"left,a": 0, "right,d": 2, NOOP: 1},),
    "PendulumEnv": (_TORQUE,),
    "PendulumPixelsEnv": (_TORQUE,),
    "LunarLander": (
        {"left,a": 1, "up,w": 2, "right,d": 3, NOOP: 0},
        {
            "left,a": (-1, -1),
            "right,d": (-1, 1),
            "up,w": (1, 0),
            "up+left,w+a": (1, -1),
            "up+right,w+d": (1, 1),
            NOOP: (-1, 0),
        },
    ),
    "CarRacing": (
        {**_STEER, "up+left": (-1, 1, 0), "up+right": (1, 1, 0), NOOP: (0, 0, 0)},
        {"left": 2, "right": 1, "up": 3, "down": 4, NOOP: 0},
    ),
    "FrozenLakeEnv": (_ARROWS,),
    "MaskedFrozenLake": (_ARROWS,),
    "GridWorldEnv": (_ARROWS,),
    "TMazeEnv": (_ARROWS,),
    "TigerEnv": ({"space": 0, "left": 1, "right": 2},),
    "CliffWalkingEnv": ({"up": 0, "right": 1, "down": 2, "left": 3},),
    "TaxiEnv": ({"down": 0, "up": 1, "right": 2, "left": 3, "1": 4, "2": 5},),
}
TURN_BASED = {
    "FrozenLakeEnv",
    "MaskedFrozenLake",
    "CliffWalkingEnv",
    "TaxiEnv",
    "GridWorldEnv",
    "TMazeEnv",
    "TigerEnv",
    "MemoryChainEnv",
    "RepeatPreviousEnv",
}


class KeyMap:
    """
    Which action the held keys mean.

    :param actions: codes of keys that are held together -> action
    :param noop: action of no key, None = the last action is held
    """

    def __init__(self, actions: Mapping[frozenset[int], np.ndarray], noop: np.ndarray | None) -> None:
        self.actions = dict(actions)
        self.noop = noop
        self.codes = frozenset().union(*actions)

    def action(self, held: Sequence[int], last: np.ndarray | None) -> np.ndarray | None:
        """
        :param held: codes of keys, the latest last
        :param last: action of the step before, None = there is none
        :return: the largest combination's, among equal ones the latest's; None where nothing says what to do
        """
        order = {code: i for i, code in enumerate(held)}
        together = [combination for combination in self.actions if combination <= order.keys()]
        if together:
            return self.actions[max(together, key=lambda c: (len(c), max(order[code] for code in c)))]
        return last if self.noop is None else self.noop


def key_map(env: gym.Env, keys: Keys | None) -> KeyMap:
    """
    :param env: whose actions they are
    :param keys: as for `play`
    :return: with codes and checked actions
    :raises ValueError: with the key and the fix, where a key or its action does not exist
    """
    if keys is not None:
        return _parse(keys, env.action_space, None)
    unwrapped: Any = env.unwrapped  # the method below is a custom of gymnasium's, not of its type
    # Ours first: they are more comfortable, and the codes of gymnasium's own MountainCar are of pygame 1.
    for candidate in DEFAULT_KEYS.get(type(unwrapped).__name__, ()):
        with contextlib.suppress(ValueError):
            return _parse(candidate, env.action_space, None)
    own: Keys = {}
    with contextlib.suppress(AttributeError):  # Atari's word for continuous actions, too
        own = unwrapped.get_keys_to_action()
    if own:
        # gymnasium's convention for these maps: action 0 is the one of no key.
        discrete = isinstance(env.action_space, gym.spaces.Discrete) and env.action_space.start == 0
        return _parse(own, env.action_space, 0 if discrete else None, of_env=True)
    example = "left=0,right=1,noop=0" if isinstance(env.action_space, gym.spaces.Discrete) else "left=-1,right=1,noop=0"
    if isinstance(env.action_space, gym.spaces.Discrete) and env.action_space.start == 0 and env.action_space.n <= 10:
        return _parse({str(action): action for action in range(int(env.action_space.n))}, env.action_space, None)
    raise ValueError(
        f"keys: none known for {env_name(env)} with actions {env.action_space}; name them, for example --keys {example}"
    )


def parse_keys(text: str) -> dict[str, Any]:
    """
    :param text: ``left=0,right=1,noop=0``; ``up+left=2`` for keys held together, ``up=0:1:0`` for a vector
    :return: for `play`
    :raises ValueError: with the part that cannot be read
    """
    keys: dict[str, Any] = {}
    for part in text.split(","):
        name, found, value = part.partition("=")
        try:
            numbers = [float(number) for number in value.split(":")]
        except ValueError:
            numbers = []
        if not name.strip() or not found or not numbers:
            raise ValueError(f"keys: {part!r} in {text!r} is not KEY=ACTION, for example left=0 or up=0:1:0")
        if name.strip() in keys:
            raise ValueError(f"keys: {name.strip()!r} appears twice in {text!r}")
        keys[name.strip()] = numbers if len(numbers) > 1 else numbers[0]
    return keys


def _parse(keys: Keys, space: gym.Space[Any], noop: Any, of_env: bool = False) -> KeyMap:  # Any: an action in any form
    """
    :param keys: of a user, or of an environment's `get_keys_to_action`
    :param space: of the actions
    :param noop: action of no key, unless ``keys`` has one
    :param of_env: whether gymnasium's conventions hold: `()` is no key, "wa" is w and a together
    """
    actions: dict[frozenset[int], np.ndarray] = {}
    nothing = None if noop is None else _action(noop, space, NOOP)
    for name, value in keys.items():
        action = _action(value, space, name)
        if name in (NOOP, ()):
            nothing = action
            continue
        for combination in _combinations(name, of_env):
            if combination in actions:
                raise ValueError(f"keys: {name!r} is mapped twice")
            actions[combination] = action
    if not actions:
        raise ValueError(f"keys: {dict(keys)} has no key; name at least one, for example left=0")
    return KeyMap(actions, nothing)


def _combinations(name: Any, of_env: bool) -> Iterator[frozenset[int]]:  # Any: names, codes and tuples of both
    if not isinstance(name, str):
        yield frozenset(_code(part) for part in (name if isinstance(name, list | tuple) else (name,)))
        return
    for part in [name] if len(name) == 1 else name.split(","):
        try:
            # A comma and a plus are keys as well.
            yield frozenset(_code(key) for key in ([part] if len(part.strip()) <= 1 else part.split("+")))
        except ValueError:
            if not of_env:
                raise
            yield frozenset(_code(key) for key in part)


# gymnasium's MountainCar and others still have the codes of pygame 1 for keys without a character.
_OLD_CODES = dict(
    zip(
        range(273, 282),
        ("up", "down", "right", "left", "insert", "home", "end", "page up", "page down"),
        strict=True,
    )
)
_OLD_CODES |= {256 + digit: f"[{digit}]" for digit in range(10)} | {281 + f: f"f{f}" for f in range(1, 13)}
_OLD_CODES |= {303: "right shift", 304: "left shift", 305: "right ctrl", 306: "left ctrl"}
_OLD_CODES |= {307: "right alt", 308: "left alt"}


def key_name(key: str | int) -> str:
    """
    :param key: of a map of gymnasium's: a character, a name or a code
    :return: its name
    """
    if isinstance(key, str):
        return "space" if key == " " else key
    return _OLD_CODES.get(key) or (key_name(chr(key)) if chr(key).isprintable() else str(key))


def _code(key: Any) -> int:  # Any: a name or a code
    """
    :return: the code that pygame's events have
    :raises ValueError: where no key is called so
    """
    import pygame

    if isinstance(key, Integral):
        code = int(key)
        if code not in _OLD_CODES:
            # What has no name is no key, and events would never bring it.
            if not 0 <= code < 2**31 or not pygame.key.name(code):
                raise ValueError(f"keys: no key has the code {code}; name it: letters, digits, left, right, space, ...")
            return code
        key = _OLD_CODES[code]
    try:
        # gymnasium writes the space bar as " ".
        return pygame.key.key_code("space" if key == " " else key.strip())
    except (ValueError, AttributeError):  # AttributeError: no text
        raise ValueError(
            f"keys: no key is called {key!r}; letters, digits, left, right, up, down, space, return, ..."
        ) from None


def _action(value: Any, space: gym.Space[Any], name: Any) -> np.ndarray:  # Any: as in Keys
    assert space.shape is not None  # `_make` has checked that it is a space of arrays
    given = np.asarray(value)
    error = f"keys: action {value} of {name!r} is not in {space}"
    if given.dtype.kind not in "biuf" or (given.size != math.prod(space.shape)):
        raise ValueError(error)
    action = given.reshape(space.shape).astype(space.dtype)
    if out_of_space(action[None], space).any() or not np.allclose(action, given.reshape(space.shape)):
        raise ValueError(error)
    return action


def env_name(env: gym.Env) -> str:
    """:return: the id, or the class where there is none"""
    return type(env.unwrapped).__name__ if env.spec is None else env.spec.id
