"""Tables that plan, saved: what was seen goes with them, and training goes on as if it had not been interrupted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_ext import DynaQ, PrioritizedSweeping
from sb3_ext.exchange.safe_files import UnsafeFile, load_safe, save_safe
from sb3_ext.planning import TabularMDP, TabularVecEnv
from sb3_ext.tabular.dyna import PlanningTable

CLASSES: list[type[PlanningTable]] = [DynaQ, PrioritizedSweeping]


def maze(lanes: int = 3, seed: int = 0) -> TabularVecEnv:
    return TabularVecEnv(TabularMDP.from_env("sb3_ext/GridWorld-v0", gamma=0.99), lanes, seed=seed)


def numbers(model: BaseAlgorithm) -> dict[str, np.ndarray]:
    """:return: all that was learned"""
    assert isinstance(model, PlanningTable)
    parts = {"policy": model.policy.state_dict(), "seen": model.seen.state_dict()}
    return {f"{part}/{name}": x.numpy().copy() for part, state in parts.items() for name, x in state.items()}


def trained(cls: type[PlanningTable], seed: int | None = 0) -> Any:
    # Any: their constructors take more than the base's
    keywords: dict[str, Any] = {} if cls is DynaQ else {"threshold": 1e-3}
    return cls("TablePolicy", maze(), planning_steps=2, seed=seed, **keywords).learn(300)  # type: ignore[call-arg]


@pytest.mark.parametrize("seed", [0, None])
@pytest.mark.parametrize("cls", CLASSES)
def test_a_loaded_one_goes_on_as_the_other_bit_for_bit(
    cls: type[PlanningTable], seed: int | None, tmp_path: Path
) -> None:
    model = trained(cls, seed)
    model.save(tmp_path / "model")
    before = numbers(model)

    def go_on(each: PlanningTable) -> None:
        each.set_env(maze(seed=7))
        each.learn(300, reset_num_timesteps=False)

    go_on(model)
    loaded = cls.load(tmp_path / "model")
    np.testing.assert_equal(numbers(loaded), before)
    assert loaded.seen.n_pairs > 20
    go_on(loaded)
    np.testing.assert_equal(numbers(loaded), numbers(model))
    assert loaded.policy.visits.sum() == 600


@pytest.mark.parametrize("cls", CLASSES)
def test_safe_files_hold_what_was_seen(cls: type[PlanningTable], tmp_path: Path) -> None:
    model = trained(cls)
    loaded = load_safe(save_safe(model, tmp_path / "safe"), env=maze())
    assert type(loaded) is cls and loaded.planning_steps == 2
    np.testing.assert_equal(numbers(loaded), numbers(model))
    loaded.learn(30, reset_num_timesteps=False)
    start = np.array(8)
    alone = load_safe(tmp_path / "safe")
    assert alone.predict(start, deterministic=True)[0] == model.predict(start, deterministic=True)[0]


@pytest.mark.parametrize(
    ("name", "said"),
    [("next", "next states must lie in"), ("times", "must have been seen"), ("row", "pairs must differ and lie in")],
)
def test_what_cannot_have_been_seen_is_an_unsafe_file(name: str, said: str, tmp_path: Path) -> None:
    folder = save_safe(trained(DynaQ), tmp_path / "safe")
    tensors = load_file(folder / "policy.safetensors")
    tensors[f"seen/{name}"] += 1000 if name != "times" else -1000
    save_file(tensors, folder / "policy.safetensors")
    with pytest.raises(UnsafeFile, match=rf"policy\.safetensors: seen: .*{said}"):
        load_safe(folder)


def test_a_file_without_it_and_one_with_more_are_unsafe(tmp_path: Path) -> None:
    folder = save_safe(trained(DynaQ), tmp_path / "safe")
    tensors = load_file(folder / "policy.safetensors")
    more = {**tensors, "seen/priority": tensors["seen/row"].double()}
    less = {name: x for name, x in tensors.items() if name != "seen/row"}
    for wrong in (more, less):
        save_file(wrong, folder / "policy.safetensors")
        with pytest.raises(UnsafeFile, match=r"seen: what was seen is row, next, terminated, times, reward_sum"):
            load_safe(folder)
