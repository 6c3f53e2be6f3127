"""Certain bounds of what a task is worth to who remembers everything, against formulas that know no beliefs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sb3_ext.envs import MemoryChainEnv, RepeatPreviousEnv, TMazeEnv
from sb3_ext.planning import BeliefPolicy, TabularMDP, TabularPOMDP, belief_bounds, belief_tree, solve, solve_beliefs
from sb3_ext.planning.mdp import Outcomes


def masked_lake(show: str) -> TabularPOMDP:
    lake = TabularMDP.from_env("FrozenLake-v1", 0.99)
    return TabularPOMDP.from_mdp(lake, {"row": lambda state: state // 4, "column": lambda state: state % 4}[show])


def random_pomdp(rng: np.random.Generator, gamma: float) -> TabularPOMDP:
    """:return: of 3 states, 2 actions and 2 observations, which depend on the action too; episodes can end"""
    row = np.repeat(np.arange(6), 4)
    probability = rng.dirichlet(np.full(4, 0.5), size=6)
    following = np.tile([0, 1, 2, 0], 6)
    terminated = np.tile([False, False, False, True], 6)
    outcomes = Outcomes(row, following, probability.ravel(), rng.uniform(-1.0, 1.0, 24), terminated)
    mdp = TabularMDP(outcomes, 3, 2, rng.dirichlet(np.ones(3)), gamma)
    observation = rng.dirichlet([0.3, 0.3], size=(2, 3))
    return TabularPOMDP(mdp, observation, rng.dirichlet([0.5, 0.5], size=3))


def by_histories(pomdp: TabularPOMDP, n_steps: int, policy: BeliefPolicy | None = None) -> float:
    """
    :param policy: None = the best
    :return: return of as many steps, by trying every action after everything that may have been seen
    """
    mdp, seen, of = pomdp.mdp, pomdp.observation, pomdp.mdp.outcomes
    moves = np.zeros((mdp.n_actions, mdp.n_states, mdp.n_states))
    on = ~of.terminated
    np.add.at(moves, (of.row[on] % mdp.n_actions, of.row[on] // mdp.n_actions, of.next[on]), of.probability[on])

    def of_action(weight: np.ndarray, left: int, a: int, belief: np.ndarray | None) -> float:
        value = float(weight @ mdp.reward[:, a])
        for o in range(pomdp.n_observations):
            then = weight @ moves[a] * seen[a, :, o]
            if then.any():
                following = None if policy is None or belief is None else policy.next(belief, a, o)
                value += mdp.gamma * worth(then, left - 1, following)
        return value

    def worth(weight: np.ndarray, left: int, belief: np.ndarray | None) -> float:
        """Of chances [S] that need not sum to 1."""
        if left == 0:
            return 0.0
        if policy is not None and belief is not None:
            return of_action(weight, left, policy.act(belief), belief)
        return max(of_action(weight, left, a, None) for a in range(mdp.n_actions))

    first = pomdp.first_observation
    assert first is not None
    begins = [(mdp.start * first[:, o], None if policy is None else policy.first(o)) for o in range(first.shape[1])]
    return sum(worth(weight, n_steps, belief) for weight, belief in begins)


def by_net_hears(gamma: float, accuracy: float = 0.85, n_most: int = 60) -> float:
    """:return: what the tiger is worth, by value iteration on how much oftener it was heard on the left"""
    net = np.arange(-n_most, n_most + 1)
    odds = (accuracy / (1.0 - accuracy)) ** net.astype(float)
    left = odds / (1.0 + odds)  # probability of the tiger behind the left door
    hear_left = left * accuracy + (1.0 - left) * (1.0 - accuracy)
    v = np.zeros(len(net))
    for _ in range(round(40.0 / (1.0 - gamma))):
        up, down = np.append(v[1:], v[-1]), np.append(v[0], v[:-1])
        listen = -1.0 + gamma * (hear_left * up + (1.0 - hear_left) * down)
        opened = np.maximum(-100.0 * left + 10.0 * (1.0 - left), 10.0 * left - 100.0 * (1.0 - left))
        v = np.maximum(listen, opened + gamma * v[n_most])
    return float(v[n_most])


@pytest.mark.parametrize(("gamma", "value", "n_beliefs"), [(0.75, 1.9334390, 9), (0.95, 19.3713684, 27)])
def test_tiger(gamma: float, value: float, n_beliefs: int) -> None:
    found = solve_beliefs(TabularPOMDP.from_env("sb3_ext/Tiger-v0", gamma), tol=1e-6)
    assert found.converged and found.upper - found.lower <= 1e-6
    assert found.lower - 1e-7 <= value <= found.upper + 1e-7
    assert found.lower - 1e-9 <= by_net_hears(gamma) <= found.upper + 1e-9
    assert found.n_beliefs == n_beliefs


@pytest.mark.parametrize("length", [5, 10, 50])
def test_t_maze(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Turning pays 4 after as many steps. Searched, and at once, for who has read the sign knows all."""
    value = 4.0 * 0.98**length
    pomdp = TabularPOMDP.from_env(TMazeEnv(length), 0.98)
    for n_beliefs in (2, 2 * length + 2):
        found = solve_beliefs(pomdp, tol=1e-6)
        assert found.converged and found.lower <= value <= found.upper
        assert found.n_beliefs == n_beliefs
        monkeypatch.setattr(belief_bounds, "_stay_known", lambda pomdp, seen_next: np.zeros(pomdp.mdp.n_states, bool))


@pytest.mark.parametrize(("show", "low", "high"), [("row", 0.20796, 0.20961), ("column", 0.13690, 0.14009)])
def test_frozen_lake_that_shows_its_row_or_its_column(show: str, low: float, high: float) -> None:
    """Within what a prototype found with 9 404 and 2 124 beliefs. More beliefs narrow it."""
    before = (-np.inf, np.inf)
    for max_beliefs in (1, 100, 1000, 12_000):
        found = solve_beliefs(masked_lake(show), max_beliefs=max_beliefs)
        assert before[0] <= found.lower < found.upper <= before[1]
        before = (found.lower, found.upper)
    assert low <= found.lower < found.upper <= high
    assert not found.converged


def test_histories_of_random_processes_agree() -> None:
    rng = np.random.default_rng(1)
    gamma, n_steps = 0.25, 6
    rest = gamma**n_steps / (1.0 - gamma)  # of rewards up to 1
    for _ in range(8):
        pomdp = random_pomdp(rng, gamma)
        found = solve_beliefs(pomdp, tol=1e-5)
        value = by_histories(pomdp, n_steps)
        assert found.converged
        assert found.lower - rest <= value <= found.upper + rest
        assert found.upper - found.lower <= 1e-5
        # The policy is worth it, also where it was hardly searched, and on beliefs that were never reached.
        early = solve_beliefs(pomdp, tol=1e-5, max_beliefs=3)
        for solution in (early, found):
            reached = by_histories(pomdp, n_steps, solution.policy)
            assert solution.lower - rest <= reached <= value + 1e-9


def test_an_interval_holds_the_value_wherever_the_search_stops() -> None:
    rng = np.random.default_rng(2)
    for gamma in (0.3, 0.9):
        pomdp = random_pomdp(rng, gamma)
        exact = solve_beliefs(pomdp, tol=1e-4)
        assert exact.converged
        stops: list[dict[str, Any]] = [{"max_beliefs": 1}, {"max_beliefs": 7}, {"seconds": 1e-9}, {"tol": 0.1}]
        for limits in stops:
            early = solve_beliefs(pomdp, **{"tol": 1e-6, **limits})
            assert early.lower <= exact.upper and exact.lower <= early.upper
            assert early.upper - early.lower >= exact.upper - exact.lower - 1e-6


def test_beliefs_that_are_taken_for_one_are_paid_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """T24: rounded coarsely, the tiger's beliefs of three and of four net hears are one; the interval says so."""
    monkeypatch.setattr(belief_tree, "STEP", 0.2)
    found = solve_beliefs(TabularPOMDP.from_env("sb3_ext/Tiger-v0", 0.75), tol=1e-6)
    assert not found.converged and found.n_beliefs < 9
    assert found.lower <= 1.933439 <= found.upper


def test_the_same_belief_by_another_way_is_one() -> None:
    """T24: left and right heard once each, in floating numbers not quite the start."""
    pomdp = TabularPOMDP.from_env("sb3_ext/Tiger-v0", 0.95)
    tree = belief_tree.BeliefTree(pomdp)
    start = pomdp.first_belief(0)
    again = pomdp.next_belief(pomdp.next_belief(start, 0, 1), 0, 2)
    assert tree.number_of(start) == tree.number_of(again + 1e-15) == tree.first[0]
    for _ in range(3):
        tree.expand(np.arange(len(tree)))
    assert len(tree) == 7  # none to three net hears, of either side


def simulate(pomdp: TabularPOMDP, policy: BeliefPolicy, n_episodes: int, n_steps: int) -> np.ndarray:
    """:return: [episodes] discounted returns; rewards, ends and observations are drawn as the tables say"""
    rng, mdp, of = np.random.default_rng(0), pomdp.mdp, pomdp.mdp.outcomes
    returns = np.zeros(n_episodes)
    assert pomdp.first_observation is not None
    for i in range(n_episodes):
        state = rng.choice(mdp.n_states, p=mdp.start)
        belief = policy.first(int(rng.choice(pomdp.n_observations, p=pomdp.first_observation[state])))
        for t in range(n_steps):
            action = policy.act(belief)
            possible = np.flatnonzero(of.row == state * mdp.n_actions + action)
            k = rng.choice(possible, p=of.probability[possible])
            returns[i] += mdp.gamma**t * of.reward[k]
            if of.terminated[k]:
                break
            state = of.next[k]
            belief = policy.next(
                belief, action, int(rng.choice(pomdp.n_observations, p=pomdp.observation[action, state]))
            )
    return returns


@pytest.mark.parametrize("name", ["Tiger", "MaskedFrozenLake"])
def test_the_policy_simulated_is_worth_what_the_interval_says(name: str) -> None:
    pomdp = TabularPOMDP.from_env(f"sb3_ext/{name}-v0", {"Tiger": 0.75, "MaskedFrozenLake": 0.99}[name])
    found = solve_beliefs(pomdp, max_beliefs=2000)
    n_steps = {"Tiger": 30, "MaskedFrozenLake": 600}[name]
    returns = simulate(pomdp, found.policy, 500, n_steps)
    error = 3.0 * returns.std() / np.sqrt(len(returns))
    assert found.lower - error <= returns.mean() <= found.upper + error


def test_with_gamma_1_a_process_that_always_ends_is_exact() -> None:
    for env in (MemoryChainEnv(10), RepeatPreviousEnv(k=2, length=8)):
        found = solve_beliefs(TabularPOMDP.from_env(env), tol=1e-6)
        assert found.converged and found.lower <= 1.0 <= found.upper


def test_a_state_that_is_seen_is_worth_what_the_planner_says(monkeypatch: pytest.MonkeyPatch) -> None:
    lake = TabularMDP.from_env("FrozenLake-v1", 0.99)
    pomdp = TabularPOMDP.from_mdp(lake, lambda state: state)
    for n_beliefs in (1, 11):  # known from the start, and searched: of 16 cells 11 are no end
        found = solve_beliefs(pomdp, tol=1e-6)
        assert found.converged and found.n_beliefs == n_beliefs
        assert found.lower - 1e-9 <= lake.start @ solve(lake).v <= found.upper + 1e-9
        monkeypatch.setattr(belief_bounds, "_stay_known", lambda pomdp, seen_next: np.zeros(pomdp.mdp.n_states, bool))


def test_a_search_that_cannot_end_its_task_says_so() -> None:
    endless = TabularPOMDP.from_env("sb3_ext/Tiger-v0", gamma=1.0)
    with pytest.raises(ValueError, match=r"^with gamma 1 a policy can go on for ever from 2 states \(0, 1, \.\.\.\): "):
        solve_beliefs(endless)


def test_wrong_limits_are_named() -> None:
    pomdp = masked_lake("row")
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"tol": 0.0}, "tol 0.0 must be positive"),
        ({"tol": float("nan")}, "tol nan must be positive"),
        ({"max_beliefs": 0}, "max_beliefs 0 must be positive"),
        ({"seconds": -1.0}, "seconds -1.0 must be positive"),
    ]
    for limits, message in wrong:
        with pytest.raises(ValueError, match=f"^{message}$"):
            solve_beliefs(pomdp, **limits)
    with pytest.raises(ValueError, match=r"^belief has shape \(3,\), not \[S\] = \(16,\)$"):
        solve_beliefs(pomdp, max_beliefs=1).policy.act(np.ones(3) / 3.0)
