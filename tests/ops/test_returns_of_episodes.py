"""Returns, weights and first visits against their definitions, forward in time and one step after the other."""

import numpy as np
import pytest

from sb3_ext.ops.monte_carlo import discounted_returns, first_visits, weights_behind

GAMMA = 0.9


def episodes(seed: int) -> list[np.ndarray]:
    """:return: numbers of the steps of each of 20 episodes, one behind another"""
    lengths = np.random.default_rng(seed).integers(1, 9, size=20)
    return np.split(np.arange(lengths.sum()), np.cumsum(lengths)[:-1])


def marked(parts: list[np.ndarray]) -> np.ndarray:
    """:return: [N] bool, the last step of each"""
    return np.isin(np.concatenate(parts), [part[-1] for part in parts])


@pytest.mark.parametrize("seed", range(3))
def test_a_return_is_the_discounted_sum_of_what_follows_in_its_episode(seed: int) -> None:
    parts = episodes(seed)
    rewards = np.random.default_rng(seed).normal(size=parts[-1][-1] + 1)
    found = discounted_returns(rewards, marked(parts), GAMMA)
    for part in parts:
        for t in part:
            later = part[part >= t]
            assert found[t] == pytest.approx((rewards[later] * GAMMA ** (later - t)).sum(), abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_the_weight_of_an_action_begins_at_the_next_one(seed: int) -> None:
    """The trap: with its own ratio in it, the value of an action would depend on how likely it was."""
    parts = episodes(seed)
    ratios = np.random.default_rng(seed).uniform(0.1, 3.0, size=parts[-1][-1] + 1)
    ratios[:: 1 + seed * 3] *= 1.0 if seed else 0.0  # an impossible action, as of a greedy policy, is a ratio of 0
    found = weights_behind(ratios, marked(parts))
    for part in parts:
        assert found[part[-1]] == 1.0
        for t in part:
            assert found[t] == pytest.approx(np.prod(ratios[part[part > t]]), rel=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_a_cell_is_first_visited_once_in_an_episode(seed: int) -> None:
    parts = episodes(seed)
    cells = np.random.default_rng(seed).integers(4, size=parts[-1][-1] + 1)
    found = first_visits(cells, marked(parts))
    for part in parts:
        seen: set[int] = set()
        for t in part:
            assert found[t] == (cells[t] not in seen)
            seen.add(cells[t])


def test_no_steps_are_no_returns() -> None:
    nothing, none = np.zeros(0), np.zeros(0, bool)
    assert len(discounted_returns(nothing, none, GAMMA)) == len(weights_behind(nothing, none)) == 0
    assert len(first_visits(nothing.astype(np.int64), none)) == 0
