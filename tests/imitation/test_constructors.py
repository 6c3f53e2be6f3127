"""What `help()` shows of the imitating algorithms is what they take."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import pytest
from stable_baselines3 import PPO, SAC

from sb3_ext import DAC, DACSAC, GAIL, TD3
from sb3_ext.imitation import RewardSettings
from sb3_ext.imitation.discriminator import Discriminator, ShapedDiscriminator

OF_A_REPLAY = {
    "discriminator_learning_rate": 1e-3,
    "discriminator_updates": 1,
    "gradient_penalty": 10.0,
    "normalize_reward": False,
}
OWN = {"demonstrations": None, "env_reward_coef": 0.0}


def defaults(cls: type) -> dict[str, Any]:  # Any: whatever a default is
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]  # type: ignore[misc]  # not called
    kinds = {parameter.kind for parameter in parameters}
    assert not kinds & {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}, cls
    return {parameter.name: parameter.default for parameter in parameters}


@pytest.mark.parametrize(
    ("cls", "base", "own"), [(GAIL, PPO, {"bc_epochs": 0}), (DAC, TD3, OF_A_REPLAY), (DACSAC, SAC, OF_A_REPLAY)]
)
def test_every_keyword_of_the_reward_and_of_the_policy_is_shown(cls: type, base: type, own: dict[str, Any]) -> None:
    settings = {field.name: field.default for field in dataclasses.fields(RewardSettings)}
    assert defaults(cls) == {**defaults(base), **settings, **OWN, **own}
    assert list(defaults(cls))[:3] == ["policy", "env", "demonstrations"]


def test_a_shaped_discriminator_takes_all_but_its_inputs() -> None:
    given = {**defaults(Discriminator), "gamma": inspect.Parameter.empty}
    assert defaults(ShapedDiscriminator) == {name: value for name, value in given.items() if name != "inputs"}


@pytest.mark.parametrize("cls", [GAIL, DAC, DACSAC])
def test_a_typo_is_blamed_on_the_class_that_was_called(cls: Any) -> None:
    said = rf"^{cls.__name__}\.__init__\(\) got an unexpected .* 'gradient_penalti', did you mean 'gradient_penalty'\?$"
    with pytest.raises(TypeError, match=said):
        cls("MlpPolicy", "Pendulum-v1", gradient_penalti=1.0)


@pytest.mark.parametrize("cls", [GAIL, DACSAC])
def test_every_number_arrives(cls: Any) -> None:
    """Each with a value of its own, so that no two are mixed up."""
    given: dict[str, Any] = {}
    for name, default in defaults(cls).items():
        if isinstance(default, int | float) and not isinstance(default, bool):
            given[name] = default + len(given) + 1 if isinstance(default, int) else (default + len(given) + 1) / 100
    given |= (
        {"n_steps": 1, "sde_sample_freq": -3} if cls is DACSAC else {"batch_size": given["n_steps"], "bc_epochs": 77}
    )
    model = cls("MlpPolicy", "Pendulum-v1", device="cpu", policy_kwargs={"net_arch": [4]}, **given)
    for name, value in given.items():
        place = model.reward_settings if hasattr(model.reward_settings, name) else model
        found = getattr(place, "_stats_window_size" if name == "stats_window_size" else name)
        if name == "clip_range":
            found = found(1.0)
        assert getattr(found, "frequency", found) == value, name
