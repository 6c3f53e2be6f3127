"""
Episodes of a trained model, as the learner's environment would give them.

Observations are those of the outermost wrapper that does not normalise: stacked frames stay stacked, images are turned
channels-first as SB3 turns them for every learner, and `VecNormalize` is taken out. The model alone sees normalised
ones; the statistics are read and never updated.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    VecEnv,
    VecEnvWrapper,
    VecMonitor,
    VecNormalize,
    VecTransposeImage,
    unwrap_vec_normalize,
)

from sb3_ext import nested
from sb3_ext.demonstrations.array_spaces import check_spaces
from sb3_ext.demonstrations.data import Demonstrations, Episode, Observations
from sb3_ext.env_ids import without_module
from sb3_ext.versions import package_versions

logger = logging.getLogger(__name__)

VecObservations = np.ndarray | dict[str, np.ndarray] | tuple[np.ndarray, ...]


class Predictor(Protocol):
    """Any SB3 model or policy."""

    def predict(
        self,
        observation: Any,  # as the VecEnv gives it
        state: Any = None,  # whatever the model returned before
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, Any]:
        """:return: actions [E, *shape] and the next state"""
        ...


def record(
    model: Predictor,
    env: gym.Env | VecEnv | str,
    n_episodes: int,
    min_return: float | None = None,
    deterministic: bool = True,
    seed: int | None = None,
    max_episodes: int | None = None,
    env_id: str | None = None,
    on_kept: Callable[[int], None] | None = None,
) -> Demonstrations:
    """
    Run a model and keep whole episodes.

    The episodes are divided evenly among the lanes of a `VecEnv`, whichever finish first, so that short ones have no
    advantage (as `evaluate_policy` does); they are returned lane by lane in turn. Environments are reset.

    :param model: anything with SB3's `predict`, recurrent or not
    :param env: an environment, its id, or a `VecEnv`. A `VecNormalize` that normalises observations must lie outside
        of wrappers that mix steps, such as `VecFrameStack`
    :param n_episodes: to keep
    :param min_return: episodes with a smaller undiscounted return are dropped; returns are the environment's, not
        `VecNormalize`'s
    :param deterministic: passed to `predict`
    :param seed: of the environments (lane i gets ``seed + i``), of PyTorch, NumPy and Python. The first episode of a
        lane is written down with its seed; the environment itself chooses those of later ones
    :param max_episodes: give up after as many, kept and dropped; default 10 times ``n_episodes``
    :param env_id: to write down, where the environment does not know its own
    :param on_kept: is given the number of episodes kept so far, for a progress bar
    :raises ValueError: where the spaces are not supported, a `VecNormalize` cannot be taken out, or too few episodes
        reach ``min_return``
    """
    max_episodes = 10 * n_episodes if max_episodes is None else max_episodes
    if n_episodes < 1 or max_episodes < n_episodes:
        raise ValueError(f"n_episodes {n_episodes} must be in 1 to max_episodes {max_episodes}")
    made = gym.make(env) if isinstance(env, str) else None
    try:
        view = LearnerView(made if made is not None else env)  # type: ignore[arg-type]  # an id was made an environment
        check_spaces(view.observation_space, view.env.action_space)
        if seed is not None:
            set_random_seed(seed)
        with view:
            episodes = _run(model, view, n_episodes, min_return, deterministic, seed, max_episodes, on_kept)
    finally:
        if made is not None:
            made.close()
    env_id = without_module(env_id) or env_id_of(view.env)
    return Demonstrations(tuple(episodes), view.observation_space, view.env.action_space, env_id, package_versions())


class LearnerView:
    """
    A `VecEnv` without its normalisation.

    :param env: any environment; wrapped as SB3 wraps it for a learner
    :param stays_normalized: observations remain as the model is given them; rewards are the original ones all the same
    :raises ValueError: else, where observations are normalised below a wrapper that mixes them
    """

    def __init__(self, env: gym.Env | VecEnv, stays_normalized: bool = False) -> None:
        # Not public, but what every SB3 algorithm calls on its environment (2.7 to 2.9).
        self.env: VecEnv = BaseAlgorithm._wrap_env(env, verbose=0, monitor_wrapper=False)
        self._normalizer: VecNormalize | None = None
        # Rewards alone are normalised: the environment is stepped as it is and asked for the original rewards.
        self._rewards_of: VecNormalize | None = unwrap_vec_normalize(self.env)
        if self._rewards_of is not None and self._rewards_of.norm_obs and not stays_normalized:
            self._normalizer, self._rewards_of = self._rewards_of, None
            self.env = _without(self.env, self._normalizer)
        self.observation_space: spaces.Space[Any] = self.env.observation_space

    def __enter__(self) -> None:
        self._training = self._rewards_of is not None and self._rewards_of.training
        if self._rewards_of is not None:
            self._rewards_of.training = False

    def __exit__(self, *_: object) -> None:
        if self._rewards_of is not None:
            self._rewards_of.training = self._training

    def for_model(self, observations: Any) -> Any:
        """:return: what the model was trained on"""
        return observations if self._normalizer is None else self._normalizer.normalize_obs(observations)

    def original_rewards(self, rewards: np.ndarray) -> np.ndarray:
        """:return: [E] the environment's own"""
        return rewards if self._rewards_of is None else self._rewards_of.get_original_reward()


def _without(env: VecEnv, normalizer: VecNormalize) -> VecEnv:
    """:return: the environment below, with the same images channels-first"""
    transposes = False
    while env is not normalizer:
        if not isinstance(env, VecMonitor | VecTransposeImage):
            raise ValueError(
                f"{type(env).__name__} lies around a VecNormalize that normalises observations, so that the original "
                "ones are unknown; make VecNormalize the outer one"
            )
        transposes |= isinstance(env, VecTransposeImage)
        assert isinstance(env, VecEnvWrapper)
        env = env.venv
    inner = normalizer.venv
    if unwrap_vec_normalize(inner) is not None:
        raise ValueError("env: one VecNormalize inside of another; use one")
    return VecTransposeImage(inner) if transposes else inner


def _run(
    model: Predictor,
    view: LearnerView,
    n_episodes: int,
    min_return: float | None,
    deterministic: bool,
    seed: int | None,
    max_episodes: int,
    on_kept: Callable[[int], None] | None,
) -> list[Episode]:
    env = view.env
    n_envs = env.num_envs
    wanted = [(n_episodes + i) // n_envs for i in range(n_envs)]
    kept: list[list[Episode]] = [[] for _ in range(n_envs)]
    lanes = [_Lane() for _ in range(n_envs)]
    returns: list[float] = []
    if seed is not None:
        for lane, lane_seed in zip(lanes, env.seed(seed), strict=True):
            lane.seed = lane_seed

    observations: Any = env.reset()
    states = None
    starts = np.ones(n_envs, dtype=bool)
    while any(len(kept[i]) < wanted[i] for i in range(n_envs)):
        actions, states = model.predict(
            view.for_model(observations), state=states, episode_start=starts, deterministic=deterministic
        )
        actions = executed(actions, env.action_space, n_envs)
        for i in range(n_envs):
            lanes[i].observe(nested.take(observations, i), view.observation_space)
        # A copy: what is written down is not in the environment's reach.
        observations, rewards, starts, infos = env.step(actions.copy())
        rewards = view.original_rewards(rewards)
        for i in range(n_envs):
            lanes[i].actions.append(actions[i])
            lanes[i].rewards.append(float(rewards[i]))
            if not starts[i]:
                continue
            if "terminal_observation" not in infos[i]:
                raise ValueError(f"env: infos of {env} lack 'terminal_observation' at the end of an episode")
            lanes[i].observe(infos[i]["terminal_observation"], view.observation_space)
            # SB3 writes True only where the end is no termination as well.
            truncated = bool(infos[i].get("TimeLimit.truncated", False))
            lane, lanes[i] = lanes[i], _Lane()
            if len(kept[i]) == wanted[i]:
                continue
            episode = lane.episode(truncated, env.action_space)
            returns.append(episode.total_reward)
            if min_return is None or episode.total_reward >= min_return:
                kept[i].append(episode)
            n_kept = sum(map(len, kept))
            if on_kept is not None:
                on_kept(n_kept)
            if n_kept < n_episodes and len(returns) >= max_episodes:
                raise ValueError(
                    f"min_return {min_return}: {n_kept} of {len(returns)} episodes reached it, {n_episodes} are "
                    f"wanted; the returns were {min(returns):g} to {max(returns):g}, mean {np.mean(returns):g}. Lower "
                    f"min_return, or raise max_episodes {max_episodes}"
                )
    logger.info("kept %d of %d episodes, %d dropped", n_episodes, len(returns), len(returns) - n_episodes)
    return [kept[i][k] for k in range(max(wanted)) for i in range(n_envs) if k < wanted[i]]


def executed(actions: np.ndarray, space: spaces.Space[Any], n_envs: int) -> np.ndarray:
    """
    :param actions: [E, *shape] or anything of as many numbers, as a model gives them
    :param space: of one of them
    :param n_envs: E
    :return: [E, *shape] of the space's dtype, clipped to a Box: what SB3 passes to `env.step`
    """
    shape = (n_envs, *(space.shape or ()))
    actions = np.asarray(actions)
    if actions.size != np.prod(shape):
        raise ValueError(f"actions: the model gave shape {actions.shape}, {space} in {n_envs} environments has {shape}")
    actions = actions.reshape(shape)
    if isinstance(space, spaces.Box):
        actions = np.clip(actions, space.low, space.high)
    elif actions.dtype.kind not in "biu" and not isinstance(space, spaces.MultiBinary):  # SB3's are floats there
        raise ValueError(f"actions: the model gave dtype {actions.dtype}, {space} takes integers")
    # The bounds of a Box are of its dtype: rounding to it cannot leave the Box.
    return actions.astype(space.dtype)


class _Lane:
    """The running episode of one environment."""

    def __init__(self) -> None:
        self.observations: list[Observations] = []
        self.actions: list[np.ndarray] = []
        self.rewards: list[float] = []
        self.seed: int | None = None

    def observe(self, observation: Observations, space: spaces.Space[Any]) -> None:
        # SubprocVecEnv and `terminal_observation` may have the environment's own dtype; buffers use the space's. Always
        # a copy: a VecEnv may give the same array at every step.
        self.observations.append(nested.map(lambda part, x: np.array(x, dtype=part.dtype), space, observation))

    def episode(self, truncated: bool, action_space: spaces.Space[Any]) -> Episode:
        # float64: every reward that a VecEnv gives, float32 or an integer, fits.
        actions = np.stack(self.actions).astype(action_space.dtype)
        rewards = np.array(self.rewards, dtype=np.float64)
        return Episode(nested.stack(self.observations), actions, rewards, not truncated, truncated, self.seed)


def env_id_of(env: VecEnv) -> str | None:
    """:return: the id that all environments share, None where it cannot be known"""
    base = env.unwrapped
    # Not asked of other processes: a spec that cannot be pickled would kill them.
    if not isinstance(base, DummyVecEnv):
        return None
    ids = {None if spec is None else spec.id for spec in base.get_attr("spec")}
    return ids.pop() if len(ids) == 1 else None
