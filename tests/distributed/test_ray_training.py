"""R2D2 and Rainbow with actors on Ray: the same as within one process, and whole when an actor dies."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecNormalize
from support.actors import assert_same_training, train
from support.marked import MakeMarked, Stored, assert_windows_are_of_one_piece, make_learner
from support.q_models import make_env, make_rainbow

from sb3_ext.distributed import ActorEnvs

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_instance")]
MakeActors = Callable[..., ActorEnvs]


@pytest.fixture
def actors() -> Iterator[MakeActors]:
    """Makes `ActorEnvs` that are closed in the end."""
    made: list[ActorEnvs] = []

    def make(make_env: Any, **kwargs: Any) -> ActorEnvs:
        made.append(ActorEnvs(make_env, 2, 2, **kwargs))
        return made[-1]

    yield make
    for envs in made:
        envs.close()


class Until(BaseCallback):
    """Ends training when a function says so, which is asked at each step."""

    def __init__(self, is_over: Callable[[], bool]) -> None:
        super().__init__()
        self.is_over = is_over

    def _on_step(self) -> bool:
        return not self.is_over()


def test_lockstep_on_ray_is_lockstep_within_one_process(actors: MakeActors) -> None:
    for make in (lambda env: make_learner(env, learning_rate=1e-3), lambda env: make_rainbow(env=env, train_freq=4)):
        models = [
            make(VecNormalize(actors(make_env, backend=name, lockstep=True), gamma=0.99)) for name in ("inline", "ray")
        ]
        train(models, 400, log_interval=10_000)
        assert models[0]._n_updates > 20
        assert_same_training(*models)
        for model in models:
            assert model.env is not None
            model.env.close()


def test_a_killed_actor_is_replaced_and_no_window_crosses_the_cut(actors: MakeActors) -> None:
    envs = actors(MakeMarked(sleeps=1e-3), backend="ray", chunk=8)
    model = make_learner(envs)
    stored = Stored(envs)
    killed: list[int] = []

    def is_over() -> bool:
        if not killed and len(stored.blocks) > 20:
            killed.append(envs.pids[0])
            os.kill(killed[0], signal.SIGKILL)
        new = envs.pids[0]
        return bool(killed) and killed[0] != new and stored.steps.get((new, 0), 0) >= 100

    model.learn(1_000_000, callback=Until(is_over), log_interval=10_000)
    dispatcher = envs.dispatcher
    assert dispatcher is not None and (dispatcher.failures, dispatcher.restarts, dispatcher.alive) == (1, 1, 2)
    assert {process for process, lane in stored.steps if lane < 2} == {killed[0], envs.pids[0]}
    assert {process for process, lane in stored.steps if lane >= 2} == {envs.pids[1]}
    assert assert_windows_are_of_one_piece(model) > 50
    assert stored.transitions == model.num_timesteps + (dispatcher.window.credit if dispatcher.window else 0)
