"""`env_method` and `set_attr` on their way to actors."""

from __future__ import annotations

from typing import Any

from sb3_ext.distributed.messages import EnvCall


class EnvCalls:
    """
    Each actor gets a call with its next order. One that was started anew gets the last call of each name once more: its
    environments are new ones, and shall be like the others.

    :param n_actors: how many
    :param envs_per_actor: lanes of each
    """

    def __init__(self, n_actors: int, envs_per_actor: int) -> None:
        self._envs_per_actor = envs_per_actor
        self._pending: list[list[EnvCall]] = [[] for _ in range(n_actors)]
        self._last: list[dict[tuple[Any, ...], EnvCall]] = [{} for _ in range(n_actors)]
        self._who: list[object] = [None] * n_actors

    def add(self, call: EnvCall) -> None:
        """:param call: for the actors that have its lanes"""
        e = self._envs_per_actor
        for actor in sorted({lane // e for lane in call.lanes}):
            lanes = tuple(lane for lane in call.lanes if lane // e == actor)
            own = call._replace(lanes=lanes)
            self._pending[actor].append(own)
            last = self._last[actor]
            last.pop((call.kind, call.name, lanes), None)
            last[call.kind, call.name, lanes] = own  # behind the others

    def take(self, actor: int, who: object) -> tuple[EnvCall, ...]:
        """
        :param actor: its number
        :param who: another object where its environments are others
        :return: what it is to be told with its next order
        """
        pending, self._pending[actor] = self._pending[actor], []
        if self._who[actor] == who:
            return tuple(pending)
        was_first, self._who[actor] = self._who[actor] is None, who
        return tuple(pending) if was_first else tuple(self._last[actor].values())
