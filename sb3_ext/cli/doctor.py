"""`sb3-ext doctor`: what is installed, what is missing and how to get it, and whether everything runs. For issues."""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import os
import platform
import re
import time
import warnings
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import Any, Literal

import gymnasium as gym
import numpy as np

import sb3_ext
from sb3_ext.algorithms import ALGORITHMS, Row
from sb3_ext.cli.flags import Command, Parser
from sb3_ext.versions import CORE, version_of

N_STEPS = 200
BACKENDS: dict[Literal["process", "ray"], str | None] = {"process": None, "ray": "ray"}
"""of actors -> package that it needs"""
START_SECONDS = 120.0  # that an actor has, also on a machine that is busy


def _parser() -> Parser:
    parser = Parser("sb3-ext doctor", description="Say what is installed, and try everything.")
    parser.add_argument("--no-run", action="store_true", help="only say what is installed")
    return parser


def run(given: argparse.Namespace) -> int:
    """
    :param given: by the flags of `doctor`
    :return: exit code: 1 where an algorithm or an actor does not run
    """
    for line in [*installed(), "", "extras", *extras(), "", "rendering", *rendering()]:
        print(line, flush=True)
    if given.no_run:
        return 0
    print(f"\nalgorithms, {N_STEPS} env steps each", flush=True)
    all_run = _all_run(algorithms())
    print("\nactors, one of each kind that is there", flush=True)
    return int(not (_all_run(actors()) and all_run))


def _all_run(trials: dict[str, Callable[[], object]]) -> bool:
    """:return: whether each does, of which a line is printed"""
    failed = False
    for name, trial in trials.items():
        begin = time.perf_counter()
        error = _error_of(trial)
        failed |= error is not None
        print(f"  {name:9} {f'ok, {time.perf_counter() - begin:.1f} s' if error is None else error}", flush=True)
    return not failed


def installed() -> Iterator[str]:
    """:return: lines"""
    import torch as th

    yield f"sb3-ext {sb3_ext.__version__}, Python {platform.python_version()}, {platform.platform()}"
    yield f"  {', '.join(f'{name} {version_of(name)}' for name in (*CORE, 'sb3-contrib'))}"
    yield f"  {os.cpu_count()} CPUs, torch uses {th.get_num_threads()} threads"
    if th.cuda.is_available():
        for i in range(th.cuda.device_count()):
            properties = th.cuda.get_device_properties(i)
            yield f"  cuda:{i} {properties.name}, {properties.total_memory / 2**30:.0f} GiB, CUDA {th.version.cuda}"
    elif th.backends.mps.is_available():
        yield "  mps"
    else:
        yield "  no GPU that this torch can use"


def extras() -> Iterator[str]:
    """:return: a line for each extra: what it brings, or how to get it"""
    needed: dict[str, list[str]] = {}
    for requirement in metadata.requires("sb3-ext") or ():
        extra = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", requirement)
        name = re.match(r"[\w.-]+", requirement)
        if extra is not None and name is not None and name[0].replace("_", "-") != "sb3-ext":
            needed.setdefault(extra[1], []).append(name[0])
    needed.pop("dev", None)  # all of them, and what tests the package
    for extra_name, packages in needed.items():
        missing = [name for name in packages if version_of(name) is None]
        if missing:
            yield f'  {extra_name:10} lacks {", ".join(missing)}: pip install "sb3-ext[{extra_name}]"'
        else:
            yield f"  {extra_name:10} {', '.join(f'{name} {version_of(name)}' for name in packages)}"


def rendering() -> Iterator[str]:
    """:return: a line for each way to draw that was tried"""
    display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    yield f"  display    {display or 'none: windows do not open, videos do'}"
    yield f"  pygame     {_picture('CartPole-v1', {'SDL_VIDEODRIVER': 'dummy'})}"
    if version_of("mujoco") is not None:
        chosen = os.environ.get("MUJOCO_GL") or "egl"
        yield f"  mujoco     {_picture('Hopper-v5', {'MUJOCO_GL': chosen})} (MUJOCO_GL={chosen})"
    if version_of("ale-py") is not None:
        yield f"  atari      {_picture('ALE/Pong-v5', {})}"


def algorithms() -> dict[str, Callable[[], object]]:
    """:return: a short training of each, by name"""
    return {row.name: functools.partial(_train, row) for row in ALGORITHMS.values()}


def _train(row: Row) -> None:
    from stable_baselines3 import PPO
    from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

    from sb3_ext.demonstrations import record

    cls = getattr(sb3_ext, row.name)
    env_id = "Pendulum-v1" if row.is_continuous else "FrozenLake-v1" if row.is_tabular else "CartPole-v1"
    keywords: dict[str, Any] = {"n_steps": 100, "batch_size": 50}
    if row.is_tabular:
        keywords = {}
    elif issubclass(cls, OffPolicyAlgorithm):
        keywords = {"learning_starts": 50, "batch_size": 16, "buffer_size": 1000}
    if row.imitates:
        expert = PPO("MlpPolicy", env_id, device="cpu")
        keywords["demonstrations"] = record(expert, env_id, 2)
        if row.asks:
            keywords["expert"] = expert
    cls(next(iter(cls.policy_aliases)), env_id, device="cpu", **keywords).learn(N_STEPS)


def actors() -> dict[str, Callable[[], object]]:
    """:return: a short training with one actor, by what runs it"""
    there = [name for name, package in BACKENDS.items() if package is None or version_of(package) is not None]
    return {name: functools.partial(_train_with_actor, name) for name in there}


def _train_with_actor(backend: Literal["process", "ray"]) -> None:
    from stable_baselines3.common.env_util import make_vec_env

    from sb3_ext.distributed import ActorEnvs, RestartPolicy

    make_env = functools.partial(make_vec_env, "CartPole-v1")
    envs = ActorEnvs(make_env, 1, backend=backend, restarts=RestartPolicy(max_in=0), order_timeout=START_SECONDS)
    try:
        sb3_ext.R2D2("MlpLstmPolicy", envs, learning_starts=50, batch_size=16, buffer_size=1000, device="cpu").learn(
            N_STEPS
        )
    finally:
        envs.close()


def _picture(env_id: str, environment: dict[str, str]) -> str:
    """:return: what came of drawing one frame"""
    frames: list[np.ndarray] = []

    def draw() -> None:
        if env_id.startswith("ALE/"):
            import ale_py

            gym.register_envs(ale_py)
        env = gym.make(env_id, render_mode="rgb_array")
        env.reset(seed=0)
        frame = env.render()
        assert isinstance(frame, np.ndarray)
        frames.append(frame)
        env.close()

    with _by_default(environment):
        error = _error_of(draw)
    if error is not None:
        return error
    height, width = frames[0].shape[:2]
    black = ", but the frame is black" if frames[0].mean() < 1 else ""
    return f"ok, {env_id} drawn at {width} x {height}{black}"


@contextlib.contextmanager
def _by_default(environment: dict[str, str]) -> Iterator[None]:
    """Variables that the user has not set have these values within the block; what it sets beside them is undone."""
    before = dict(os.environ)
    os.environ.update({**environment, **before})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _error_of(work: Callable[[], object]) -> str | None:
    """:return: None, or one line about what went wrong"""
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")  # the report is about what runs
            work()
    except Exception as error:  # any: the next line of the report shall still come
        return f"FAILS: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return None


DOCTOR = Command("doctor", "say what is installed and what is missing, and try everything", _parser, run)
