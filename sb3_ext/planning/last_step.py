"""A process whose states also hold the action and the reward that led to them: what `PreviousActionReward` shows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sb3_ext.envs.action_reward import ACTION_KEY, OBSERVATION_KEY, REWARD_KEY
from sb3_ext.planning.mdp import Outcomes, TabularMDP
from sb3_ext.vec_envs import Observations


class LastSteps(NamedTuple):
    """Z states, each a state of another process and how it was reached."""

    mdp: TabularMDP
    state: np.ndarray
    """[Z] of the other process"""
    action: np.ndarray
    """[Z], A where an episode begins"""
    reward: np.ndarray
    """[Z]"""

    def shown(self, seen: Observations) -> dict[str, np.ndarray]:
        """
        :param seen: [Z, ...] what is seen of ``state``
        :return: [Z, ...] as the wrapper gives it
        """
        one_hot = np.eye(self.mdp.n_actions + 1, self.mdp.n_actions, dtype=np.float32)[self.action]
        keys = seen if isinstance(seen, dict) else {OBSERVATION_KEY: seen}
        return {**keys, ACTION_KEY: one_hot, REWARD_KEY: self.reward[:, None].astype(np.float32)}


def with_last_step(mdp: TabularMDP) -> LastSteps:
    """:return: the same process; its values are those of the states"""
    of, n_actions = mdp.outcomes, mdp.n_actions
    begin = np.flatnonzero(mdp.start)
    arrived = np.stack([of.next, of.row % n_actions, of.reward])  # float64 holds numbers of states exactly
    first = np.stack([begin, np.full(len(begin), n_actions), np.zeros(len(begin))])
    (state, action, reward), number = np.unique(np.concatenate([arrived, first], axis=1), axis=1, return_inverse=True)
    number, state = number.reshape(-1), state.astype(np.int64)

    # Each does what its state does: outcomes are sorted by state, and state s has those from bounds[s] on.
    bounds = np.searchsorted(of.row // n_actions, np.arange(mdp.n_states + 1))
    sizes = np.diff(bounds)[state]
    copied = np.repeat(bounds[state] - (np.cumsum(sizes) - sizes), sizes) + np.arange(sizes.sum())
    outcomes = Outcomes(
        np.repeat(np.arange(len(state)), sizes) * n_actions + of.row[copied] % n_actions,
        number[: len(of.row)][copied],
        *(column[copied] for column in (of.probability, of.reward, of.terminated)),
    )
    start = np.zeros(len(state))
    start[number[len(of.row) :]] = mdp.start[begin]
    same = TabularMDP(outcomes, len(state), n_actions, start, mdp.gamma, mdp.horizon)
    return LastSteps(same, state, action.astype(np.int64), reward)
