"""Safe files carry classes of users where these are allowed on both sides, and say what is to be done where not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from support.agents import OFF, PENDULUM, actions_of
from support.foreign import MatrixMemory, Munchausen, Pyramid, RoundRobin, Stubborn
from support.q_models import make_model, make_rainbow

from sb3_ext import TD3
from sb3_ext.exchange import allow, allowed
from sb3_ext.exchange.plain_json import NotPlain, decode, encode
from sb3_ext.exchange.safe_files import UnsafeFile, load_safe, save_safe
from sb3_ext.networks import IQN


@pytest.fixture(autouse=True)
def _nothing_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allowed, "_classes", {})


def with_core() -> BaseAlgorithm:
    arch = dict(lstm_hidden_size=6, core_class=Pyramid, core_kwargs=dict(lower_size=3), n_lstm_layers=2)
    return make_model(policy_kwargs=arch, exploration=Stubborn(0.5))


def with_sampler() -> BaseAlgorithm:
    return TD3("MlpPolicy", PENDULUM, sampler=RoundRobin(stride=2), policy_kwargs=dict(net_arch=[8]), **OFF)


def with_head() -> BaseAlgorithm:
    return make_rainbow(head=Munchausen(alpha=0.5, noise=0.1))


MODELS = pytest.mark.parametrize(
    ("make", "classes"), [(with_core, [Stubborn, Pyramid]), (with_sampler, [RoundRobin]), (with_head, [Munchausen])]
)


@MODELS
def test_an_agent_of_own_classes_comes_back(
    tmp_path: Path, make: Callable[[], BaseAlgorithm], classes: list[type]
) -> None:
    allow(*classes)
    model = make().learn(60)
    folder = save_safe(model, tmp_path / "agent", optimizer=True)
    names = [f"allowed.{cls.__name__}" for cls in classes]
    assert all(name in (folder / "config.json").read_text() for name in names)
    loaded = load_safe(folder, env=model.env, device="cpu")
    np.testing.assert_array_equal(actions_of(loaded), actions_of(model))
    for key, x in model.policy.state_dict().items():
        assert th.equal(loaded.policy.state_dict()[key], x), key
    for name in ("exploration", "sampler", "head"):
        assert getattr(loaded, name, None) == getattr(model, name, None)
    loaded.learn(40, reset_num_timesteps=False)


@MODELS
def test_one_line_names_the_class_and_the_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[], BaseAlgorithm], classes: list[type]
) -> None:
    model = make()
    for i, cls in enumerate(classes):
        with pytest.raises(NotPlain, match=rf"{cls.__name__} cannot be written without a pickle, unless ") as refused:
            save_safe(model, tmp_path / "agent")
        assert f"sb3_ext.exchange.allow({cls.__name__}) is called here" in str(refused.value)
        assert not (tmp_path / "agent").exists()
        allow(*classes[: i + 1])
    save_safe(model, tmp_path / "agent")
    monkeypatch.setattr(allowed, "_classes", {})
    with pytest.raises(UnsafeFile, match=r"config\.json: .*: .* is a class of the author's own: ") as refused_here:
        load_safe(tmp_path / "agent")
    assert str(refused_here.value).count("\n") == 0
    assert any(f"sb3_ext.exchange.allow({cls.__name__})" in str(refused_here.value) for cls in classes)


def test_a_class_of_another_kind_than_a_keyword_takes_is_refused(tmp_path: Path) -> None:
    """A name chooses among what is allowed; what its place asks for is asked as well."""
    allow(MatrixMemory, Stubborn, RoundRobin)
    folder = save_safe(make_model(exploration=Stubborn()), tmp_path / "agent")
    config = json.loads((folder / "config.json").read_text())

    def refused(words: str, **keywords: Any) -> None:
        changed = {**config, "keywords": {**config["keywords"], **keywords}}
        (folder / "config.json").write_text(json.dumps(changed))
        with pytest.raises(UnsafeFile, match=words):
            load_safe(folder)

    refused("features_extractor_class", policy_kwargs={"features_extractor_class": {"$class": "allowed.MatrixMemory"}})
    refused("core_class", policy_kwargs={"core_class": {"$class": "torch.nn.ReLU"}})
    refused("class 'allowed.Stubborn'|Stubborn is a", policy_kwargs={"core_class": {"$class": "allowed.Stubborn"}})
    refused("exploration", exploration={"$object": "allowed.RoundRobin"})
    refused("exploration", exploration={"$object": "allowed.MatrixMemory"})
    refused("exploration: allowed.Stubborn has no rate", exploration={"$object": "allowed.Stubborn", "rate": 1.0})
    refused("share 'x' is no float", exploration={"$object": "allowed.Stubborn", "share": "x"})
    refused("share 1e\\+300|share", exploration={"$object": "allowed.Stubborn", "share": {"$float": "nan"}})


@pytest.mark.parametrize("name", ["allowed.os.system", "allowed.a b", "allowed.", f"allowed.{'x' * 200}", "os", 7])
def test_names_from_files_are_keys_and_nothing_else(name: Any) -> None:
    allow(Stubborn)
    for tag in ("$class", "$object"):
        with pytest.raises(NotPlain, match=r"exploration: (class )?'.*' is not on the list of what a file may name$"):
            decode({tag: name}, "exploration")


def test_what_a_constructor_asserts_is_an_error_of_the_file() -> None:
    @dataclass(frozen=True)
    class Careful:
        share: float

        def __post_init__(self) -> None:
            assert self.share < 1, "less than the whole"

    allow(Careful)
    with pytest.raises(NotPlain, match=r"exploration: not a allowed\.Careful \(less than the whole"):
        decode({"$object": "allowed.Careful", "share": 2.0}, "exploration")


def test_what_has_a_short_name_needs_no_allowance() -> None:
    head = IQN(n_target=3, noise=0.5)
    assert decode(encode(head, "head"), "head") == head


def test_what_may_be_allowed() -> None:
    with pytest.raises(ValueError, match=r"Stubborn\(share=0.25\) is no class: allow\(MyHead\), not "):
        allow(Stubborn())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"Path is no dataclass, .* and no torch\.nn\.Module"):
        allow(Path)

    @dataclass(frozen=True)
    class Unknown:
        x: Missing  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(ValueError, match=r"Unknown: an annotation .*name 'Missing' is not defined"):
        allow(Unknown)

    def again(module: str) -> type:
        @dataclass(frozen=True)
        class Stubborn:
            share: float = 1.0

        Stubborn.__module__ = module
        return Stubborn

    one, same, other = again("here"), again("here"), again("there")
    allow(one)
    allow(same)  # as when the cell of a notebook is run again
    assert decode(encode(same(), "x"), "x") == same()
    with pytest.raises(NotPlain, match="Stubborn cannot be written"):
        encode(one(), "x")
    with pytest.raises(ValueError, match=r"there\..*Stubborn: here\..*Stubborn is allowed already, .* rename one"):
        allow(other)
