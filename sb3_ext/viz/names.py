"""
What the numbers of an observation and the actions are called: as the user says, else as the environment does. There is
a name for each of them, or none at all: a wrong name is worse than an index.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
from gymnasium import spaces

from sb3_ext.demonstrations.keys import NOOP, key_name

N_IMAGE_AXES = 3  # rows, columns, channels
# In the documentation of gymnasium's environments: a row of a table, or an item of a list.
_ROW = re.compile(r"\| *(\d+) *\|([^|]+)\||- *(\d+): *(.+)")

Space = spaces.Space[Any]
Source = Callable[[gym.Env], Sequence[str]]


@dataclass(frozen=True)
class Names:
    """Of what goes into a model and comes out of it; () = not known."""

    inputs: tuple[str, ...] = ()
    """of the numbers of a vector observation"""
    actions: tuple[str, ...] = ()
    """of the actions of a Discrete space, of the components of any other"""

    def check(self, observation_space: Space, action_space: Space) -> None:
        """
        :param observation_space: of the model
        :param action_space: of the model
        :raises ValueError: where there is not a name for each
        """
        for kind, names, n, space in (
            ("input", self.inputs, n_inputs(observation_space), observation_space),
            ("action", self.actions, n_actions(action_space), action_space),
        ):
            if names and not n:
                raise ValueError(f"{kind} names {list(names)}: {space} has nothing that could be named one by one")
            if names and len(names) != n:
                plural = "" if len(names) == 1 else "s"
                raise ValueError(f"{len(names)} {kind} name{plural} {list(names)} for {space}: it needs {n}")


def names_of(env: gym.Env, observation_space: Space, action_space: Space, given: Names | None = None) -> Names:
    """
    Of the outermost wrapper that names them: ``metadata["observation_names"]`` and ``metadata["action_names"]``, then
    `get_action_meanings`, then the tables and lists of numbers in the documentation of its class, as gymnasium writes
    them, then the keys of `get_keys_to_action`.

    :param env: in which the model acts
    :param observation_space: of the model
    :param action_space: of the model
    :param given: those of the user, which come first
    :return: what is known
    :raises ValueError: where there are not as many given ones as are needed
    """
    given = Names() if given is None else given
    given.check(observation_space, action_space)
    n_in, n_out = n_inputs(observation_space), n_actions(action_space)
    seen: list[Source] = [_listed("observation_names"), _documented("Observation Space")]
    done: list[Source] = [_listed("action_names"), _meanings, _documented("Action Space"), _keys]
    # A wrapper that makes other observations, or other actions, leaves the names below it behind.
    inputs = (layer for layer in _layers(env) if n_inputs(layer.observation_space) == n_in)
    actions = (
        layer
        for layer in _layers(env)
        if type(layer.action_space) is type(action_space) and n_actions(layer.action_space) == n_out
    )
    return Names(given.inputs or _found(inputs, seen, n_in), given.actions or _found(actions, done, n_out))


def n_inputs(space: Space) -> int:
    """:return: how many numbers there are to name, 0 = it is no vector"""
    is_vector = isinstance(space, spaces.Box | spaces.MultiBinary | spaces.MultiDiscrete)
    return math.prod(space.shape or ()) if is_vector and len(space.shape or ()) < N_IMAGE_AXES else 0


def n_actions(space: Space) -> int:
    """:return: how many actions, or components of one, there are to name"""
    return int(space.n) if isinstance(space, spaces.Discrete) else math.prod(space.shape or (0,))


def _layers(env: gym.Env) -> Iterator[gym.Env]:
    yield env
    while isinstance(env, gym.Wrapper):
        env = env.env
        yield env


def _found(layers: Iterator[gym.Env], sources: list[Source], n: int) -> tuple[str, ...]:
    found = (tuple(str(name) for name in source(layer)) for layer in layers for source in sources)
    return next((names for names in found if n and len(names) == n), ())


def _listed(key: str) -> Source:
    """:return: of the metadata, which a wrapper without any has of what it wraps"""

    def names(env: gym.Env) -> Sequence[str]:
        listed = (env.metadata or {}).get(key, ())
        return listed if isinstance(listed, Sequence) and not isinstance(listed, str) else ()

    return names


def _meanings(env: gym.Env) -> Sequence[str]:
    """:return: as Atari's environments have them"""
    meanings = getattr(env, "get_action_meanings", None)
    return meanings() if meanings is not None and isinstance(env.action_space, spaces.Discrete) else ()


def _documented(heading: str) -> Source:
    """:return: of the first table or list of all numbers from 0 on below a heading"""

    def names(env: gym.Env) -> Sequence[str]:
        _, _, below = (inspect.getdoc(type(env)) or "").partition(f"## {heading}\n")
        found: list[str] = []
        for line in below.partition("\n#")[0].splitlines():
            row = _ROW.match(line.strip())
            if not row:
                continue
            if int(row[1] or row[3]) != len(found):
                break  # another list, of a variant: CarRacing has one of each of its action spaces
            found.append((row[2] or row[4]).replace("`", "").strip(" *."))
        return found

    return names


def _keys(env: gym.Env) -> Sequence[str]:
    """:return: of each action the keys by which a human chooses it"""
    own = getattr(env, "get_keys_to_action", None)
    if own is None or not isinstance(env.action_space, spaces.Discrete):
        return ()
    names: dict[int, str] = {}
    for keys, action in own().items():
        held = keys if isinstance(keys, tuple | list | str) else (keys,)
        text = " + ".join(map(key_name, held)) or NOOP
        names.setdefault(int(action), text)
    return [names[action] for action in sorted(names)]
