"""
Every field of an agent's files, replaced by what it cannot be: the reader says which it was, in its one family of
errors, or the value is on the list of those that a field may also have.
"""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stable_baselines3 as sb3
import torch as th
from safetensors.torch import load_file, save_file
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.noise import OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.vec_env import VecNormalize
from support.agents import CARTPOLE, OFF, ON, PENDULUM, small

import sb3_ext
from sb3_ext.exchange.agent_config import LEFT_OUT
from sb3_ext.exchange.keyword_checks import annotations_of
from sb3_ext.exchange.keywords import keywords_of
from sb3_ext.exchange.known_algorithms import PACKAGES, algorithm_of
from sb3_ext.exchange.plain_json import CLASSES, OBJECTS
from sb3_ext.exchange.safe_files import (
    UnsafeFile,
    load_safe,
    load_vec_normalize,
    save_safe,
)
from sb3_ext.exchange.safe_normalize import observed_space
from sb3_ext.ops.exploration import EpsilonLadder

VALUES: tuple[str, ...] = ("null", '"x"', "-1", "1e400", "NaN", "[]", "{}", "1" + "0" * 30, "true", '{"$float": "nan"}')
# Field -> values that it may have, by a regular expression each.
ALSO = {
    r"versions\..*|approximated\..*": r'"x"',
    # None is a default, or turns a part off.
    r"keywords\.(seed|target_kl|clip_range_vf|policy_kwargs|action_noise|exploration)": "null",
    r"keywords\.(head\.(noise|dueling)|sampler\.beta_final|update_ratio|target_update_interval)": "null",
    r"keywords\.policy_kwargs(\.net_arch|\.optimizer_kwargs)?": r"null|\{\}|\[\]",
    r"keywords\.(state|counters|approximated|versions|policy_kwargs)": r"\{\}",
    r"keywords|state|counters": r"\{\}",
    r"approximated|versions": r"\{.*\}",
    r"env_id": '"x"',
    r"environment(\.\w+)*": r"null|\{\}|\[\]|-1|true",
    r"action_space\.\$space\.start": "-1",
    r"keywords\.action_noise\.(mean|sigma)\.\$array\.0": "-1|1" + "0" * 30,
    r"keywords\.action_noise\.(mean|initial_noise)|state\._worst_of_best": "-1",
    r"keywords\.policy_kwargs\.use_sde": "true",
    r"keywords\.(gradient_steps|sde_sample_freq|checkpoint_episodes)": "-1",
    # Any number is a coefficient, and 1 is one of the numbers and times that may be.
    r"keywords\.(ent_coef|vf_coef|target_entropy|eta|head\.v_min|head\.v_max)": "-1",
    # Flags may be either way.
    r"keywords\.(use_sde|normalize_advantage|use_rms_prop|double_q|value_rescaling)": "true",
    r"keywords\.(optimize_memory_usage|use_sde_at_warmup)": "true",
    # Bounds may lie anywhere that an observation may.
    r"(observation|action)_space\.\$space\.(low|high)(\.\d+)?": "-1|1" + "0" * 30,
    r"observation_space|norm_obs_keys|training|norm_obs|norm_reward": r"null|true",
}  # fmt: skip


def leaves(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """:return: places of every value in JSON, inner ones too"""
    if path:
        yield path
    if isinstance(data, dict | list):
        for key, part in data.items() if isinstance(data, dict) else enumerate(data):
            yield from leaves(part, (*path, key))


def with_value(data: Any, path: tuple[Any, ...], text: str) -> str:
    """:return: JSON with another value at a place"""
    data = copy.deepcopy(data)
    at = data
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = "HERE"
    return json.dumps(data).replace('"HERE"', text)


def may_be(path: tuple[Any, ...], text: str, before: Any) -> bool:
    if json.dumps(before) == text:
        return True
    field = ".".join(map(str, path))
    return any(re.fullmatch(name, field) and re.fullmatch(values, text) for name, values in ALSO.items())


def agents() -> dict[str, Any]:
    noise = OrnsteinUhlenbeckActionNoise(np.zeros(1), np.ones(1))
    return {
        "ppo": lambda: sb3.PPO("MlpPolicy", VecNormalize(make_vec_env(CARTPOLE, 1)), batch_size=8, **ON, **small()),
        "sac": lambda: sb3.SAC("MlpPolicy", PENDULUM, action_noise=noise, **OFF, **small()),
        "rainbow": lambda: sb3_ext.Rainbow("MlpPolicy", CARTPOLE, exploration=EpsilonLadder(), **OFF, **small()),
        "td3": lambda: sb3_ext.TD3("MlpPolicy", PENDULUM, **OFF, **small()),
    }  # fmt: skip


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """:return: folder with a folder for each agent"""
    folder = tmp_path_factory.mktemp("saved")
    for name, make in agents().items():
        save_safe(make().learn(40), folder / name, optimizer=True)
    return folder


@pytest.mark.parametrize("name", ["ppo", "sac", "rainbow", "td3"])
def test_no_field_of_a_config_is_anything(name: str, saved: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(saved / name, tmp_path / "agent"))
    for file in folder.glob("optimizer.*"):
        file.unlink()
    config = json.loads((folder / "config.json").read_text())
    config.update(env_id="CartPole-v1", environment={"frame_stack": 4, "env_kwargs": {"a": 1}})
    silent = []
    for path in leaves(config):
        before: Any = config
        for key in path:
            before = before[key]
        for text in VALUES if name == "ppo" else VALUES[:3]:
            (folder / "config.json").write_text(with_value(config, path, text))
            try:
                load_safe(folder, device="cpu")
            except UnsafeFile as error:
                if "config.json" not in str(error) and "policy.safetensors" not in str(error):
                    silent.append(f"names no file: {error}")
            else:
                if not may_be(path, text, before):
                    silent.append(f"{'.'.join(map(str, path))} = {text}, was {before}")
    assert silent == []


def test_no_weight_is_anything(saved: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(saved / "sac", tmp_path / "agent"))
    for name in ("policy.safetensors", "optimizer.safetensors"):
        tensors = load_file(folder / name)
        for key in [*sorted(tensors)[:3], *sorted(tensors)[-3:]]:
            x = tensors[key]
            for bad in (
                x.to(th.int8), x.to(th.bool), x.to(th.float64), x.to(th.float16), x.reshape(*x.shape, 1).contiguous(),
                th.full_like(x, float("nan")), th.full_like(x, float("inf")), None,
            ):  # fmt: skip
                changed = {k: y for k, y in tensors.items() if k != key} | ({} if bad is None else {key: bad})
                save_file(changed, folder / name)
                with pytest.raises(UnsafeFile, match=f"{name}: .*{key.split('/')[0]}"):
                    load_safe(folder, device="cpu")
            save_file({**tensors, f"{key}x": x.clone()}, folder / name)
            with pytest.raises(UnsafeFile, match=f"{name}: "):
                load_safe(folder, device="cpu")
        negative = {k: -y - 1 if k.endswith(("exp_avg_sq", "step")) else y for k, y in tensors.items()}
        save_file(negative, folder / name)
        if name.startswith("optimizer"):
            with pytest.raises(UnsafeFile, match=r"optimizer.safetensors: .* has negative numbers"):
                load_safe(folder, device="cpu")
        save_file(tensors, folder / name)
        load_safe(folder, device="cpu")


def test_no_setting_of_an_optimizer_is_anything(saved: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(saved / "ppo", tmp_path / "agent"))
    groups = json.loads((folder / "optimizer.json").read_text())
    assert "policy.optimizer" in groups
    how = ("foreach", "fused", "capturable", "differentiable")  # which is ours to say
    assert set(how) <= groups["policy.optimizer"][0].keys()
    for path in leaves(groups):
        before: Any = groups
        for key in path:
            before = before[key]
        for text in VALUES if path[2:3] != ("params",) else VALUES[:3]:
            if json.dumps(before) == text or (path[-1] in how and text in ("true", "null")):
                continue
            (folder / "optimizer.json").write_text(with_value(groups, path, text))
            with pytest.raises(UnsafeFile, match=r"optimizer.json"):
                load_safe(folder, device="cpu")
    other = {"params": groups["policy.optimizer"], **groups}
    for changed in (other, {"policy.optimizer": [{**groups["policy.optimizer"][0], "more": 1}]}):
        (folder / "optimizer.json").write_text(json.dumps(changed))
        with pytest.raises(UnsafeFile, match=r"optimizer.json: the agent has no 'params'|has no setting 'more'"):
            load_safe(folder, device="cpu")


def test_no_statistic_is_anything(saved: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(saved / "ppo", tmp_path / "agent"))
    env = make_vec_env(CARTPOLE, 1)
    settings = json.loads((folder / "vec_normalize.json").read_text())
    silent = []
    for path in leaves(settings):
        before: Any = settings
        for key in path:
            before = before[key]
        for text in VALUES:
            (folder / "vec_normalize.json").write_text(with_value(settings, path, text))
            try:
                load_vec_normalize(folder, env)
                if path[0] == "observation_space":
                    observed_space(folder)
            except UnsafeFile as error:
                if "vec_normalize.json" not in str(error):
                    silent.append(f"names no file: {error}")
            else:
                if not may_be(path, text, before):
                    silent.append(f"{'.'.join(map(str, path))} = {text}, was {before}")
    assert silent == []
    (folder / "vec_normalize.json").write_text(json.dumps({**settings, "norm_obs_keys": ["no"]}))
    with pytest.raises(UnsafeFile, match=r"vec_normalize.json: not for this environment"):
        load_vec_normalize(folder, env)
    (folder / "vec_normalize.json").write_text(
        json.dumps({k: x for k, x in settings.items() if k != "observation_space"})
    )
    with pytest.raises(UnsafeFile, match=r"vec_normalize.json has no observation_space"):
        observed_space(folder)
    (folder / "vec_normalize.json").write_text(json.dumps(settings))
    statistics = load_file(folder / "vec_normalize.safetensors")
    for key, x in statistics.items():
        bad = [x.to(th.float32), x.to(th.int8), x * float("nan"), x.reshape(-1, 1), x + float("inf"), None]
        bad += [] if key.endswith("mean") else [-x]
        for y in bad:
            changed = {k: v for k, v in statistics.items() if k != key} | ({} if y is None else {key: y})
            save_file(changed, folder / "vec_normalize.safetensors")
            with pytest.raises(UnsafeFile, match=f"vec_normalize.safetensors: {key}"):
                load_vec_normalize(folder, env)
    save_file({**statistics, "more": th.zeros(1)}, folder / "vec_normalize.safetensors")
    with pytest.raises(UnsafeFile, match=r"vec_normalize.safetensors: more is no statistic of this environment"):
        load_vec_normalize(folder, env)


def test_what_keywords_may_be_is_known_of_every_algorithm() -> None:
    for name in [f"{package}.{cls}" for package, classes in PACKAGES.items() for cls in classes]:
        cls = algorithm_of(name)
        assert keywords_of(cls) - LEFT_OUT <= annotations_of(cls).keys() | {"kwargs"}, name
        for policy in cls.policy_aliases.values():
            assert keywords_of(policy) <= annotations_of(policy).keys(), policy
    for named in [*CLASSES.values(), *(cls for cls, _ in OBJECTS.values())]:
        annotations_of(named)
