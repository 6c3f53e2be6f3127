"""Samplers against a dictionary of priorities: who can be drawn, how often, and with which weight."""

import pickle
from collections.abc import Callable

import numpy as np
import pytest
from checks import assert_frequencies
from stable_baselines3.common.utils import set_random_seed

from sb3_ext.buffers.samplers import MIN_PRIORITY, Draw, ProportionalSampler, Sampler, UniformSampler

BOTH: list[Callable[[], Sampler]] = [UniformSampler, ProportionalSampler]


def array(*leaves: int) -> np.ndarray:
    return np.array(leaves, dtype=np.int64)


def counts(sampler: Sampler, capacity: int, batch_size: int, n_batches: int) -> np.ndarray:
    drawn = np.concatenate([sampler.draw(batch_size).leaves for _ in range(n_batches)])
    return np.bincount(drawn, minlength=capacity)


class Model:
    """The dictionary that a proportional sampler stands for, under random operations."""

    def __init__(self, sampler: Sampler, seed: int) -> None:
        self.sampler, self.rng = sampler, np.random.default_rng(seed)
        self.capacity = 0
        self.priorities: dict[int, float] = {}
        self.max_priority = 1.0

    def step(self) -> None:
        kind = self.rng.choice(["grow", "activate", "activate", "deactivate", "update", "update"])
        active = self.rng.permutation(sorted(self.priorities)).astype(np.int64)
        if self.capacity == 0 or (kind == "grow" and self.capacity < 400):
            self.capacity += int(self.rng.integers(1, 60))
            self.sampler.resize(self.capacity)
        elif kind == "activate":
            free = self.rng.permutation([leaf for leaf in range(self.capacity) if leaf not in self.priorities])
            leaves = free[: self.rng.integers(0, 40)].astype(np.int64)
            self.sampler.activate(leaves)
            self.priorities.update(dict.fromkeys(leaves.tolist(), self.max_priority))
        elif kind == "deactivate":
            leaves = active[: self.rng.integers(0, 20)]
            self.sampler.deactivate(leaves)
            for leaf in leaves.tolist():
                del self.priorities[leaf]
        elif kind == "update":
            leaves = active[: self.rng.integers(0, 50)]
            values = self.rng.exponential(size=len(leaves)) * 2
            self.sampler.update(leaves, values)
            self.priorities.update(zip(leaves.tolist(), values.tolist(), strict=True))
            self.max_priority = max([self.max_priority, *values.tolist()])

    def shares(self, alpha: float) -> np.ndarray:
        masses = np.zeros(self.capacity)
        for leaf, priority in self.priorities.items():
            masses[leaf] = max(priority, MIN_PRIORITY) ** alpha
        return masses


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.9, 1.0])
def test_random_operations_keep_p_to_the_alpha(alpha: float) -> None:
    sampler = ProportionalSampler(alpha=alpha)
    model = Model(sampler, seed=int(alpha * 10))
    for _ in range(600):
        model.step()
        assert sampler.n_active == len(model.priorities)
        if model.capacity:
            np.testing.assert_allclose(sampler.masses(np.arange(model.capacity)), model.shares(alpha), rtol=1e-12)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("alpha", [0.0, 0.6, 0.9])
def test_proportional_frequencies(alpha: float, seed: int) -> None:
    set_random_seed(seed)
    sampler = ProportionalSampler(alpha=alpha)
    model = Model(sampler, seed)
    while len(model.priorities) < 60:
        for _ in range(40):
            model.step()
    assert_frequencies(counts(sampler, model.capacity, 64, 2000), model.shares(alpha))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_uniform_frequencies(seed: int) -> None:
    set_random_seed(seed)
    sampler = UniformSampler()
    model = Model(sampler, seed)
    for _ in range(200):
        model.step()
        assert sampler.n_active == len(model.priorities)
        if model.priorities:
            assert set(sampler.draw(16).leaves.tolist()) <= set(model.priorities)
    while len(model.priorities) < 60:
        model.step()
    assert_frequencies(counts(sampler, model.capacity, 64, 2000), (model.shares(1.0) > 0).astype(float))


def test_trap_18_alpha_is_applied_once() -> None:
    sampler = ProportionalSampler(alpha=0.5)
    sampler.resize(4)
    sampler.activate(array(0, 1, 2))
    sampler.update(array(0, 1, 2), np.array([1.0, 16.0, 81.0]))
    np.testing.assert_allclose(sampler.masses(np.arange(4)), [1.0, 4.0, 9.0, 0.0])
    sampler.update(array(0), np.array([1.0]))  # what others have is not touched
    np.testing.assert_allclose(sampler.masses(np.arange(4)), [1.0, 4.0, 9.0, 0.0])


def test_trap_18_the_maximum_is_kept_without_exponent() -> None:
    sampler = ProportionalSampler(alpha=0.5)
    sampler.resize(3)
    sampler.activate(array(0))
    sampler.update(array(0), np.array([256.0]))
    sampler.activate(array(1))
    sampler.activate(array(2))
    np.testing.assert_allclose(sampler.masses(np.arange(3)), [16.0, 16.0, 16.0])


def test_new_items_get_the_highest_priority_seen_so_far() -> None:
    sampler = ProportionalSampler(alpha=1.0)
    sampler.resize(8)
    sampler.activate(array(0, 1))
    assert sampler.masses(array(0, 1)).tolist() == [1.0, 1.0]
    sampler.update(array(0, 1), np.array([0.5, 7.0]))
    sampler.update(array(1), np.array([0.1]))  # it stays the highest seen, though nobody has it any more
    sampler.activate(array(5))
    assert sampler.masses(array(0, 1, 5)).tolist() == [0.5, 0.1, 7.0]
    sampler.deactivate(array(5))
    sampler.activate(array(5))  # a leaf's former priority is forgotten
    assert sampler.masses(array(5)).tolist() == [7.0]


@pytest.mark.parametrize(
    ("beta", "beta_final", "progress_remaining", "used"),
    [
        (0.6, None, 1.0, 0.6),
        (0.6, None, 0.2, 0.6),
        (0.4, 1.0, 1.0, 0.4),
        (0.4, 1.0, 0.5, 0.7),
        (0.4, 1.0, 0.0, 1.0),
        (0, None, 1, 0),
    ],
)
def test_weights(beta: float, beta_final: float | None, progress_remaining: float, used: float) -> None:
    set_random_seed(0)
    sampler = ProportionalSampler(alpha=0.7, beta=beta, beta_final=beta_final)
    sampler.resize(50)
    leaves = np.arange(5, 45)
    sampler.activate(leaves)
    priorities = np.random.default_rng(0).exponential(size=40)
    sampler.update(leaves, priorities)
    shares = dict(zip(leaves.tolist(), (priorities**0.7 / (priorities**0.7).sum()).tolist(), strict=True))
    draw = sampler.draw(32, progress_remaining)
    raw = [(40 * shares[leaf]) ** -used for leaf in draw.leaves.tolist()]
    np.testing.assert_allclose(draw.weights, [w / max(raw) for w in raw], rtol=1e-6)
    assert draw.weights.dtype == np.float32
    assert draw.weights.max() == 1.0


def test_uniform_weights_are_one_and_priorities_are_ignored() -> None:
    set_random_seed(0)
    sampler = UniformSampler()
    sampler.resize(10)
    sampler.activate(np.arange(10))
    sampler.update(array(3), np.array([1e6]))
    draw = sampler.draw(1000)
    np.testing.assert_array_equal(draw.weights, np.ones(1000, dtype=np.float32))
    assert np.bincount(draw.leaves).tolist() == [100] * 10  # strata of 1/1000


@pytest.mark.parametrize("make", BOTH)
@pytest.mark.parametrize("batch_size", [1, 8, 64])
def test_trap_20_stratification_bounds_duplicates(make: Callable[[], Sampler], batch_size: int) -> None:
    """A leaf with share P touches at most ceil(B P) + 1 of B strata, so it cannot be drawn more often than that."""
    set_random_seed(1)
    sampler = make()
    sampler.resize(300)
    sampler.activate(np.arange(300))
    masses = np.ones(300)
    if isinstance(sampler, ProportionalSampler):
        sampler.update(np.arange(300), np.random.default_rng(1).exponential(size=300) ** 3)
        masses = sampler.masses(np.arange(300))
    most = np.ceil(batch_size * masses / masses.sum()) + 1
    for _ in range(300):
        assert (np.bincount(sampler.draw(batch_size).leaves, minlength=300) <= most).all()


@pytest.mark.parametrize("make", BOTH)
def test_trap_20_duplicates_are_rare_among_many(make: Callable[[], Sampler]) -> None:
    """64 of 1000 without stratification: two duplicates in a batch on average."""
    set_random_seed(2)
    sampler = make()
    sampler.resize(1000)
    sampler.activate(np.arange(1000))
    duplicates = [64 - len(set(sampler.draw(64).leaves.tolist())) for _ in range(300)]
    assert np.mean(duplicates) < 0.2


def test_trap_20_duplicates_in_an_update_are_harmless() -> None:
    sampler = ProportionalSampler(alpha=1.0)
    sampler.resize(4)
    sampler.activate(array(0, 1))
    sampler.update(array(1, 1, 0, 1), np.array([9.0, 8.0, 2.0, 3.0]))
    assert sampler.masses(np.arange(4)).tolist() == [2.0, 3.0, 0.0, 0.0]
    assert sampler.n_active == 2


@pytest.mark.parametrize("make", BOTH)
def test_nothing_is_drawn_before_it_is_active_or_after(make: Callable[[], Sampler]) -> None:
    set_random_seed(3)
    sampler = make()
    with pytest.raises(ValueError, match="nothing can be drawn yet"):
        sampler.draw(1)
    sampler.resize(100)
    with pytest.raises(ValueError, match="nothing can be drawn yet"):
        sampler.draw(1)
    sampler.activate(array(42))
    assert sampler.draw(5).leaves.tolist() == [42] * 5
    sampler.activate(array(99, 0))
    sampler.deactivate(array(42))
    assert set(sampler.draw(50).leaves.tolist()) == {0, 99}
    sampler.deactivate(array(0, 99))
    with pytest.raises(ValueError, match="nothing can be drawn yet"):
        sampler.draw(1)


def test_an_item_without_error_stays_drawable() -> None:
    set_random_seed(4)
    sampler = ProportionalSampler(alpha=1.0)
    sampler.resize(2)
    sampler.activate(array(0, 1))
    sampler.update(array(0, 1), np.zeros(2))
    assert set(sampler.draw(10).leaves.tolist()) == {0, 1}


@pytest.mark.parametrize("make", BOTH)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -0.1])
def test_bad_priorities_are_refused_and_nothing_is_written(make: Callable[[], Sampler], bad: float) -> None:
    sampler = make()
    sampler.resize(3)
    sampler.activate(array(0, 1, 2))
    with pytest.raises(ValueError, match=r"priorities must be finite and >= 0, got .*has the network diverged"):
        sampler.update(array(0, 1), np.array([5.0, bad], dtype=np.float32))
    if isinstance(sampler, ProportionalSampler):
        assert sampler.masses(np.arange(3)).tolist() == [1.0, 1.0, 1.0]
        assert sampler.max_priority == 1.0


@pytest.mark.parametrize("name", ["alpha", "beta", "beta_final"])
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_exponents_must_lie_between_0_and_1(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"{name} {value} must lie in \[0, 1\]"):
        ProportionalSampler(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("make", BOTH)
def test_a_pickled_sampler_draws_the_same(make: Callable[[], Sampler]) -> None:
    sampler = make()
    model = Model(sampler, seed=8)
    for _ in range(300):
        model.step()
    copy: Sampler = pickle.loads(pickle.dumps(sampler))
    draws: list[list[Draw]] = []
    for each in (sampler, copy):
        set_random_seed(9)
        each.deactivate(np.array(sorted(model.priorities))[:3])
        each.resize(model.capacity + 100)
        each.activate(np.arange(model.capacity, model.capacity + 100))
        draws.append([each.draw(32, 0.5) for _ in range(10)])
    for one, other in zip(*draws, strict=True):
        np.testing.assert_array_equal(one.leaves, other.leaves)
        np.testing.assert_array_equal(one.weights, other.weights)
