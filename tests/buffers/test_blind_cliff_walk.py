"""
The blind cliff walk (Schaul et al., 2016, section 3.1 and figure 1), the task that prioritized replay was made for.

In each of n states one action leads on and the other ends the episode; only n right actions in a row bring a reward.

```
o0 --right--> o1 --right--> ... --right--> o(n-1) --right--> reward 1, end
 |             |                             |
wrong: end    wrong: end                    wrong: end
```

The memory holds what all 2^n sequences of actions lead to, in random order: 2^(n+1) - 2 transitions, of which one has
a reward. A tabular Q learns from single draws until it is right. Counted are updates.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.utils import set_random_seed

from sb3_ext.buffers import (
    GreedyPriority,
    PrioritizedReplayBuffer,
    Proportional,
    RankBased,
    Sampler,
    Uniform,
)

RIGHT = 1
STEP_SIZE = 0.25
TOLERANCE = 1e-3  # mean squared error of all Q-values


def memory_of_all_sequences(n: int, sampler: Sampler) -> PrioritizedReplayBuffer:
    transitions, episodes = 2 ** (n + 1) - 2, 2**n
    buffer = PrioritizedReplayBuffer(
        transitions + episodes, spaces.Discrete(n + 1), spaces.Discrete(2), "cpu", gamma=1 - 1 / n, sampler=sampler
    )
    for sequence in np.random.permutation(list(itertools.product((0, 1), repeat=n))):
        for state, action in enumerate(sequence):
            success = action == RIGHT and state == n - 1
            ended = success or action != RIGHT
            buffer.add(
                np.array([state]),
                np.array([state + 1 if action == RIGHT else n]),
                np.array([action]),
                np.array([float(success)]),
                np.array([ended]),
                [{}],
            )
            if ended:
                break
    assert buffer.n_drawable == transitions
    return buffer


def updates_until_solved(n: int, sampler: Sampler, seed: int) -> int:
    set_random_seed(seed)
    buffer = memory_of_all_sequences(n, sampler)
    gamma = 1 - 1 / n
    truth = np.zeros((n + 1, 2))
    truth[:n, RIGHT] = gamma ** np.arange(n - 1, -1, -1)
    q = np.random.normal(scale=0.1, size=(n + 1, 2))
    q[n] = 0.0
    for update in range(1_000_000):
        if np.mean((q - truth)[:n] ** 2) < TOLERANCE:
            return update
        batch = buffer.sample(1)
        state, after, action = int(batch.observations), int(batch.next_observations), int(batch.actions)  # type: ignore[arg-type]
        target = batch.rewards.item() + (1 - batch.dones.item()) * gamma * q[after].max()
        error = target - q[state, action]
        q[state, action] += STEP_SIZE * error
        buffer.update_priorities(batch.handle, np.array([abs(error)]))
    raise AssertionError("not solved")


@pytest.fixture(scope="module")
def uniform() -> float:
    return median(Uniform)


N_STATES, N_SEEDS = 8, 5


def median(make: Callable[[], Sampler]) -> float:
    return float(np.median([updates_until_solved(N_STATES, make(), seed) for seed in range(N_SEEDS)]))


@pytest.mark.parametrize(
    ("make", "speedup"),
    [
        (lambda: Proportional(alpha=1.0, beta=0.0), 5.0),
        (lambda: RankBased(alpha=1.0, beta=0.0), 3.0),
        (GreedyPriority, 5.0),
    ],
    ids=["proportional", "rank", "greedy"],
)
def test_prioritized_needs_clearly_fewer_updates_than_uniform(
    make: Callable[[], Sampler], speedup: float, uniform: float
) -> None:
    prioritized = median(make)
    print(f"\n{N_STATES} states, median of {N_SEEDS}: uniform {uniform:.0f}, {make()!r} {prioritized:.0f} updates")
    assert prioritized * speedup < uniform
