"""
MemoryChain and RepeatPrevious as tables. The environments draw an episode at its start; here each part is drawn when it
is shown, which are the same chances. The last state is the end and shows zeros.
"""

import numpy as np

from sb3_ext.envs.tables import PomdpTables, TransitionTable, check_size

N_SYMBOLS = 4  # the suits of POPGym's deck


def memory_chain_tables(length: int) -> PomdpTables:
    """
    :param length: steps from the cue to the query
    :return: states bit * (length + 1) + time, then the end; observations cue 0, cue 1, the times from 1 on, the zeros
    :raises ValueError: if these are too many
    """
    n_times = length + 1
    end = 2 * n_times
    check_size(end + 1, length + 3, f"length {length}")
    table: TransitionTable = {}
    for state in range(end):
        bit, t = divmod(state, n_times)
        going_on = [(1.0, state + 1, 0.0, False)]
        answers = {a: [(1.0, end, 1.0 if a == bit else -1.0, True)] for a in range(2)}
        table[state] = answers if t == length else {0: going_on, 1: going_on}
    table[end] = {a: [(1.0, end, 0.0, True)] for a in range(2)}

    time = np.arange(1, n_times)
    shown = np.zeros((n_times + 2, 3), np.float32)
    shown[:2, 0] = -1.0, 1.0
    shown[1 + time, 1] = time / length
    shown[n_times, 2] = 1.0
    seen = np.concatenate([[0], 1 + time, [1], 1 + time, [n_times + 1]])
    start = np.zeros(end + 1)
    start[[0, n_times]] = 0.5
    return PomdpTables.of_states(table, start, seen, shown, gamma=1.0)


def repeat_previous_tables(k: int, length: int) -> PomdpTables:
    """
    :param k: how many steps back the asked symbol lies
    :param length: steps in an episode
    :return: states are the times, in each the symbols of the last k + 1 steps as digits in base 4, the newest last;
        then the end. Observations: the 4 symbols, the zeros
    :raises ValueError: if there are too many states
    """
    n_at = [N_SYMBOLS ** (min(t, k) + 1) for t in range(length)]
    end = sum(n_at)
    check_size(end + 1, N_SYMBOLS + 1, f"k {k} and length {length}")
    table: TransitionTable = {}
    for t, n_states in enumerate(n_at):
        terminated = t + 1 == length
        first_of_next = len(table) + n_states
        reward = 1.0 / (length - k) if t >= k else 0.0
        for digits in range(n_states):
            after = [end]
            if not terminated:
                after = [first_of_next + N_SYMBOLS * digits % n_at[t + 1] + new for new in range(N_SYMBOLS)]
            right = [(1.0 / len(after), state, reward, terminated) for state in after]
            wrong = [(1.0 / len(after), state, 0.0 - reward, terminated) for state in after]
            asked = digits // N_SYMBOLS**k
            table[len(table)] = {a: right if a == asked else wrong for a in range(N_SYMBOLS)}
    table[end] = {a: [(1.0, end, 0.0, True)] for a in range(N_SYMBOLS)}

    newest = [np.arange(n_states) % N_SYMBOLS for n_states in n_at]
    shown = np.eye(N_SYMBOLS + 1, N_SYMBOLS, dtype=np.float32)
    start = np.zeros(end + 1)
    start[:N_SYMBOLS] = 1.0 / N_SYMBOLS
    return PomdpTables.of_states(table, start, np.concatenate([*newest, [N_SYMBOLS]]), shown, gamma=1.0)
