"""
What followed each pair of a state and an action, in arrays: one call counts the steps of all lanes, and one draws an
outcome for each of k pairs. Steps that led to one state in one way share a cell, as in
`sb3_ext.planning.TransitionCounts`: reward and end belong to the outcome, so what was not seen has not been paid.

Pairs are numbered as they are seen first, and so are the outcomes of one:

```
pair   state, action    next          times      reward_sum        W = 3 outcomes at most so far, it doubles
0      4, 1             8 9 -         12 3 0     0  -3  0          next = -1: no outcome yet
1      0, 2             0 1 4          5 5 7     0   0  0
```

Memory: 33 bytes for each of W outcomes of each pair seen, and 8 for each pair of the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch as th

NONE = -1  # in place of a state


class Imagined(NamedTuple):
    """One outcome for each of k pairs."""

    state: np.ndarray
    """[k] int64"""
    action: np.ndarray
    """[k] int64"""
    reward: np.ndarray
    """[k] float64, the mean of what came with this outcome"""
    next_state: np.ndarray
    """[k] int64"""
    terminated: np.ndarray
    """[k] bool"""


class Outcomes(NamedTuple):
    """All outcomes of n pairs."""

    probability: np.ndarray
    """[n, W] float64, as often as it was seen; 0 where there is none"""
    reward: np.ndarray
    """[n, W] float64"""
    next_state: np.ndarray
    """[n, W] int64; any state where there is none"""
    terminated: np.ndarray
    """[n, W] bool"""


class CountModel:
    """
    :param n_states: S
    :param n_actions: A
    """

    def __init__(self, n_states: int, n_actions: int) -> None:
        self.n_states, self.n_actions = n_states, n_actions
        self.n_pairs = 0
        """how many pairs were seen"""
        self._clear(1, 1)

    def _clear(self, n_rows: int, width: int) -> None:
        self._pair_of = np.full(self.n_states * self.n_actions, NONE)  # by state * A + action
        self._row = np.zeros(n_rows, np.int64)
        self._next = np.full((n_rows, width), NONE)
        self._terminated = np.zeros((n_rows, width), bool)
        self._times = np.zeros((n_rows, width), np.int64)
        self._reward_sum = np.zeros((n_rows, width))
        self._leading_to: dict[int, list[int]] = {}

    # ------------------------------------------------------------------ what is seen

    def add(
        self,
        states: np.ndarray,
        actions: np.ndarray,
        rewards: np.ndarray,
        next_states: np.ndarray,
        terminated: np.ndarray,
    ) -> np.ndarray:
        """
        Count steps, [n] each. A truncated one goes on: ``terminated`` is False.

        :return: [n] int64 numbers of their pairs
        """
        pairs: np.ndarray = self._pair_of[states * self.n_actions + actions]
        same = (self._next[pairs] == next_states[:, None]) & (self._terminated[pairs] == terminated[:, None])
        cells = same.argmax(axis=1)
        for i in np.flatnonzero((pairs == NONE) | ~same.any(axis=1)):  # each outcome is new once
            pairs[i], cells[i] = self._cell(int(states[i]), int(actions[i]), int(next_states[i]), bool(terminated[i]))
        np.add.at(self._times, (pairs, cells), 1)
        np.add.at(self._reward_sum, (pairs, cells), rewards)
        return pairs

    def _cell(self, state: int, action: int, next_state: int, terminated: bool) -> tuple[int, int]:
        """:return: number of the pair and of its outcome, which are made where they are new"""
        row = state * self.n_actions + action
        pair = int(self._pair_of[row])
        if pair == NONE:
            pair = self.n_pairs
            if pair == len(self._row):
                self._grow(2 * pair, self._next.shape[1])
            self._pair_of[row], self._row[pair] = pair, row
            self.n_pairs += 1
        same = (self._next[pair] == next_state) & (self._terminated[pair] == terminated)
        if same.any():  # another lane has just made it
            return pair, int(same.argmax())
        cell = int((self._next[pair] != NONE).sum())
        if cell == self._next.shape[1]:
            self._grow(len(self._row), 2 * cell)
        self._next[pair, cell], self._terminated[pair, cell] = next_state, terminated
        if not terminated:
            self._leading_to.setdefault(next_state, []).append(pair)
        return pair, cell

    def _grow(self, n_rows: int, width: int) -> None:
        more = ((0, n_rows - len(self._row)), (0, width - self._next.shape[1]))
        self._row = np.pad(self._row, more[0])
        self._next = np.pad(self._next, more, constant_values=NONE)
        self._terminated = np.pad(self._terminated, more)
        self._times = np.pad(self._times, more)
        self._reward_sum = np.pad(self._reward_sum, more)

    # ------------------------------------------------------------------ what is asked

    def draw(self, k: int, generator: np.random.Generator) -> Imagined:
        """
        :param k: how many
        :param generator: of the draws
        :return: k of the pairs seen, each as likely, with an outcome as likely as it was seen
        """
        pairs = generator.integers(self.n_pairs, size=k)
        ends = self._times[pairs].cumsum(axis=1)
        cells = (ends <= generator.integers(ends[:, -1])[:, None]).sum(axis=1)
        reward = self._reward_sum[pairs, cells] / self._times[pairs, cells]
        states, actions = self.pair(pairs)
        return Imagined(states, actions, reward, self._next[pairs, cells], self._terminated[pairs, cells])

    def pair(self, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """
        :param pairs: [n] numbers
        :return: [n] states, [n] actions
        """
        states, actions = np.divmod(self._row[pairs], self.n_actions)
        return states, actions

    def rows(self, pairs: np.ndarray) -> np.ndarray:
        """
        :param pairs: [n] numbers
        :return: [n] ``state * A + action``
        """
        rows: np.ndarray = self._row[pairs]
        return rows

    def outcomes(self, pairs: np.ndarray) -> Outcomes:
        """
        :param pairs: [n] numbers
        :return: all that was seen of them
        """
        times = self._times[pairs]
        reward = self._reward_sum[pairs] / np.maximum(times, 1)
        return Outcomes(times / times.sum(axis=1, keepdims=True), reward, self._next[pairs], self._terminated[pairs])

    def leading_to(self, states: np.ndarray) -> np.ndarray:
        """
        :param states: [n]
        :return: [N] numbers of the pairs that led to one of them without an end, in rising order
        """
        found = {pair for state in states.tolist() for pair in self._leading_to.get(state, ())}
        return np.array(sorted(found), np.int64)

    # ------------------------------------------------------------------ files

    def state_dict(self) -> dict[str, th.Tensor]:
        """:return: what was seen, [P] and [P, W]"""
        n = self.n_pairs
        arrays = {
            "row": self._row[:n],
            "next": self._next[:n],
            "terminated": self._terminated[:n],
            "times": self._times[:n],
            "reward_sum": self._reward_sum[:n],
        }
        return {name: th.from_numpy(array.copy()) for name, array in arrays.items()}

    def load_state_dict(self, state: Mapping[str, th.Tensor], strict: bool = True) -> None:
        """
        :param state: of `state_dict`, or of anyone
        :param strict: accepted for SB3's sake; what is missing could not be made up
        :raises ValueError: for what cannot have been seen here; the present counts are kept then
        """
        fresh = CountModel.state_dict(self)
        if state.keys() != fresh.keys():
            raise ValueError(f"what was seen is {', '.join(fresh)}, and not {', '.join(state)}")
        for name, x in fresh.items():
            if state[name].dtype != x.dtype or state[name].ndim != x.ndim:
                raise ValueError(f"{name} must be {x.ndim}-dimensional and of {x.dtype}, not {state[name].dtype}")
        given = {name: x.detach().cpu().numpy() for name, x in state.items()}
        row, following, times = given["row"], given["next"], given["times"]
        n, width = len(row), following.shape[1]
        if any(given[name].shape != (n, width) for name in ("next", "terminated", "times", "reward_sum")):
            raise ValueError(f"what was seen of {n} pairs has shapes {[x.shape for x in given.values()]}")
        if len(np.unique(row)) < n or (n and not 0 <= row.min() <= row.max() < self.n_states * self.n_actions):
            raise ValueError(f"pairs must differ and lie in {self.n_states} states x {self.n_actions} actions")
        is_cell = np.arange(width) < (following != NONE).sum(axis=1)[:, None]
        if not (((following >= 0) & (following < self.n_states)) == is_cell).all():
            raise ValueError(f"next states must lie in [0, {self.n_states}), and empty places behind them")
        if not ((times > 0) == is_cell).all() or not np.isfinite(given["reward_sum"]).all():
            raise ValueError("each outcome must have been seen, and its rewards be finite")
        self._clear(max(n, 1), max(width, 1))
        self.n_pairs = n
        self._pair_of[row] = np.arange(n)
        for name in ("row", "next", "terminated", "times", "reward_sum"):
            vars(self)[f"_{name}"][:n] = given[name]
        pairs, cells = np.nonzero(is_cell & ~given["terminated"])
        led_to = following[pairs, cells]
        order = np.argsort(led_to, kind="stable")
        states, first = np.unique(led_to[order], return_index=True)
        groups = np.split(pairs[order], first[1:])
        # Of no states numpy makes one empty group.
        self._leading_to = {int(s): group.tolist() for s, group in zip(states, groups, strict=False)}
