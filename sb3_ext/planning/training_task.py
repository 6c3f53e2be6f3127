"""
Which process a training environment is, read from the environments themselves, in this process or in others. A wrapper
that could make it another process is refused and not looked through.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from gymnasium.wrappers import TimeLimit, TransformObservation
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    SubprocVecEnv,
    VecCheckNan,
    VecEnv,
    VecEnvWrapper,
    VecMonitor,
    VecNormalize,
    VecTransposeImage,
)

from sb3_ext import nested
from sb3_ext.envs.action_reward import PreviousActionReward
from sb3_ext.planning import mdp_sources
from sb3_ext.planning.episodes import longest_episode
from sb3_ext.planning.last_step import with_last_step
from sb3_ext.planning.mdp import TabularMDP
from sb3_ext.planning.pomdp import TabularPOMDP
from sb3_ext.planning.tabular_env import TabularEnv
from sb3_ext.planning.vec_env import TabularVecEnv
from sb3_ext.planning.views import Observe
from sb3_ext.vec_envs import Observations

SAME_PROCESS = (VecNormalize, VecMonitor, VecTransposeImage, VecCheckNan)
"""VecNormalize's statistics are the model's, which is asked with them"""
ALIKE = ("P", "initial_state_distrib")
"""what is compared over all environments"""
TOLD = ("P", "initial_state_distrib", "pomdp", "fickle_passenger")
"""what environments in other processes are asked for: plain data, whatever else they hold may not be able to travel"""


class Task(NamedTuple):
    """What a model is trained on."""

    process: TabularMDP | TabularPOMDP
    observe: Observe | None = None
    """numbers of states [n] -> what the environment gives in them; None = the number, or what the process shows"""

    @property
    def mdp(self) -> TabularMDP:
        """:return: by its states"""
        return self.process if isinstance(self.process, TabularMDP) else self.process.mdp

    @property
    def is_hidden(self) -> bool:
        """:return: whether what is seen depends on more than the state"""
        process = self.process
        return self.observe is None and isinstance(process, TabularPOMDP) and process.state_observation is None

    @property
    def seen(self) -> Observe | None:
        """:return: what is seen of the states; None = their numbers"""
        if self.observe is not None or isinstance(self.process, TabularMDP):
            return self.observe
        number = self.process.state_observation
        assert number is not None, "look at is_hidden first"
        return shown(number if self.process.shown is None else self.process.shown[number])

    def with_limit(self) -> Task:
        """:return: the same; where the environment has no limit of steps and yet all episodes end, with theirs"""
        if self.mdp.horizon is not None:
            return self
        return _with(self, self.mdp.gamma, longest_episode(self.mdp))


def task_of(env: VecEnv, gamma: float) -> Task:
    """
    :param env: with all its wrappers
    :param gamma: discount in [0, 1]
    :raises ValueError: where it publishes no table, where wrappers make it another process, and where its copies differ
    """
    base = env
    while isinstance(base, VecEnvWrapper):
        if not isinstance(base, SAME_PROCESS):
            raise ValueError(
                f"OptimalityGap does not look through {type(base).__name__}, which may change what is seen or paid: "
                "give it the table of the environment, mdp=..., and what is seen of it, observe=..."
            )
        base = base.venv
    if isinstance(base, TabularVecEnv):
        return _with(Task(base.process, base.observe), gamma, base.horizon)
    if isinstance(base, DummyVecEnv):
        return _task_here(base.envs, gamma)
    return _task_here([_stand_in(base)], gamma)


def shown(table: Observations) -> Observe:
    """:return: state numbers -> their rows of a table"""
    return lambda states: nested.take(table, states)


def _with(task: Task, gamma: float, horizon: int | None) -> Task:
    """:return: the same, discounted and limited otherwise"""
    mdp = replace(task.mdp, gamma=gamma, horizon=horizon)
    return task._replace(
        process=mdp if isinstance(task.process, TabularMDP) else replace(task.process, mdp=mdp),
    )


def _task_here(envs: list[gym.Env[Any, Any]], gamma: float) -> Task:
    """:return: of environments that can be looked into"""
    env, base = envs[0], envs[0].unwrapped
    for each in envs:
        mdp_sources.check_wrappers(each)
    for name in ALIKE:
        _check_alike(name, [getattr(each.unwrapped, name, None) for each in envs])
    _check_alike("limit of steps", [mdp_sources.time_limit(each) for each in envs])
    if isinstance(base, TabularEnv):
        limits = [limit for limit in (base.horizon, mdp_sources.time_limit(env)) if limit is not None]
        found = _with(Task(base.process, base.observe), gamma, min(limits, default=None))
    elif getattr(base, "pomdp", None) is not None:
        found = Task(TabularPOMDP.from_env(env, gamma))
    else:
        found = Task(TabularMDP.from_env(env, gamma))
    return _as_wrapped(found, env)


def _check_alike(name: str, found: list[Any]) -> None:  # Any: what each environment has by that name
    """:raises ValueError: where they are not one, as the tables of lakes with random maps"""
    first = found[0]
    has_arrays = any(isinstance(one, np.ndarray) for one in found)
    for i, one in enumerate(found):
        if one is not first and not (np.array_equal(one, first) if has_arrays else one == first):
            raise ValueError(f"environments 0 and {i} differ in {name}: there is no one best policy")


def _as_wrapped(task: Task, env: gym.Env[Any, Any]) -> Task:
    """:return: with what wrappers make of the number of a state"""
    if not isinstance(env, gym.Wrapper):
        return task
    inner = _as_wrapped(task, env.env)
    if isinstance(env, PreviousActionReward):
        return _with_last_step(inner)
    if isinstance(env, TransformObservation):
        return _transformed(inner, env)
    if isinstance(env, gym.ObservationWrapper):
        raise ValueError(
            f"OptimalityGap does not call {type(env).__name__}, which may remember what it is given: give it what is "
            "seen of a state, observe=..., or make the wrapper a gymnasium.wrappers.TransformObservation"
        )
    return inner


def _with_last_step(task: Task) -> Task:
    """:return: of states and the steps that led to them"""
    _check_seen(task, "PreviousActionReward")
    last = with_last_step(task.mdp)
    return Task(last.mdp, shown(last.shown(last.state if task.seen is None else task.seen(last.state))))


def _transformed(task: Task, wrapper: TransformObservation[Any, Any, Any]) -> Task:
    """:return: with what the wrapper makes of each observation"""
    _check_seen(task, type(wrapper).__name__)
    states = np.arange(task.mdp.n_states)
    rows = states if task.seen is None else task.seen(states)
    return task._replace(
        observe=shown(nested.stack([wrapper.observation(nested.take(rows, state)) for state in states.tolist()]))
    )


def _check_seen(task: Task, wrapper: str) -> None:
    """:raises ValueError: where what is seen depends on more than the state"""
    if task.is_hidden:
        raise ValueError(f"OptimalityGap does not know what {wrapper} shows where the state alone does not say it")


class _Told(gym.Env[Any, Any]):
    """Stands in for an environment of another process, with what that told of itself."""


def _stand_in(base: VecEnv) -> gym.Env[Any, Any]:
    """
    :param base: of environments that cannot be looked into
    :return: one with their table and their limit of steps
    :raises ValueError: where they are in wrappers that could change something, or differ
    """
    texts = base.env_method("__str__") if isinstance(base, SubprocVecEnv) else _texts(base)
    _check_alike("their wrappers", texts)
    *wrappers, name = texts[0].rstrip(">").split("<")[1:]  # <Monitor<TimeLimit<FrozenLakeEnv<FrozenLake-v1>>>>
    if not name.endswith(" instance"):
        wrappers = wrappers[:-1]
    for wrapper in wrappers:
        if wrapper.removeprefix("Patched") not in mdp_sources.HARMLESS_WRAPPERS:  # rl-zoo3's TimeLimit
            raise ValueError(
                f"OptimalityGap does not see what {wrapper} does in another process: give it the table of the "
                "environment, mdp=..., and what is seen of it, observe=..."
            )
    told = _Told()
    for attribute in TOLD:
        if base.has_attr(attribute):
            setattr(told, attribute, base.get_attr(attribute, indices=0)[0])
    for name_alike in (*ALIKE, "_max_episode_steps"):
        if base.has_attr(name_alike):
            _check_alike(name_alike, base.get_attr(name_alike))
    told.spec, told.action_space = EnvSpec(name), base.action_space
    told.observation_space = spaces.Discrete(1)  # nobody asks for it
    env: gym.Env[Any, Any] = told
    if base.has_attr("_max_episode_steps"):
        told.spec.max_episode_steps = base.get_attr("_max_episode_steps", indices=0)[0]
        env = TimeLimit(env, told.spec.max_episode_steps)
    return PreviousActionReward(env) if PreviousActionReward.__name__ in wrappers else env


def _texts(base: VecEnv) -> list[str]:
    return [show() for show in base.get_attr("__str__")]
