"""What a learner asks of a replay, ours or SB3's: `as_replay` answers for those that cannot themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from stable_baselines3.common.buffers import ReplayBuffer


class Handle(NamedTuple):
    """Names drawn leaves, also after some of them have come to stand for something else."""

    leaves: np.ndarray
    """[B] int64"""
    generations: np.ndarray
    """[B] int64, how often each leaf had been reused when it was drawn"""


class ReplayStatistics(NamedTuple):
    """What a replay holds and what is drawn from it; NaN while nothing can be drawn."""

    fill: float
    """share of the room in use, in [0, 1]"""
    age: float
    """mean over draws, env steps over all environments"""
    spread: float
    """95 % quantile of the chances of items over their median; 1 = uniform"""


@runtime_checkable
class Replay(Protocol):
    """A replay as a learner sees it, beside SB3's ``add`` and ``sample``."""

    @property
    def n_drawable(self) -> int:
        """Items (transitions, windows) that can be drawn now."""

    @property
    def reads_priorities(self) -> bool:
        """False: `update_priorities` has no effect, so that they need not be copied from the device."""

    def check_size(self) -> None:
        """:raises ValueError: when there is too little room for one item"""

    def cut(self) -> None:
        """What is added next does not continue what is stored."""

    def update_priorities(self, handle: Handle, priorities: np.ndarray) -> None:
        """
        :param handle: from the sample; what has been overwritten since is passed over
        :param priorities: [B], finite and >= 0, before any exponent
        """

    def layout(self) -> dict[str, Any]:  # Any: whatever can be compared
        """:return: what must agree for the contents of two replays to be interchangeable, by name"""

    def statistics(self) -> ReplayStatistics:
        """:return: of now"""


class StockReplay:
    """
    One of SB3's replays: uniform draws, and trajectories that are cut by its own flags.

    :param replay: which one
    """

    reads_priorities = False

    def __init__(self, replay: ReplayBuffer) -> None:
        self.replay = replay

    @property
    def n_drawable(self) -> int:
        return self.replay.size() * self.replay.n_envs

    def check_size(self) -> None:
        pass

    def cut(self) -> None:
        pass

    def update_priorities(self, handle: Handle, priorities: np.ndarray) -> None:
        pass

    def layout(self) -> dict[str, Any]:
        return layout_of(self.replay, n_steps=getattr(self.replay, "n_steps", None))

    def statistics(self) -> ReplayStatistics:
        return uniform_statistics(self.replay)


def as_replay(replay: ReplayBuffer) -> Replay:
    """:return: the replay itself, if it can answer, or what answers for it"""
    return replay if isinstance(replay, Replay) else StockReplay(replay)


def layout_of(replay: ReplayBuffer, **more: Any) -> dict[str, Any]:
    """:return: what any replay's layout has, and ``more``"""
    names = ("observation_space", "action_space", "n_envs")
    return {**{name: getattr(replay, name) for name in names}, **more}


def uniform_statistics(replay: ReplayBuffer) -> ReplayStatistics:
    """:return: of a replay whose every stored transition is equally likely"""
    if replay.size() == 0:
        return ReplayStatistics(0.0, math.nan, math.nan)
    return ReplayStatistics(replay.size() / replay.buffer_size, (replay.size() + 1) / 2 * replay.n_envs, 1.0)


def check_same_layout(path: Any, loaded: Mapping[str, Any], ours: Mapping[str, Any]) -> None:  # Any: file or path
    """
    :param path: where the replay was loaded from
    :param loaded: its `layout`
    :param ours: that of the model's replay
    :raises ValueError: for the first difference
    """
    for name, value in ours.items():
        if loaded[name] != value:
            raise ValueError(
                f"{path} has {name} {loaded[name]}, the model {value}: load it into a model of the same settings"
            )
