"""Adversarial imitation and the exact one are one idea: on the same demonstrations they act alike."""

from __future__ import annotations

import numpy as np
import pytest
from support.soft_experts import shown_by

from sb3_ext import GAIL
from sb3_ext.imitation import max_ent_irl
from sb3_ext.imitation.table_steps import times_shown
from sb3_ext.planning import PlannerPolicy, TabularMDP, TabularVecEnv, policy_table, solve


@pytest.mark.parametrize(
    ("seed", "n_steps"),
    [
        (3, 40_960),
        *[pytest.param(seed, 81_920, marks=pytest.mark.slow) for seed in range(3)],
    ],
)
def test_airl_and_max_ent_agree_on_nine_of_ten_visited_states(seed: int, n_steps: int) -> None:
    """T3: actions of which the truth says that they are worth the same are the same one."""
    lake = TabularMDP.from_env("FrozenLake-v1", 0.9)
    expert = PlannerPolicy.from_mdp(lake)
    shown = shown_by(lake, policy_table(expert, lake), 100, seed)
    exact = max_ent_irl(lake, shown).policy.argmax(axis=1)
    airl = GAIL(
        "MlpPolicy",
        TabularVecEnv(lake, 16),
        shown,
        reward="airl",
        shaped=True,
        n_steps=64,
        batch_size=256,
        learning_rate=3e-3,
        gamma=0.9,
        seed=seed,
        device="cpu",
    ).learn(n_steps)
    learned = policy_table(airl, lake).argmax(axis=1)
    visited = times_shown(lake, shown, None).sum(axis=1) > 0
    assert visited.sum() == 10, "all but the holes, the goal and one that the expert avoids"
    q, states = solve(lake).q, np.arange(16)
    same = np.abs(q[states, exact] - q[states, learned]) <= 1e-9
    assert same[visited].mean() >= 0.9
    values = q.max(axis=1) - q[states, exact]
    assert values[visited].max() <= 1e-9, "and the exact one is the expert"
