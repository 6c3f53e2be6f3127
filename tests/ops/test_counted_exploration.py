"""Strategies that read counts, against their equations in loops, another root finder and other units of the reward."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import optimize, stats
from stable_baselines3.common.utils import set_random_seed
from support.actors import inline
from support.q_models import make_env, make_model, make_rainbow, make_rainbowr

from sb3_ext import R2D2
from sb3_ext.exchange.plain_json import decode, encode
from sb3_ext.ops.counted_exploration import (
    KLUCB,
    UCB1,
    UCBV,
    Counts,
    GaussianThompson,
    Thompson,
    UCB1Tuned,
    kl_ucb,
    ucb1,
    ucb1_tuned,
    ucb_v,
)
from sb3_ext.ops.exploration import EXPLORATIONS, CountedExploration, Exploration, KnownExploration
from sb3_ext.specs import resolve

STRATEGIES: list[CountedExploration] = [UCB1(), UCB1Tuned(), UCBV(), KLUCB(), Thompson(), GaussianThompson()]
BOUNDS: list[CountedExploration] = STRATEGIES[:4]
named = pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: type(s).__name__)


def seen(n_envs: int = 40, n_actions: int = 5, seed: int = 0) -> Counts:
    """Of rewards that were drawn one by one, from coins and from values between 0 and 1."""
    rng = np.random.default_rng(seed)
    n = rng.integers(1, 60, size=(n_envs, n_actions))
    mean, square = np.zeros(n.shape), np.zeros(n.shape)
    for cell in np.ndindex(n.shape):
        rewards = rng.random(n[cell]) if cell[0] % 2 else (rng.random(n[cell]) < rng.random()).astype(float)
        mean[cell], square[cell] = np.mean(rewards), np.mean(rewards**2)
    n[: n_envs // 2] *= 100  # bounds are narrow there
    return Counts(n, mean, square)


# ---------------------------------------------------------------------- equations


def by_hand(counts: Counts, of_action: Callable[[float, float, float, float], float]) -> np.ndarray:
    """:param of_action: of ln t, n, mean, variance"""
    found = np.zeros(counts.n.shape)
    for cell in np.ndindex(found.shape):
        n, mean, square = (float(x[cell]) for x in counts)
        found[cell] = of_action(math.log(sum(counts.n[cell[0]])), n, mean, max(square - mean * mean, 0.0))
    return found


def test_bounds_are_those_of_the_papers() -> None:
    counts = seen()
    expected = by_hand(counts, lambda log_t, n, mean, var: mean + math.sqrt(2.0 * log_t / n))
    np.testing.assert_allclose(ucb1(counts, 2.0), expected, rtol=1e-12)
    expected = by_hand(
        counts, lambda log_t, n, mean, var: mean + math.sqrt(log_t / n * min(0.25, var + math.sqrt(2 * log_t / n)))
    )
    np.testing.assert_allclose(ucb1_tuned(counts, 1.0), expected, rtol=1e-12)
    expected = by_hand(
        counts, lambda log_t, n, mean, var: mean + math.sqrt(2 * var * 1.2 * log_t / n) + 3 * 1.2 * log_t / n
    )
    np.testing.assert_allclose(ucb_v(counts, 1.2, 1.0), expected, rtol=1e-12)


def test_tuned_bounds_use_both_sides_of_their_minimum() -> None:
    counts = seen()
    var = counts.second_moment - counts.mean**2
    share = np.log(counts.n.sum(axis=1, keepdims=True)) / counts.n
    largest = var + np.sqrt(2 * share) > 0.25
    assert 0.1 < largest.mean() < 0.9
    np.testing.assert_allclose(
        ucb1_tuned(counts, 1.0)[largest], (counts.mean + np.sqrt(share / 4))[largest], rtol=1e-12
    )


@pytest.mark.parametrize("c", [0.0, 3.0])
def test_kl_ucb_is_the_root_that_another_method_finds(c: float) -> None:
    counts = seen(60)
    counts.mean[0], counts.mean[1] = 0.0, 1.0
    counts.mean[2] = [1e-12, 1e-3, 0.5, 1 - 1e-3, 1 - 1e-12]
    counts.n[3] = [10**6, 10**4, 10, 1, 3]
    found = kl_ucb(counts.n, counts.mean, c)

    def divergence(p: float, q: float) -> float:
        ends = (p * math.log(p / q) if p > 0 else 0.0, (1 - p) * math.log((1 - p) / (1 - q)) if p < 1 else 0.0)
        return sum(ends)

    for cell in np.ndindex(found.shape):
        p, log_t = float(counts.mean[cell]), math.log(sum(counts.n[cell[0]]))
        budget = (log_t + c * math.log(log_t)) / counts.n[cell]
        largest = np.nextafter(1.0, 0.0)
        if p == 1.0 or divergence(p, largest) <= budget:
            root = 1.0
        else:
            root = optimize.brentq(lambda q, p=p, budget=budget: divergence(p, q) - budget, p, largest, xtol=1e-13)
        assert found[cell] == pytest.approx(root, abs=1e-9), (p, counts.n[cell])


def test_kl_ucb_before_time_can_be_taken_a_logarithm_of() -> None:
    """One try: ln t is 0, and so is ln ln t."""
    found = kl_ucb(np.array([[1, 0]]), np.array([[0.5, 0.0]]), 3.0)
    assert found[0, 0] == pytest.approx(0.5, abs=1e-8)


# ---------------------------------------------------------------------- what is drawn


def test_thompson_draws_from_what_is_believed() -> None:
    set_random_seed(0)
    counts = Counts(np.array([[1, 7, 40]]), np.array([[1.0, 3 / 7, 0.25]]), np.zeros((1, 3)))
    strategy = Thompson(alpha=2.0, beta=0.5)
    drawn = np.concatenate([strategy.worth(counts) for _ in range(4000)])
    for arm, (good, bad) in enumerate([(1, 0), (3, 4), (10, 30)]):
        assert stats.kstest(drawn[:, arm], stats.beta(2.0 + good, 0.5 + bad).cdf).pvalue > 1e-3


def test_gaussian_thompson_draws_from_what_is_believed() -> None:
    """Prior times likelihood on a grid."""
    set_random_seed(1)
    rewards = [[3.0], [4.0, 6.0, 5.0, 7.0]]
    counts = Counts(np.array([[1, 4]]), np.array([[3.0, 5.5]]), np.zeros((1, 2)))
    strategy = GaussianThompson(mean=2.0, std=3.0, noise=1.5)
    drawn = np.concatenate([strategy.worth(counts) for _ in range(4000)])
    grid = np.linspace(-20, 20, 20_001)
    for arm, of_arm in enumerate(rewards):
        believed = stats.norm(2.0, 3.0).pdf(grid)
        for reward in of_arm:
            believed *= stats.norm(grid, 1.5).pdf(reward)
        below = np.cumsum(believed) / believed.sum()
        assert stats.kstest(drawn[:, arm], lambda x, below=below: np.interp(x, grid, below)).pvalue > 1e-3


def test_the_default_gaussian_draws_are_those_of_the_paper() -> None:
    """Agrawal & Goyal (2013): N(sum / (n + 1), 1 / (n + 1))."""
    counts = seen()
    set_random_seed(2)
    found = GaussianThompson().worth(counts)
    set_random_seed(2)
    means = counts.n * counts.mean / (counts.n + 1)
    np.testing.assert_allclose(found, np.random.normal(means, (counts.n + 1.0) ** -0.5), rtol=1e-12)


# ---------------------------------------------------------------------- what is chosen


@named
def test_what_was_never_tried_comes_first(strategy: CountedExploration) -> None:
    set_random_seed(3)
    counts = seen()
    for row in range(40):
        counts.n[row, row % 5] = 0
        counts.mean[row, row % 5], counts.second_moment[row, row % 5] = [(-1e6, 0.0), (np.nan, np.nan)][row % 2]
    np.testing.assert_array_equal(strategy.choose_counted(counts, 0.5), np.arange(40) % 5)
    nothing = Counts(np.zeros((3, 4), int), np.full((3, 4), np.nan), np.full((3, 4), np.nan))
    assert strategy.choose_counted(nothing, 1.0).tolist() == [0, 0, 0]


@named
def test_shapes_seeds_and_inputs(strategy: CountedExploration) -> None:
    for n_envs, n_actions in ((1, 4), (5, 1), (16, 18)):
        counts = seen(n_envs, n_actions)
        before, runs = [x.copy() for x in counts], []
        for _ in range(2):
            set_random_seed(4)
            runs.append([strategy.choose_counted(counts, 0.5) for _ in range(5)])
        for one, other in zip(*runs, strict=True):
            assert one.shape == (n_envs,) and np.issubdtype(one.dtype, np.integer)
            np.testing.assert_array_equal(one, other)
        for now, then in zip(counts, before, strict=True):
            np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize("strategy", BOUNDS, ids=lambda s: type(s).__name__)
def test_each_environment_chooses_as_if_alone(strategy: CountedExploration) -> None:
    counts = seen()
    alone = [strategy.choose_counted(Counts(*(x[row : row + 1] for x in counts)), 1.0)[0] for row in range(40)]
    assert strategy.choose_counted(counts, 0.0).tolist() == alone
    assert len(set(alone)) > 1


@pytest.mark.parametrize("strategy", [Thompson(), GaussianThompson()], ids=lambda s: type(s).__name__)
def test_environments_draw_independently(strategy: CountedExploration) -> None:
    set_random_seed(5)
    n, ones = 20_000, np.ones((2, 2))
    counts = Counts(5 * ones.astype(int), np.array([[0.4, 0.6]] * 2), 0.5 * ones)
    other = np.stack([strategy.choose_counted(counts, 1.0) for _ in range(n)]) == 0
    both = other.mean(axis=0).prod()
    assert 0.05 < other.mean() < 0.5
    assert abs(other.all(axis=1).mean() - both) < 5 * np.sqrt(both * (1 - both) / n)


@pytest.mark.parametrize(
    ("strategy", "in_cents"),
    [
        (UCB1(), UCB1(2e4)),
        (UCB1Tuned(), UCB1Tuned(100.0)),
        (UCBV(), UCBV(b=100.0)),
        (KLUCB(), KLUCB(low=-50.0, high=50.0)),
        (Thompson(), Thompson(low=-50.0, high=50.0)),
        (GaussianThompson(0.5, 2.0, 0.3), GaussianThompson(0.0, 200.0, 30.0)),
    ],
    ids=lambda s: type(s).__name__,
)
def test_rewards_in_other_units_are_said_by_parameters(
    strategy: CountedExploration, in_cents: CountedExploration
) -> None:
    """100 r - 50 for r: the same actions."""
    counts = seen()
    scaled = Counts(
        counts.n, 100 * counts.mean - 50, 1e4 * counts.second_moment - 1e4 * counts.mean + 2500
    )  # (100 r - 50)^2
    chosen = []
    for each, of in ((strategy, counts), (in_cents, scaled)):
        set_random_seed(6)
        chosen.append(each.choose_counted(of, 0.5).tolist())
    assert chosen[0] == chosen[1] and len(set(chosen[0])) > 1


# ---------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("strategy", "fits"),
    [(KLUCB(), "UCB1\\(c=2 \\* range\\*\\*2\\) or GaussianThompson"), (Thompson(), "GaussianThompson")],
)
@pytest.mark.parametrize("mean", [3.2, -0.1, float("nan")])
def test_rewards_outside_the_range_name_the_strategy_that_fits(strategy: Any, fits: str, mean: float) -> None:
    counts = seen(3)
    counts.mean[1, 2] = mean
    with pytest.raises(ValueError, match=rf"rewards in \[0, 1\], and one action paid {mean:g} on average.*{fits}"):
        strategy.choose_counted(counts, 1.0)
    counts.n[1, 2] = 0  # what was never tried paid nothing
    assert strategy.choose_counted(counts, 1.0)[1] == 2


@pytest.mark.parametrize("strategy", [KLUCB(), Thompson(), UCBV(), UCB1Tuned()], ids=lambda s: type(s).__name__)
def test_rounding_errors_are_let_pass(strategy: CountedExploration) -> None:
    counts = Counts(
        np.array([[3, 3]]), np.array([[1.0 + 1e-9, -1e-9]]), np.array([[1.0, 0.0]])
    )  # a variance of -2e-9 as well
    assert strategy.choose_counted(counts, 1.0).tolist() == [0] or isinstance(strategy, Thompson)


@pytest.mark.parametrize(
    ("strategy", "keywords", "message"),
    [
        (UCB1, {"c": -1.0}, "c -1.0 must be >= 0 and finite"),
        (UCB1, {"c": math.nan}, "c nan must be >= 0"),
        (UCB1, {"c": math.inf}, "c inf must be >= 0"),
        (UCB1Tuned, {"b": 0.0}, "b 0.0 must be > 0 and finite: the largest reward minus the smallest"),
        (UCBV, {"zeta": -0.1}, "zeta -0.1 must be >= 0"),
        (UCBV, {"b": math.nan}, "b nan must be > 0"),
        (KLUCB, {"c": -3.0}, "c -3.0 must be >= 0"),
        (KLUCB, {"low": 1.0}, "low 1.0 must be below high 1.0"),
        (KLUCB, {"high": math.inf}, "low 0.0 must be below high inf, both finite"),
        (Thompson, {"alpha": 0.0}, "alpha 0.0 must be > 0"),
        (Thompson, {"beta": -1.0}, "beta -1.0 must be > 0"),
        (Thompson, {"low": math.nan}, "low nan must be below"),
        (GaussianThompson, {"mean": math.inf}, "mean inf must be finite"),
        (GaussianThompson, {"std": 0.0}, "std 0.0 must be > 0"),
        (GaussianThompson, {"noise": math.nan}, "noise nan must be > 0"),
    ],
)
def test_impossible_strategies_are_refused(strategy: Any, keywords: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        strategy(**keywords)


@named
def test_values_alone_are_not_enough(strategy: CountedExploration) -> None:
    with pytest.raises(ValueError, match=f"{type(strategy).__name__} must know how often each action was tried"):
        strategy.choose(np.zeros((1, 2)), 1.0)
    assert strategy.rate(0.5, 3) == 0.0
    shown: Any = strategy
    assert isinstance(shown, Exploration) and isinstance(shown, CountedExploration)
    assert not isinstance(shown, KnownExploration)


# ---------------------------------------------------------------------- who takes them


@pytest.mark.parametrize("name", EXPLORATIONS)
def test_strategies_have_short_names_and_stand_in_safe_files(name: str) -> None:
    strategy = resolve(Exploration, name, EXPLORATIONS)
    assert type(strategy) is EXPLORATIONS[name]
    assert isinstance(strategy, CountedExploration) == (strategy in STRATEGIES)
    again = decode(encode(strategy, "exploration"), "exploration")
    assert again == strategy and type(again) is type(strategy)


def test_settings_of_strategies_come_back_from_safe_files() -> None:
    for strategy in (
        UCBV(0.5, 20.0),
        KLUCB(3.0, -1.0, 1.0),
        Thompson(2.0, 3.0, 0.0, 9.0),
        GaussianThompson(1.0, 2.0, 3.0),
    ):
        assert decode(encode(strategy, "exploration"), "exploration") == strategy


@pytest.mark.parametrize("make", [make_model, make_rainbow, make_rainbowr])
@pytest.mark.parametrize("exploration", ["ucb1", {"thompson": {"alpha": 2.0}}, KLUCB()], ids=str)
def test_deep_agents_refuse_what_needs_counts(make: Callable[..., Any], exploration: Any) -> None:
    message = (
        r"exploration \w+\(.*\) must know how often .* which (R2D2|Rainbow|RainbowR) does not count: use EpsilonGreedy"
    )
    with pytest.raises(ValueError, match=message):
        make(exploration=exploration)
    model = make()
    model.exploration = exploration
    with pytest.raises(ValueError, match=message):
        model.learn(10)
    assert model.num_timesteps == 0


def test_nothing_is_built_for_what_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def built(self: R2D2) -> None:
        raise AssertionError("it was built")

    for part in ("_make_replay_buffer", "_setup_lr_schedule", "_make_learner"):
        monkeypatch.setattr(R2D2, part, built)
    with pytest.raises(ValueError, match="which R2D2 does not count"):
        R2D2("MlpLstmPolicy", make_env(1), exploration=UCB1())


def test_agents_with_actors_refuse_it_before_any_actor_learns_of_it() -> None:
    env: Any = inline(make_env, 2, 2)
    try:
        with pytest.raises(ValueError, match="which Rainbow does not count"):
            make_rainbow(env=env, exploration="ucb1")
    finally:
        env.close()
