"""The sum tree against a plain array and its cumulative sum, with and without numba."""

import importlib.util
import math
import pickle
import sys

import numpy as np
import pytest

from sb3_ext.buffers.sum_tree import Backend, SumTree

CAPACITIES = [1, 2, 15, 16, 17, 255, 256, 257, 511, 512, 513, 1000, 4999, 5000, 8192, 8193]
JUST_BELOW_ONE = np.nextafter(1.0, 0.0)

# An optional accelerator: without it the tree is NumPy's alone, which is tested either way.
needs_numba = pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="numba is not installed")


@pytest.fixture(params=["numpy", pytest.param("numba", marks=needs_numba)])
def backend(request: pytest.FixtureRequest) -> Backend:
    given: Backend = request.param
    return given


def slow_find(masses: np.ndarray, fraction: float) -> int:
    """The first leaf at which the running sum exceeds the fraction of the total."""
    running = np.cumsum(masses)
    target = fraction * running[-1]
    return int(np.flatnonzero(running > target)[0])


def assert_brackets(masses: np.ndarray, fractions: np.ndarray, found: np.ndarray) -> None:
    """Each fraction lies in its leaf's share of the running sum, up to rounding; no leaf of mass zero is found."""
    assert found.dtype == np.int64
    assert (masses[found] > 0).all()
    running = np.cumsum(masses)
    target, tolerance = fractions * running[-1], 1e-12 * running[-1]
    assert (running[found] - masses[found] <= target + tolerance).all()
    assert (target <= running[found] + tolerance).all()


@pytest.mark.parametrize("capacity", CAPACITIES)
def test_whole_numbers_are_found_exactly(backend: Backend, capacity: int) -> None:
    """Sums of small integers have no rounding, so every single answer is determined."""
    rng = np.random.default_rng(capacity)
    tree, masses = SumTree(capacity, backend), np.zeros(capacity)
    for _ in range(20):
        leaves = rng.integers(capacity, size=min(capacity, 100))
        values = rng.integers(0, 4, size=len(leaves)).astype(float)
        tree.set(leaves, values)
        for leaf, value in zip(leaves, values, strict=True):
            masses[leaf] = value
        np.testing.assert_array_equal(tree[np.arange(capacity)], masses)
        assert tree.total == masses.sum()
        if masses.sum() == 0:
            continue
        fractions = np.concatenate((rng.random(50), [0.0, JUST_BELOW_ONE]))
        assert tree.find(fractions).tolist() == [slow_find(masses, f) for f in fractions]


def test_the_edge_between_two_leaves_belongs_to_the_right_one(backend: Backend) -> None:
    tree = SumTree(64, backend)
    tree.set(np.array([3, 20, 63]), np.array([1.0, 2.0, 1.0]))
    assert tree.find(np.array([0.0, 0.2499, 0.25, 0.7499, 0.75, JUST_BELOW_ONE])).tolist() == [3, 3, 20, 20, 63, 63]


@pytest.mark.parametrize("capacity", CAPACITIES)
def test_random_masses_are_found_up_to_rounding(backend: Backend, capacity: int) -> None:
    rng = np.random.default_rng(capacity + 1)
    tree, masses = SumTree(capacity, backend), np.zeros(capacity)
    for _ in range(20):
        leaves = rng.integers(capacity, size=int(rng.integers(1, 2 * capacity + 1)))
        values = rng.exponential(size=len(leaves)) * (rng.random(len(leaves)) < 0.7)
        tree.set(leaves, values)
        for leaf, value in zip(leaves, values, strict=True):
            masses[leaf] = value
        assert tree.total == pytest.approx(math.fsum(masses), rel=1e-12)
        if masses.any():
            fractions = np.concatenate((rng.random(100), [0.0, JUST_BELOW_ONE]))
            assert_brackets(masses, fractions, tree.find(fractions))


def test_a_large_tree(backend: Backend) -> None:
    rng = np.random.default_rng(0)
    capacity = 2**17
    tree, masses = SumTree(capacity, backend), rng.exponential(size=capacity) * (rng.random(capacity) < 0.5)
    tree.set(np.arange(capacity), masses)
    for _ in range(20):
        fractions = rng.random(2000)
        found = tree.find(fractions)
        assert_brackets(masses, fractions, found)
        masses[found] = rng.exponential(size=len(found))  # the last of duplicates counts, here as there
        tree.set(found, masses[found])
        assert tree.total == pytest.approx(math.fsum(masses), rel=1e-12)


def test_trap_19_no_leaf_of_mass_zero_is_drawn_after_100_000_extreme_updates(backend: Backend) -> None:
    rng = np.random.default_rng(3)
    capacity = 3000
    tree, masses = SumTree(capacity, backend), np.zeros(capacity)
    for _ in range(1000):
        leaves = rng.integers(capacity, size=100)
        values = 10.0 ** rng.uniform(-12, 12, size=100) * (rng.random(100) < 0.5)
        tree.set(leaves, values)
        masses[leaves] = values
        fractions = rng.random(64)
        fractions[:3] = 0.0, JUST_BELOW_ONE, 1 - 1e-15
        assert (masses[tree.find(fractions)] > 0).all()
    assert tree.total == pytest.approx(math.fsum(masses), rel=1e-12)
    # What differences would have left behind: 1e12 has come and gone, 1e-12 must still be exact.
    tree.set(np.arange(capacity), 0.0)
    assert tree.total == 0.0
    tree.set(np.array([1234]), 1e-12)
    assert tree.total == 1e-12
    assert (tree.find(rng.random(100)) == 1234).all()


def test_trap_19_tiny_masses_beside_huge_ones(backend: Backend) -> None:
    """Rounding may hide a tiny leaf behind a huge one; it never leads to an empty one."""
    rng = np.random.default_rng(4)
    for _ in range(200):
        capacity = int(rng.integers(2, 1200))
        masses = np.where(rng.random(capacity) < 0.1, 10.0 ** rng.uniform(-300, 12, size=capacity), 0.0)
        masses[rng.integers(capacity)] = 5e-324
        tree = SumTree(capacity, backend)
        tree.set(np.arange(capacity), masses)
        fractions = np.concatenate((rng.random(32), [0.0, JUST_BELOW_ONE], 1.0 - 10.0 ** rng.uniform(-16, -10, 8)))
        assert (masses[tree.find(fractions)] > 0).all()


@pytest.mark.parametrize("capacity", [10, 700, 9000])
def test_trap_20_of_duplicates_the_last_one_counts(backend: Backend, capacity: int) -> None:
    rng = np.random.default_rng(5)
    for _ in range(30):
        tree, once = SumTree(capacity, backend), SumTree(capacity, backend)
        leaves = rng.integers(min(capacity, 12), size=64)
        values = rng.exponential(size=64)
        tree.set(leaves, values)
        last = dict(zip(leaves.tolist(), values.tolist(), strict=True))
        once.set(np.array(list(last)), np.array(list(last.values())))
        np.testing.assert_array_equal(tree[np.arange(capacity)], once[np.arange(capacity)])
        assert tree.total == once.total == pytest.approx(sum(last.values()), rel=1e-12)
        fractions = rng.random(64)
        np.testing.assert_array_equal(tree.find(fractions), once.find(fractions))


def test_setting_nothing_and_one_mass_for_all(backend: Backend) -> None:
    tree = SumTree(100, backend)
    tree.set(np.zeros(0, dtype=np.int64), np.zeros(0))
    assert tree.total == 0.0
    tree.set(np.array([5, 50, 99]), 2.0)
    assert tree.total == 6.0
    assert tree.find(np.zeros(0)).shape == (0,)


@needs_numba
@pytest.mark.parametrize("capacity", [5, 300, 5000])
def test_both_backends_agree(capacity: int) -> None:
    rng = np.random.default_rng(6)
    trees = [SumTree(capacity, "numpy"), SumTree(capacity, "numba")]
    for _ in range(30):
        leaves, values = rng.integers(capacity, size=40), rng.integers(0, 100, size=40).astype(float)
        for tree in trees:
            tree.set(leaves, values)
        fractions = rng.random(64)
        np.testing.assert_array_equal(trees[0].find(fractions), trees[1].find(fractions))


# ---------------------------------------------------------------------- files


def filled(backend: Backend) -> SumTree:
    tree = SumTree(9000, backend)
    tree.set(np.arange(9000), np.random.default_rng(7).exponential(size=9000))
    return tree


def test_pickling(backend: Backend) -> None:
    tree = filled(backend)
    copy: SumTree = pickle.loads(pickle.dumps(tree))
    assert copy.backend == backend
    assert copy.total == tree.total
    for each in (tree, copy):  # the copy's levels are views of its own memory
        each.set(np.array([0, 8999]), np.array([5.0, 7.0]))
    fractions = np.random.default_rng(8).random(500)
    np.testing.assert_array_equal(copy.find(fractions), tree.find(fractions))
    tree.set(np.arange(9000), 0.0)
    assert copy.total > 0


def hide_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    import sb3_ext.buffers

    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "sb3_ext.buffers._sum_tree_numba", raising=False)
    monkeypatch.delattr(sb3_ext.buffers, "_sum_tree_numba", raising=False)


@needs_numba
@pytest.mark.parametrize("name", ["numba", "auto"])
def test_a_tree_made_with_numba_opens_without_it(monkeypatch: pytest.MonkeyPatch, name: Backend) -> None:
    tree = filled(name)
    fractions = np.random.default_rng(9).random(500)
    expected, data = tree.find(fractions), pickle.dumps(tree)
    hide_numba(monkeypatch)
    copy: SumTree = pickle.loads(data)
    assert copy.total == tree.total
    np.testing.assert_array_equal(copy.find(fractions), expected)
    copy.set(np.array([1]), 3.0)
    assert copy[np.array([1])].tolist() == [3.0]


def test_a_missing_numba_is_named_only_where_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    hide_numba(monkeypatch)
    with pytest.raises(ImportError, match=r"sb3-ext\[fast\]"):
        SumTree(10, "numba")
    tree = SumTree(10, "auto")
    tree.set(np.array([4]), 1.0)
    assert tree.find(np.array([0.5])).tolist() == [4]


# ---------------------------------------------------------------------- bad input


@pytest.mark.parametrize("bad", [-1e-9, float("nan"), float("inf"), -float("inf")])
def test_a_bad_mass_is_refused_and_nothing_is_written(backend: Backend, bad: float) -> None:
    tree = SumTree(10, backend)
    tree.set(np.arange(3), 1.0)
    with pytest.raises(ValueError, match="masses must be finite and >= 0"):
        tree.set(np.array([0, 1]), np.array([5.0, bad]))
    assert tree[np.arange(3)].tolist() == [1.0, 1.0, 1.0]
    assert tree.total == 3.0


@pytest.mark.parametrize("leaf", [-1, 10, 15, 10_000])
def test_a_leaf_outside_is_refused(backend: Backend, leaf: int) -> None:
    """15 lies inside the memory of ten leaves, which is rounded up to sixteen."""
    tree = SumTree(10, backend)
    with pytest.raises(ValueError, match=r"must lie in 0\.\.9"):
        tree.set(np.array([0, leaf]), 1.0)
    assert tree.total == 0.0


def test_an_empty_tree_finds_nothing(backend: Backend) -> None:
    tree = SumTree(600, backend)
    with pytest.raises(ValueError, match="nothing can be drawn yet"):
        tree.find(np.array([0.5]))


@pytest.mark.parametrize("capacity", [0, -3])
def test_capacity_must_be_positive(capacity: int) -> None:
    with pytest.raises(ValueError, match=f"capacity {capacity} must be >= 1"):
        SumTree(capacity)


def test_unknown_backend() -> None:
    with pytest.raises(ValueError, match="backend 'cython' must be"):
        SumTree(4, "cython")  # type: ignore[arg-type]
