"""Worker processes of a run's environments: deaf to Ctrl-C, and closed also where one of them is dead."""

from __future__ import annotations

import contextlib
import functools
import signal
from collections.abc import Callable

import gymnasium as gym
from stable_baselines3.common.vec_env import SubprocVecEnv, VecEnv

POLL_SECONDS = 0.05


class UninterruptedSubprocVecEnv(SubprocVecEnv):
    """
    Ctrl-C in the terminal reaches the worker processes too; these leave it to the main one. Each worker is told on its
    own: what it would inherit depends on when the process began that it is forked from.
    """

    def __init__(self, env_fns: list[Callable[[], gym.Env]], start_method: str | None = None) -> None:
        super().__init__([functools.partial(_without_interrupts, env_fn) for env_fn in env_fns], start_method)

    def close(self) -> None:
        """
        In place of SB3 2.9's, which waits for the answer of each worker: one that is dead gives none, and those whose
        answers were read before that was found out give no second one.
        """
        if self.closed:
            return
        for remote in self.remotes:
            with contextlib.suppress(OSError):  # nobody listens
                remote.send(("close", None))
        for process, remote in zip(self.processes, self.remotes, strict=True):
            while process.is_alive():
                # A worker cannot end before the step under way is taken from it, where it fills the pipe.
                with contextlib.suppress(OSError, EOFError):
                    while remote.poll():
                        remote.recv()
                process.join(POLL_SECONDS)
            remote.close()
        self.closed = True


def deaths(env: VecEnv | None) -> list[str]:
    """
    :param env: closed, wrapped or not
    :return: which of its workers did not end by being closed, and what ended them
    """
    inner = None if env is None else env.unwrapped
    if not isinstance(inner, UninterruptedSubprocVecEnv):
        return []
    n = len(inner.processes)
    return [f"worker {i + 1} of {n} {_how(p.exitcode)}" for i, p in enumerate(inner.processes) if p.exitcode]


def _how(exit_code: int) -> str:
    if exit_code < 0:
        return f"was ended by {signal.Signals(-exit_code).name}"
    return f"ended with exit code {exit_code}"


def _without_interrupts(env_fn: Callable[[], gym.Env]) -> gym.Env:
    """:return: the environment, in a process that does not hear Ctrl-C"""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return env_fn()
