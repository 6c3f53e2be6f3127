"""Files of tables: SB3's zip and parameters, and the safe ones, which hold all that was learned."""

from __future__ import annotations

import json
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from safetensors.torch import load_file, save_file
from stable_baselines3.common.base_class import BaseAlgorithm
from support.table_models import Corridor

from sb3_ext import DoubleQ, ExpectedSARSA, MonteCarlo, QLearning
from sb3_ext.errors import UnsafeFile
from sb3_ext.exchange.safe_files import CONFIG, load_safe, save_safe
from sb3_ext.ops.exploration import EpsilonGreedy
from sb3_ext.tabular import QTablePolicy, TableAlgorithm

EACH = pytest.mark.parametrize("algorithm", [QLearning, DoubleQ, ExpectedSARSA])


def trained(algorithm: type[TableAlgorithm], env: str = "FrozenLake-v1") -> TableAlgorithm:
    exploration = EpsilonGreedy(0.9, 0.2, 1.0)
    return algorithm("TablePolicy", env, exploration=exploration, initial_value=0.3, seed=0).learn(400)


def assert_same_tables(found: BaseAlgorithm, expected: BaseAlgorithm) -> None:
    for name, x in expected.policy.state_dict().items():
        assert found.policy.state_dict()[name].dtype == x.dtype
        np.testing.assert_array_equal(found.policy.state_dict()[name], x)


@EACH
def test_a_zip_holds_the_table_and_the_rate_that_it_explores_with(
    algorithm: type[TableAlgorithm], tmp_path: Path
) -> None:
    model = trained(algorithm)
    model.save(tmp_path / "model")
    loaded = algorithm.load(tmp_path / "model")
    assert_same_tables(loaded, model)
    assert (loaded.exploration, loaded.initial_value) == (model.exploration, model.initial_value)
    np.testing.assert_allclose(loaded.probabilities(np.arange(16)).min(), 0.2 / 4)
    assert algorithm.load(tmp_path / "model", exploration="greedy").probabilities(np.arange(16)).min() == 0.0
    with pytest.raises(ValueError, match=r"gamma 1\.5 must lie in"):
        algorithm.load(tmp_path / "model", gamma=1.5)


@EACH
def test_parameters_are_the_table(algorithm: type[TableAlgorithm]) -> None:
    model = trained(algorithm)
    other = algorithm("TablePolicy", "FrozenLake-v1")
    other.set_parameters(model.get_parameters())  # type: ignore[arg-type]  # one dictionary inside another
    assert_same_tables(other, model)
    other.learn(50)
    assert other.policy.visits.sum() == 450, "it goes on from there"
    assert model.policy.visits.sum() == 400, "and has a table of its own"


def test_a_policy_alone_can_be_saved(tmp_path: Path) -> None:
    model = trained(QLearning, "Blackjack-v1")
    model.policy.save(str(tmp_path / "policy"))
    loaded = QTablePolicy.load(str(tmp_path / "policy"))
    np.testing.assert_array_equal(loaded.q, model.policy.q)
    hand = np.array([14, 10, 0])
    assert loaded.predict(hand)[0] == model.predict(hand, deterministic=True)[0]


@EACH
@pytest.mark.parametrize("env", ["FrozenLake-v1", "Blackjack-v1"])
def test_safe_files_hold_all_that_was_learned(algorithm: type[TableAlgorithm], env: str, tmp_path: Path) -> None:
    model = trained(algorithm, env)
    loaded = load_safe(save_safe(model, tmp_path / "agent"))
    assert isinstance(loaded, algorithm)
    assert_same_tables(loaded, model)
    assert (loaded.exploration, loaded.visit_power) == (model.exploration, model.visit_power)
    states = np.arange(16)
    np.testing.assert_array_equal(loaded.probabilities(states), model.probabilities(states))
    again = load_safe(tmp_path / "agent", env=gym.make(env), exploration="greedy").learn(10)
    assert isinstance(again, algorithm)
    assert again.policy.visits.sum() == 410


@pytest.mark.parametrize("algorithm", [QLearning, DoubleQ, MonteCarlo])
@pytest.mark.parametrize(("name", "value"), [("visits", -1), ("visits", 2**60), ("second_moment", -1), ("weight", -1)])
def test_numbers_that_no_training_leads_to_are_refused(
    algorithm: type[QLearning | DoubleQ | MonteCarlo], name: str, value: int, tmp_path: Path
) -> None:
    model = algorithm("TablePolicy", Corridor(limit=9), seed=0).learn(50)
    folder = save_safe(model, tmp_path / "agent")
    tensors = load_file(folder / "policy.safetensors")
    if f"policy/{name}" not in tensors:
        assert name == "weight" and algorithm is not MonteCarlo
        return
    tensors[f"policy/{name}"].view(-1)[1] = value
    save_file(tensors, folder / "policy.safetensors")
    with pytest.raises(UnsafeFile, match=rf"policy\.safetensors: policy: {name} must be at (least|most)"):
        load_safe(folder)
    before = model.policy.state_dict()[name].clone()
    with pytest.raises(ValueError, match=rf"{name} must be at (least|most)"):
        model.policy.load_state_dict({x[7:]: y for x, y in tensors.items()})
    np.testing.assert_array_equal(model.policy.state_dict()[name], before)


def test_safe_files_cost_no_more_than_their_size(tmp_path: Path) -> None:
    folder = save_safe(trained(QLearning), tmp_path / "agent")
    config = json.loads((folder / CONFIG).read_text())
    for n, words in ((10**6, "more weights than"), (10**10, "takes 960 GB")):
        config["observation_space"]["$space"]["n"] = n
        (folder / CONFIG).write_text(json.dumps(config))
        with pytest.raises(UnsafeFile, match=words):
            load_safe(folder)
    for name, value in (("visit_power", 1.5), ("learning_rate", 2.0), ("initial_value", "nan"), ("gamma", -0.1)):
        wrong = json.loads((folder / CONFIG).read_text())
        wrong["observation_space"]["$space"]["n"] = 16
        wrong["keywords"][name] = value
        (folder / CONFIG).write_text(json.dumps(wrong))
        with pytest.raises(UnsafeFile, match=name):
            load_safe(folder)
        wrong["keywords"][name] = config["keywords"][name]
        (folder / CONFIG).write_text(json.dumps(wrong))


def test_a_table_of_another_world_does_not_fit(tmp_path: Path) -> None:
    trained(QLearning).save(tmp_path / "model")
    with pytest.raises(ValueError, match="Observation spaces do not match"):
        QLearning.load(tmp_path / "model", env=Corridor())
    with pytest.raises(RuntimeError, match="size mismatch for q"):
        QLearning("TablePolicy", Corridor()).set_parameters(tmp_path / "model.zip")  # type: ignore[arg-type]


def test_a_table_stays_on_the_host() -> None:
    model = QLearning("TablePolicy", Corridor(), device="meta")
    assert model.device == model.policy.device == th.device("cpu")
