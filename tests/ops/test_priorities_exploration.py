"""Priorities, importance weights, anneals and exploration against loops and hand-made numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch as th
from scipy import stats
from stable_baselines3.common.utils import LinearSchedule, set_random_seed

from sb3_ext.ops.exploration import (
    Boltzmann,
    EpsilonGreedy,
    EpsilonLadder,
    Exploration,
    Greedy,
    KnownExploration,
    Rungs,
    SharedExploration,
    boltzmann,
    epsilon_greedy,
    epsilon_ladder,
)
from sb3_ext.ops.priorities import importance_weights, linear_anneal, mix_priorities

# ---------------------------------------------------------------------- priorities


@pytest.mark.parametrize("eta", [0.0, 0.3, 0.9, 1.0])
def test_mix_equals_a_loop(eta: float) -> None:
    rng = np.random.default_rng(0)
    abs_td = rng.exponential(size=(50, 7)).astype(np.float32)
    real = rng.integers(1, 8, size=50)
    mask = (np.arange(7) < real[:, None]).astype(np.float32)
    found = mix_priorities(th.as_tensor(abs_td), th.as_tensor(mask), eta).numpy()
    for row in range(50):
        steps = [float(abs_td[row, t]) for t in range(real[row])]
        assert found[row] == pytest.approx(eta * max(steps) + (1 - eta) * sum(steps) / len(steps), rel=1e-5)


def test_trap_11_padding_enters_neither_maximum_nor_mean() -> None:
    abs_td = th.tensor([[1.0, 3.0, 1000.0, 1000.0]])
    mask = th.tensor([[1.0, 1.0, 0.0, 0.0]])
    assert mix_priorities(abs_td, mask, 0.0).item() == pytest.approx(2.0)  # not 2/4 of it, nor 501
    assert mix_priorities(abs_td, mask, 1.0).item() == pytest.approx(3.0)
    assert mix_priorities(abs_td, mask, 0.9).item() == pytest.approx(2.9)


def test_an_empty_row_has_priority_zero() -> None:
    assert mix_priorities(th.ones(1, 3), th.zeros(1, 3), 0.9).item() == 0.0


def test_trap_18_magnitudes_are_mixed_before_any_exponent() -> None:
    """Signed errors would cancel to a mean of 0, and an exponent of 1/2 before the mix would give 2 and 1.95."""
    signed = th.tensor([[4.0, -4.0], [4.0, -1.0]])
    found = mix_priorities(signed.abs(), th.ones(2, 2), 0.9)
    np.testing.assert_allclose(found.numpy(), [4.0, 0.9 * 4 + 0.1 * 2.5], rtol=1e-6)


# ---------------------------------------------------------------------- importance weights


@pytest.mark.parametrize("beta", [0.0, 0.4, 0.6, 1.0])
def test_importance_weights_equal_the_formula(beta: float) -> None:
    rng = np.random.default_rng(1)
    probabilities = rng.dirichlet(np.ones(30))
    found = importance_weights(probabilities, 1000, beta)
    raw = [(1.0 / (1000 * p)) ** beta for p in probabilities]
    np.testing.assert_allclose(found, [w / max(raw) for w in raw], rtol=1e-6)
    assert found.dtype == np.float32
    assert found.max() == 1.0
    assert (found > 0).all()


def test_importance_weights_at_the_ends_of_beta() -> None:
    probabilities = np.array([0.5, 0.25, 0.25])
    np.testing.assert_array_equal(importance_weights(probabilities, 3, 0.0), [1.0, 1.0, 1.0])
    np.testing.assert_allclose(importance_weights(probabilities, 3, 1.0), [0.5, 1.0, 1.0])


def test_full_correction_makes_the_estimate_unbiased() -> None:
    """sum_i P(i) w_i f(i) is proportional to the plain mean of f, whatever P is."""
    rng = np.random.default_rng(2)
    probabilities, f = rng.dirichlet(np.ones(40)), rng.normal(size=40)
    weights = importance_weights(probabilities, 40, 1.0).astype(np.float64)
    estimate = (probabilities * weights * f).sum() / (probabilities * weights).sum()
    assert estimate == pytest.approx(f.mean(), abs=1e-6)


def test_anneal_is_a_straight_line() -> None:
    assert linear_anneal(0.4, 1.0, 1.0) == pytest.approx(0.4)
    assert linear_anneal(0.4, 1.0, 0.5) == pytest.approx(0.7)
    assert linear_anneal(0.4, 1.0, 0.0) == pytest.approx(1.0)
    assert linear_anneal(0.6, 0.6, 0.3) == pytest.approx(0.6)


# ---------------------------------------------------------------------- epsilon


def test_ladder_goes_from_0_4_to_0_4_to_the_eighth() -> None:
    ladder = epsilon_ladder(8)
    np.testing.assert_allclose(ladder, [0.4**k for k in (1, 2, 3, 4, 5, 6, 7, 8)], rtol=1e-12)
    assert epsilon_ladder(256)[0] == pytest.approx(0.4)
    assert epsilon_ladder(256)[-1] == pytest.approx(0.4**8)
    np.testing.assert_allclose(epsilon_ladder(2), [0.4, 0.4**8])


def test_one_environment_gets_the_base() -> None:
    np.testing.assert_array_equal(epsilon_ladder(1), [0.4])
    np.testing.assert_array_equal(epsilon_ladder(1, base=0.1), [0.1])


@pytest.mark.parametrize("n_envs", [2, 3, 16, 256])
def test_trap_22_every_environment_has_its_own_epsilon(n_envs: int) -> None:
    ladder = epsilon_ladder(n_envs)
    assert ladder.shape == (n_envs,)
    assert (np.diff(ladder) < 0).all()
    np.testing.assert_allclose(ladder, [0.4 ** (1 + 7 * i / (n_envs - 1)) for i in range(n_envs)])


def test_ladder_needs_an_environment() -> None:
    with pytest.raises(ValueError, match="n_envs 0 must be >= 1"):
        epsilon_ladder(0)


def test_epsilon_zero_is_greedy_and_one_is_uniform() -> None:
    set_random_seed(0)
    greedy = np.array([3, 1, 4, 1, 5])
    for _ in range(50):
        np.testing.assert_array_equal(epsilon_greedy(greedy, np.zeros(5), 6), greedy)
    drawn = np.stack([epsilon_greedy(greedy, np.ones(5), 6) for _ in range(6000)])
    for column in drawn.T:  # the greedy action has no share beyond its sixth
        assert stats.chisquare(np.bincount(column, minlength=6)).pvalue > 1e-4


def test_each_environment_tosses_its_own_coin() -> None:
    set_random_seed(1)
    epsilon, n = np.array([0.5, 0.5, 0.1, 0.01]), 40_000
    left = np.stack([epsilon_greedy(np.zeros(4, dtype=np.int64), epsilon, 2) for _ in range(n)])
    share = epsilon / 2  # a random action is the greedy one in half of the cases
    sigma = np.sqrt(share * (1 - share) / n)
    assert (np.abs(left.mean(axis=0) - share) < 5 * sigma).all()
    both = (left[:, 0] & left[:, 1]).mean()  # one coin for the batch would give 1/8 and not 1/16
    assert abs(both - 1 / 16) < 5 * np.sqrt(1 / 16 * 15 / 16 / n)


def test_exploring_follows_numpys_seed() -> None:
    runs = []
    for _ in range(2):
        set_random_seed(5)
        runs.append([epsilon_greedy(np.zeros(3, dtype=np.int64), np.full(3, 0.5), 9).tolist() for _ in range(20)])
    assert runs[0] == runs[1]


# ---------------------------------------------------------------------- strategies

STRATEGIES: list[Exploration] = [EpsilonGreedy(), EpsilonLadder(), Boltzmann(), Greedy()]
Q = np.array([[1.0, 3.0, 2.0, -1.0], [0.5, 0.0, 0.2, 0.4]], dtype=np.float32)  # greedy: 1 and 0


def drawn(strategy: Exploration, progress_remaining: float, n: int = 20_000) -> np.ndarray:
    """How often each environment took each action, [E, A]."""
    set_random_seed(2)
    actions = np.stack([strategy.choose(Q, progress_remaining) for _ in range(n)])
    return np.stack([np.bincount(column, minlength=4) for column in actions.T])


def epsilon_shares(epsilons: list[float]) -> np.ndarray:
    shares = np.repeat(np.array(epsilons)[:, None] / 4, 4, axis=1)
    shares[[0, 1], [1, 0]] += 1 - np.array(epsilons)
    return shares


def softmax_shares(temperature: float) -> np.ndarray:
    weights = np.exp(Q.astype(np.float64) / temperature)
    shares: np.ndarray = weights / weights.sum(axis=1, keepdims=True)
    return shares


@pytest.mark.parametrize(
    ("strategy", "progress_remaining", "shares"),
    [
        (EpsilonGreedy(1.0, 0.2, 0.5), 1.0, epsilon_shares([1.0, 1.0])),
        (EpsilonGreedy(1.0, 0.2, 0.5), 0.75, epsilon_shares([0.6, 0.6])),
        (EpsilonGreedy(1.0, 0.2, 0.5), 0.0, epsilon_shares([0.2, 0.2])),
        (EpsilonLadder(0.4, 1.0), 1.0, epsilon_shares([0.4, 0.16])),
        (EpsilonLadder(0.4, 1.0), 0.0, epsilon_shares([0.4, 0.16])),
        (Boltzmann(1.0), 0.3, softmax_shares(1.0)),
        (Boltzmann(3.0, final=1.0), 1.0, softmax_shares(3.0)),
        (Boltzmann(3.0, final=1.0), 0.5, softmax_shares(2.0)),
        (Boltzmann(3.0, final=1.0), 0.0, softmax_shares(1.0)),
    ],
)
def test_actions_have_their_probabilities(strategy: Exploration, progress_remaining: float, shares: np.ndarray) -> None:
    counts = drawn(strategy, progress_remaining)
    for found, expected in zip(counts, shares, strict=True):
        assert stats.chisquare(found, expected * found.sum()).pvalue > 1e-4


def test_greedy_and_epsilon_zero_never_explore() -> None:
    for strategy in (Greedy(), EpsilonGreedy(0.0, 0.0), EpsilonLadder(0.0)):
        assert drawn(strategy, 0.7, 500).tolist() == [[0, 500, 0, 0], [500, 0, 0, 0]]


@pytest.mark.parametrize(
    "strategy", [EpsilonGreedy(0.5, 0.5), EpsilonLadder(0.5, 0.0), Boltzmann(0.5)], ids=lambda s: type(s).__name__
)
def test_environments_explore_independently(strategy: Exploration) -> None:
    set_random_seed(3)
    q_values, n = np.array([[0.0, 1.0], [0.0, 1.0]]), 40_000
    actions = np.stack([strategy.choose(q_values, 1.0) for _ in range(n)])
    one, other = (actions == 0).mean(axis=0)
    both = one * other
    assert 0.05 < one < 0.5
    assert abs((actions == 0).all(axis=1).mean() - both) < 5 * np.sqrt(both * (1 - both) / n)


def test_epsilon_schedule_is_sb3s() -> None:
    for initial, final, fraction in ((1.0, 0.01, 0.1), (0.2, 0.9, 0.4), (1.0, 0.05, 1.0)):
        sb3 = LinearSchedule(initial, final, fraction)
        strategy = EpsilonGreedy(initial, final, fraction)
        for progress_remaining in np.linspace(1, 0, 101):
            assert strategy.rate(progress_remaining, 4) == pytest.approx(sb3(progress_remaining), abs=1e-12)


@pytest.mark.parametrize(
    ("strategy", "rates"),
    [
        (EpsilonGreedy(), [1.0, 0.01, 0.01]),
        (EpsilonGreedy(0.9, 0.1, 1.0), [0.9, 0.5, 0.1]),
        (EpsilonLadder(), [(0.4 + 0.4**8) / 2] * 3),
        (Boltzmann(), [1.0, 1.0, 1.0]),
        (Boltzmann(2.0, final=0.5), [2.0, 1.25, 0.5]),
        (Greedy(), [0.0, 0.0, 0.0]),
    ],
)
def test_rates_at_the_start_the_middle_and_the_end(strategy: Exploration, rates: list[float]) -> None:
    assert [strategy.rate(progress, 2) for progress in (1.0, 0.5, 0.0)] == pytest.approx(rates)
    assert all(type(strategy.rate(progress, 2)) is float for progress in (1.0, 0.5, 0.0))


def test_softmax_is_stable() -> None:
    set_random_seed(4)
    huge = np.array([[1e30, 0.0, -1e30], [-3e38, -3e38, -1e38], [1e8, 1e8 + 64, 0.0]], dtype=np.float32)
    for temperature in (1e-6, 1.0):
        assert boltzmann(huge, temperature).tolist() == [0, 2, 1]
    assert set(boltzmann(np.full((50, 3), -1e30), 1.0).tolist()) == {0, 1, 2}
    assert (boltzmann(np.array([[np.log(3.0), 0.0]] * 40_000), 1.0) == 0).mean() == pytest.approx(0.75, abs=0.01)


@pytest.mark.parametrize("coin", [0.0, np.nextafter(1.0, 0.0)])
def test_extreme_coins_draw_actions_of_weight(coin: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np.random, "random", lambda shape: np.full(shape, coin))
    q_values = np.array([[-1e9, 0.0, 0.0, -1e9], [-1e9, 0.0, -1e9, -1e9]])
    assert boltzmann(q_values, 1.0).tolist() == [1 if coin == 0.0 else 2, 1]


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize(("n_envs", "n_actions"), [(1, 4), (5, 1), (16, 18)])
def test_shapes_and_seeds(strategy: Exploration, n_envs: int, n_actions: int) -> None:
    q_values = np.random.default_rng(0).normal(size=(n_envs, n_actions)).astype(np.float32)
    before, runs = q_values.copy(), []
    for _ in range(2):
        set_random_seed(5)
        runs.append([strategy.choose(q_values, 0.95) for _ in range(20)])
    for one, other in zip(*runs, strict=True):
        assert one.shape == (n_envs,) and np.issubdtype(one.dtype, np.integer)
        assert (one >= 0).all() and (one < n_actions).all()
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(q_values, before)


@pytest.mark.parametrize(
    ("strategy", "keywords", "message"),
    [
        (EpsilonGreedy, {"initial": 1.1}, r"initial 1.1 must lie in \[0.0, 1.0\]"),
        (EpsilonGreedy, {"final": -0.1}, r"final -0.1 must lie in \[0.0, 1.0\]"),
        (EpsilonGreedy, {"fraction": 0.0}, r"fraction 0.0 must lie in \(0, 1\]"),
        (EpsilonGreedy, {"fraction": 1.5}, r"fraction 1.5 must lie in \(0, 1\]"),
        (EpsilonLadder, {"base": 2.0}, r"base 2.0 must lie in \[0.0, 1.0\]"),
        (EpsilonLadder, {"alpha": -1.0}, "alpha -1.0 must be >= 0"),
        (Boltzmann, {"temperature": 0.0}, "temperature 0.0 must be > 0"),
        (Boltzmann, {"final": -1.0}, "final -1.0 must be > 0 or None"),
        (Boltzmann, {"temperature": float("nan")}, "temperature nan must be > 0"),
    ],
)
def test_impossible_strategies_are_refused(strategy: Any, keywords: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        strategy(**keywords)


def test_strategies_are_values() -> None:
    assert repr(EpsilonGreedy(0.5)) == "EpsilonGreedy(initial=0.5, final=0.01, fraction=0.1)"
    assert repr(Boltzmann()) == "Boltzmann(temperature=1.0, final=None)"
    assert Greedy() == Greedy() and EpsilonLadder() == EpsilonLadder(0.4, 7.0)
    assert len({EpsilonLadder(), EpsilonLadder(), Greedy()}) == 2


# ---------------------------------------------------------------------- some environments of many


@pytest.mark.parametrize("strategy", [EpsilonGreedy(0.9, 0.1, 0.5), Boltzmann(0.5, 0.1), Greedy()], ids=repr)
def test_what_is_the_same_for_all_is_the_same_for_some(strategy: SharedExploration) -> None:
    assert strategy.for_lanes(3, 2, 12) == strategy


def test_each_environment_has_its_own_rung_as_among_all() -> None:
    """Shares of other actions than the best in 4000 steps, of 12 environments in one call and in three."""
    ladder, best = EpsilonLadder(0.8, 3.0), np.eye(5)[np.zeros(12, dtype=int)]
    set_random_seed(0)
    whole = np.mean([ladder.choose(best, 1.0) > 0 for _ in range(4000)], axis=0)
    parts = [ladder.for_lanes(first, 4, 12) for first in (0, 4, 8)]
    shared = np.mean([[part.choose(best[:4], 1.0) > 0 for part in parts] for _ in range(4000)], axis=0)
    np.testing.assert_allclose(shared.reshape(-1), whole, atol=0.04)  # 4 standard errors of the difference
    assert whole[0] - whole[4] > 0.1 and whole[4] - whole[8] > 0.1


def test_rungs_of_a_ladder_are_those_of_the_whole_one() -> None:
    ladder = EpsilonLadder(0.4, 7.0)
    rungs = [ladder.for_lanes(first, 2, 8) for first in (0, 2, 4, 6)]
    assert all(isinstance(part, Rungs) for part in rungs)
    joined = np.concatenate([part.epsilons for part in rungs if isinstance(part, Rungs)])
    np.testing.assert_array_equal(joined, epsilon_ladder(8))
    assert np.mean([part.rate(1.0, 2) for part in rungs]) == pytest.approx(ladder.rate(1.0, 8))
    assert ladder.for_lanes(3, 1, 8).rate(1.0, 1) == epsilon_ladder(8)[3]


@pytest.mark.parametrize(("first", "n"), [(-1, 2), (7, 2), (0, 9), (3, 0)])
def test_rungs_beyond_the_ladder_are_refused(first: int, n: int) -> None:
    with pytest.raises(ValueError, match="are not among 8"):
        EpsilonLadder().for_lanes(first, n, 8)


# ---------------------------------------------------------------------- probabilities that are written down

TIED = np.array([[1.0, 3.0, 3.0, -1.0], [0.0, 0.0, 0.0, 0.0], [5.0, 1.0, 1.0, 1.0]])
KNOWN: list[KnownExploration] = [
    EpsilonGreedy(0.5, 0.1, 1.0),
    EpsilonLadder(0.8, 2.0),
    Rungs(EpsilonLadder(0.8, 2.0), 2, 3, 8),
    Boltzmann(2.0, final=0.5),
    Greedy(),
]


def by_hand(strategy: KnownExploration, progress_remaining: float) -> list[list[float]]:
    """Of `TIED`, by loops."""
    rows = []
    for i, q in enumerate(TIED.tolist()):
        if isinstance(strategy, Boltzmann):
            weights = [math.exp(x / strategy.rate(progress_remaining, 1)) for x in q]
            rows.append([w / sum(weights) for w in weights])
            continue
        epsilon = 0.0
        if isinstance(strategy, EpsilonGreedy):
            epsilon = 0.1 + 0.4 * progress_remaining
        if isinstance(strategy, EpsilonLadder):
            epsilon = 0.8 ** (1 + 2.0 * i / 2)
        if isinstance(strategy, Rungs):
            epsilon = 0.8 ** (1 + 2.0 * (2 + i) / 7)
        share = [1.0 / q.count(max(q)) if x == max(q) else 0.0 for x in q]
        rows.append([epsilon / 4 + (1 - epsilon) * x for x in share])
    return rows


@pytest.mark.parametrize("strategy", KNOWN, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("progress_remaining", [1.0, 0.25, 0.0])
def test_probabilities_are_those_by_hand(strategy: KnownExploration, progress_remaining: float) -> None:
    assert isinstance(strategy, KnownExploration)
    for dtype in (np.float64, np.float32):
        found = strategy.probabilities(TIED.astype(dtype), progress_remaining)
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, by_hand(strategy, progress_remaining), rtol=1e-12)
        np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-12)


@pytest.mark.parametrize("strategy", KNOWN, ids=lambda s: type(s).__name__)
def test_choices_have_the_probabilities_that_are_written_down(strategy: KnownExploration) -> None:
    """Ties at random as tables break them: the columns of each environment in a random order."""
    set_random_seed(6)
    rng, n = np.random.default_rng(0), 20_000
    counts = np.zeros_like(TIED)
    lanes = np.arange(3)
    for _ in range(n):
        order = rng.permuted(np.tile(np.arange(4), (3, 1)), axis=1)
        chosen = order[lanes, strategy.choose(np.take_along_axis(TIED, order, axis=1), 0.5)]
        counts[lanes, chosen] += 1
    expected = n * strategy.probabilities(TIED, 0.5)
    for found, row in zip(counts, expected, strict=True):
        assert (found[row == 0] == 0).all()
        if (row > 0).sum() > 1:
            assert stats.chisquare(found[row > 0], row[row > 0]).pvalue > 1e-4


def test_a_strategy_without_probabilities_is_told_apart() -> None:
    class OfAnotherKind:
        def choose(self, q_values: np.ndarray, progress_remaining: float) -> np.ndarray:
            return np.zeros(len(q_values), dtype=np.int64)

        def rate(self, progress_remaining: float, n_envs: int) -> float:
            return 0.0

    assert isinstance(OfAnotherKind(), Exploration) and not isinstance(OfAnotherKind(), KnownExploration)
