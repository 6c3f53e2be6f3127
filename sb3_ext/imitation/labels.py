"""
An expert as DAgger asks it: what to do in each state that was visited, whoever drove there.

The answer is always the expert's deterministic action: noise in the labels would be learned. Experts with a memory keep
it along the trajectory that is driven, and forget it where an episode ends.
"""

from __future__ import annotations

import copy
import os
import pathlib
import pickle
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize

from sb3_ext.demonstrations.array_spaces import out_of_space
from sb3_ext.demonstrations.data import Observations
from sb3_ext.demonstrations.person import Person
from sb3_ext.demonstrations.record import Predictor, executed
from sb3_ext.errors import did_you_mean
from sb3_ext.imitation.expert import check_same_task
from sb3_ext.planning import PlannerPolicy

BY_NAME = ("planner", "keyboard")


@dataclass(frozen=True)
class Normalized:
    """
    An expert that was trained under `VecNormalize` and has lost it, as a model that was loaded without its environment.

    :param model: the expert
    :param statistics: that it was trained with, or the file where `VecNormalize.save` put them, which is a pickle: read
        none of a stranger's. None = it was trained on observations as they are
    """

    model: BaseAlgorithm | BasePolicy
    statistics: VecNormalize | str | os.PathLike[str] | None


Expert = BaseAlgorithm | BasePolicy | Normalized | Predictor | Callable[[Any], Any] | str
"""
A model or a policy of SB3, sb3-contrib or ours, the planner's among them; `Normalized`; a function of observations
[E, *shape] to actions [E, *shape]; ``"planner"``, which solves the table that the environment publishes; or
``"keyboard"``, a person who is shown each state (`Person`)
"""


class Labeller(ABC):
    """
    An expert in one environment.

    :param expert: as it was given
    :param env: of the learner
    """

    def __init__(self, expert: Expert, env: VecEnv) -> None:
        self.expert, self.env = expert, env

    @abstractmethod
    def __call__(self, observations: Observations, starts: np.ndarray) -> np.ndarray:
        """
        :param observations: [E, *shape] as the environment gives them, not normalised
        :param starts: [E] bool: an episode begins here
        :return: [E, *shape] actions of the environment's space
        """

    def close(self) -> None:  # noqa: B027 - most have nothing to close
        """Nothing is asked any more for now."""

    def _labels(self, answered: Any) -> np.ndarray:  # Any: whatever an expert gives
        """
        :param answered: by the expert
        :return: [E, *shape] actions of the environment's space
        :raises ValueError: for what is none, before it is executed or kept
        """
        space = self.env.action_space
        labels = executed(answered, space, self.env.num_envs)
        is_nan = ~np.isfinite(labels).reshape(len(labels), -1).all(axis=1)
        for i in np.flatnonzero(is_nan | out_of_space(labels, space))[:1]:
            raise ValueError(f"expert: its action {labels[i].tolist()} lies outside {space}")
        return labels


def check_expert(expert: Expert, observation_space: gym.Space[Any], action_space: gym.Space[Any]) -> None:
    """
    :param expert: to be asked
    :param observation_space: of the learner
    :param action_space: of the learner
    :raises ValueError: for what cannot label states of this task
    """
    if isinstance(expert, str):
        if expert not in BY_NAME:
            raise ValueError(
                f"expert {expert!r} is no model: {' or '.join(map(repr, BY_NAME))}, or what PPO.load({expert!r}) "
                f"gives{did_you_mean(expert, BY_NAME)}"
            )
        return
    model = expert.model if isinstance(expert, Normalized) else expert
    if not (callable(model) or hasattr(model, "predict")):
        raise ValueError(f"expert {model!r} is neither a model with `predict` nor a function of observations")
    observed, acted = (getattr(model, name, None) for name in ("observation_space", "action_space"))
    if isinstance(observed, spaces.Space) and isinstance(acted, spaces.Space):
        check_same_task("expert", observed, acted, observation_space, action_space)


def labeller_of(expert: Expert, env: VecEnv) -> Labeller:
    """
    :param expert: that `check_expert` let pass
    :param env: of the learner, with all its wrappers
    :raises ValueError: where it cannot label states of this environment
    """
    if isinstance(expert, str) and expert == "planner":
        planner = PlannerPolicy.from_env(_only_env(env, "the planner reads the table of"))
        check_expert(planner, env.observation_space, env.action_space)
        return _Model(expert, env, planner, None)
    if isinstance(expert, str):
        return _Function(expert, env, Person(_only_env(env, "the keyboard labels")))
    if isinstance(expert, Normalized):
        return _Model(expert, env, expert.model, _frozen(expert.statistics))
    if isinstance(expert, BaseAlgorithm):
        normalizer = expert.get_vec_normalize_env()
        if normalizer is None and expert.get_env() is None and _normalizes(env):
            warnings.warn(
                f"the environment normalises observations, and {type(expert).__name__} was loaded without its own: it "
                "is shown them as they are. Normalized(expert, statistics) says what it was trained on, None = that",
                stacklevel=2,
            )
        return _Model(expert, env, expert, _frozen(normalizer))
    if hasattr(expert, "predict"):
        return _Model(expert, env, expert, None)
    assert callable(expert)
    return _Function(expert, env, expert)


class _Model(Labeller):
    """
    :param model: whose `predict` is asked
    :param normalizer: statistics that it was trained with
    """

    def __init__(self, expert: Expert, env: VecEnv, model: Predictor, normalizer: VecNormalize | None) -> None:
        super().__init__(expert, env)
        self.model, self.normalizer = model, normalizer
        self.state: Any = None  # whatever the model returned before

    def __call__(self, observations: Observations, starts: np.ndarray) -> np.ndarray:
        seen = observations if self.normalizer is None else self.normalizer.normalize_obs(observations)
        actions, self.state = self.model.predict(seen, state=self.state, episode_start=starts, deterministic=True)
        return self._labels(actions)


class _Function(Labeller):
    """:param function: of observations"""

    def __init__(self, expert: Expert, env: VecEnv, function: Callable[[Any], Any]) -> None:
        super().__init__(expert, env)
        self.function = function

    def __call__(self, observations: Observations, starts: np.ndarray) -> np.ndarray:
        return self._labels(self.function(observations))

    def close(self) -> None:
        if isinstance(self.function, Person):
            self.function.close()


def _frozen(normalizer: VecNormalize | str | os.PathLike[str] | None) -> VecNormalize | None:
    """:return: statistics of its own: those of the learner's environment go on changing, perhaps the same object"""
    if normalizer is None:
        return None
    if not isinstance(normalizer, VecNormalize):
        path = pathlib.Path(normalizer)
        loaded = pickle.loads(path.read_bytes())
        if not isinstance(loaded, VecNormalize):
            raise ValueError(f"{path} holds a {type(loaded).__name__}, and no VecNormalize")
        return loaded
    return copy.deepcopy(normalizer)


def _normalizes(env: VecEnv) -> bool:
    while True:
        if isinstance(env, VecNormalize) and env.norm_obs:
            return True
        if not hasattr(env, "venv"):
            return False
        env = env.venv


def _only_env(env: VecEnv, what: str) -> gym.Env[Any, Any]:
    """
    :return: the first environment of this process
    :raises ValueError: where all are in other processes
    """
    base = env.unwrapped
    if what.startswith("the keyboard") and env.num_envs > 1:
        raise ValueError(f"{what} one environment, and there are {env.num_envs}: n_envs=1")
    if not isinstance(base, DummyVecEnv):
        raise ValueError(f"{what} an environment of this process: use DummyVecEnv, not {type(base).__name__}")
    return base.envs[0]
