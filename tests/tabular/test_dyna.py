"""Dyna-Q: what it imagines, against a loop over what it was given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.table_models import Corridor

from sb3_ext import DynaQ, PrioritizedSweeping, QLearning
from sb3_ext.planning import TabularMDP, TabularVecEnv
from sb3_ext.tabular import CountModel, DoubleQTablePolicy, Steps

RANDOM = {"epsilon_greedy": {"initial": 1.0, "final": 1.0}}


class Noted(DynaQ):
    """Keeps what it learned from."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.steps: list[Steps] = []
        super().__init__(*args, **kwargs)

    def _learn(self, steps: Steps) -> None:
        self.steps.append(steps)
        super()._learn(steps)


def maze(lanes: int) -> TabularVecEnv:
    """:return: it slips, each step pays, and episodes end in two ways or are cut"""
    return TabularVecEnv(TabularMDP.from_env("sb3_ext/GridWorld-v0", gamma=0.99), lanes, seed=0)


@pytest.mark.parametrize("lanes", [1, 5])
def test_without_planning_it_is_q_learning_bit_for_bit(lanes: int) -> None:
    ours, plain = (
        DynaQ("TablePolicy", maze(lanes), planning_steps=0, seed=3).learn(1000),
        QLearning("TablePolicy", maze(lanes), seed=3).learn(1000),
    )
    for name, x in plain.policy.state_dict().items():
        np.testing.assert_array_equal(ours.policy.state_dict()[name], x)


def test_planning_leaves_the_draws_of_what_is_real_alone() -> None:
    """Where everything is random anyway, the same steps are made."""
    models = [Noted("TablePolicy", maze(2), planning_steps=k, exploration=RANDOM, seed=3).learn(200) for k in (0, 7)]
    for without, planned in zip(*(model.steps for model in models), strict=True):
        np.testing.assert_array_equal(np.stack(without), np.stack(planned))
    np.testing.assert_array_equal(models[0].policy.visits, models[1].policy.visits)
    assert (models[0].policy.q != models[1].policy.q).any()


@pytest.mark.parametrize(("lanes", "power"), [(1, 0.0), (1, 0.6), (3, 0.6)])
def test_a_step_is_learned_from_and_then_k_drawn_ones(lanes: int, power: float) -> None:
    """By lists of what was seen; cells that are drawn twice go to the mean, as far as two steps to it would."""
    k, rate, gamma, seed = 4, 0.3, 0.9, 5
    settings: dict[str, Any] = {"learning_rate": rate, "visit_power": power, "gamma": gamma, "planning_steps": k}
    model = Noted("TablePolicy", maze(lanes), exploration=RANDOM, seed=seed, **settings).learn(150)
    q, visits, second = np.zeros((12, 4)), np.zeros((12, 4), int), np.zeros((12, 4))
    history: dict[tuple[int, int], list[tuple[int, bool, float]]] = {}

    def learn(targets: dict[tuple[int, int], list[float]], real: bool) -> None:
        for cell, values in targets.items():
            left = 1.0
            for i in range(len(values)):
                left *= 1.0 - rate * (visits[cell] + 1.0 + i) ** -power
            q[cell] += (1.0 - left) * (np.mean(values) - q[cell])
            second[cell] += (1.0 - left) * (np.mean(np.square(values)) - second[cell])
            visits[cell] += len(values) if real else 0

    for update, steps in enumerate(model.steps, start=1):
        targets: dict[tuple[int, int], list[float]] = {}
        for s, a, r, after, ended, _ in zip(*(x.tolist() for x in steps), strict=True):
            targets.setdefault((s, a), []).append(r + (0.0 if ended else gamma * q[after].max()))
        learn(targets, real=True)
        for s, a, r, after, ended, _ in zip(*(x.tolist() for x in steps), strict=True):
            history.setdefault((s, a), []).append((after, ended, r))
        generator = np.random.default_rng((seed, update))
        picked = [list(history)[i] for i in generator.integers(len(history), size=k * lanes)]
        coins = generator.integers([len(history[pair]) for pair in picked])
        targets = {}
        for pair, coin in zip(picked, coins, strict=True):
            kinds = list(dict.fromkeys((after, ended) for after, ended, _ in history[pair]))
            by_kind = sorted(history[pair], key=lambda x: kinds.index(x[:2]))
            after, ended, r = by_kind[coin]
            targets.setdefault(pair, []).append(r + (0.0 if ended else gamma * q[after].max()))
        learn(targets, real=False)
    np.testing.assert_allclose(model.policy.q.numpy(), q, rtol=1e-12)
    np.testing.assert_allclose(model.policy.second_moment.numpy(), second, rtol=1e-12)
    np.testing.assert_array_equal(model.policy.visits, visits)


def test_an_end_that_was_not_seen_has_not_been_paid() -> None:
    """T2: where 1 is paid once, at the end, no value is above 1, whatever was drawn so far."""
    highest = 0.0

    class Watched(DynaQ):
        def _learn(self, steps: Steps) -> None:
            nonlocal highest
            super()._learn(steps)
            highest = max(highest, float(self.policy.q.max()))

    lake = TabularVecEnv(TabularMDP.from_env("FrozenLake-v1", gamma=0.99), 4, seed=0)
    Watched("TablePolicy", lake, planning_steps=10, gamma=1.0, seed=0).learn(4000)
    assert 0.5 < highest <= 1.0


def test_a_time_limit_is_no_end_of_the_model() -> None:
    model = DynaQ("TablePolicy", Corridor(length=3, limit=2), gamma=0.5, planning_steps=20, seed=0).learn(300)
    seen = model.seen.outcomes(np.arange(model.seen.n_pairs))
    states, actions = model.seen.pair(np.arange(model.seen.n_pairs))
    moved = np.where(actions == 1, states + 1, np.maximum(states - 1, 0))
    assert (seen.next_state == moved[:, None]).all() and (seen.probability == 1.0).all()
    assert (seen.terminated[:, 0] == (moved == 2)).all()
    assert np.allclose(model.policy.q[:2], [[0.25, 0.5], [0.25, 1.0]], atol=0.01)


def test_all_pairs_of_a_step_are_drawn_in_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    draw = CountModel.draw

    def counted(model: CountModel, k: int, generator: np.random.Generator) -> Any:
        drawn.append(k)
        return draw(model, k, generator)

    monkeypatch.setattr(CountModel, "draw", counted)
    DynaQ("TablePolicy", maze(8), planning_steps=50, seed=0).learn(80)
    assert drawn == [400] * 10


def test_the_seed_is_that_of_planning_too() -> None:
    first, second = (DynaQ("TablePolicy", maze(2), seed=1).learn(400) for _ in range(2))
    np.testing.assert_array_equal(first.policy.q, second.policy.q)
    other = DynaQ("TablePolicy", maze(2), seed=1)
    other._planning_seed = 2
    assert (other.learn(400).policy.q != first.policy.q).any()


def test_a_maze_takes_a_third_of_the_steps() -> None:
    """From the second episode on, as benchmarks/dyna.py measures it on its larger maze."""
    n_steps = {}
    for k in (0, 5):
        lengths = []
        for seed in range(3):
            exploration = {"epsilon_greedy": {"initial": 0.1, "final": 0.1}}
            settings: dict[str, Any] = {"learning_rate": 0.1, "visit_power": 0.0, "gamma": 0.95}
            env = Corridor(length=12)
            model = Noted("TablePolicy", env, exploration=exploration, planning_steps=k, seed=seed, **settings)
            model.learn(2500)
            ends = np.flatnonzero([x.terminated.item() for x in model.steps])
            lengths.append(ends[9] - ends[0])
        n_steps[k] = np.mean(lengths)
    assert n_steps[5] < n_steps[0] / 3


@pytest.mark.parametrize("wrong", [-1, 2.5, "5", True, None])
def test_planning_steps_are_a_whole_number(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"planning_steps .* must be a whole number, at least 0"):
        DynaQ("TablePolicy", Corridor(), planning_steps=wrong)


@pytest.mark.parametrize("cls", [QLearning, DynaQ, PrioritizedSweeping])
def test_a_policy_with_two_tables_is_for_who_learns_two(cls: type[QLearning]) -> None:
    """One of them would stay as it was, and half of each value with it."""
    with pytest.raises(ValueError, match=f"policy DoubleQTablePolicy is not for {cls.__name__}: use TablePolicy"):
        cls(DoubleQTablePolicy, Corridor())
