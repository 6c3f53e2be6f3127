"""
Everything that needs a GPU, in one go of less than nine minutes, into one table.

    python benchmarks/gpu.py                            # results/gpu.csv
    python benchmarks/gpu.py --quick --device cpu       # does it run? runs/gpu_quick.csv, and its rows say so

In this order, each row on disk before the next one begins, and none that is there measured again: updates per second
of R2D2 (H 512, B 64, 40 + 80 + 5, 84 x 84 x 1), of Rainbow (B 32, 84 x 84 x 4) beside SB3's DQN, of TD3 (B 256, vectors
of 17) beside SB3's, and of DAC, eager and captured (and the next batch drawn ahead), by calls of `train(1, B)`, so with
the replay, and by the clock; the tests that are marked `gpu`; and, with the time that is left, Pong with its curve.
"""

from __future__ import annotations

import argparse
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ale_py
import gymnasium as gym
import numpy as np
import stable_baselines3 as sb3
import torch as th
from common import ROOT, Table, hardware, parse, parser, print_rows
from gymnasium import spaces
from r2d2_update import ATARI, VECTOR, NoiseEnv, filled_model
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_atari_env
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecFrameStack
from update_speed import Empty, fill

from sb3_ext import DAC, TD3, Rainbow
from sb3_ext.demonstrations import Demonstrations, Episode
from sb3_ext.learners.captured import Compile

COLUMNS = ("device", "part", "case", "value", "unit", "detail", "seconds")
BUDGET = 520.0  # seconds of everything
LEAST = 20.0  # seconds below which nothing long is begun
FRAMES = spaces.Box(0, 255, (4, 84, 84), np.uint8)
CASES = ("eager", "captured", "stock")


@dataclass
class Setting:
    """What is measured on."""

    device: str
    """of PyTorch"""
    name: str
    """of the device, for the rows"""
    quick: bool
    deadline: float
    """by `time.monotonic`"""

    @property
    def left(self) -> float:
        """seconds"""
        return self.deadline - time.monotonic()

    def compile(self, case: str) -> Compile:
        """:return: keyword of the case; a CPU captures nothing, so there "captured" runs eager"""
        return "off" if case == "eager" else "on" if self.device == "cuda" else "auto"

    def ahead(self, case: str) -> dict[str, Any]:
        """:return: keywords of a learner that may draw ahead"""
        return {"compile": self.compile(case), "prefetch": int(case == "captured")}


# ---------------------------------------------------------------------- updates per second


def r2d2(setting: Setting, case: str) -> OffPolicyAlgorithm | None:
    if case == "stock":
        return None
    if setting.quick:
        return filled_model(VECTOR, 16, setting.device, cells=2**12, **setting.ahead(case))
    return filled_model(ATARI, 512, setting.device, cells=2**14, **setting.ahead(case))


def rainbow(setting: Setting, case: str) -> OffPolicyAlgorithm | None:
    env = NoiseEnv(FRAMES, 6)
    size = 200 if setting.quick else 10_000
    common: dict[str, Any] = {"buffer_size": size, "batch_size": 32, "seed": 0, "device": setting.device}
    if case == "stock":
        model: OffPolicyAlgorithm = sb3.DQN("CnnPolicy", env, **common)
    else:
        model = Rainbow("CnnPolicy", env, **setting.ahead(case), **common)
    fill(model, 150 if setting.quick else 9_000)
    return model


def td3(setting: Setting, case: str) -> OffPolicyAlgorithm | None:
    size = 500 if setting.quick else 20_000
    common: dict[str, Any] = {"buffer_size": size, "batch_size": 256, "seed": 0, "device": setting.device}
    common["policy_kwargs"] = {"net_arch": [256, 256]}
    if case == "stock":
        model: OffPolicyAlgorithm = sb3.TD3("MlpPolicy", Empty(), **common)
    else:
        model = TD3("MlpPolicy", Empty(), compile=setting.compile(case), **common)
    fill(model, size)
    return model


def dac(setting: Setting, case: str) -> OffPolicyAlgorithm | None:
    """Its `train` updates the discriminator too, which is eager in both cases."""
    if case == "stock":
        return None
    env, size = Empty(), 500 if setting.quick else 20_000
    rng = np.random.default_rng(0)
    steps = rng.uniform(-1, 1, (1000, 6)).astype(np.float32)
    shown = Episode(rng.normal(size=(1001, 17)), steps, np.zeros(1000), terminated=False, truncated=True)
    model = DAC(
        "MlpPolicy",
        env,
        Demonstrations((shown, shown), env.observation_space, env.action_space),
        buffer_size=size,
        policy_kwargs={"net_arch": [256, 256]},
        seed=0,
        device=setting.device,
        compile=setting.compile(case),
    )
    fill(model, size)
    model.adversary.set_demonstrations(model._loaded_demonstrations(), seed=0)
    return model


PARTS: dict[str, tuple[Callable[[Setting, str], OffPolicyAlgorithm | None], int, str]] = {
    "R2D2": (r2d2, 64, "H 512, B 64, 40 + 80 + 5, 84x84x1"),
    "Rainbow": (rainbow, 32, "B 32, 84x84x4; stock: SB3's DQN"),
    "TD3": (td3, 256, "B 256, 17 -> 6; stock: SB3's TD3"),
    "DAC": (dac, 256, "B 256, 17 -> 6, with its discriminator"),
}


def updates_per_second(setting: Setting, train: Callable[[], object], seconds: float) -> float:
    """Wall time: the device works on its own. :return: calls per second, after captures"""
    for _ in range(2 if setting.quick else 12):
        train()
    _synchronize(setting)
    begin, calls = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        train()
        calls += 1
    _synchronize(setting)
    return calls / (time.perf_counter() - begin)


def _synchronize(setting: Setting) -> None:
    if setting.device == "cuda":
        th.cuda.synchronize()


def measure(setting: Setting, table: Table, part: str, case: str) -> None:
    """Add one row, if there is such a case."""
    make, batch_size, detail = PARTS[part]
    with timed() as taken:
        model = make(setting, case)
        if model is None:
            return
        model.set_logger(Logger(None, []))
        try:
            rate = updates_per_second(setting, lambda: model.train(1, batch_size), 0.5 if setting.quick else 10.0)
        except RuntimeError as error:  # of this device or PyTorch; the other cases still count
            print(f"{part}, {case}: does not run here: {str(error).splitlines()[0]}")
            return
    add(setting, table, part, case, round(rate, 2), "updates/s", detail, taken())


# ---------------------------------------------------------------------- tests


def run_tests(setting: Setting, table: Table) -> None:
    """`pytest -m gpu`; without a GPU they are only collected."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "tests"]
    if setting.device != "cuda":
        command.append("--collect-only")
    with timed() as taken:
        try:
            result = subprocess.run(
                command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=max(setting.left, 1.0)
            )
            last = (result.stdout.strip().splitlines() or ["nothing was printed"])[-1].strip("= ")
            status: float = result.returncode
            if status != 0:
                print(result.stdout[-3000:])
        except subprocess.TimeoutExpired:
            status, last = float("nan"), "not over within the time"
    add(setting, table, "tests", "pytest -m gpu", status, "exit status", last, taken())


# ---------------------------------------------------------------------- Pong


class UntilTheDeadline(BaseCallback):
    """
    Ends training in time, and notes the mean return of the last episodes on the way.

    :param setting: its deadline
    :param every: seconds between two points of the curve
    """

    def __init__(self, setting: Setting, every: float) -> None:
        super().__init__()
        self.setting, self.every, self.next_at = setting, every, time.monotonic() + every
        self.curve: list[tuple[int, float]] = []

    def _on_step(self) -> bool:
        if time.monotonic() >= self.next_at:
            self.next_at += self.every
            self._note()
        return self.setting.left > 0

    def _on_training_end(self) -> None:
        self._note()

    def _note(self) -> None:
        episodes = self.model.ep_info_buffer
        if episodes:
            self.curve.append((self.num_timesteps, round(float(np.mean([x["r"] for x in episodes])), 2)))


def pong(setting: Setting, table: Table) -> None:
    """Rainbow with clipped rewards, as in the data-efficient preset, but a wide batch for the GPU."""
    gym.register_envs(ale_py)
    n_envs = 2 if setting.quick else 16
    if setting.quick:
        setting.deadline = time.monotonic() + 15.0
    env = VecFrameStack(make_atari_env("PongNoFrameskip-v4", n_envs=n_envs, seed=0), n_stack=4)
    with timed() as taken:
        model = Rainbow(
            "CnnPolicy",
            env,
            learning_rate=2.5e-4,
            buffer_size=4_000 if setting.quick else 300_000,
            learning_starts=200 if setting.quick else 10_000,
            batch_size=16 if setting.quick else 256,
            train_freq=1,
            gradient_steps=1 if setting.quick else 2,
            target_update_interval=1_000,
            optimize_memory_usage=True,
            seed=0,
            device=setting.device,
            **setting.ahead("captured"),
        )
        callback = UntilTheDeadline(setting, 2.0 if setting.quick else 15.0)
        model.learn(10**9, callback=callback, log_interval=10**9)
    env.close()
    curve = " ".join(f"{steps}:{mean:g}" for steps, mean in callback.curve)
    best = max((mean for _, mean in callback.curve), default=float("nan"))
    detail = f"Rainbow, {model.num_timesteps} steps, {model._n_updates} updates; {curve}"
    add(setting, table, "Pong", "best mean return of 100 episodes", best, "return", detail, taken())


# ---------------------------------------------------------------------- the table


@contextmanager
def timed() -> Iterator[Callable[[], float]]:
    """:return: what tells the seconds since"""
    begin = time.monotonic()
    yield lambda: round(time.monotonic() - begin, 1)


def add(
    setting: Setting, table: Table, part: str, case: str, value: float, unit: str, detail: str, seconds: float
) -> None:
    """A row, which is printed too."""
    row = {"part": part, "case": case, "value": value, "unit": unit, "detail": detail, "seconds": seconds}
    table.add({"device": setting.name, **row})
    print(f"{part:8} {case:10} {value:g} {unit} ({seconds:g} s) {detail}", flush=True)


def report(setting: Setting, table: Table) -> None:
    """Print what was gained."""
    rows: list[tuple[object, ...]] = []
    for part in PARTS:
        rates = [table.median("value", device=setting.name, part=part, case=case) for case in CASES]
        rows.append((part, *rates, rates[1] / rates[0], rates[1] / rates[2]))
    print(f"\nupdates per second on {setting.name}; {hardware()}")
    print_rows(("", *CASES, "captured/eager", "captured/stock"), rows)


def setting_of(args: argparse.Namespace) -> Setting:
    """:return: where to measure; without a GPU there is only ``--quick``"""
    device = args.device or ("cuda" if th.cuda.is_available() else "cpu")
    if device == "cuda" and not th.cuda.is_available():
        sys.exit("no CUDA device: torch.cuda.is_available() is False, so nothing was measured")
    if device == "cpu" and not args.quick:
        sys.exit("a CPU captures nothing: --quick --device cpu shows that this script runs, and measures nothing")
    name = th.cuda.get_device_name() if device == "cuda" else "cpu, where captured is eager"
    return Setting(device, f"{name}{', quick' if args.quick else ''}", args.quick, time.monotonic() + args.budget)


def main() -> int:
    arguments = parser(__doc__, seeds=1)
    arguments.add_argument("--device", choices=("cpu", "cuda"), help="default: a GPU if there is one")
    arguments.add_argument("--budget", type=float, default=BUDGET, help=f"seconds (default: {BUDGET:g})")
    args = parse(arguments)
    setting = setting_of(args)
    folder = pathlib.Path("runs") if args.quick else None
    table = Table("gpu_quick" if args.quick else "gpu", COLUMNS, ("device", "part", "case"), True, args.fresh, folder)
    for part in PARTS:
        for case in CASES:
            if not table.has(device=setting.name, part=part, case=case) and setting.left > LEAST:
                measure(setting, table, part, case)
    if not table.has(device=setting.name, part="tests", value="0"):
        run_tests(setting, table)
    if not table.has(device=setting.name, part="Pong") and setting.left > LEAST:
        pong(setting, table)
    report(setting, table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
