"""What users write themselves trains, evaluates, is saved, loaded and resumed like what the package brings along."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.evaluation import evaluate_policy
from support.checks import assert_same_weights
from support.foreign import CORES, MatrixMemory, Munchausen, OwnIQN
from support.q_models import OBS, assert_replayed_as_acted, make_env, make_model, make_rainbow

from sb3_ext import Rainbow, nested
from sb3_ext.networks import IQN, Head, RecurrentCore
from sb3_ext.r2d2 import R2D2
from sb3_ext.viz.attribution import Saliency
from sb3_ext.viz.trace import watch

# PyTorch says once that projections have no quick way on some CPUs.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")

DeepQ = R2D2 | Rainbow


def make(core: type[RecurrentCore[Any]], **kwargs: Any) -> R2D2:
    return make_model(policy_kwargs=dict(lstm_hidden_size=6, core_class=core, n_lstm_layers=2), **kwargs)


def assert_trains_and_comes_back(model: DeepQ, tmp_path: Path) -> None:
    """Trained, evaluated, saved with its replay, loaded, the same, and trained on."""
    before = [p.clone() for p in model.q_net.parameters()]
    model.learn(200)
    assert all(not th.equal(p, old) for p, old in zip(model.q_net.parameters(), before, strict=True))
    evaluate_policy(model, make_env(2), n_eval_episodes=3)
    model.save(tmp_path / "model")
    model.save_replay_buffer(tmp_path / "replay")
    loaded = type(model).load(tmp_path / "model", env=make_env(2), device="cpu")
    loaded.load_replay_buffer(tmp_path / "replay")
    assert_same_weights(model, loaded)
    assert loaded.head == model.head
    (actions, state), (same, same_state) = (m.predict(OBS, deterministic=True) for m in (model, loaded))
    np.testing.assert_array_equal(actions, same)
    assert all(map(np.array_equal, nested.leaves(state), nested.leaves(same_state)))
    n_updates = loaded._n_updates
    loaded.learn(50, reset_num_timesteps=False)
    assert loaded._n_updates > n_updates


@pytest.mark.parametrize("core", CORES)
def test_a_core_trains_and_comes_back_from_files(tmp_path: Path, core: type[RecurrentCore[Any]]) -> None:
    assert_trains_and_comes_back(make(core, learning_rate=1e-2), tmp_path)


@pytest.mark.parametrize("make_agent", [make_model, make_rainbow])
@pytest.mark.parametrize("head", [IQN(noise=0.5), OwnIQN(), Munchausen()], ids=repr)
def test_a_head_trains_and_comes_back_from_files(tmp_path: Path, make_agent: Callable[..., DeepQ], head: Head) -> None:
    assert_trains_and_comes_back(make_agent(head=head, value_rescaling=True, learning_rate=1e-2), tmp_path)


@pytest.mark.parametrize("make_agent", [make_model, make_rainbow])
def test_the_paper_draws_fractions_for_the_target_and_acts_alike_in_every_state(
    make_agent: Callable[..., DeepQ],
) -> None:
    """A short name gives ours; what it draws in training is of its settings, and `predict` draws nothing."""
    model = make_agent(head={"iqn": {"n_quantiles": 3, "n_target": 5, "n_acting": 6}}, exploration="greedy")
    drawn: list[tuple[bool, int]] = []

    def watch_fractions(net: Any, _: Any, out: Any) -> None:
        drawn.append((net is model.q_net_target.head_net, out.taus.shape[-1]))

    for net in (model.q_net, model.q_net_target):
        net.head_net.register_forward_hook(watch_fractions)
    model.learn(60)
    assert set(drawn) == {(True, 5), (False, 3), (False, 6)}
    drawn.clear()
    model.policy.set_training_mode(True)  # as in the middle of an update
    actions = [model.predict(OBS, deterministic=True)[0] for _ in range(5)]
    assert set(drawn) == {(False, 6)} and all(np.array_equal(actions[0], x) for x in actions)


@pytest.mark.parametrize("core", CORES)
def test_a_core_is_replayed_as_it_acted(core: type[RecurrentCore[Any]]) -> None:
    assert_replayed_as_acted(make(core, gradient_steps=0), 200)


@pytest.mark.parametrize("core", CORES)
def test_states_of_a_core_are_carried_by_whoever_evaluates(core: type[RecurrentCore[Any]]) -> None:
    model = make(core)
    state: Any = None
    for t in range(3):
        starts = np.array([t == 0, False, t == 2])
        before = state
        _, state = model.predict(OBS[t : t + 3], state, starts, deterministic=True)
    _, last = model.predict(OBS[4:5], None, deterministic=True)
    assert all(np.allclose(x[2], y[0]) for x, y in zip(nested.leaves(state), nested.leaves(last), strict=True))
    with pytest.raises(ValueError, match=rf"state has shapes .*3, .*, {core.__name__} has .*6, .* for 6 environments"):
        model.predict(OBS, before)


@pytest.mark.parametrize("head", ["scalar", "iqn"])
def test_an_episode_of_a_core_can_be_watched_and_explained(head: str) -> None:
    model = make(MatrixMemory, head=head)
    trace = watch(model, make_env(1), film=False, explain=Saliency())
    assert trace.hidden is not None and trace.hidden.shape == (7, 6)
    assert trace.attributions and all(np.any(x != 0) for x in trace.attributions.values())
