"""R2D2 and Rainbow with actors in processes: the same as within one, and what is whole when one of them dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv, VecNormalize
from support.actors import assert_same_training, train
from support.marked import (
    HangsOnce,
    MakeMarked,
    MarkedEnv,
    Stored,
    assert_windows_are_of_one_piece,
    loses_its_licence,
    make_learner,
    private_bytes,
    rewards_nan,
)
from support.q_models import make_env, make_rainbow

from sb3_ext.distributed import ActorEnvs
from sb3_ext.distributed.faults import ActorsFailed, RestartPolicy
from sb3_ext.distributed.process import ProcessBackend
from sb3_ext.r2d2 import R2D2

MakeActors = Callable[..., ActorEnvs]


@pytest.fixture
def actors() -> Iterator[MakeActors]:
    """Makes `ActorEnvs` that are closed in the end."""
    made: list[ActorEnvs] = []

    def make(make_env: Any = None, n_actors: int = 2, envs_per_actor: int = 2, **kwargs: Any) -> ActorEnvs:
        made.append(ActorEnvs(make_env or MakeMarked(), n_actors, envs_per_actor, **kwargs))
        return made[-1]

    yield make
    for envs in made:
        envs.close()


class Every(BaseCallback):
    """Calls a function at each step."""

    def __init__(self, function: Callable[[], bool | None]) -> None:
        super().__init__()
        self.function = function

    def _on_step(self) -> bool:
        return self.function() is not False


def normalized(envs: VecEnv) -> VecNormalize:
    return VecNormalize(envs, gamma=0.99)


# ---------------------------------------------------------------------- the same


def small_r2d2(env: VecEnv) -> R2D2:
    return make_learner(env, learning_rate=1e-3)


def small_rainbow(env: VecEnv) -> Any:
    return make_rainbow(env=env, learning_starts=50, train_freq=4)


@pytest.mark.parametrize("make", [small_r2d2, small_rainbow])
def test_lockstep_in_processes_is_lockstep_within_one(make: Any, actors: MakeActors) -> None:
    models = [make(normalized(actors(make_env, backend=name, lockstep=True))) for name in ("inline", "process")]
    train(models, 400, log_interval=10_000)
    assert models[0]._n_updates > 20
    assert_same_training(*models)


# ---------------------------------------------------------------------- nothing lost, nothing ahead


def test_what_is_ordered_is_stored_once_in_order_and_updates_keep_the_ratio(actors: MakeActors) -> None:
    envs = actors(MakeMarked(sleeps=2e-3), 3, 2, chunk=5, orders=2)
    model = make_learner(envs, gradient_steps=2)
    stored = Stored(envs)
    ahead: list[int] = []

    def note() -> None:
        ahead.append(stored.transitions - model.num_timesteps)

    model.learn(1200, callback=Every(note), log_interval=10_000)
    rollouts = range(24, model.num_timesteps + 1, 24)  # 4 ticks of 6 environments
    assert model.num_timesteps == 1200 and model._n_updates == 2 * sum(clock > 50 for clock in rollouts)
    dispatcher = envs.dispatcher
    assert dispatcher is not None and dispatcher.window is not None and dispatcher.failures == 0
    assert dispatcher.window.limit == 60 and 0 <= min(ahead) <= max(ahead) <= 60
    assert stored.transitions == model.num_timesteps + dispatcher.window.credit
    assert stored.ordered == stored.transitions + dispatcher.window.under_way
    assert len(stored.steps) == 6 and assert_windows_are_of_one_piece(model) > 100

    model.learn(240, reset_num_timesteps=False, log_interval=10_000)  # what was under way is not lost
    assert stored.ordered == stored.transitions + dispatcher.window.under_way
    assert stored.transitions == model.num_timesteps + dispatcher.window.credit


# ---------------------------------------------------------------------- faults


def test_a_killed_actor_is_replaced_and_no_window_crosses_the_cut(actors: MakeActors) -> None:
    envs = actors(MakeMarked(sleeps=1e-3), chunk=8)
    model = make_learner(envs)
    stored = Stored(envs)
    killed: list[int] = []
    memory: list[int] = []

    def kill() -> bool:
        if not killed and len(stored.blocks) > 20:
            memory.extend(private_bytes(pid) for pid in envs.pids)
            killed.append(envs.pids[0])
            os.kill(killed[0], signal.SIGKILL)
        return stored.steps.get((envs.pids[0], 0), 0) < 100 or killed == envs.pids[:1] or not killed

    model.learn(1_000_000, callback=Every(kill), log_interval=10_000)
    dispatcher = envs.dispatcher
    assert dispatcher is not None and (dispatcher.failures, dispatcher.restarts, dispatcher.alive) == (1, 1, 2)
    assert {process for process, lane in stored.steps if lane < 2} == {killed[0], envs.pids[0]}
    assert {process for process, lane in stored.steps if lane >= 2} == {envs.pids[1]}
    assert assert_windows_are_of_one_piece(model) > 50
    assert stored.transitions == model.num_timesteps + (dispatcher.window.credit if dispatcher.window else 0)
    assert max(memory) <= 250e6, memory


def test_an_environment_that_hangs_costs_its_actor_and_no_more(actors: MakeActors, tmp_path: Path) -> None:
    flag = tmp_path / "hung"
    envs = actors(MakeMarked(trouble=HangsOnce(flag)), chunk=4, order_timeout=2.0)
    model = make_learner(envs)
    stored = Stored(envs)

    def is_back() -> bool:
        return len({process for process, _ in stored.steps}) < 3

    model.learn(1_000_000, callback=Every(is_back), log_interval=10_000)
    dispatcher = envs.dispatcher
    assert flag.exists()
    assert dispatcher is not None and dispatcher.failures >= 1  # the other one too, where this machine stalls
    assert_windows_are_of_one_piece(model)


@pytest.mark.parametrize(("trouble", "what"), [
    (loses_its_licence, r"RuntimeError: the simulator lost its licence \(.*lane [13], step 5 of its episode\), twice"),
    (rewards_nan, r"ValueError: reward of env [13] at step 4 of its episode is not finite \(nan\).*, twice in a row"),
])  # fmt: skip
def test_what_an_environment_raises_again_ends_training_in_one_line(
    actors: MakeActors, trouble: Any, what: str, tmp_path: Path
) -> None:
    envs = actors(MakeMarked(trouble=trouble, troubled=1))
    model = make_learner(envs)
    with pytest.raises(ActorsFailed, match=what) as error:
        model.learn(1_000, log_interval=10_000)
    assert "\n" not in str(error.value) and "Traceback" in str(error.value.__cause__)
    model.save(tmp_path / "model.zip")
    model.save_replay_buffer(tmp_path / "replay.pkl")


class FailsInActors:
    """Makes environments in the process that it was made in."""

    def __init__(self) -> None:
        self.pid = os.getpid()

    def __call__(self, n: int) -> VecEnv:
        if os.getpid() != self.pid:
            raise ImportError("no simulator here")
        return MakeMarked()(n)


def test_a_factory_that_fails_in_the_actors_ends_the_start_in_one_line(actors: MakeActors) -> None:
    model = make_learner(actors(FailsInActors()))
    with pytest.raises(ActorsFailed, match=r"^actor \d raised ImportError: no simulator here, before its first step$"):
        model.learn(100)


def test_actors_that_die_and_die_end_training_with_their_last_exit_code(actors: MakeActors) -> None:
    def leaves(env: MarkedEnv) -> None:
        if env.steps == 30:
            sys.exit(7)

    envs = actors(MakeMarked(trouble=leaves), 1, chunk=4, restarts=RestartPolicy(max_in=2))
    model = make_learner(envs)
    with pytest.raises(ActorsFailed, match=r"actor 0 ended with exit code 7, 3 failures within 600 s"):
        model.learn(10_000, log_interval=10_000)
    assert model.num_timesteps >= 3 * 2 * 16 and assert_windows_are_of_one_piece(model) > 0


SCRIPT = """
import gymnasium as gym
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv
from helper_beside_the_script import LENGTH
from sb3_ext import R2D2
from sb3_ext.distributed import ActorEnvs

class Mine(gym.Env):
    observation_space, action_space = spaces.Box(-1, 1, (1,)), spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self.observation_space.sample(), {}

    def step(self, action):
        self.t += 1
        return self.observation_space.sample(), 1.0, self.t == LENGTH, False, {}

def make_env(n):
    return DummyVecEnv([Mine] * n)

class Tells(BaseCallback):
    def _on_step(self):
        if self.num_timesteps == 200:
            print(*envs.pids, flush=True)
        return True

envs = ActorEnvs(make_env, n_actors=2)
model = R2D2("MlpLstmPolicy", envs, learning_starts=20, device="cpu", policy_kwargs=dict(lstm_hidden_size=8))
model.learn(1_000_000_000, callback=Tells(), log_interval=10**9)
"""


def test_a_script_without_a_main_guard_learns_and_leaves_nothing_when_it_is_killed(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "helper_beside_the_script.py").write_text("LENGTH = 9\n")
    before = set(os.listdir("/dev/shm"))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "script.py"], cwd=tmp_path, env=environment, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True) as learner:  # fmt: skip
        assert learner.stdout is not None and learner.stderr is not None
        line = learner.stdout.readline()
        assert line, learner.stderr.read()
        pids = [int(pid) for pid in line.split()]
        assert len(pids) == 2 and all(Path(f"/proc/{pid}").exists() for pid in pids)
        learner.kill()
        end = time.monotonic() + 60
        while any(Path(f"/proc/{pid}").exists() for pid in pids):
            assert time.monotonic() < end, "actors live on"
            time.sleep(0.01)
    assert set(os.listdir("/dev/shm")) <= before


def test_processes_are_what_is_used_unless_another_backend_is_named(actors: MakeActors) -> None:
    envs = actors()
    assert isinstance(envs._collector.backend, ProcessBackend) and envs.pids == []
    make_learner(envs).learn(50)
    pids = envs.pids
    envs.close()
    assert len(pids) == 2 and envs.pids == [] and not any(Path(f"/proc/{pid}").exists() for pid in pids)
