"""Seeds and files of Rainbow and RainbowR: a run is repeated and gone on with to the last bit."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.logger import configure
from support.checks import assert_same_weights
from support.q_models import (
    BOTH,
    OBS,
    Make,
    assert_items_are_whole,
    buffer_of,
    make_env,
    make_rainbow,
)

from sb3_ext import Rainbow
from sb3_ext.buffers.samplers import GreedyPriority, RankBased, Uniform
from sb3_ext.networks.heads import C51
from sb3_ext.ops.exploration import Boltzmann, EpsilonLadder
from sb3_ext.ops.value_rescaling import ValueRescaling


@BOTH
def test_a_seed_repeats_a_run_to_the_last_bit(make: Make) -> None:
    runs = []
    for seed in (3, 3, 4):
        model = make(seed=seed)
        model.learn(200)
        assert model._n_updates > 0
        runs.append(model.get_parameters()["policy"])
    assert all(th.equal(runs[0][key], runs[1][key]) for key in runs[0])
    assert not all(th.equal(runs[0][key], runs[2][key]) for key in runs[0])


@pytest.mark.parametrize("sampler", [None, RankBased(staleness=0.3), GreedyPriority(), Uniform()])
@pytest.mark.parametrize("n_envs", [1, 3])
@BOTH
def test_stop_and_resume_gives_the_same_next_50_updates(make: Make, n_envs: int, sampler: Any, tmp_path: Path) -> None:
    keywords = {} if sampler is None else {"sampler": sampler}
    model = make(n_envs=n_envs, target_update_interval=7, gradient_steps=4, **keywords)
    model.learn(200)
    model.save(tmp_path / "model.zip")
    model.save_replay_buffer(tmp_path / "replay.pkl")
    resumed = type(model).load(tmp_path / "model.zip", env=make_env(n_envs), device="cpu")
    resumed.load_replay_buffer(tmp_path / "replay.pkl")
    resumed.set_logger(configure(None, []))
    before = resumed._n_updates
    for each in (model, resumed):
        np.random.seed(11)
        th.manual_seed(11)
        each.train(gradient_steps=50, batch_size=8)
    assert before > 0 and model._n_updates == resumed._n_updates == before + 50
    assert_same_weights(model, resumed)


@BOTH
def test_a_resumed_run_goes_on(make: Make, tmp_path: Path) -> None:
    model = make()
    model.learn(100)
    model.save(tmp_path / "model.zip")
    model.save_replay_buffer(tmp_path / "replay.pkl")
    resumed = type(model).load(tmp_path / "model.zip", env=make_env(2), device="cpu")
    resumed.load_replay_buffer(tmp_path / "replay.pkl")
    assert resumed.replay_buffer is not None and model.replay_buffer is not None
    kept = resumed.replay_buffer.sampler.n_active
    assert kept == model.replay_buffer.sampler.n_active
    resumed.learn(100, reset_num_timesteps=False)
    assert resumed.num_timesteps >= model.num_timesteps + 100 and resumed._n_updates > model._n_updates
    assert resumed.replay_buffer.sampler.n_active > kept
    assert_items_are_whole(resumed)


class Contrary:
    """An exploration strategy that we do not know: the worst action."""

    def choose(self, q_values: np.ndarray, progress_remaining: float) -> np.ndarray:
        worst: np.ndarray = q_values.argmin(axis=1)
        return worst

    def rate(self, progress_remaining: float, n_envs: int) -> float:
        return 0.125


@BOTH
def test_objects_are_saved_with_the_model(make: Make, tmp_path: Path) -> None:
    for exploration in (Boltzmann(0.7, 0.1), EpsilonLadder(0.5, 2.0)):
        model = make(exploration=exploration, value_rescaling=ValueRescaling(eps=1e-2))
        model.save(tmp_path / "model.zip")
        loaded = type(model).load(tmp_path / "model.zip", env=make_env(2), device="cpu")
        assert loaded.exploration == exploration
        assert loaded.transform == ValueRescaling(eps=1e-2)
        loaded.learn(20)
    model = make(exploration=Contrary(), sampler=RankBased(alpha=0.25))
    model.save(tmp_path / "model.zip")
    loaded = type(model).load(tmp_path / "model.zip", env=make_env(2), device="cpu")
    loaded.learn(20, log_interval=10_000)
    assert loaded.logger.name_to_value["rollout/exploration_rate"] == 0.125
    assert loaded.replay_buffer is not None and repr(loaded.replay_buffer.sampler) == repr(RankBased(alpha=0.25))


@BOTH
def test_loading_to_act_takes_no_replay_memory(make: Make, tmp_path: Path) -> None:
    model = make()
    model.save(tmp_path / "model.zip")
    loaded = type(model).load(tmp_path / "model.zip", device="cpu", buffer_size=1)
    np.testing.assert_array_equal(loaded.predict(OBS, deterministic=True)[0], model.predict(OBS, deterministic=True)[0])
    assert loaded.replay_buffer is not None and not loaded.replay_buffer._cells.observations
    loaded.set_env(make_env(2))
    with pytest.raises(ValueError, match=r"buffer_size gives 1 cells to each of 2 environments, .* set buffer_size >="):
        loaded.learn(10)


@BOTH
def test_the_number_of_environments_may_change_on_loading(make: Make, tmp_path: Path) -> None:
    model = make(n_envs=2)
    model.learn(60)
    model.save(tmp_path / "model.zip")
    for n_envs in (1, 4):
        loaded = type(model).load(tmp_path / "model.zip", env=make_env(n_envs), device="cpu")
        assert loaded.replay_buffer is not None and loaded.replay_buffer.n_envs == n_envs
        loaded.learn(120)
        assert loaded._n_updates > model._n_updates
        assert_items_are_whole(loaded)


def test_a_zip_holds_no_replay_and_an_open_file_is_fine(tmp_path: Path) -> None:
    model = make_rainbow(buffer_size=100_000)
    model.learn(2000, log_interval=10_000)
    file = io.BytesIO()
    model.save(file)
    assert len(file.getvalue()) < 250_000
    file.seek(0)
    loaded = Rainbow.load(file, device="cpu")
    assert_same_weights(model, loaded)
    assert buffer_of(loaded).n_drawable == 0


@BOTH
def test_a_policy_alone_is_saved(make: Make, tmp_path: Path) -> None:
    model = make(head=C51(n_atoms=7, dueling="max"))
    model.learn(40)
    model.policy.save(str(tmp_path / "policy.zip"))
    loaded = type(model.policy).load(str(tmp_path / "policy.zip"), device="cpu")
    for ours, theirs in zip(model.policy.state_dict().values(), loaded.state_dict().values(), strict=True):
        assert th.equal(ours, theirs)
    np.testing.assert_array_equal(loaded.predict(OBS, deterministic=True)[0], model.predict(OBS, deterministic=True)[0])


@BOTH
def test_parameters_go_to_another_model(make: Make) -> None:
    model, other = make(seed=0), make(seed=1)
    model.learn(60)
    other.set_parameters(model.get_parameters())  # type: ignore[arg-type] # SB3 annotates what it returns otherwise
    assert_same_weights(model, other)


@BOTH
def test_the_users_keywords_stay_as_they_were(make: Make, tmp_path: Path) -> None:
    policy_kwargs, head, sampler = dict(net_arch=[8]), {"c51": {"n_atoms": 5}}, Uniform()
    replay_kwargs = dict(handle_timeout_termination=True)
    model = make(policy_kwargs=policy_kwargs, head=head, sampler=sampler, replay_buffer_kwargs=replay_kwargs)
    model.learn(60)
    assert policy_kwargs == dict(net_arch=[8]) and head == {"c51": {"n_atoms": 5}}
    assert replay_kwargs == dict(handle_timeout_termination=True) and sampler.n_active == 0
    model.save(tmp_path / "model.zip")
    loaded = type(model).load(tmp_path / "model.zip", policy_kwargs=dict(net_arch=[8]), device="cpu")
    assert_same_weights(model, loaded)
    with pytest.raises(ValueError, match="policy kwargs do not equal the stored"):
        type(model).load(tmp_path / "model.zip", policy_kwargs=dict(net_arch=[9]))
