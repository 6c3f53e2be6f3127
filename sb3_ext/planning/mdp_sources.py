"""
From where a `TabularMDP` comes: a published table, arrays, counts. Each function gives the columns of its outcomes
(row, next, probability, reward, terminated), whatever they hold: the process itself checks the numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import gymnasium as gym
import numpy as np

if TYPE_CHECKING:
    from sb3_ext.planning.counts import TransitionCounts

Columns: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]

# By name: rl-zoo3 puts a class of its own in the place of gymnasium's TimeLimit.
HARMLESS_WRAPPERS = {"TimeLimit", "OrderEnforcing", "PassiveEnvChecker", "Monitor", "RecordEpisodeStatistics"}
HARMLESS_WRAPPERS |= {"PreviousActionReward"}
CHANGED_BY = {gym.RewardWrapper: "rewards are not", gym.ActionWrapper: "actions are not"}
MAX_DENSE = 10**8
"""outcomes that counts may be filled up with: 8 GB"""
BYTES = 80
"""of an outcome, with its transition and what is needed while they are made"""


def published(env: gym.Env[Any, Any]) -> tuple[Any, np.ndarray]:
    """
    :param env: as it is stepped
    :return: its table of outcomes and the probabilities of its first state
    :raises ValueError: where there is none, or steps do something else
    """
    base = env.unwrapped
    name = type(base).__name__ if env.spec is None else env.spec.id
    table, start = getattr(base, "P", None), getattr(base, "initial_state_distrib", None)
    if table is None:
        raise ValueError(
            f"{name} publishes no transition table (.P): TabularMDP.from_arrays, or from_counts with what you recorded"
        )
    if start is None:
        raise ValueError(
            f"{name} publishes .P and no initial_state_distrib: TabularMDP.from_table(env.P, start, gamma)"
        )
    if getattr(base, "fickle_passenger", False):
        raise ValueError(
            f"{name}, fickle_passenger=True: its .P is not what it does: a passenger changes destination in step()"
        )
    check_wrappers(env)
    return table, np.asarray(start, float)


def check_wrappers(env: gym.Env[Any, Any]) -> None:
    """
    :param env: as it is stepped
    :raises ValueError: where a wrapper may do something else than the environment under it, whose table is read.
        Those that only change what is seen do no harm
    """
    for wrapper in _wrappers(env):
        if isinstance(wrapper, gym.ObservationWrapper) or _names(wrapper) & HARMLESS_WRAPPERS:
            continue
        changed = next((what for kind, what in CHANGED_BY.items() if isinstance(wrapper, kind)), "steps need not be")
        raise ValueError(f"from_env reads the table under {type(wrapper).__name__}: its {changed} the ones of this env")


def time_limit(env: gym.Env[Any, Any]) -> int | None:
    """:return: steps after which a wrapper or `TabularEnv` truncates; what a registry names and nobody keeps is none"""
    keepers = [env.unwrapped, *(wrapper for wrapper in _wrappers(env) if "TimeLimit" in _names(wrapper))]
    limits = [getattr(keeper, "_max_episode_steps", None) for keeper in keepers]
    return min((limit for limit in limits if limit is not None), default=None)


def from_table(table: Mapping[int, Any] | Sequence[Any]) -> tuple[Columns, int, int]:
    """
    :param table: ``table[state][action]``: outcomes (probability, next state, reward, terminated)
    :return: columns, S, A
    """
    states, first = _in_sequence(table, "states")
    actions = [_in_sequence(of_state, f"actions of state {s}")[0] for s, of_state in enumerate(states)]
    n_states, n_actions = len(states), len(actions[0])
    for s, of_state in enumerate(actions):
        if len(of_state) != n_actions:
            raise ValueError(f"state {s} has {len(of_state)} actions, state 0 has {n_actions}")
    rows = [outcomes for of_state in actions for outcomes in of_state]
    row = np.repeat(np.arange(n_states * n_actions), [len(outcomes) for outcomes in rows])
    for k, outcomes in enumerate(rows):
        if any(len(outcome) != 4 for outcome in outcomes):
            place = f"state {k // n_actions}, action {k % n_actions}"
            raise ValueError(f"outcomes of {place} must be (probability, next state, reward, terminated): {outcomes}")
    columns = list(zip(*[outcome for outcomes in rows for outcome in outcomes], strict=True))
    if not columns:
        raise ValueError("the table holds no outcome")
    probability, following, reward, terminated = columns
    return (
        (
            row,
            np.array(following) - first,
            np.array(probability, float),
            np.array(reward, float),
            np.array(terminated, bool),
        ),
        n_states,
        n_actions,
    )


def from_arrays(
    transitions: np.ndarray, reward: np.ndarray, terminal: np.ndarray, states_first: bool | None
) -> tuple[Columns, int, int]:
    """
    :param transitions: [A, S, S] or [S, A, S]
    :param reward: [S, A] or [S, A, S]
    :param terminal: [S] bool
    :param states_first: whether ``transitions`` is [S, A, S]
    :return: columns, S, A
    """
    transitions, reward, terminal = np.asarray(transitions, float), np.asarray(reward, float), np.asarray(terminal)
    if not _states_first(transitions.shape, states_first):
        transitions = transitions.swapaxes(0, 1)
    n_states, n_actions = transitions.shape[:2]
    if terminal.shape != (n_states,) or terminal.dtype != bool:
        raise ValueError(f"terminal has shape {terminal.shape} of {terminal.dtype}, not ({n_states},) of bool")
    if reward.shape not in ((n_states, n_actions), transitions.shape):
        raise ValueError(
            f"reward has shape {reward.shape}, not ({n_states}, {n_actions}) or ({n_states}, {n_actions}, {n_states})"
        )
    flat = np.where(terminal[:, None, None], 0.0, transitions).reshape(n_states * n_actions, n_states)
    row, following = np.nonzero(flat)
    paid = reward.reshape(n_states * n_actions, -1)[row, following if reward.ndim == 3 else 0]
    ends = np.flatnonzero(np.repeat(terminal, n_actions))  # as FrozenLake: it stays, ends and pays nothing
    columns = (
        np.concatenate([row, ends]),
        np.concatenate([following, ends // n_actions]),
        np.concatenate([flat[row, following], np.ones(len(ends))]),
        np.concatenate([paid, np.zeros(len(ends))]),
        np.concatenate([terminal[following], np.ones(len(ends), bool)]),
    )
    return columns, n_states, n_actions


def from_counts(counts: TransitionCounts, prior: float) -> tuple[Columns, np.ndarray]:
    """
    :param counts: what was seen
    :param prior: how often every action led from every state to every state beside it
    :return: columns, [S] probabilities of the first state
    """
    if not (np.isfinite(prior) and prior >= 0.0):
        raise ValueError(f"prior {prior} must be a number of steps, at least 0")
    n_states, n_rows = counts.n_states, counts.n_states * counts.n_actions
    if counts.starts.sum() == 0:
        raise ValueError("no start of an episode was counted: counts.add_starts(states)")
    if prior > 0.0 and n_rows * n_states > MAX_DENSE:
        raise ValueError(f"prior {prior:g} spreads over {n_rows * n_states} outcomes: only 0 suits so many states")
    if n_rows > MAX_DENSE:
        raise ValueError(
            f"a table of {n_states} states x {counts.n_actions} actions takes {n_rows * BYTES / 1e9:.0f} GB: an action "
            f"that was never tried has a row, too"
        )
    seen = counts.seen()
    tried = np.bincount(seen.row, seen.times, minlength=n_rows)
    total = tried + prior * n_states
    mean = np.bincount(seen.row, seen.reward_sum, minlength=n_rows) / np.maximum(tried, 1)
    columns = [seen.row, seen.next, seen.times / total[seen.row], seen.reward_sum / seen.times, seen.terminated]
    if prior > 0.0:
        every = np.repeat(np.arange(n_rows), n_states)
        more = [every, np.tile(np.arange(n_states), n_rows), prior / total[every], mean[every]]
    else:
        every = np.flatnonzero(tried == 0)
        more = [every, every // counts.n_actions, np.ones(len(every)), np.zeros(len(every))]
    more.append(np.zeros(len(every), bool))
    row, following, probability, reward, terminated = [np.concatenate(pair) for pair in zip(columns, more, strict=True)]
    return (row, following, probability, reward, terminated), counts.starts / counts.starts.sum()


def _states_first(shape: tuple[int, ...], given: bool | None) -> bool:
    """:return: whether a shape is [S, A, S] rather than [A, S, S]"""
    if len(shape) != 3 or shape[2] not in shape[:2]:
        raise ValueError(f"transitions has shape {shape}, not [A, S, S] or [S, A, S]")
    if given is None and shape[0] == shape[1]:
        raise ValueError(
            f"transitions {shape}: with as many actions as states [A, S, S] and [S, A, S] look alike: give states_first"
        )
    first = shape[0] == shape[2] if given is None else given
    if shape[2] != shape[0 if first else 1]:
        raise ValueError(f"transitions has shape {shape}, which states_first={given} does not fit")
    return first


def _in_sequence(table: Mapping[int, Any] | Sequence[Any], what: str) -> tuple[list[Any], int]:
    """:return: the entries by number, and the first number"""
    if not isinstance(table, Mapping):
        return list(table), 0
    keys = sorted(table)
    if not keys or keys[-1] - keys[0] + 1 != len(keys):
        raise ValueError(f"{what} of the table are not numbered without gaps: {keys[:10]}")
    return [table[key] for key in keys], keys[0]


def _wrappers(env: gym.Env[Any, Any]) -> Iterator[gym.Wrapper[Any, Any, Any, Any]]:
    """:return: from the outermost"""
    while isinstance(env, gym.Wrapper):
        yield env
        env = env.env


def _names(wrapper: object) -> set[str]:
    """:return: of its class and those that it derives from"""
    return {kind.__name__ for kind in type(wrapper).__mro__}
