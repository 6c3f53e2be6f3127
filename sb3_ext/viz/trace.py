"""
One episode of an agent, step by step: what it saw, did and thought, and what was on the screen.

The frame at index t shows the state in which action t is chosen. The last one shows the episode's end: a `VecEnv` has
begun the next episode by then, so it is taken inside of the environment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import gymnasium as gym
import numpy as np
from PIL import Image
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from sb3_ext import nested
from sb3_ext.demonstrations.record import LearnerView, executed
from sb3_ext.viz.insight import Insight, Mind, State, mind_of
from sb3_ext.viz.names import Names, names_of
from sb3_ext.viz.video import WITHOUT_A_DISPLAY

Observations = np.ndarray | dict[str, np.ndarray]


@dataclass(frozen=True)
class Trace:
    """T steps. What the model's family does not have is None, see `Insight`."""

    env_id: str | None
    frames: np.ndarray
    """[T+1, height, width, 3] uint8; [0, 0, 0, 3] of an episode that was not filmed"""
    observations: Observations
    """[T+1, ...] as the model was given them, normalised if it was trained so"""
    actions: np.ndarray
    """[T, ...] as they were executed"""
    rewards: np.ndarray
    """[T] float64, the environment's own, behind its wrappers (Atari's are clipped)"""
    episode_return: float
    """of a whole episode as `Monitor` counts it, before any wrapper; else the sum of the rewards"""
    terminated: bool
    truncated: bool
    """neither of both: `max_steps` were over"""
    fps: float
    """of the environment"""
    names: Names = field(default_factory=Names)
    """of inputs and actions, as far as they are known"""
    seed: int | None = None
    """with which the episode began; None = as it came"""
    values: np.ndarray | None = None
    """[T]"""
    q_values: np.ndarray | None = None
    """[T, A]"""
    probabilities: np.ndarray | None = None
    """[T, A]"""
    means: np.ndarray | None = None
    """[T, D]"""
    stds: np.ndarray | None = None
    """[T, D]"""
    hidden: np.ndarray | None = None
    """[T, H]"""
    attributions: dict[str, np.ndarray] = field(default_factory=dict)
    """by stream: [T, rows, columns] >= 0 of images, [T, D] of vectors"""

    def __len__(self) -> int:
        return len(self.rewards)


# Of one step: the observation as the network sees it [1, ...], the state before it, and whether an episode begins; to
# attributions by stream, [1, ...].
Explain = Callable[[Mind, BaseAlgorithm, Any, State, np.ndarray], dict[str, np.ndarray]]


def watch(
    model: BaseAlgorithm,
    env: gym.Env | VecEnv,
    *,
    seed: int | None = None,
    deterministic: bool = True,
    max_steps: int | None = None,
    film: bool = True,
    max_side: int | None = None,
    explain: Explain | None = None,
    names: Names | None = None,
    on_step: Callable[[int], None] | None = None,
) -> Trace:
    """
    Let a model play one episode, from its first step to its end. Where lives end episodes for the learner, the game is
    played to its end.

    :param model: any of SB3's; recurrent states are carried along
    :param env: one environment, with the wrappers and the statistics that the model was trained with; not the one that
        it is being trained on, whose episode would be lost
    :param seed: of the episode; None = the environment goes on as it is
    :param deterministic: without exploration
    :param max_steps: to end before the episode does; None = never
    :param film: keep the frames, for which the environment needs ``render_mode="rgb_array"``
    :param max_side: of a frame, in pixels; larger ones are made smaller. 500 frames of CartPole's size are 360 MB
    :param explain: attributions of each step, see `sb3_ext.viz.attribution`
    :param names: of inputs and actions, before those that the environment gives, see `names_of`
    :param on_step: is given the number of steps so far, for a progress bar
    :return: the episode
    :raises ValueError: for several environments, for one that cannot be filmed, for ``max_steps`` or
        ``max_side`` < 1, and where there is not a name for each input or action
    """
    for name, bound in (("max_steps", max_steps), ("max_side", max_side)):
        if bound is not None and bound < 1:
            raise ValueError(f"{name} {bound} must be >= 1")
    view = LearnerView(env, stays_normalized=True)
    ends = _EndsOf(view.env, film, max_side)
    mind = mind_of(model)
    known = names_of(ends.inner, model.observation_space, model.action_space, names)
    if seed is not None:
        view.env.seed(seed)
    with view, ends:
        trace = _play(model, view, ends, mind, deterministic, max_steps, film, explain, on_step)
    return replace(trace, names=known, seed=seed)


def _play(
    model: BaseAlgorithm,
    view: LearnerView,
    ends: _EndsOf,
    mind: Mind,
    deterministic: bool,
    max_steps: int | None,
    film: bool,
    explain: Explain | None,
    on_step: Callable[[int], None] | None,
) -> Trace:
    env = view.env
    frames: list[np.ndarray] = []
    seen: list[Any] = []
    actions: list[np.ndarray] = []
    rewards: list[float] = []
    insights: list[Insight] = []
    attributions: list[dict[str, np.ndarray]] = []
    observation: Any = env.reset()
    state: State = None
    starts = np.ones(1, dtype=bool)
    info: dict[str, Any] = {}
    while True:
        if film:
            frames.append(ends.frame())
        seen.append(nested.map(lambda x: np.array(x[0]), observation))
        tensor, _ = model.policy.obs_to_tensor(observation)
        insights.append(mind.think(tensor, state, starts))
        if explain is not None:
            attributions.append(explain(mind, model, tensor, state, starts))
        action, state = model.predict(observation, state=state, episode_start=starts, deterministic=deterministic)
        action = executed(action, env.action_space, 1)
        observation, reward, starts, infos = env.step(action.copy())
        actions.append(action[0])
        rewards.append(float(view.original_rewards(reward)[0]))
        info = infos[0]
        if on_step is not None:
            on_step(len(rewards))
        # Of a lost life `Monitor` says nothing: it lies below the wrapper that ends episodes there.
        is_over = bool(starts[0]) and ("episode" in info or not ends.is_monitored)
        if is_over or len(rewards) == max_steps:
            break
    truncated = is_over and bool(info.get("TimeLimit.truncated", False))
    seen.append(info["terminal_observation"] if is_over else nested.map(lambda x: np.array(x[0]), observation))
    if film:
        frames.append(ends.last_frame if is_over and ends.last_frame is not None else ends.frame())
    return Trace(
        env_id=ends.env_id,
        frames=np.stack(frames) if film else np.zeros((0, 0, 0, 3), dtype=np.uint8),
        observations=nested.stack(seen),
        actions=np.stack(actions),
        rewards=np.array(rewards),
        episode_return=float(info["episode"]["r"]) if is_over and "episode" in info else sum(rewards),
        terminated=is_over and not truncated,
        truncated=truncated,
        fps=ends.fps,
        values=_column(insights, "value"),
        q_values=_column(insights, "q_values"),
        probabilities=_column(insights, "probabilities"),
        means=_column(insights, "mean"),
        stds=_column(insights, "std"),
        hidden=_column(insights, "hidden"),
        attributions={key: np.concatenate([a[key] for a in attributions]) for key in (attributions or [{}])[0]},
    )


class _LastFrame(gym.Wrapper[Any, Any, Any, Any]):
    """Keeps the picture of an episode's end."""

    frame: Any = None

    def step(self, action: Any) -> Any:  # Any: gymnasium's
        result = self.env.step(action)
        self.frame = _rendered(self.env) if result[2] or result[3] else None
        return result


class _EndsOf:
    """What has to be asked inside of a `VecEnv` of one environment. Within the `with` block, that one is filmed."""

    def __init__(self, env: VecEnv, film: bool, max_side: int | None) -> None:
        base = env.unwrapped
        if not isinstance(base, DummyVecEnv) or env.num_envs != 1:
            raise ValueError(
                f"env: {env.num_envs} environments in a {type(base).__name__}; an episode is watched in a single one, "
                "in a DummyVecEnv"
            )
        self._base = base
        self.inner: gym.Env = base.envs[0]
        if film and self.inner.render_mode != "rgb_array":
            raise ValueError(
                f"env: render_mode {self.inner.render_mode!r} cannot be filmed; make the environment with "
                'render_mode="rgb_array"'
            )
        self._film = film
        self._max_side = max_side
        spec = self.inner.spec
        self.env_id = None if spec is None else spec.id
        self.fps = float(self.inner.metadata.get("render_fps") or 30)
        self.is_monitored = env.env_is_wrapped(Monitor)[0]
        self._last = _LastFrame(self.inner)

    def __enter__(self) -> None:
        if self._film:
            self._base.envs[0] = self._last

    def __exit__(self, *_: object) -> None:
        self._base.envs[0] = self.inner

    def frame(self) -> np.ndarray:
        """:return: [height, width, 3] uint8 of now"""
        return _as_frame(_rendered(self.inner), self._max_side)

    @property
    def last_frame(self) -> np.ndarray | None:
        """:return: of the end of the last episode"""
        return None if self._last.frame is None else _as_frame(self._last.frame, self._max_side)


def _rendered(env: gym.Env) -> Any:  # Any: what an environment may give
    try:
        return env.render()
    except Exception as error:  # any: each library of graphics has its own
        raise ValueError(
            f"env: it cannot be drawn here ({type(error).__name__}: {error}). Without a display, {WITHOUT_A_DISPLAY}"
        ) from error


def _as_frame(frame: Any, max_side: int | None) -> np.ndarray:
    frame = np.asarray(frame)
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise ValueError(
            f"env: its rendering has shape {frame.shape} of {frame.dtype}, not (height, width, 3) of uint8"
        )
    if max_side is None or max(frame.shape[:2]) <= max_side:
        copied: np.ndarray = frame.copy()  # renderers write into the same memory
        return copied
    image = Image.fromarray(frame)
    image.thumbnail((max_side, max_side), Image.Resampling.BOX)
    return np.asarray(image)


def _column(insights: list[Insight], name: str) -> np.ndarray | None:
    rows = [getattr(insight, name) for insight in insights]
    return None if rows[0] is None else np.concatenate(rows)
