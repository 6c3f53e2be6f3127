"""Samplers by rank and greedy against the sorted items of a dictionary, and the tree of maxima."""

import numpy as np
import pytest
from stable_baselines3.common.utils import set_random_seed
from support.checks import assert_frequencies
from support.sampler_model import Model, array, counts

from sb3_ext.buffers.max_tree import MaxTree
from sb3_ext.buffers.samplers import LOW_BITS, GreedyPriority, RankBased


@pytest.mark.parametrize("alpha", [0.0, 0.7, 1.0])
def test_ranks_are_exact_after_a_refresh(alpha: float) -> None:
    sampler = RankBased(alpha=alpha)
    model = Model(sampler, seed=int(alpha * 10))
    for i in range(600):
        model.step()
        assert sampler.n_active == len(model.priorities)
        if i % 7 == 0 and model.capacity:
            sampler.refresh()
            found = sampler.masses(np.arange(model.capacity))
            np.testing.assert_allclose(found, model.rank_shares(alpha), rtol=1e-12)


def test_ranks_between_refreshes_are_those_of_the_last_order() -> None:
    """Every item that changed stands where its priority would have stood then; the others stay."""
    sampler = RankBased(alpha=1.0, staleness=1.0)
    sampler.resize(20)
    sampler.activate(np.arange(10))
    sampler.update(np.arange(10), np.arange(10.0, 0.0, -1.0))  # leaf i has priority 10 - i and rank i + 1
    sampler.refresh()
    np.testing.assert_allclose(1 / sampler.masses(np.arange(10)), np.arange(1, 11))
    sampler.update(array(9, 4, 0, 6), np.array([8.5, 100.0, 0.0, 7.0]))  # 7 is what leaf 3 has
    sampler.activate(array(15))  # at the highest priority seen so far, 100
    sampler.deactivate(array(1))
    expected = {9: 3, 4: 1, 0: 11, 15: 1, 2: 3, 3: 4, 5: 6, 6: 4, 7: 8, 8: 9}
    np.testing.assert_allclose(1 / sampler.masses(np.array(list(expected))), list(expected.values()))
    assert sampler.masses(array(1)).tolist() == [0.0]
    sampler.refresh()
    expected = {15: 1, 4: 2, 9: 3, 2: 4, 6: 5, 3: 6, 5: 7, 7: 8, 8: 9, 0: 10}
    np.testing.assert_allclose(1 / sampler.masses(np.array(list(expected))), list(expected.values()))


@pytest.mark.parametrize(("staleness", "n_refreshes"), [(0.0, 50), (0.1, 4), (1.0, 0)])
def test_a_draw_sorts_only_when_enough_has_changed(staleness: float, n_refreshes: int) -> None:
    refreshed: list[int] = []

    class Counting(RankBased):
        def refresh(self) -> None:
            refreshed.append(1)
            super().refresh()

    sampler = Counting(staleness=staleness)
    sampler.resize(1000)
    sampler.activate(np.arange(1000))
    sampler.refresh()
    refreshed.clear()
    for _ in range(50):
        sampler.update(np.arange(10), np.ones(10))
        sampler.draw(4)
        sampler.draw(4)  # nothing has changed since
    assert len(refreshed) == n_refreshes


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.9])
def test_rank_frequencies(alpha: float, seed: int) -> None:
    set_random_seed(seed)
    sampler = RankBased(alpha=alpha, staleness=0.0)
    model = Model(sampler, seed)
    while len(model.priorities) < 60:
        for _ in range(40):
            model.step()
    assert_frequencies(counts(sampler, model.capacity, 64, 2000), model.rank_shares(alpha))


def test_rank_weights() -> None:
    set_random_seed(0)
    sampler = RankBased(alpha=0.7, beta=0.4, beta_final=1.0, staleness=0.0)
    sampler.resize(40)
    sampler.activate(np.arange(40))
    sampler.update(np.arange(40), np.random.default_rng(0).exponential(size=40))
    model_order = np.argsort(-np.random.default_rng(0).exponential(size=40)).tolist()
    total = sum((1 / rank) ** 0.7 for rank in range(1, 41))
    draw = sampler.draw(32, 0.5)
    raw = [(40 * (1 / (model_order.index(leaf) + 1)) ** 0.7 / total) ** -0.7 for leaf in draw.leaves.tolist()]
    np.testing.assert_allclose(draw.weights, [w / max(raw) for w in raw], rtol=1e-5)


def test_outliers_do_not_change_the_ranks() -> None:
    sampler = RankBased()
    sampler.resize(5)
    sampler.activate(np.arange(5))
    sampler.update(np.arange(5), np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    sampler.refresh()
    before = sampler.masses(np.arange(5))
    sampler.update(array(4), np.array([1e9]))
    sampler.refresh()
    np.testing.assert_array_equal(sampler.masses(np.arange(5)), before)


# ---------------------------------------------------------------------- greedy


@pytest.mark.parametrize("seed", range(5))
def test_greedy_draws_the_highest_and_of_equals_the_newest(seed: int) -> None:
    """
    Against sorting everything at every draw: drawn items stand behind all others, longest waiting first, until updated.
    """
    sampler = GreedyPriority()
    model = Model(sampler, seed)
    waiting: list[int] = []
    for i in range(800):
        model.step()
        waiting = [leaf for leaf in waiting if leaf in model.priorities and leaf not in model.given]
        if model.priorities and i % 3 == 0:
            size = int(model.rng.integers(1, 30))
            order = [leaf for leaf in model.newest_of_the_highest_first() if leaf not in waiting] + waiting
            expected = order[:size]
            draw = sampler.draw(size)
            assert draw.leaves.tolist() == [expected[j % len(expected)] for j in range(size)]
            assert draw.weights.tolist() == [1.0] * size
            waiting = [leaf for leaf in waiting if leaf not in expected] + expected
            if model.rng.random() < 0.7:
                leaves = np.array(expected)
                values = model.rng.exponential(size=len(leaves)).astype(np.float32)
                sampler.update(leaves, values)
                model.priorities.update(zip(expected, values.tolist(), strict=True))
                model.max_priority = max(model.max_priority, float(values.max()))
                waiting = [leaf for leaf in waiting if leaf not in expected]


def test_items_that_are_never_updated_take_turns() -> None:
    """As under an algorithm that reports no errors."""
    sampler = GreedyPriority()
    sampler.resize(7)
    sampler.activate(np.arange(7))
    assert [sampler.draw(3).leaves.tolist() for _ in range(5)] == [
        [6, 5, 4], [3, 2, 1], [0, 6, 5], [4, 3, 2], [1, 0, 6]
    ]  # fmt: skip
    sampler.update(array(2), np.array([0.0]))  # without error, but known: before all that wait
    assert sampler.draw(2).leaves.tolist() == [2, 5]


def test_greedy_counters_may_wrap() -> None:
    sampler = GreedyPriority()
    sampler._n_born = sampler._n_drawn = LOW_BITS - 2
    sampler.resize(5)
    sampler.activate(np.arange(5))
    for _ in range(4):
        assert sorted(sampler.draw(5).leaves.tolist()) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("capacity", [1, 16, 17, 600, 9000, 140_000])
def test_the_top_of_a_max_tree(capacity: int) -> None:
    rng = np.random.default_rng(capacity)
    tree, keys = MaxTree(capacity), np.zeros(capacity, dtype=np.uint64)
    for _ in range(30):
        n = int(rng.integers(1, min(capacity, 50) + 1))
        leaves = rng.choice(capacity, size=n, replace=False)
        values = rng.integers(0, 2**63, size=n).astype(np.uint64) * (rng.random(n) < 0.8).astype(np.uint64)
        tree.set(leaves, values)
        keys[leaves] = values
        for k in (1, 5, 64):
            order = np.argsort(keys)[::-1][:k]
            np.testing.assert_array_equal(tree.top(k), order[keys[order] > 0])
    np.testing.assert_array_equal(tree[np.arange(capacity)], keys)
