"""R2D2 on a cluster of two nodes, both of this machine: one actor on each, of whom one is killed."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sb3_ext.distributed.ray_cluster import SETTINGS, imported_ray

pytestmark = [pytest.mark.ray, pytest.mark.slow]
PORT = 26391
LEARNER = """
import os, signal, sys, time
from functools import partial
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from sb3_ext import R2D2
from sb3_ext.distributed import ActorEnvs
from sb3_ext.distributed.ray import RayBackend

class Kills(BaseCallback):
    def _on_training_start(self):
        self.nodes, self.pids, self.before = backend.nodes(), envs.pids, None
        print("nodes", *self.nodes)
        print("pids", *self.pids)

    def _on_step(self):
        if self.num_timesteps == 1000:
            self.killed_at = time.monotonic()
            os.kill(self.pids[0], signal.SIGKILL)
        dispatcher = envs.dispatcher
        if self.before is None and dispatcher.restarts and dispatcher.alive == 2:
            self.before = self.num_timesteps
            print(f"killed at 1000, replaced after {time.monotonic() - self.killed_at:.1f} s at step {self.before}")
        return self.before is None or self.num_timesteps < self.before + 1000

backend = RayBackend(sys.argv[1])
envs = ActorEnvs(partial(make_vec_env, "CartPole-v1"), 2, 2, backend=backend)
model = R2D2("MlpLstmPolicy", envs, learning_starts=100, train_freq=16, seed=0, device="cpu", burn_in=4,
             sequence_length=8, period=4, buffer_size=20_000, batch_size=8, policy_kwargs=dict(lstm_hidden_size=16))
model.learn(10**6, callback=Kills(), log_interval=10**6)
dispatcher = envs.dispatcher
print(f"{model.num_timesteps} steps, {model._n_updates} updates")
print(f"{dispatcher.failures} failure, {dispatcher.restarts} restart")
print("after", *backend.nodes())
envs.close()
"""


@contextmanager
def node(*arguments: str) -> Iterator[None]:
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1", "--disable-usage-stats"]
    ray = subprocess.Popen(
        [*command, "--object-store-memory=134217728", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert ray.stdout is not None
    told = []
    with ray, ray.stdout:
        try:
            for line in ray.stdout:
                told.append(line)
                if "Ray runtime started" in line:
                    break
            else:
                pytest.skip(f"Ray does not start here: {''.join(told)}")
            yield
        finally:
            ray.terminate()


def test_one_actor_on_each_of_two_nodes_and_one_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        imported_ray()
    except ImportError as error:
        pytest.skip(str(error))  # which names the extra that is not installed
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": uuid.uuid4().hex}
    for name, value in {**SETTINGS, **token, "RAY_USAGE_STATS_ENABLED": "0"}.items():
        monkeypatch.setenv(name, value)
    with node("--head", f"--port={PORT}", "--include-dashboard=false"), node(f"--address=127.0.0.1:{PORT}"):
        learner = subprocess.run(
            [sys.executable, "-c", LEARNER, f"127.0.0.1:{PORT}"], env=os.environ, capture_output=True, text=True
        )
    print(learner.stdout, learner.stderr[-2000:])
    lines = {line.partition(" ")[0]: line.split()[1:] for line in learner.stdout.splitlines()}
    assert learner.returncode == 0
    assert len(set(lines["nodes"])) == 2, "one on each"
    assert "1 failure, 1 restart" in learner.stdout
    assert set(lines["after"]) == set(lines["nodes"]), "the new one is where there is room"
