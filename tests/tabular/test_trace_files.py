"""SARSA and Monte Carlo as models of SB3: saved, loaded, gone on with, evaluated, measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_ext import SARSA, MonteCarlo
from sb3_ext.exchange.safe_files import load_safe, save_safe
from sb3_ext.planning import OptimalityGap, TabularMDP, policy_table, q_table

SETTINGS: dict[str, tuple[type[SARSA | MonteCarlo], dict[str, Any]]] = {
    "sarsa": (SARSA, {"lambda_": 0.5, "n_steps": 6}),
    "monte carlo": (MonteCarlo, {"first_visit": False}),
    "weighted": (MonteCarlo, {"importance": "weighted", "target": np.arange(16) % 4}),
}


@pytest.fixture(params=SETTINGS)
def model(request: pytest.FixtureRequest) -> SARSA | MonteCarlo:
    algorithm, settings = SETTINGS[request.param]
    return algorithm("TablePolicy", "FrozenLake-v1", **settings, gamma=0.9, exploration="boltzmann", seed=1).learn(900)


def same(one: SARSA | MonteCarlo, other: SARSA | MonteCarlo) -> bool:
    tables = zip(one.policy.state_dict().values(), other.policy.state_dict().values(), strict=True)
    return all(bool((a == b).all()) for a, b in tables)


def test_a_loaded_model_is_the_same_and_goes_on(model: SARSA | MonteCarlo, tmp_path: Path) -> None:
    """Episodes begin anew, for its environments do."""
    model.save(tmp_path / "model")
    loaded = type(model).load(tmp_path / "model", env=gym.make("FrozenLake-v1"))
    assert same(model, loaded) and loaded.policy.visits.sum() > 0
    assert loaded.n_steps == model.n_steps and repr(loaded.exploration) == repr(model.exploration)
    visits = loaded.policy.visits.sum().item()
    loaded.learn(600, reset_num_timesteps=False)
    assert loaded.policy.visits.sum() > visits and loaded.num_timesteps >= 1500
    again = type(model).load(tmp_path / "model", env=DummyVecEnv([lambda: gym.make("FrozenLake-v1")] * 3))
    again.learn(600, reset_num_timesteps=False)
    assert again.policy.visits.sum() > visits


def test_a_safe_file_holds_it(model: SARSA | MonteCarlo, tmp_path: Path) -> None:
    save_safe(model, tmp_path / "agent")
    loaded = load_safe(tmp_path / "agent", env=gym.make("FrozenLake-v1"))
    assert isinstance(loaded, type(model)) and same(model, loaded)
    if isinstance(model, MonteCarlo) and isinstance(loaded, MonteCarlo):
        assert loaded.importance == model.importance and loaded.first_visit == model.first_visit
        assert model.target is None or np.array_equal(loaded.target, model.target)  # type: ignore[arg-type]
    loaded.learn(100)


def test_exact_yardsticks_read_it(model: SARSA | MonteCarlo) -> None:
    mdp = TabularMDP.from_env("FrozenLake-v1", 0.9)
    np.testing.assert_array_equal(q_table(model, mdp), model.policy.q)
    np.testing.assert_allclose(policy_table(model, mdp, deterministic=False), model.probabilities(np.arange(16)))
    gap = OptimalityGap(mdp, every=500)
    model.learn(1000, callback=gap, reset_num_timesteps=False)
    assert len(gap.history) >= 2 and 0.0 <= gap.history[-1]["gap_fraction"] <= 1.0
    mean, _ = evaluate_policy(model, gym.make("FrozenLake-v1"), 5, warn=False)
    assert 0.0 <= mean <= 1.0  # type: ignore[operator]  # a list where it was asked for
