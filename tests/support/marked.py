"""Environments whose observations say by whom and when they were made, and what a learner stored of them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from sb3_ext.buffers.blocks import LaneBlock
from sb3_ext.deep_q_learning import DeepQLearning
from sb3_ext.distributed import ActorEnvs
from sb3_ext.distributed.messages import Delivery, Order
from sb3_ext.r2d2 import R2D2

Trouble = Callable[["MarkedEnv"], None]


class MarkedEnv(gym.Env):
    """
    Observation = (process, number of the environment in it, observations so far), over all episodes. The reward is how
    many steps it has made. Episodes last 3 to 30 steps.

    :param number: of the environment
    :param sleeps: seconds at most for a step, at random
    :param trouble: called before each step
    """

    def __init__(self, number: int, sleeps: float = 0.0, trouble: Trouble | None = None) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float32)
        self.action_space = spaces.Discrete(2)
        self.number, self.sleeps, self.trouble = number, sleeps, trouble
        self.observed = self.steps = 0
        self.nan = False

    def _obs(self) -> np.ndarray:
        self.observed += 1
        return np.array([os.getpid(), self.number, self.observed], dtype=np.float32)  # exact below 2^24

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.left = int(self.np_random.integers(3, 31))
        return self._obs(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        self.left -= 1
        if self.trouble is not None:
            self.trouble(self)
        time.sleep(self.np_random.random() * self.sleeps)
        return self._obs(), np.nan if self.nan else float(self.steps), self.left == 0, False, {}


class MakeMarked:
    """A factory; see `MarkedEnv` for what it is made of. ``trouble`` is that of the environment ``troubled``."""

    def __init__(self, sleeps: float = 0.0, trouble: Trouble | None = None, troubled: int = 0) -> None:
        self.sleeps, self.trouble, self.troubled = sleeps, trouble, troubled

    def __call__(self, n: int) -> VecEnv:
        def make(i: int) -> Callable[[], gym.Env]:
            return lambda: Monitor(MarkedEnv(i, self.sleeps, self.trouble if i == self.troubled else None))

        return DummyVecEnv([make(i) for i in range(n)])


class HangsOnce:
    """:param flag: a file that is there afterwards"""

    def __init__(self, flag: Path) -> None:
        self.flag = flag

    def __call__(self, env: MarkedEnv) -> None:
        if env.steps == 20 and not self.flag.exists():
            self.flag.touch()
            time.sleep(600)


def loses_its_licence(env: MarkedEnv) -> None:
    if env.steps == 5:
        raise RuntimeError("the simulator lost its licence")


def rewards_nan(env: MarkedEnv) -> None:
    env.nan = env.steps == 5


def make_learner(env: VecEnv, **kwargs: Any) -> R2D2:
    settings: dict[str, Any] = dict(
        burn_in=4, sequence_length=6, period=3, n_steps=2, batch_size=8, learning_starts=50, seed=0, device="cpu",
        buffer_size=20_000, policy_kwargs=dict(lstm_hidden_size=16), train_freq=4, learning_rate=1e-4,
    )  # fmt: skip
    return R2D2("MlpLstmPolicy", env, **{**settings, **kwargs})


class Stored:
    """
    What is stored of actors from now on, and what is ordered. Each step of each environment must be stored once, and in
    its order.

    :param envs: of `MarkedEnv`
    """

    def __init__(self, envs: ActorEnvs) -> None:
        self.steps: dict[tuple[int, int], int] = {}
        """how many of them, by (process, lane)"""
        self.blocks: list[tuple[float, int, int]] = []
        """when each was stored, the first of its lanes, and the process"""
        self.transitions = self.ordered = 0
        collector: Any = envs._collector  # Any: two of its methods, and one of its backend's, are watched
        store, submit = collector._store, collector.backend.submit

        def stores(model: DeepQLearning, delivery: Delivery) -> None:
            store(model, delivery)
            self._note(delivery.block)

        def submits(actor: int, order: Order) -> None:
            self.ordered += order.n_steps * envs.settings.envs_per_actor
            submit(actor, order)

        collector._store, collector.backend.submit = stores, submits

    def _note(self, block: LaneBlock) -> None:
        rewards = block.by_step("reward")  # [K, E]
        processes = block.cells[""][block.offsets()[:, 0], 0]
        for column, (lane, process) in enumerate(zip(block.lanes.tolist(), processes.tolist(), strict=True)):
            before = self.steps.get((int(process), lane), 0)
            expected = np.arange(before + 1, before + 1 + block.n_steps)
            np.testing.assert_array_equal(rewards[:, column], expected, err_msg=f"process {process}, lane {lane}")
            self.steps[int(process), lane] = before + block.n_steps
        self.transitions += rewards.size
        self.blocks.append((time.monotonic(), int(block.lanes[0]), int(processes[0])))


def assert_windows_are_of_one_piece(model: DeepQLearning) -> int:
    """
    Every window of the replay is of one environment of one process, and its observations follow each other.

    :return: how many there are
    """
    replay: Any = model.replay_buffer  # Any: the tests look into it
    samples = replay._get_samples(replay._active_leaves())
    burn_in, observations = samples.burn_in_observations.numpy(), samples.observations.numpy()
    for row, (lead, n) in enumerate(
        zip(samples.burn_in_lengths.tolist(), samples.mask.sum(1).int().tolist(), strict=True)
    ):
        marks = np.concatenate([burn_in[row, burn_in.shape[1] - lead :], observations[row, : n + 1]])
        assert (marks[:, :2] == marks[0, :2]).all(), f"window {row} is of two environments: {marks}"
        np.testing.assert_array_equal(np.diff(marks[:, 2]), 1, err_msg=f"window {row}")
    return len(burn_in)


def private_bytes(pid: int) -> int:
    """:return: memory of a process that it shares with no other (USS)"""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))
