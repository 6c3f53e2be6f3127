"""Ten minutes with a death every twenty seconds: nothing is lost, nothing grows. SOAK_MINUTES says how many minutes."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest
from stable_baselines3.common.callbacks import BaseCallback
from support.marked import MakeMarked, Stored, assert_windows_are_of_one_piece, make_learner, private_bytes

from sb3_ext.distributed import ActorEnvs
from sb3_ext.distributed.faults import RestartPolicy

MINUTES = float(os.environ.get("SOAK_MINUTES", "10"))
BETWEEN = 20.0  # seconds between two deaths
MIB = 2**20
GROWS = 16 * MIB  # what a heap may do without a leak


class Killer(BaseCallback):
    """Kills an actor every twenty seconds, and looks at memory before."""

    def __init__(self, envs: ActorEnvs, stored: Stored) -> None:
        super().__init__()
        self.envs, self.stored = envs, stored
        self.began = self.last = time.monotonic()
        self.killed: list[tuple[float, int, int]] = []  # when, lane, process
        self.learner: list[int] = []
        self.actors: list[int] = []  # the largest of them
        self.ahead = 0

    def _on_step(self) -> bool:
        now = time.monotonic()
        self.ahead = max(self.ahead, self.stored.transitions - self.num_timesteps)
        dispatcher = self.envs.dispatcher
        assert dispatcher is not None
        if now - self.last > BETWEEN and dispatcher.alive == 3:
            self.last = now
            self.learner.append(private_bytes(os.getpid()))
            self.actors.append(max(private_bytes(pid) for pid in self.envs.pids))
            actor = random.randrange(3)
            pid = self.envs.pids[actor]
            os.kill(pid, signal.SIGKILL)
            self.killed.append((now, 2 * actor, pid))
        return now - self.began < 60 * MINUTES


@pytest.mark.slow
def test_actors_that_die_every_twenty_seconds_cost_neither_steps_nor_memory() -> None:
    envs = ActorEnvs(MakeMarked(sleeps=2e-3), 3, 2, chunk=8, restarts=RestartPolicy(max_in=10_000))
    try:
        model = make_learner(envs, buffer_size=6_000)
        stored = Stored(envs)
        killer = Killer(envs, stored)
        model.learn(1_000_000_000, callback=killer, log_interval=10_000)
        dispatcher = envs.dispatcher
        assert dispatcher is not None and dispatcher.window is not None
        block, window = dispatcher.window.block, dispatcher.window.limit
        while dispatcher.failures < len(killer.killed):  # the last one may not have been noticed yet
            stored.transitions += block * len(dispatcher.receive(1.0))
        lost = stored.ordered - stored.transitions - dispatcher.window.under_way
    finally:
        envs.close()

    n = len(killer.killed)
    after = [min((t - at for t, of, process in stored.blocks if t > at and of == lane and process != pid), default=0.0)
             for at, lane, pid in killer.killed]  # fmt: skip
    print(f"{n} deaths, {stored.transitions} transitions, {model._n_updates} updates, MiB of the learner "
          f"{[x // MIB for x in killer.learner]}, of the largest actor {[x // MIB for x in killer.actors]}, "
          f"seconds from a death to the next block of that actor {[round(x, 1) for x in after]}")  # fmt: skip
    assert n >= 60 * MINUTES / BETWEEN / 2
    assert (dispatcher.failures, dispatcher.broken) == (n, 0)
    assert killer.ahead <= window
    assert model._n_updates == sum(clock > 50 for clock in range(24, model.num_timesteps + 1, 24))
    assert 0 <= lost <= n * 2 * block and lost % block == 0  # what was under way where one died, and no more
    assert assert_windows_are_of_one_piece(model) > 500
    for memory in (killer.learner, killer.actors):
        quarter = max(len(memory) // 4, 1)
        assert max(memory[-quarter:]) <= max(memory[quarter : 2 * quarter] or memory) + GROWS, memory
