"""Small runs of `sb3-ext train`, and what befalls them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from sb3_ext import saving
from sb3_ext.cli import main as cli
from sb3_ext.envs import MemoryChainEnv
from sb3_ext.zoo import register
from sb3_ext.zoo.experiment import Experiment
from sb3_ext.zoo.runs.checkpoints import SavedSet, newest_whole
from sb3_ext.zoo.runs.manifests import Manifest
from sb3_ext.zoo.runs.resuming import read_unfinished

register()
ENV, NAME = "sb3_ext/MemoryChain-v0", "sb3_ext-MemoryChain-v0"
RUNS = Path("logs/r2d2")


def command(*flags: str, steps: int = 300, settings: tuple[str, ...] = ()) -> list[str]:
    begin = ["train", "--algo", "r2d2", "--env", ENV, "-n", str(steps), "--eval-freq", "-1", "--device", "cpu"]
    tiny = ["n_envs:2", "learning_starts:40", "buffer_size:2000", "batch_size:4"]
    return [*begin, "--final-eval-episodes", "0", *flags, "-params", *tiny, *settings]


def at_step(
    n: int, do: Callable[[], None], monkeypatch: pytest.MonkeyPatch, env_class: type[gym.Env] = MemoryChainEnv
) -> None:
    """Of all environments together, in the middle of the step."""
    n_calls = 0
    original = env_class.step

    def step(self: gym.Env, action: int) -> Any:
        nonlocal n_calls
        n_calls += 1
        if n_calls == n:
            do()
        return original(self, action)

    monkeypatch.setattr(env_class, "step", step)


def kill(number: signal.Signals) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


def killed(arguments: list[str]) -> None:
    """Run it in a process of its own that shall die by SIGKILL."""
    child = os.fork()
    if child == 0:
        os._exit(cli.main(arguments))
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def on_write(part: str, do: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """At every write into a file with this in its name."""
    original = saving.TellingFile.write

    def write(self: saving.TellingFile, data: Any) -> int:
        if part in str(self.name):
            try:
                do()
            except OSError as error:
                self.failure = error
                raise
        return original(self, data)

    monkeypatch.setattr(saving.TellingFile, "write", write)


def experiment(**settings: Any) -> Experiment:
    return Experiment.of("r2d2", ENV, n_timesteps=64, verbose=0, hyperparams=settings, device="cpu")


def manifest_of(name: str) -> Manifest:
    """Of a run of R2D2."""
    manifest = Manifest.read(RUNS / name)
    assert manifest is not None
    return manifest


def saved_in(name: str, needs_statistics: bool = False) -> SavedSet:
    """What that run would go on with."""
    return newest_whole(RUNS / name, read_unfinished(RUNS / name), NAME, True, needs_statistics)
