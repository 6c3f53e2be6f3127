"""Demonstrations of soft-optimal experts, and what they say of a reward by formulas that are slower and plainer."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces

from sb3_ext.demonstrations import Demonstrations, Episode, record
from sb3_ext.planning import PlannerPolicy, TabularMDP, TabularVecEnv, soft_policy_iteration


def soft_expert(mdp: TabularMDP, temperature: float) -> np.ndarray:
    """:return: [S, A] probabilities"""
    return soft_policy_iteration(mdp, temperature).policy


def shown_by(mdp: TabularMDP, policy: np.ndarray, n_episodes: int, seed: int = 0, limit: int = 100) -> Demonstrations:
    """:return: episodes of a policy [S, A], cut at the limit"""
    acting = PlannerPolicy(spaces.Discrete(mdp.n_states), spaces.Discrete(mdp.n_actions), policy)
    lanes = TabularVecEnv(mdp, min(n_episodes, 64), horizon=mdp.horizon or limit)
    return record(acting, lanes, n_episodes, deterministic=False, seed=seed)


def episode(
    states: list[int], actions: list[int], terminated: bool | None = False, kept: list[int] | None = None
) -> Episode:
    """:return: one more state than actions, or as many where the last is unknown; cut unless it terminated"""
    truncated = None if terminated is None else not terminated
    known = len(states) > len(actions)
    chosen = None if kept is None else np.array(kept)
    return Episode(np.array(states), np.array(actions), None, terminated, truncated, kept=chosen, final_known=known)


def of_table(mdp: TabularMDP, *episodes: Episode) -> Demonstrations:
    """:return: demonstrations that observe the number of the state"""
    return Demonstrations(episodes, spaces.Discrete(mdp.n_states), spaces.Discrete(mdp.n_actions))


def dense(mdp: TabularMDP, ends: bool) -> np.ndarray:
    """:return: [S, A, S] probabilities, of outcomes that terminate only where ``ends``"""
    found = np.zeros((mdp.n_states, mdp.n_actions, mdp.n_states))
    for row, following, probability, _, terminated in zip(*mdp.outcomes, strict=True):
        if ends or not terminated:
            found[row // mdp.n_actions, row % mdp.n_actions, following] += probability
    return found


def soft_by_sweeps(mdp: TabularMDP, reward: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """:return: [S] values and [S, A] policy of temperature 1, by many sweeps"""
    v, onward = np.zeros(mdp.n_states), dense(mdp, ends=False)
    for _ in range(int(40.0 / (1.0 - mdp.gamma))):
        q = reward + mdp.gamma * onward @ v
        v = np.log(np.exp(q - q.max()).sum(axis=1)) + q.max()
    return v, np.exp(q - v[:, None])


def mean_log_likelihood(mdp: TabularMDP, demonstrations: Demonstrations, reward: np.ndarray) -> float:
    """:return: of the kept steps, one by one"""
    _, policy = soft_by_sweeps(mdp, reward)
    terms = []
    for demo in demonstrations.episodes:
        steps = range(len(demo)) if demo.kept is None else [t for t in demo.kept if t < len(demo)]
        assert isinstance(demo.observations, np.ndarray)
        terms += [np.log(policy[demo.observations[t], demo.actions[t]]) for t in steps]
    return float(np.mean(terms))


def feature_gap(
    mdp: TabularMDP, demonstrations: Demonstrations, policy: np.ndarray, features: np.ndarray
) -> np.ndarray:
    """
    Features of the demonstrations less those of the policy, which goes on from each demonstrated step as often as the
    discount says, and begins anew where the demonstrations do.

    :param features: [S, A, F]
    :return: [F] a step
    """
    n, onward = np.zeros(mdp.reward.shape), dense(mdp, ends=False)
    for demo in demonstrations.episodes:
        assert isinstance(demo.observations, np.ndarray) and demo.kept is None
        np.add.at(n, (demo.observations[: len(demo)], demo.actions), 1.0)
    n /= n.sum()
    came = mdp.gamma * np.einsum("sa,sat->t", n, onward)
    arriving = begun = n.sum(axis=1) - came
    visits = begun.copy()
    for _ in range(int(40.0 / (1.0 - mdp.gamma))):
        arriving = mdp.gamma * np.einsum("s,sa,sat->t", arriving, policy, onward)
        visits += arriving
    gap: np.ndarray = np.einsum("sa,saf->f", n - visits[:, None] * policy, features)
    return gap
