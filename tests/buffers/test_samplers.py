"""Samplers against a dictionary of priorities: who can be drawn, how often, and with which weight."""

import dataclasses
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.utils import set_random_seed
from support.blocks import assert_same_replay
from support.checks import EverySampler, assert_frequencies
from support.sampler_model import Model, array, counts

from sb3_ext.buffers.samplers import SAMPLERS, GreedyPriority, Proportional, RankBased, TreeSampler, Uniform
from sb3_ext.buffers.sampling import Draw, Sampler

RANDOM: list[Callable[[], Sampler]] = [Uniform, Proportional, RankBased]
ALL: list[Callable[[], Sampler]] = list(SAMPLERS.values())


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.9, 1.0])
def test_random_operations_keep_p_to_the_alpha(alpha: float) -> None:
    sampler = Proportional(alpha=alpha)
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
    sampler = Proportional(alpha=alpha)
    model = Model(sampler, seed)
    while len(model.priorities) < 60:
        for _ in range(40):
            model.step()
    assert_frequencies(counts(sampler, model.capacity, 64, 2000), model.shares(alpha))


# ---------------------------------------------------------------------- by rank


# ---------------------------------------------------------------------- every item alike


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_uniform_frequencies(seed: int) -> None:
    set_random_seed(seed)
    sampler = Uniform()
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
    sampler = Proportional(alpha=0.5)
    sampler.resize(4)
    sampler.activate(array(0, 1, 2))
    sampler.update(array(0, 1, 2), np.array([1.0, 16.0, 81.0]))
    np.testing.assert_allclose(sampler.masses(np.arange(4)), [1.0, 4.0, 9.0, 0.0])
    sampler.update(array(0), np.array([1.0]))  # what others have is not touched
    np.testing.assert_allclose(sampler.masses(np.arange(4)), [1.0, 4.0, 9.0, 0.0])


def test_trap_18_the_maximum_is_kept_without_exponent() -> None:
    sampler = Proportional(alpha=0.5)
    sampler.resize(3)
    sampler.activate(array(0))
    sampler.update(array(0), np.array([256.0]))
    sampler.activate(array(1))
    sampler.activate(array(2))
    np.testing.assert_allclose(sampler.masses(np.arange(3)), [16.0, 16.0, 16.0])


def test_new_items_get_the_highest_priority_seen_so_far() -> None:
    sampler = Proportional(alpha=1.0)
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
    sampler = Proportional(alpha=0.7, beta=beta, beta_final=beta_final)
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
    sampler = Uniform()
    sampler.resize(10)
    sampler.activate(np.arange(10))
    sampler.update(array(3), np.array([1e6]))
    draw = sampler.draw(1000)
    np.testing.assert_array_equal(draw.weights, np.ones(1000, dtype=np.float32))
    assert np.bincount(draw.leaves).tolist() == [100] * 10  # strata of 1/1000


@pytest.mark.parametrize("make", RANDOM)
@pytest.mark.parametrize("batch_size", [1, 8, 64])
def test_trap_20_stratification_bounds_duplicates(make: Callable[[], Sampler], batch_size: int) -> None:
    """A leaf with share P touches at most ceil(B P) + 1 of B strata, so it cannot be drawn more often than that."""
    set_random_seed(1)
    sampler = make()
    sampler.resize(300)
    sampler.activate(np.arange(300))
    masses = np.ones(300)
    if isinstance(sampler, TreeSampler):
        sampler.update(np.arange(300), np.random.default_rng(1).exponential(size=300) ** 3)
        sampler.draw(1)  # ranks are refreshed now
        masses = sampler.masses(np.arange(300))
    most = np.ceil(batch_size * masses / masses.sum()) + 1
    for _ in range(300):
        assert (np.bincount(sampler.draw(batch_size).leaves, minlength=300) <= most).all()


@pytest.mark.parametrize("make", [Uniform, Proportional, GreedyPriority])
def test_trap_20_duplicates_are_rare_among_many(make: Callable[[], Sampler]) -> None:
    """64 of 1000 without stratification: two duplicates in a batch on average."""
    set_random_seed(2)
    sampler = make()
    sampler.resize(1000)
    sampler.activate(np.arange(1000))
    duplicates = [64 - len(set(sampler.draw(64).leaves.tolist())) for _ in range(300)]
    assert np.mean(duplicates) < 0.2


def test_trap_20_duplicates_in_an_update_are_harmless() -> None:
    sampler = Proportional(alpha=1.0)
    sampler.resize(4)
    sampler.activate(array(0, 1))
    sampler.update(array(1, 1, 0, 1), np.array([9.0, 8.0, 2.0, 3.0]))
    assert sampler.masses(np.arange(4)).tolist() == [2.0, 3.0, 0.0, 0.0]
    assert sampler.n_active == 2


@pytest.mark.parametrize("make", ALL)
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


@pytest.mark.parametrize("make", [lambda: Proportional(alpha=1.0), RankBased, GreedyPriority])
def test_an_item_without_error_stays_drawable(make: Callable[[], Sampler]) -> None:
    set_random_seed(4)
    sampler = make()
    sampler.resize(2)
    sampler.activate(array(0, 1))
    sampler.update(array(0, 1), np.zeros(2))
    assert set(sampler.draw(10).leaves.tolist()) == {0, 1}


@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -0.1])
def test_bad_priorities_are_refused_and_nothing_is_written(make: Callable[[], Sampler], bad: float) -> None:
    sampler = make()
    sampler.resize(3)
    sampler.activate(array(0, 1, 2))
    with pytest.raises(ValueError, match=r"priorities \[.*\] must be finite and >= 0: the network has diverged"):
        sampler.update(array(0, 1), np.array([5.0, bad], dtype=np.float32))
    if isinstance(sampler, Proportional):
        assert sampler.masses(np.arange(3)).tolist() == [1.0, 1.0, 1.0]
        assert sampler.max_priority == 1.0


@pytest.mark.parametrize("name", ["alpha", "beta", "beta_final"])
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), "high"])
@pytest.mark.parametrize("cls", [Proportional, RankBased])
def test_exponents_must_lie_between_0_and_1(cls: type[Proportional] | type[RankBased], name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"{name} {value} must lie in \[0, 1\]"):
        cls(**{name: value})
    if cls is RankBased:
        with pytest.raises(ValueError, match=rf"staleness {value} must lie in \[0, 1\]"):
            RankBased(staleness=value)


def test_samplers_print_their_settings() -> None:
    assert [repr(make()) for make in (*RANDOM, GreedyPriority)] == [
        "Uniform()",
        "Proportional(alpha=0.9, beta=0.6, beta_final=None)",
        "RankBased(alpha=0.7, beta=0.5, beta_final=None, staleness=0.1)",
        "GreedyPriority()",
    ]


def test_a_sampler_is_its_settings() -> None:
    """What they draw from neither makes two of them different, nor goes into a fresh one."""
    used = RankBased(alpha=0.3, backend="numpy")
    others: list[Sampler] = [RankBased(), Proportional(alpha=0.3)]
    used.resize(5)
    used.activate(array(1, 4))
    assert used == RankBased(alpha=0.3) and used not in others
    fresh = used.fresh()
    assert fresh == used and (fresh.n_active, fresh.backend, used.n_active) == (0, "numpy", 2)
    for name, value in (("alpha", 0.5), ("backend", "auto"), ("staleness", 0.0)):
        with pytest.raises(AttributeError, match=rf"{name} of RankBased\(alpha=0.3, .*\) is fixed: make another one"):
            setattr(used, name, value)
    assert dataclasses.replace(used, alpha=0.5) == RankBased(alpha=0.5)


def test_settings_of_a_sampler_are_fields() -> None:
    with pytest.raises(TypeError, match="Own has an __init__: make it a dataclass, with its settings as fields"):

        class Own(Uniform):
            def __init__(self, scale: float) -> None:
                pass


@dataclasses.dataclass
class Own(Uniform):
    """Of a user."""

    share: float = 0.5


@pytest.mark.parametrize("make", [*ALL, lambda: Own(0.8)])
def test_a_pickled_sampler_draws_the_same(make: Callable[[], Sampler]) -> None:
    sampler = make()
    model = Model(sampler, seed=8)
    for _ in range(300):
        model.step()
    copy: Sampler = pickle.loads(pickle.dumps(sampler))
    assert copy == sampler
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


@pytest.mark.parametrize("make", [*ALL, EverySampler])
def test_leaves_that_are_switched_together_are_switched_one_by_one(make: Callable[[], Sampler]) -> None:
    """Random sequences, some leaves several times: what is drawn afterwards depends on the order, and is the same."""
    rng, together, one_by_one = np.random.default_rng(0), make(), make()
    active: set[int] = set()
    for sampler in (together, one_by_one):
        sampler.resize(40)
    for _ in range(60):
        leaves, flags = [], []
        for leaf in rng.integers(0, 40, int(rng.integers(0, 30))).tolist():
            leaves.append(leaf)
            flags.append(leaf not in active)
            active ^= {leaf}
        together.switch(np.array(leaves, dtype=np.int64), np.array(flags, dtype=bool))
        for leaf, flag in zip(leaves, flags, strict=True):
            (one_by_one.activate if flag else one_by_one.deactivate)(np.array([leaf]))
        assert_same_replay(together, one_by_one)
        if active:
            some = np.array(sorted(active))[::2]
            for sampler in (together, one_by_one):
                sampler.update(some, some / 7)
