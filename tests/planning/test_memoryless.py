"""The best that can be done by what was seen last, against sums over all paths and by hand."""

from __future__ import annotations

import itertools

import gymnasium as gym
import numpy as np
import pytest

from sb3_ext.envs import MemoryChainEnv, RepeatPreviousEnv, TMazeEnv
from sb3_ext.planning import TabularMDP, TabularPOMDP, best_memoryless, memory_value, memoryless
from sb3_ext.planning.mdp import Outcomes


def masked_lake(show: str) -> TabularPOMDP:
    return TabularPOMDP.from_env(gym.make("sb3_ext/MaskedFrozenLake-v0", show=show))


def random_pomdp(rng: np.random.Generator, first: bool) -> TabularPOMDP:
    """:return: of 3 states, 2 actions and 2 observations; of state 2, action 1 is all but its reward as action 0"""
    probability = rng.dirichlet(np.full(4, 0.5), size=6)
    probability[5] = probability[4]
    outcomes = Outcomes(
        np.repeat(np.arange(6), 4),
        np.tile([0, 1, 2, 0], 6),
        probability.ravel(),
        rng.uniform(-1.0, 1.0, 24),
        np.tile([False, False, False, True], 6),
    )
    mdp = TabularMDP(outcomes, 3, 2, rng.dirichlet(np.ones(3)), 0.8)
    observation = rng.dirichlet([0.3, 0.3], size=(2, 3))
    return TabularPOMDP(mdp, observation, rng.dirichlet([0.5, 0.5], size=3) if first else None)


def by_sums(pomdp: TabularPOMDP, policy: np.ndarray) -> float:
    """
    :param policy: [O + 1, A] probabilities, the last row of having seen nothing
    :return: its value, by following the chance of each state and observation for as long as it counts
    """
    mdp, of, n_seen = pomdp.mdp, pomdp.mdp.outcomes, pomdp.n_observations
    first = np.eye(n_seen + 1)[[n_seen] * mdp.n_states]
    if pomdp.first_observation is not None:
        first = np.pad(pomdp.first_observation, ((0, 0), (0, 1)))
    chance, value, weight = mdp.start[:, None] * first, 0.0, 1.0
    while weight > 1e-12:
        new = np.zeros_like(chance)
        for row, after, probability, reward, terminated in zip(*of, strict=True):
            state, action = divmod(row, mdp.n_actions)
            taken = float(chance[state] @ policy[:, action]) * probability
            value += weight * taken * reward
            if not terminated:
                new[after, :n_seen] += taken * pomdp.observation[action, after]
        chance, weight = new, weight * mdp.gamma
    return value


@pytest.mark.parametrize("first", [True, False])
def test_all_deterministic_policies_are_compared(first: bool) -> None:
    """T24: also where what is seen depends on the action, and before anything was seen."""
    rng = np.random.default_rng(0)
    for _ in range(4):
        pomdp = random_pomdp(rng, first)
        found = best_memoryless(pomdp)
        every = [np.eye(2)[list(actions)] for actions in itertools.product(range(2), repeat=3)]
        assert found.is_best and found.value == pytest.approx(max(by_sums(pomdp, each) for each in every), abs=1e-9)
        policy = found.policy if not first else np.concatenate([found.policy, np.eye(2)[[0]]])
        assert policy.shape == (3, 2) and by_sums(pomdp, policy) == pytest.approx(found.value, abs=1e-9)


@pytest.mark.parametrize(
    ("show", "value", "actions"), [("row", 0.14170, [0, 0, 1, 2]), ("column", 0.10010, [3, 3, 2, 3])]
)
def test_frozen_lake(show: str, value: float, actions: list[int]) -> None:
    """T25: a search with gradients alone ended at .1416 and .0522; ours begins with the best deterministic policy."""
    pomdp = masked_lake(show)
    found = best_memoryless(pomdp)
    assert found.value == pytest.approx(value, abs=5e-6) and found.actions.tolist() == actions
    searched = best_memoryless(pomdp, stochastic=True)
    assert searched.value >= found.value - 1e-12 and not searched.is_best


@pytest.mark.parametrize(("gamma", "value"), [(0.75, -4.0), (0.95, -20.0)])
def test_without_memory_the_tiger_is_listened_to_for_ever(gamma: float, value: float) -> None:
    found = best_memoryless(TabularPOMDP.from_env("sb3_ext/Tiger-v0", gamma))
    assert found.value == pytest.approx(value, abs=1e-9) and found.actions.tolist() == [0, 0, 0]


@pytest.mark.parametrize("length", [5, 10, 50])
def test_t_maze(length: int) -> None:
    found = best_memoryless(TabularPOMDP.from_env(TMazeEnv(length), 0.98))
    assert found.value == pytest.approx(1.95 * 0.98**length, abs=1e-9)


def test_a_coin_helps_where_two_places_look_alike() -> None:
    """Left or right of the goal one must go right or left, and sees neither: half of each, and never stuck."""
    table = {
        0: {0: [(1.0, 0, -1.0, False)], 1: [(1.0, 1, 1.0, True)]},
        1: {0: [(1.0, 1, 0.0, True)], 1: [(1.0, 1, 0.0, True)]},
        2: {0: [(1.0, 1, 1.0, True)], 1: [(1.0, 2, -1.0, False)]},
    }
    pomdp = TabularPOMDP.from_mdp(TabularMDP.from_table(table, np.array([0.5, 0.0, 0.5]), 0.9), lambda state: 0)
    assert best_memoryless(pomdp).value == pytest.approx(0.5 * 1.0 + 0.5 * -10.0)
    coin = best_memoryless(pomdp, stochastic=True)
    assert coin.value == pytest.approx(0.0, abs=1e-6)  # v = (1 - 1 + .9 v) / 2
    np.testing.assert_allclose(coin.policy, [[0.5, 0.5]], atol=1e-3)


def test_where_the_action_leads_nowhere_else_nothing_is_tried() -> None:
    """42 observations under which both actions do the same, and guesses: one policy is solved for, and not 2^43."""
    chain = best_memoryless(TabularPOMDP.from_env(MemoryChainEnv(40)))
    assert chain.is_best and chain.value == pytest.approx(0.0, abs=1e-9)
    assert best_memoryless(TabularPOMDP.from_env(RepeatPreviousEnv(k=2, length=8))).value == pytest.approx(-0.5)
    assert best_memoryless(TabularPOMDP.from_env(RepeatPreviousEnv(k=0, length=4))).value == pytest.approx(1.0)


def test_too_many_policies_are_searched() -> None:
    """All of FrozenLake is seen; of its 16 cells 11 can be acted in."""
    lake = TabularPOMDP.from_mdp(TabularMDP.from_env("FrozenLake-v1", 0.99), lambda state: state)
    with pytest.raises(ValueError, match=r"^4\^11 policies are too many to try: stochastic=True searches$"):
        best_memoryless(lake)
    found = best_memoryless(lake, stochastic=True)
    assert 0.5 < found.value < 0.542026 + 1e-6
    value = memory_value(lake)
    assert str(value).startswith("without memory at least 0.5") and not value.without_is_best
    assert value.lower <= value.upper <= value.with_state + 1e-6 and value.with_state == pytest.approx(
        0.542026, abs=1e-6
    )


def test_the_value_of_a_memory() -> None:
    for pomdp, line in (
        (masked_lake("row"), "without memory 0.1417, with memory 0.2080 to 0.2096, with the state 0.5420"),
        (TabularPOMDP.from_env("sb3_ext/Tiger-v0", 0.75), "-4.0000, with memory 1.9334, with the state 40.0000"),
        (TabularPOMDP.from_env("sb3_ext/Tiger-v0", 0.95), "-20.0000, with memory 19.3714, with the state 200.0000"),
        (TabularPOMDP.from_env(TMazeEnv(10), 0.98), "1.5933, with memory 3.2683, with the state 3.2683"),
        (TabularPOMDP.from_env(MemoryChainEnv(10)), "0.0000, with memory 1.0000, with the state 1.0000"),
        (
            TabularPOMDP.from_env(RepeatPreviousEnv(k=2, length=8)),
            "-0.5000, with memory 1.0000, with the state 1.0000",
        ),
    ):
        assert str(memory_value(pomdp)).endswith(line)


def test_where_trying_all_would_take_hours_it_is_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memoryless, "MOST_WORK", 256 * 11**3 - 1)  # 11 cells in which one acts
    value = memory_value(masked_lake("row"), max_beliefs=100)
    assert not value.without_is_best and 0.14 < value.without < 0.1418
    monkeypatch.setattr(memoryless, "MOST_WORK", 256 * 11**3)
    assert memory_value(masked_lake("row"), max_beliefs=100).without_is_best


def test_an_interval_is_no_worse_than_what_ignores_the_memory() -> None:
    value = memory_value(masked_lake("row"), max_beliefs=1)
    assert value.lower == pytest.approx(value.without) and value.upper <= value.with_state


def test_gamma_1_without_an_end_has_no_best() -> None:
    with pytest.raises(ValueError, match=r"^with gamma 1 a policy can go on for ever from 2 states"):
        best_memoryless(TabularPOMDP.from_env("sb3_ext/Tiger-v0", 1.0))


@pytest.mark.slow
def test_repeat_previous_as_it_comes() -> None:
    """49 493 states, as many as reachable beliefs: who has seen the first symbol knows the state from then on."""
    value = memory_value(TabularPOMDP.from_env("sb3_ext/RepeatPrevious-v0"))
    assert str(value) == "without memory -0.5000, with memory 1.0000, with the state 1.0000"
