"""The algorithms that a file may name, ours, SB3's and sb3-contrib's: by package and class, or by the zoo's id."""

from __future__ import annotations

import importlib

from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_ext.algorithms import MODULES
from sb3_ext.errors import UnsafeFile, UserError
from sb3_ext.exchange.plain_json import NotPlain

PACKAGES: dict[str, tuple[str, ...]] = {
    "sb3_ext": tuple(MODULES),
    "sb3_contrib": ("ARS", "CrossQ", "MaskablePPO", "QRDQN", "RecurrentPPO", "TQC", "TRPO"),
    "stable_baselines3": ("A2C", "DDPG", "DQN", "PPO", "SAC", "TD3"),
}
_ZOO_IDS = {"RecurrentPPO": "ppo_lstm", "MaskablePPO": "ppo_mask"}  # of the others it is the class in small letters


def zoo_id(cls: type) -> str:
    """:return: rl-zoo3's id of an algorithm, by which folders and files are called"""
    return _ZOO_IDS.get(cls.__name__, cls.__name__.lower())


def algorithm_of_zip(name: str) -> type[BaseAlgorithm]:
    """
    :param name: of a zip as rl-zoo3 and `push_to_hub` call it, "ppo-CartPole-v1.zip"
    :return: its algorithm; where SB3 and we have one of that name it is SB3's
    :raises UserError: where the name does not say
    """
    known = {
        _ZOO_IDS.get(cls, cls.lower()): f"{package}.{cls}" for package, classes in PACKAGES.items() for cls in classes
    }
    algo = name.split("-")[0].lower()
    if algo not in known:
        raise UserError(f"{name} does not begin with the name of an algorithm: {', '.join(sorted(known))}")
    return algorithm_of(known[algo])


def algorithm_of(name: str) -> type[BaseAlgorithm]:
    """
    :param name: "sb3_ext.R2D2", "stable_baselines3.PPO", "sb3_contrib.TRPO"
    :return: its class, out of those that are known here
    :raises UnsafeFile: for any other
    """
    package, _, cls = name.partition(".")
    if cls not in PACKAGES.get(package, ()):
        raise UnsafeFile(f"algorithm {name!r} is not known here: it needs a newer sb3_ext, or is none of SB3's family")
    try:
        found = getattr(importlib.import_module(package), cls)
    except (ModuleNotFoundError, AttributeError) as error:
        raise UnsafeFile(f"algorithm {name!r} is not in the installed {package} ({error})") from None
    assert isinstance(found, type) and issubclass(found, BaseAlgorithm)
    return found


def name_of(model: BaseAlgorithm) -> str:
    """
    :return: the name that `algorithm_of` knows
    :raises NotPlain: for a class of the user's own
    """
    cls = type(model)
    name = f"{cls.__module__.split('.')[0]}.{cls.__name__}"
    try:
        same = algorithm_of(name) is cls
    except UnsafeFile:
        same = False
    if not same:
        raise NotPlain(f"{cls.__module__}.{cls.__qualname__} is a class of your own: only a pickle could name it")
    return name
