"""
What an environment with few states publishes of itself, for exact answers: its transition table as gymnasium's toy-text
environments do it (``P`` and ``initial_state_distrib``), and what is seen of its states.
"""

from typing import NamedTuple, TypeAlias

import numpy as np

TransitionTable: TypeAlias = dict[int, dict[int, list[tuple[float, int, float, bool]]]]
"""``P[state][action]``: outcomes (probability, next state, reward, terminated), as gymnasium's toy-text environments"""


MAX_STATES = 1_000_000
"""of a table: some 2 GB"""
MAX_SEEN = 100_000_000
"""probabilities of what is seen: 0.8 GB"""


def check_size(n_states: int, n_observations: int, of: str) -> None:
    """
    :param n_states: that a table is going to have
    :param n_observations: that it is going to tell apart
    :param of: what makes so many, for the message
    :raises ValueError: if they are too many, before memory is asked for
    """
    if n_states > MAX_STATES:
        raise ValueError(f"{of} make {n_states} states, too many for tables: at most {MAX_STATES}")
    if n_states * n_observations > MAX_SEEN:
        size = 8 * n_states * n_observations / 1e9
        raise ValueError(f"{of} make {n_states} states x {n_observations} observations: a table of {size:.1f} GB")


class PomdpTables(NamedTuple):
    """
    An environment's ``pomdp``: a process of which only a part is seen. Observations have numbers; ``shown`` says what
    an agent is given for each.
    """

    P: TransitionTable
    start: np.ndarray
    """[S] probabilities of the first state"""
    observation: np.ndarray
    """[A, S, O]: probability of seeing o where action a has led to state s"""
    first_observation: np.ndarray
    """[S, O]: the same before any action"""
    shown: np.ndarray
    """[O, ...]: the observation of the environment's space that has number o"""
    gamma: float
    """discount under which the task is usually stated"""
    horizon: int | None = None
    """steps after which the environment itself truncates an episode; None = it leaves that to its wrapper"""

    @classmethod
    def of_states(
        cls, P: TransitionTable, start: np.ndarray, seen: np.ndarray, shown: np.ndarray, gamma: float
    ) -> "PomdpTables":
        """
        Where the state alone says what is seen of it, whatever action led there, and at the start too.

        :param P: as above
        :param start: as above
        :param seen: [S] number of the observation in each state
        :param shown: as above
        :param gamma: as above
        """
        first = np.eye(len(shown))[seen]  # [S, O]
        return cls(P, start, np.broadcast_to(first, (len(P[0]), *first.shape)), first, shown, gamma)
