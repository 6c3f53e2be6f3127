"""Tables on the Hub, through huggingface_hub itself, against a server on 127.0.0.1."""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from support.hub_agents import files_of, load, push
from support.hub_server import Hub

import sb3_ext
from sb3_ext.algorithms import ALGORITHMS
from sb3_ext.tabular import SARSA, MonteCarlo, TableAlgorithm, TableMixin

# huggingface_hub 2.4 uploads bytes by a keyword of httpx2 that is deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

TABLES = [
    cls for row in ALGORITHMS.values() if row.is_tabular and issubclass(cls := getattr(sb3_ext, row.name), TableMixin)
]


@pytest.mark.parametrize("algorithm", TABLES)
def test_a_pushed_table_is_the_same_after_loading(
    algorithm: type[TableAlgorithm] | type[SARSA] | type[MonteCarlo], hub: Hub, tmp_path: Path
) -> None:
    model = algorithm("TablePolicy", "FrozenLake-v1", seed=0).learn(300)
    push(model, hub)
    loaded = load(hub, tmp_path / "cache")
    assert type(loaded) is algorithm
    for name, x in model.policy.state_dict().items():
        np.testing.assert_array_equal(loaded.policy.state_dict()[name], x)
    for name in ("config.json", "policy.safetensors"):
        del files_of(hub)[name]
    weights = load(hub, tmp_path / "cache", env=gym.make("FrozenLake-v1"))
    assert isinstance(weights, TableMixin)
    np.testing.assert_array_equal(weights.policy.q, model.policy.q)
