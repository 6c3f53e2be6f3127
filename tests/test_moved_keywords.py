"""Whoever types a keyword that has moved is told its successor, wherever it is typed."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from sb3_ext import DAC, DACSAC, DDPG, R2D2, TD3, Rainbow, RainbowR
from sb3_ext.exchange.keywords import check_keywords, keywords_of
from sb3_ext.moved_keywords import MOVED

ALGORITHMS: dict[type[Any], str] = {R2D2: "MlpLstmPolicy", RainbowR: "MlpLstmPolicy", Rainbow: "MlpPolicy"}
EACH = pytest.mark.parametrize("cls", list(ALGORITHMS))


@EACH
@pytest.mark.parametrize("name", ["noisy_std", "prioritized", "ladder_base", "exploration_final_eps", "n_step"])
def test_in_a_constructor_and_in_a_yml(cls: type[Any], name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name} is now ") as constructed:
        cls(ALGORITHMS[cls], "CartPole-v1", **{name: 0.5})
    with pytest.raises(ValueError, match=rf"^{name} is now ") as checked:
        check_keywords({name: 0.5}, keywords_of(cls), f"hyperparameter of {cls.__name__}")
    assert str(constructed.value) == str(checked.value) == f"{name} is now {MOVED[name]}"


@pytest.mark.parametrize("cls", [TD3, DDPG, DAC, DACSAC])
@pytest.mark.parametrize("name", ["prioritized", "noise_final_scale", "noise_fraction", "env_noise_scales"])
def test_of_continuous_control(cls: type[Any], name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"^{name} is now "):
        cls("MlpPolicy", "Pendulum-v1", **{name: 0.5})
    with pytest.raises(ValueError, match=rf"^{name} is now "):
        check_keywords({name: 0.5}, keywords_of(cls), f"hyperparameter of {cls.__name__}")
    if cls is not DACSAC:  # on SB3's SAC
        with pytest.raises(ValueError, match=rf"^{name} is now "):
            cls.load(tmp_path / "none.zip", **{name: 0.5})
    assert not set(inspect.signature(cls).parameters) & MOVED.keys()


def test_in_load_and_in_the_policys_keywords(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^noisy_std is now head=C51\(noise=0\.5\)$"):
        Rainbow.load(tmp_path / "none.zip", noisy_std=0.1)
    with pytest.raises(ValueError, match=r"^head_class is now head=C51\(\), an object in place of a class$"):
        R2D2("MlpLstmPolicy", "CartPole-v1", policy_kwargs={"head_class": R2D2})


@EACH
def test_what_has_moved_is_gone(cls: type[Any]) -> None:
    """And the constructors still show what they take."""
    names = set(inspect.signature(cls).parameters)
    assert {"head", "sampler", "exploration", "n_steps", "optimize_memory_usage"} <= names
    assert not names & MOVED.keys() and not keywords_of(cls) & MOVED.keys()


def test_other_libraries_keywords_are_theirs() -> None:
    check_keywords({"exploration_fraction": 0.5}, {"exploration_fraction"}, "hyperparameter of dqn")
