"""Runs that are killed, lose a worker or run out of disk: what was learnt is there afterwards, and is gone on with."""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import yaml
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.save_util import load_from_pkl
from support.runs import ENV, NAME, RUNS, at_step, command, kill, killed, manifest_of, on_write, saved_in

from sb3_ext import R2D2
from sb3_ext.cli import main as cli
from sb3_ext.zoo.runs import checkpoints
from sb3_ext.zoo.workers import UninterruptedSubprocVecEnv, deaths

pytestmark = pytest.mark.filterwarnings("ignore")  # of the stock scripts

# ---------------------------------------------------------------------- killed


@pytest.mark.parametrize("when", ["between steps", "during a checkpoint", "during the last save"])
def test_a_killed_run_goes_on_from_its_newest_whole_checkpoint(
    when: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--save-freq", "100", "--save-replay-buffer", "--eval-freq", "120", "--eval-episodes", "1")
    settings = ("normalize:True",)
    with monkeypatch.context() as patch:
        if when == "between steps":
            at_step(250, kill(signal.SIGKILL), patch)
        else:
            file = {"during a checkpoint": "replay_buffer_200", "during the last save": ".replay_buffer.pkl"}[when]
            on_write(file, kill(signal.SIGKILL), patch)
        killed(command(*flags, settings=settings))
    first = RUNS / f"{NAME}_1"
    steps = 100 if when == "during a checkpoint" else 300 if when == "during the last save" else 200
    n_leftovers = len(list(first.glob(".*.tmp")))
    assert n_leftovers == (when != "between steps")
    assert [path.name for path in first.glob("rl_model_replay*")] == [f"rl_model_replay_buffer_{steps}_steps.pkl"]
    capsys.readouterr()

    assert cli.main(command(*flags, "--resume", str(first), settings=settings)) == 0
    out = capsys.readouterr().out
    assert f"Going on after {steps} of 300 steps" in out
    assert f"rl_model_replay_buffer_{steps}_steps.pkl" in out and "Loading saved VecNormalize" not in out
    assert not list(first.glob(".*.tmp"))
    resumed = R2D2.load(RUNS / f"{NAME}_2" / f"{NAME}.zip", device="cpu")
    assert resumed.num_timesteps == 300
    assert (RUNS / f"{NAME}_2" / "best_model.zip").is_file(), "the best one so far"
    assert manifest_of(f"{NAME}_2").ended == "finished"


def test_what_is_missing_for_going_on_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        at_step(250, kill(signal.SIGKILL), patch)
        killed(command("--save-freq", "100"))
    first = RUNS / f"{NAME}_1"
    assert cli.main(command("--resume", str(first))) == 2
    line = capsys.readouterr().err
    assert (
        line.count("\n") == 1
        and "has no whole set of a model, its replay: --save-freq and --save-replay-buffer" in line
    )
    assert f"`-i {first}/rl_model_200_steps.zip` goes on" in line

    assert cli.main(command("-i", f"{first}/rl_model_200_steps.zip", steps=100)) == 0
    assert "No replay of step 200 beside" in capsys.readouterr().out
    resumed = R2D2.load(RUNS / f"{NAME}_2" / f"{NAME}.zip", device="cpu")
    assert resumed.num_timesteps == 300 and resumed._n_updates > 0


def test_a_checkpoint_is_gone_on_with_from_its_own_step_with_its_own_replay(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--save-replay-buffer", "--save-freq", "100")
    assert cli.main(command(*flags, steps=150, settings=("normalize:True",))) == 0
    first = RUNS / f"{NAME}_1"
    assert {path.name for path in first.glob("*.pkl")} == {
        "replay_buffer.pkl",
        "rl_model_replay_buffer_100_steps.pkl",
        "rl_model_vecnormalize_100_steps.pkl",
    }
    n_cells = load_from_pkl(first / "rl_model_replay_buffer_100_steps.pkl").size()
    capsys.readouterr()
    again = command(*flags, "-i", str(first / "rl_model_100_steps.zip"), steps=60, settings=("normalize:True",))
    assert cli.main(again) == 0
    out = capsys.readouterr().out
    (trusted,) = [line for line in out.splitlines() if line.startswith("Trusting ")]
    assert all(f"rl_model{part}_100_steps" in trusted for part in ("", "_replay_buffer", "_vecnormalize"))
    assert "Going on after 100 of 160 steps" in out
    second = RUNS / f"{NAME}_2"
    assert R2D2.load(second / f"{NAME}.zip", device="cpu").num_timesteps == 160
    assert load_from_pkl(second / "replay_buffer.pkl").size() >= n_cells + 60 // 2
    # A model that is no checkpoint begins to count anew, as rl-zoo3's -i does.
    assert cli.main(command("-i", str(first / f"{NAME}.zip"), steps=60, settings=("normalize:True",))) == 0
    assert R2D2.load(RUNS / f"{NAME}_3" / f"{NAME}.zip", device="cpu").num_timesteps == 60


def test_a_set_that_is_cut_off_is_not_whole(tmp_path: Path) -> None:
    PPO("MlpPolicy", "CartPole-v1", device="cpu").save(tmp_path / "rl_model_20_steps.zip")
    for name in ("rl_model_replay_buffer_20_steps.pkl", "rl_model_vecnormalize_20_steps.pkl"):
        (tmp_path / name).write_bytes(b"\x80\x04N.")
    saved = checkpoints.saved_with(tmp_path / "rl_model_20_steps.zip", "CartPole-v1")
    assert saved.is_whole(True, True) and saved.num_timesteps == 20
    for path in (saved.model, saved.replay, saved.statistics):
        assert path is not None
        whole = path.read_bytes()
        for cut in (whole[:-1], b""):
            path.write_bytes(cut)
            assert not saved.is_whole(True, True)
        path.write_bytes(whole)
    (tmp_path / "CartPole-v1").mkdir()
    (tmp_path / "rl_model_vecnormalize_20_steps.pkl").rename(tmp_path / "CartPole-v1" / "vecnormalize.pkl")
    moved = checkpoints.saved_with(saved.model, "CartPole-v1")
    assert moved.statistics is not None and moved.is_whole(True, False)
    assert not moved.is_whole(True, True), "statistics of the end are not those of step 20"


# ---------------------------------------------------------------------- workers


class Broad(gym.Env[Any, Any]):
    """Its observations fill a pipe."""

    def __init__(self) -> None:
        self.observation_space = spaces.Box(0, 255, (400_000,), np.uint8)
        self.action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        return np.zeros(400_000, np.uint8), {}

    def step(self, action: int) -> Any:
        return np.zeros(400_000, np.uint8), 1.0, False, False, {}


def test_environments_close_although_a_worker_was_killed() -> None:
    env = UninterruptedSubprocVecEnv([Broad, Broad])
    env.reset()
    env.processes[1].kill()
    env.processes[1].join()
    with pytest.raises((EOFError, OSError)):
        env.step(np.zeros(2, dtype=np.int64))
    closing = threading.Thread(target=env.close, daemon=True)
    closing.start()
    closing.join(60)  # or for ever
    assert not closing.is_alive() and env.closed
    assert deaths(env) == ["worker 2 of 2 was ended by SIGKILL"]
    assert all(process.exitcode is not None for process in env.processes)


def at_order(n: int, do: Callable[[UninterruptedSubprocVecEnv], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the workers are told of the n-th step."""
    n_calls = 0
    original = UninterruptedSubprocVecEnv.step_async

    def step_async(self: UninterruptedSubprocVecEnv, actions: np.ndarray) -> None:
        nonlocal n_calls
        n_calls += 1
        if n_calls == n:
            do(self)
        original(self, actions)

    monkeypatch.setattr(UninterruptedSubprocVecEnv, "step_async", step_async)


def test_a_killed_worker_ends_training_and_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def kill_one(env: UninterruptedSubprocVecEnv) -> None:
        env.processes[1].kill()
        env.processes[1].join()

    at_order(60, kill_one, monkeypatch)
    assert cli.main(command("--vec-env", "subproc")) == 2
    out, err = capsys.readouterr()
    assert err == (
        "sb3-ext train: worker 2 of 2 was ended by SIGKILL: training ended after 118 steps, and all is saved\n"
    )
    assert "Interrupted after 118 of 300 steps" in out
    saved = saved_in(f"{NAME}_1")
    assert saved.num_timesteps == R2D2.load(saved.model, device="cpu").num_timesteps == 118


def test_sigterm_to_the_whole_process_group_is_no_trouble(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The workers end by it, too."""

    def end_all(env: UninterruptedSubprocVecEnv) -> None:
        for process in env.processes:
            process.terminate()
            process.join()
        os.kill(os.getpid(), signal.SIGTERM)

    at_order(60, end_all, monkeypatch)
    assert cli.main(command("--vec-env", "subproc")) == 143
    out, err = capsys.readouterr()
    assert "Interrupted after 118 of 300 steps" in out and "worker" not in err
    told = manifest_of(f"{NAME}_1")
    assert (told.ended, told.num_timesteps, told.trouble) == ("interrupted", 118, None)
    assert saved_in(f"{NAME}_1").num_timesteps == 118


# ---------------------------------------------------------------------- disks


def full() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_disk_that_is_full_at_a_checkpoint_ends_training_and_what_fits_is_saved(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    on_write("rl_model_200", full, monkeypatch)
    assert cli.main(command("--save-freq", "100", "--save-replay-buffer")) == 2
    out, err = capsys.readouterr()
    assert err == (
        f"sb3-ext train: No space left on device, writing {RUNS}/{NAME}_1/rl_model_200_steps.zip: training ended "
        "after 200 steps, and all is saved\n"
    )
    assert "Interrupted after 200 of 300 steps" in out
    names = {path.name for path in (RUNS / f"{NAME}_1").iterdir()}
    assert {"rl_model_100_steps.zip", "rl_model_replay_buffer_100_steps.pkl", f"{NAME}.zip"} <= names
    assert not any(name.startswith((".", "rl_model_200")) for name in names)


def test_an_error_of_the_environment_is_not_taken_for_one_of_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")

    at_step(150, broken, monkeypatch)
    with pytest.raises(ConnectionRefusedError):
        cli.main(command())
    assert not (RUNS / f"{NAME}_1" / f"{NAME}.zip").exists()


@pytest.mark.parametrize("from_then_on", ["rl_model_200", "replay_buffer"])
def test_on_a_full_disk_what_was_whole_stays_so_and_is_gone_on_with(
    from_then_on: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    is_full = False

    def fill() -> None:
        nonlocal is_full
        is_full = True

    flags = ("--save-freq", "100", "--save-replay-buffer")
    with monkeypatch.context() as patch:
        on_write("", lambda: full() if is_full else None, patch)
        on_write(from_then_on if from_then_on == "rl_model_200" else ".replay_buffer.pkl", fill, patch)
        assert cli.main(command(*flags)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    first = RUNS / f"{NAME}_1"
    name = f"{NAME}.zip" if from_then_on == "rl_model_200" else "replay_buffer.pkl"
    assert f"No space left on device, writing {first}/{name}: what was saved before is whole" in line
    assert cli.main(command(*flags, "--resume", str(first))) == 0
    steps = 100 if from_then_on == "rl_model_200" else 300
    assert f"Going on after {steps} of 300 steps" in capsys.readouterr().out


# ---------------------------------------------------------------------- what is written about a run


def test_passwords_and_paths_of_the_command_stay_here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    at_step(100, kill(signal.SIGINT), monkeypatch)
    storage = f"postgresql://me:{'hunter' + '2'}@db.example.org/studies"
    arguments = command("--storage", storage, "-f", str(tmp_path / "logs"))
    assert cli.main(arguments) == 130
    out = capsys.readouterr().out
    run = RUNS / f"{NAME}_1"
    written = {name: (run / NAME / name).read_text() for name in ("command.txt", "args.yml", "config.yml")}
    for text in (*written.values(), out):
        assert "hunter2" not in text
    assert str(tmp_path) not in written["command.txt"] + written["args.yml"]
    assert written["command.txt"].startswith(f"sb3-ext train --algo r2d2 --env {ENV} -n 300")
    arguments_written = yaml.load(written["args.yml"], Loader=yaml.UnsafeLoader)
    assert arguments_written["env"] == ENV and arguments_written["storage"].endswith("@db.example.org/studies")
    assert arguments_written["hyperparams"]["n_envs"] == 2
    assert f"--resume {tmp_path}/logs/r2d2/{NAME}_1" in out, "which needs the path"
    assert cli.main(command("--resume", str(run))) == 0
    assert R2D2.load(RUNS / f"{NAME}_2" / f"{NAME}.zip", device="cpu").num_timesteps == 300
