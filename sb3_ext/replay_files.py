"""A saved replay goes into a model that it fits, or is refused by name: SB3 takes any, and dies in the next `learn`."""

from __future__ import annotations

import io
import pathlib
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from sb3_ext import nested
from sb3_ext.buffers.replay import as_replay, check_same_layout

Path = str | pathlib.Path | io.BufferedIOBase


class FittingReplayMixin(OffPolicyAlgorithm):
    """Adds to `load_replay_buffer` that what it loads fits the model."""

    def load_replay_buffer(self, path: Path, truncate_last_traj: bool = True) -> None:
        """
        Parameters as in SB3. A model without a replay takes any that fits its environments.

        :raises ValueError: for a replay of another kind or layout; the present one is kept then
        """
        ours = self.replay_buffer
        loaded: Any = None  # Any: whatever the file holds
        try:
            super().load_replay_buffer(path, truncate_last_traj)
            loaded = self.replay_buffer
        except AssertionError as error:
            if isinstance(self.replay_buffer, ReplayBuffer):  # hindsight without environments
                raise ValueError(f"{path}: {error}") from error
            loaded = self.replay_buffer
        finally:
            self.replay_buffer = ours
        if not (isinstance(loaded, ReplayBuffer) if ours is None else type(loaded) is type(ours)):
            raise ValueError(
                f"{path} holds a {type(loaded).__name__}, "
                f"the model has a {(ReplayBuffer if ours is None else type(ours)).__name__}: "
                "it was saved by a model of other settings"
            )
        fits = {
            "n_envs": self.n_envs,
            "observations": contents(self.observation_space),
            "action_space": self.action_space,
        }
        theirs = {
            "n_envs": loaded.n_envs,
            "observations": contents(loaded.observation_space),
            "action_space": loaded.action_space,
        }
        check_same_layout(path, {**theirs, **_layout(loaded)}, {**fits, **({} if ours is None else _layout(ours))})
        self.replay_buffer = loaded


def contents(space: spaces.Space[Any]) -> Any:  # Any: nested as the space
    """
    :param space: of observations
    :return: what is stored of it, without bounds, and without the width of floats, which batches do not keep
    """
    return nested.map(_content, space)


def _content(part: spaces.Space[Any]) -> spaces.Space[Any] | str:
    if not isinstance(part, spaces.Box):
        return part
    return f"Box of shape {part.shape}, {'floats' if np.issubdtype(part.dtype, np.floating) else part.dtype}"


def _layout(replay: ReplayBuffer) -> dict[str, Any]:
    """
    :return: what two replays of one class must share beside their spaces; gamma is not of it, rewards are summed with
        the model's when they are drawn
    """
    return {name: x for name, x in as_replay(replay).layout().items() if name not in ("observation_space", "gamma")}
