"""Prioritized sweeping: its values against the planner's, its queue against a loop over everything that was seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch as th
from support.table_models import Corridor

from sb3_ext import PrioritizedSweeping
from sb3_ext.planning import TabularMDP, TabularVecEnv, TransitionCounts, solve
from sb3_ext.tabular import Steps
from sb3_ext.tabular.prioritized_sweeping import QueuedModel

RANDOM = {"epsilon_greedy": {"initial": 1.0, "final": 1.0}}
Kinds = dict[tuple[int, bool], list[float]]


def maze(lanes: int) -> TabularVecEnv:
    """:return: it slips, each step pays, and episodes end in two ways or are cut"""
    return TabularVecEnv(TabularMDP.from_env("sb3_ext/GridWorld-v0", gamma=0.99), lanes, seed=0)


class Noted(PrioritizedSweeping):
    """Keeps what it learned from, by pair and outcome, and looks at all of its queue after each step."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.rewards: dict[tuple[int, int], Kinds] = {}
        self.n_queued: list[int] = []
        super().__init__(*args, **kwargs)

    def _learn(self, steps: Steps) -> None:
        for s, a, r, after, ended, _ in zip(*(x.tolist() for x in steps), strict=True):
            self.rewards.setdefault((s, a), {}).setdefault((after, ended), []).append(r)
        super()._learn(steps)
        expected = {pair: abs(self.target(kinds) - self.policy.q[pair].item()) for pair, kinds in self.rewards.items()}
        numbers = self.seen.highest(10**6)
        pairs = zip(*(x.tolist() for x in self.seen.pair(numbers)), strict=True)
        priority = self.seen.priority[numbers].tolist()
        found = dict(zip(pairs, priority, strict=True))
        assert set(found) >= {pair for pair, x in expected.items() if x > self.threshold + 1e-12}
        for pair, x in found.items():
            assert x == pytest.approx(expected[pair], abs=1e-12) and x > self.threshold
        assert priority == sorted(priority, reverse=True)
        self.n_queued.append(len(found))

    def target(self, kinds: Kinds) -> float:
        """:return: as the definition has it"""
        n = sum(map(len, kinds.values()))
        future = sum(len(x) * self.policy.q[after].max().item() for (after, ended), x in kinds.items() if not ended)
        return float(sum(map(sum, kinds.values())) + self.gamma * future) / n


@pytest.mark.parametrize(("lanes", "k"), [(1, 0), (1, 1), (1, 3), (4, 1)])
def test_after_each_step_the_queue_holds_by_how_much_every_pair_would_change(lanes: int, k: int) -> None:
    """T14: it lives across steps."""
    model = Noted("TablePolicy", maze(lanes), exploration=RANDOM, planning_steps=k, threshold=1e-3, seed=0)
    model.learn(300)
    assert max(model.n_queued) > 3, "or there was nothing to look at"
    assert (model.seen.priority > 0.0).sum() == model.n_queued[-1]


def corridor_walk(n: int) -> list[Steps]:
    """:return: once to the end, then against the wall of the first place"""

    def step(s: int, a: int, r: float, after: int, ended: bool) -> Steps:
        return Steps(*(np.array([x]) for x in (s, a, r, after, ended, 0)))

    way = [step(s, 1, float(s == n - 2), s + 1, s == n - 2) for s in range(n - 1)]
    return [*way, *(step(0, 0, 0.0, 0, False) for _ in range(n))]


def test_news_travels_on_while_the_agent_is_elsewhere_and_not_where_the_queue_is_emptied() -> None:
    """T14: one backup a step carries the value of the end back to the start, a state at a time."""
    n, values = 10, {}
    for emptied in (False, True):
        model = PrioritizedSweeping("TablePolicy", Corridor(n), gamma=0.9, planning_steps=1, threshold=0.0)
        for step in corridor_walk(n):
            model._learn(step)
            if emptied:
                model.seen.priority[:] = 0.0
        values[emptied] = model.policy.q[0, 1].item()
    assert values[False] == pytest.approx(0.9 ** (n - 2)) and values[True] == 0.0


def test_it_goes_to_the_best_values_of_what_was_seen() -> None:
    """Those of the planner, for the same counts."""
    model = Noted("TablePolicy", maze(4), exploration=RANDOM, gamma=0.9, planning_steps=20, threshold=0.0, seed=0)
    model.learn(4000)
    while model.seen.priority.max() > 1e-12:  # of the last steps
        model._plan(100)
    counts = TransitionCounts(12, 4)
    counts.add_starts(8)
    for (s, a), kinds in model.rewards.items():
        for (after, ended), rewards in kinds.items():
            many = [np.full(len(rewards), x) for x in (s, a, after, ended)]
            counts.add(many[0], many[1], np.array(rewards), many[2], many[3])
    best = solve(TabularMDP.from_counts(counts, gamma=0.9), tol=1e-12)
    visited = model.policy.visits.numpy().sum(axis=1) > 0
    assert visited.sum() == 9 and (model.policy.visits[visited] > 0).all(), "all but the block and both ends"
    np.testing.assert_allclose(model.policy.q.numpy()[visited], best.q[visited], atol=1e-9)
    assert model.policy.visits.sum() == 4000


def test_the_second_moment_is_that_of_the_targets() -> None:
    model = Noted("TablePolicy", maze(1), exploration=RANDOM, threshold=0.0, planning_steps=50, seed=0).learn(500)
    for pair, kinds in model.rewards.items():
        best = model.policy.q.max(dim=1).values.numpy()
        targets = [np.mean(x) + (0.0 if ended else 0.99 * best[after]) for (after, ended), x in kinds.items()]
        mean = np.average(np.square(targets), weights=[len(x) for x in kinds.values()])
        assert model.policy.second_moment[pair].item() == pytest.approx(mean, abs=0.02)
    assert (model.policy.second_moment >= model.policy.q**2 - 1e-12).all()


def test_the_highest_is_taken_and_of_equal_ones_what_was_seen_first() -> None:
    model = QueuedModel(5, 2)
    zeros = np.zeros(5, np.int64)
    model.add(np.arange(5)[::-1], zeros, zeros.astype(float), zeros, zeros.astype(bool))
    model.priority[:5] = [0.5, 0.0, 2.0, 0.5, 0.5]
    assert model.highest(10).tolist() == [2, 0, 3, 4] and model.highest(2).tolist() == [2, 0]
    assert model.pair(model.highest(1))[0].tolist() == [2]


@pytest.mark.parametrize(("unit", "rtol"), [(128.0, 0.0), (1 / 512, 0.0), (100.0, 1e-6), (1 / 500, 1e-6)])
def test_the_unit_of_the_reward_does_not_matter(unit: float, rtol: float) -> None:
    """The same backups in the same order: of a power of two not even the rounding differs (rewards are float32)."""
    rng = np.random.default_rng(0)
    transitions = rng.dirichlet(np.full(8, 0.3), size=(3, 8))
    reward, terminal = rng.normal(size=(8, 3)), np.arange(8) == 7
    models = []
    for scale in (1.0, unit):
        mdp = TabularMDP.from_arrays(transitions, reward * scale, terminal, np.eye(8)[0], 0.9)
        model = PrioritizedSweeping("TablePolicy", TabularVecEnv(mdp, 2, seed=0), exploration=RANDOM, gamma=0.9, seed=0)
        models.append(model.learn(400))
    first, second = (model.seen.state_dict() for model in models)
    np.testing.assert_allclose(models[1].policy.q.numpy(), unit * models[0].policy.q.numpy(), rtol=rtol)
    np.testing.assert_array_equal(first["times"], second["times"])
    np.testing.assert_allclose(second["priority"], unit * first["priority"].numpy(), rtol=rtol, atol=rtol * unit)
    assert (first["priority"] > 0.0).sum() > 5


def test_a_time_limit_is_no_end_of_the_model() -> None:
    model = PrioritizedSweeping("TablePolicy", Corridor(length=3, limit=2), gamma=0.5, threshold=0.0, seed=0).learn(200)
    assert np.allclose(model.policy.q[:2], [[0.25, 0.5], [0.25, 1.0]], atol=1e-9)


@pytest.mark.parametrize("wrong", [-1e-9, float("nan"), float("inf")])
def test_the_threshold_is_a_number(wrong: float) -> None:
    with pytest.raises(ValueError, match=f"threshold {wrong} must be a finite number, at least 0"):
        PrioritizedSweeping("TablePolicy", Corridor(), threshold=wrong)


@pytest.mark.parametrize("priority", [None, th.zeros(1, dtype=th.float64), th.zeros(2), -th.ones(2, dtype=th.float64)])
def test_a_queue_that_cannot_be_is_refused(priority: th.Tensor | None) -> None:
    model = QueuedModel(3, 2)
    states, zeros = np.arange(2), np.zeros(2, np.int64)
    model.add(states, zeros, zeros.astype(float), zeros, zeros.astype(bool))
    state = {name: x for name, x in model.state_dict().items() if name != "priority"}
    with pytest.raises(ValueError, match=r"priorit(y of torch\.float64|ies must be finite numbers, at least 0)"):
        model.load_state_dict(state if priority is None else {**state, "priority": priority})
