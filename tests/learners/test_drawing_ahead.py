"""R2D2 and Rainbow draw the next batch while the device works, as if on a GPU."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.callbacks import BaseCallback
from support.checks import assert_same_weights
from support.control import arch
from support.cuda_stand_in import StandIn, install
from support.q_models import make_env, make_model

from sb3_ext import Rainbow


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    return install(monkeypatch)


def rainbow(**keywords: Any) -> Rainbow:
    given: dict[str, Any] = {"learning_starts": 20, "batch_size": 8, "buffer_size": 400, "train_freq": 2, "seed": 0}
    return Rainbow("MlpPolicy", make_env(2), **{**given, "device": "cpu", **arch(8), **keywords})


each_kind = pytest.mark.parametrize("make", [make_model, rainbow], ids=["R2D2", "Rainbow"])


def threads() -> list[threading.Thread]:
    return [x for x in threading.enumerate() if x.name.startswith("sb3_ext-prefetch")]


def noted(model: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """:return: what is done with the replay, and in which thread it is not the main one"""
    seen: list[str] = []
    for name in ("sample", "add", "update_priorities"):
        original = getattr(model.replay_buffer, name)

        def spied(*args: Any, original: Any = original, name: str = name, **kwargs: Any) -> Any:
            aside = threading.current_thread() is not threading.main_thread()
            seen.append(f"{name}{' aside' if aside else ''}")
            result = original(*args, **kwargs)
            seen.append("done")
            return result

        monkeypatch.setattr(model.replay_buffer, name, spied)
    return seen


@each_kind
def test_a_batch_is_drawn_aside_and_never_beside_a_write(
    cuda: StandIn, make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make(gradient_steps=2)
    seen = noted(model, monkeypatch)
    model.learn(70)
    assert seen.count("sample") <= 3, "the trial, the first batch; all others were drawn ahead"
    assert seen.count("sample aside") == model._n_updates > 10
    assert seen.count("update_priorities") == model._n_updates, "late ones are written too"
    assert "done" not in seen[::2] and set(seen[1::2]) == {"done"}, "one at a time"
    assert not any(name.startswith(("add aside", "update_priorities aside")) for name in seen)
    assert set(cuda.pinned) > {"MainThread"} and not threads()
    assert model._captured is not None and len(model._captured.graphs) >= 1


@each_kind
def test_a_seeded_run_repeats(cuda: StandIn, make: Callable[..., Any]) -> None:
    one, other = (make(gradient_steps=2).learn(70) for _ in range(2))
    assert_same_weights(one, other)
    eager = make(gradient_steps=2, compile="off").learn(70)
    assert eager._captured is None and eager._ahead is not None
    same_draws = [model.replay_buffer.sampler.n_active for model in (one, eager)]
    assert same_draws[0] == same_draws[1] and one._n_updates == eager._n_updates


@each_kind
def test_without_a_gpu_or_by_choice_there_is_no_thread(
    make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make()
    seen = noted(model, monkeypatch)
    model.learn(60)
    assert model._ahead is None and "sample aside" not in seen and seen.count("sample") == model._n_updates > 0
    install(monkeypatch)
    chosen = make(prefetch=0, compile="off")
    seen = noted(chosen, monkeypatch)
    chosen.learn(60)
    assert chosen._ahead is None and "sample aside" not in seen
    with pytest.raises(ValueError, match="prefetch 2 must be 1, a batch that is drawn ahead, or 0"):
        make(prefetch=2)


@each_kind
def test_an_error_of_the_thread_ends_training_and_the_thread(
    cuda: StandIn, make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make()
    original = model.replay_buffer.sample

    def sample(*args: Any, **kwargs: Any) -> Any:
        if threading.current_thread() is not threading.main_thread() and model.num_timesteps > 40:
            raise ValueError("nothing can be drawn yet")
        return original(*args, **kwargs)

    monkeypatch.setattr(model.replay_buffer, "sample", sample)
    with pytest.raises(ValueError, match="nothing can be drawn yet"):
        model.learn(70)
    assert model.num_timesteps < 50 and not threads()
    monkeypatch.undo()


@each_kind
def test_a_model_is_saved_copied_and_goes_on_between_two_batches(
    cuda: StandIn, make: Callable[..., Any], tmp_path: Path
) -> None:
    copies: list[Any] = []

    class Saves(BaseCallback):
        def _on_step(self) -> bool:
            if self.n_calls == 20:
                assert len(threads()) == 1
                self.model.save(tmp_path / "model")
                self.model.save_replay_buffer(tmp_path / "replay")  # type: ignore[attr-defined]
                copies.append(copy.deepcopy(self.model._ahead))  # type: ignore[attr-defined]
            return True

    model = make()
    model.learn(60, callback=Saves())
    assert copies[0]._held is None and copies[0]._thread is None
    loaded = type(model).load(tmp_path / "model", env=model.env, device="cpu")
    loaded.load_replay_buffer(tmp_path / "replay")
    n_before = loaded._n_updates
    loaded.learn(30, reset_num_timesteps=False)
    assert loaded._n_updates > n_before and not threads()


def test_a_batch_of_before_is_dropped_where_something_has_changed(cuda: StandIn) -> None:
    model = rainbow()
    model.learn(40)
    assert model.replay_buffer is not None and model._ahead is not None
    model.train(1)
    assert model._ahead._held is not None
    held = model._ahead._held[1]
    for change in ("batch_size", "gamma", "replay"):
        if change == "replay":
            model.replay_buffer = copy.deepcopy(model.replay_buffer)
        else:
            setattr(model, change, {"batch_size": 5, "gamma": 0.5}[change])
        model.train(1)
        assert model._ahead._held[1] is not held
        held = model._ahead._held[1]
        assert len(held.actions) == model.batch_size and held.discounts.max() <= model.gamma + 1e-6
    model._ahead.stop()


@pytest.mark.gpu
@each_kind
def test_on_cuda_a_run_repeats_and_learns_finite_weights(make: Callable[..., Any]) -> None:
    models = [
        make(device="cuda", gradient_steps=2, target_update_interval=10, compile="on").learn(400) for _ in range(2)
    ]
    for ours, theirs in zip(models[0].policy.parameters(), models[1].policy.parameters(), strict=True):
        assert th.isfinite(ours).all()
        th.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert len(models[0]._captured.graphs) == 2
    assert models[0].replay_buffer is not None and np.isfinite(models[0].replay_buffer.statistics().age)
    assert not threads()
