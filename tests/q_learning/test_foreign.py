"""What users write themselves trains, evaluates, is saved, loaded and resumed like what the package brings along."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.evaluation import evaluate_policy
from support.checks import assert_same_weights
from support.foreign import CORES, MatrixMemory
from support.q_models import OBS, assert_replayed_as_acted, make_env, make_model

from sb3_ext import nested
from sb3_ext.networks import RecurrentCore
from sb3_ext.r2d2 import R2D2
from sb3_ext.viz.attribution import Saliency
from sb3_ext.viz.trace import watch

# PyTorch says once that projections have no quick way on some CPUs.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")


def make(core: type[RecurrentCore[Any]], **kwargs: Any) -> R2D2:
    return make_model(policy_kwargs=dict(lstm_hidden_size=6, core_class=core, n_lstm_layers=2), **kwargs)


@pytest.mark.parametrize("core", CORES)
def test_a_core_trains_and_comes_back_from_files(tmp_path: Path, core: type[RecurrentCore[Any]]) -> None:
    model = make(core, learning_rate=1e-2)
    before = [p.clone() for p in model.q_net.core.parameters()]
    model.learn(200)
    assert all(not th.equal(p, old) for p, old in zip(model.q_net.core.parameters(), before, strict=True))
    evaluate_policy(model, make_env(2), n_eval_episodes=3)
    model.save(tmp_path / "model")
    model.save_replay_buffer(tmp_path / "replay")
    loaded = R2D2.load(tmp_path / "model", env=make_env(2), device="cpu")
    loaded.load_replay_buffer(tmp_path / "replay")
    assert_same_weights(model, loaded)
    (actions, state), (same, same_state) = (m.predict(OBS, deterministic=True) for m in (model, loaded))
    np.testing.assert_array_equal(actions, same)
    assert all(map(np.array_equal, nested.leaves(state), nested.leaves(same_state)))
    n_updates = loaded._n_updates
    loaded.learn(50, reset_num_timesteps=False)
    assert loaded._n_updates > n_updates


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


def test_an_episode_of_a_core_can_be_watched_and_explained() -> None:
    model = make(MatrixMemory)
    trace = watch(model, make_env(1), film=False, explain=Saliency())
    assert trace.hidden is not None and trace.hidden.shape == (7, 6)
    assert trace.attributions and all(np.any(x != 0) for x in trace.attributions.values())
