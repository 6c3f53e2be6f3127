"""What misled prototypes of tables: steps of one length, units of the reward, names in old files."""

from __future__ import annotations

import base64
import dataclasses
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.callbacks import BaseCallback

from sb3_ext import ExpectedSARSA, QLearning, Rainbow
from sb3_ext.planning import TabularMDP, TabularVecEnv, evaluate, solve
from sb3_ext.tabular import TableAlgorithm


class Gaps(BaseCallback):
    """The exact gap of the greedy policy, as a share of V*, at every measurement."""

    def __init__(self, mdp: TabularMDP, every: int) -> None:
        super().__init__()
        self.mdp, self.every, self.found = mdp, every, [0.0] * 0
        self.optimum = float(mdp.start @ solve(mdp).v)

    def _on_step(self) -> bool:
        if self.num_timesteps >= self.every * (len(self.found) + 1):
            assert isinstance(self.model, TableAlgorithm)
            greedy = self.model.policy.values(np.arange(self.mdp.n_states)).argmax(axis=1)
            self.found.append(1.0 - float(self.mdp.start @ evaluate(self.mdp, greedy)) / self.optimum)
        return True


def last_half(mdp: TabularMDP, **settings: Any) -> np.ndarray:
    gaps = Gaps(mdp, 2000)
    QLearning("TablePolicy", TabularVecEnv(mdp, 64), seed=1, **settings).learn(100_000, callback=gaps)
    return np.array(gaps.found[len(gaps.found) // 2 :])


def test_t12_with_steps_of_one_length_the_last_gap_is_luck() -> None:
    """So a table is judged by the median of the last half; with steps that shrink the policy comes to rest."""
    mdp = TabularMDP.from_env("FrozenLake-v1", gamma=0.99)
    flickering, resting = last_half(mdp, learning_rate=0.2, visit_power=0.0), last_half(mdp)
    assert flickering.min() < 0.02 and flickering.max() > 0.1
    assert np.median(resting) < 0.02 and np.ptp(resting[-10:]) < 0.02


@pytest.mark.parametrize("unit", [128.0, 1.0 / 128.0])
@pytest.mark.parametrize("algorithm", [QLearning, ExpectedSARSA])
def test_the_unit_of_the_reward_changes_nothing(algorithm: type[TableAlgorithm], unit: float) -> None:
    """Bit for bit, by a power of 2: each table is the other one in another unit."""
    mdp = TabularMDP.from_env("FrozenLake-v1", gamma=0.99)
    outcomes = mdp.outcomes._replace(reward=mdp.outcomes.reward * unit)
    other = dataclasses.replace(mdp, outcomes=outcomes)
    plain, scaled = (algorithm("TablePolicy", TabularVecEnv(each, 4), seed=0).learn(8000) for each in (mdp, other))
    assert plain.policy.q.max() > 0.0
    np.testing.assert_array_equal(scaled.policy.q, plain.policy.q * unit)
    np.testing.assert_array_equal(scaled.policy.visits, plain.policy.visits)


def test_t29_a_zip_names_neither_its_algorithm_nor_the_base_of_it(tmp_path: Path) -> None:
    """The base of R2D2 and Rainbow was once called QLearning: no file says so, so none can mean the table by it."""
    Rainbow("MlpPolicy", "CartPole-v1", buffer_size=100, device="cpu").save(tmp_path / "model")
    with zipfile.ZipFile(tmp_path / "model.zip") as archive:
        data = json.loads(archive.read("data"))
    pickled = [
        base64.b64decode(x[":serialized:"]) for x in data.values() if isinstance(x, dict) and ":serialized:" in x
    ]
    assert len(pickled) > 3
    for name in (b"DeepQLearning", b"QLearning", b"deep_q_learning", b"sb3_ext.q_learning"):
        assert not any(name in each for each in pickled)
    Rainbow.load(tmp_path / "model", device="cpu")
