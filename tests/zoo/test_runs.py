"""Runs of `sb3-ext train` that meet each other, are killed, or run out of disk: what was learnt is there afterwards."""

from __future__ import annotations

import argparse
import errno
import gc
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import yaml
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.save_util import load_from_pkl

from sb3_ext import R2D2, saving
from sb3_ext.cli import main as cli
from sb3_ext.envs import MemoryChainEnv
from sb3_ext.errors import UserError
from sb3_ext.zoo import checkpoints, register
from sb3_ext.zoo.agent_ref import AgentRef
from sb3_ext.zoo.experiment import Experiment
from sb3_ext.zoo.run_folders import latest_run, take_folder
from sb3_ext.zoo.workers import UninterruptedSubprocVecEnv, deaths

register()
ENV, NAME = "sb3_ext/MemoryChain-v0", "sb3_ext-MemoryChain-v0"
RUNS = Path("logs/r2d2")

# The stock scripts and what they call are not ours to keep free of deprecations and of files left open.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    gc.collect()


def command(*flags: str, steps: int = 300, settings: tuple[str, ...] = ()) -> list[str]:
    begin = ["train", "--algo", "r2d2", "--env", ENV, "-n", str(steps), "--eval-freq", "-1", "--device", "cpu"]
    tiny = ["n_envs:2", "learning_starts:40", "buffer_size:2000", "batch_size:4"]
    return [*begin, "--final-eval-episodes", "0", *flags, "-params", *tiny, *settings]


def at_step(n: int, do: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all environments together, in the middle of the step."""
    n_calls = 0
    original = MemoryChainEnv.step

    def step(self: MemoryChainEnv, action: int) -> Any:
        nonlocal n_calls
        n_calls += 1
        if n_calls == n:
            do()
        return original(self, action)

    monkeypatch.setattr(MemoryChainEnv, "step", step)


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


# ---------------------------------------------------------------------- folders


def test_processes_that_start_at_once_take_folders_of_their_own(tmp_path: Path) -> None:
    go, say = os.pipe()
    children = []
    for i in range(4):
        child = os.fork()
        if child == 0:
            os.read(go, 1)
            taken = [take_folder(tmp_path / "runs" / "Pendulum-v1_1").name for _ in range(25)]
            (tmp_path / f"taken_{i}").write_text("\n".join(taken))
            os._exit(0)
        children.append(child)
    os.write(say, b"1234")
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    taken = [name for i in range(4) for name in (tmp_path / f"taken_{i}").read_text().split()]
    assert sorted(taken) == sorted(f"Pendulum-v1_{n}" for n in range(1, 101))
    for each in (go, say):
        os.close(each)


def experiment(**settings: Any) -> Experiment:
    given = argparse.Namespace(conf_file=None, num_threads=1, env=ENV, algo="r2d2", env_kwargs=None)
    return Experiment(given, "r2d2", ENV, "logs", n_timesteps=64, verbose=0, hyperparams=settings, device="cpu")


def test_runs_that_counted_the_folders_at_the_same_time_do_not_share_one() -> None:
    first, second = experiment(), experiment()
    assert first.save_path == second.save_path
    for each in (first, second):
        each.create_log_folder()
    assert [Path(each.params_path) for each in (first, second)] == [RUNS / f"{NAME}_{n}" / NAME for n in (1, 2)]


@pytest.mark.parametrize("name", ["CartPole-v1_3", "CartPole-v1_3_0f14d0ab-9605-4a62-a9e4-5ed26688389b"])
def test_names_of_folders_end_as_rl_zoo3_s(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    assert take_folder(tmp_path / name).name == name.replace("_3", "_4", 1)


def test_a_run_that_cannot_start_leaves_the_folder_of_another_one_alone() -> None:
    """It had counted on the same number."""
    late = experiment(burnin=3)
    precious = Path(late.save_path) / "rl_model_100_steps.zip"
    precious.parent.mkdir(parents=True)
    precious.touch()
    with pytest.raises(ValueError, match="did you mean 'burn_in'"):
        late.setup_experiment()
    assert precious.is_file()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_before_training_leaves_no_folder(number: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs ignore
    monkeypatch.setattr(Experiment, "create_envs", lambda *_, **__: os.kill(os.getpid(), number))
    try:
        assert cli.main(command()) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert list(RUNS.iterdir()) == []


def test_a_run_that_fails_at_its_first_step_leaves_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    at_step(1, broken, monkeypatch)
    with pytest.raises(ZeroDivisionError):
        cli.main(command())
    assert list(RUNS.iterdir()) == []


def test_ctrl_c_twice_before_the_first_step_keeps_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def reset(self: MemoryChainEnv, **kwargs: Any) -> Any:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(MemoryChainEnv, "reset", reset)
    assert cli.main(command()) == 0
    assert "Ended before the first step: nothing is kept" in capsys.readouterr().out
    assert list(RUNS.iterdir()) == []


def test_folders_without_a_model_are_passed_over(capsys: pytest.CaptureFixture[str]) -> None:
    for name, file in ((f"{NAME}_1", f"{NAME}.zip"), (f"{NAME}_10", "best_model.zip"), (f"{NAME}_11", "monitor.csv")):
        (RUNS / name).mkdir(parents=True)
        (RUNS / name / file).touch()
    either = ["best_model.zip", f"{NAME}.zip"]
    assert latest_run(RUNS, NAME, either) == 10
    assert capsys.readouterr().out == f"No model in {NAME}_11: taking {NAME}_10\n"
    assert latest_run(RUNS, NAME, [f"{NAME}.zip"]) == 1
    assert latest_run(RUNS, "MemoryChain-v0", either) == 0
    assert latest_run(Path("nowhere"), NAME, either) == 0


def test_a_reference_names_one_file() -> None:
    runs = Path("logs/ppo")
    for file in ("1/best_model", "1/a-Env-v0", "2/a-Env-v0", "3/rl_model_9_steps", "3/rl_model_10_steps"):
        (runs / f"a-Env-v0_{file}.zip").parent.mkdir(parents=True, exist_ok=True)
        (runs / f"a-Env-v0_{file}.zip").touch()
    ref = AgentRef("ppo", "a/Env-v0")
    for file, changes in (
        ("2/a-Env-v0", ref),
        ("1/best_model", replace(ref, exp_id=1)),
        ("1/a-Env-v0", replace(ref, exp_id=1, which="last")),
        ("1/best_model", replace(ref, which="best")),
        ("3/rl_model_9_steps", replace(ref, which=9)),
        ("3/rl_model_10_steps", replace(ref, which="last checkpoint")),
    ):
        path, settings = changes.zip()
        assert path == runs / f"a-Env-v0_{file}.zip", changes
        assert settings == path.parent / "a-Env-v0"
    given = runs / "a-Env-v0_1" / "a-Env-v0.zip"
    assert replace(ref, path=given).zip() == (given, given.parent / "a-Env-v0")
    assert replace(ref, path=given.parent).is_safe and not replace(ref, path=given).is_safe
    with pytest.raises(
        UserError, match=r"no ppo agent for a/Env-v0: no logs/ppo/a-Env-v0_0/rl_model_8_steps\.zip: train"
    ):
        replace(ref, which=8).zip()
    with pytest.raises(UserError, match=r"no ppo agent for a/Env-v0: no none\.zip$"):
        replace(ref, path=Path("none.zip")).zip()


# ---------------------------------------------------------------------- signals


def test_sigterm_is_ctrl_c(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    at_step(150, kill(signal.SIGTERM), monkeypatch)
    before = signal.getsignal(signal.SIGTERM)
    assert cli.main(command()) == 0
    assert signal.getsignal(signal.SIGTERM) is before
    out, err = capfd.readouterr()
    assert "SIGTERM: ending after this step or rollout" in err and "Interrupted after 150 of 300 steps" in out
    assert {"interrupted.json", "replay_buffer.pkl", f"{NAME}.zip"} <= {
        path.name for path in (RUNS / f"{NAME}_1").iterdir()
    }


@pytest.mark.parametrize("what", [f"{NAME}.zip", "replay_buffer.pkl", "vecnormalize.pkl"])
def test_ctrl_c_during_the_last_save_waits_for_it(
    what: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    at_step(100, kill(signal.SIGINT), monkeypatch)
    on_write(what, kill(signal.SIGINT), monkeypatch)
    assert cli.main(command(settings=("normalize:True",))) == 0
    out, err = capfd.readouterr()
    assert "Ctrl-C: what is under way is saved first, then it ends" in err and "Interrupted after 100 of 300" in out
    saved = checkpoints.Interrupted.read(RUNS / f"{NAME}_1").newest_whole(NAME, True, True)
    assert saved.model.name == f"{NAME}.zip" and saved.num_timesteps == 100
    assert R2D2.load(saved.model, device="cpu").num_timesteps == 100


def test_ctrl_c_as_often_as_one_likes_saves(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first two end training, the third comes while environments are closed."""

    def thrice() -> None:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGINT)

    at_step(151, thrice, monkeypatch)
    monkeypatch.setattr(MemoryChainEnv, "close", lambda self: os.kill(os.getpid(), signal.SIGINT))
    assert cli.main(command()) == 0
    assert "Interrupted after 150 of 300 steps" in capsys.readouterr().out
    assert R2D2.load(RUNS / f"{NAME}_1" / f"{NAME}.zip", device="cpu").num_timesteps == 150


def test_ctrl_c_while_the_result_is_saved_skips_the_evaluation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    on_write(f"{NAME}.zip", kill(signal.SIGINT), monkeypatch)
    arguments = command(steps=100)
    arguments[arguments.index("--final-eval-episodes") + 1] = "3"
    assert cli.main(arguments) == 0
    out = capsys.readouterr().out
    assert "Evaluation" not in out and "Interrupted" not in out, "it had made all of its steps"
    assert not (RUNS / f"{NAME}_1" / "interrupted.json").exists()


def test_each_run_has_its_own_curves_and_goes_on_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """SB3 would go on in the latest folder, which is another run's by now."""
    with monkeypatch.context() as patch:
        at_step(100, kill(signal.SIGINT), patch)
        assert cli.main(command("-tb", "tb")) == 0
    assert cli.main(command("-tb", "tb", steps=40)) == 0
    folders = [Path("tb") / NAME / f"R2D2_{n}" for n in (1, 2)]
    assert sorted((Path("tb") / NAME).iterdir()) == folders
    assert [len(list(folder.glob("events*"))) for folder in folders] == [1, 1]
    assert cli.main(command("-tb", "tb", "--resume", f"{RUNS}/{NAME}_1")) == 0
    assert [len(list(folder.glob("events*"))) for folder in folders] == [2, 1]
    assert cli.main(command("-tb", "tb", "-i", f"{RUNS}/{NAME}_1/{NAME}.zip", steps=40)) == 0
    assert len(list((Path("tb") / NAME).iterdir())) == 3


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
    assert not (RUNS / f"{NAME}_2" / "interrupted.json").exists()


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


def test_the_best_model_so_far_is_taken_over_with_its_score(tmp_path: Path) -> None:
    first = tmp_path / "first"
    first.mkdir()
    np.savez(first / "evaluations.npz", results=np.array([[1.0, 3.0], [0.0, 1.0]]))
    (first / "best_model.zip").write_bytes(b"best")
    whole = (first / "evaluations.npz").read_bytes()
    for content, score, n_files in ((whole, 2.0, 2), (whole[:-40], -np.inf, 0)):  # killed while it wrote
        (first / "evaluations.npz").write_bytes(content)
        run = experiment()
        run.create_log_folder()
        callback = EvalCallback(MemoryChainEnv())
        run.callbacks = [callback]
        run._take_over_the_best(checkpoints.Interrupted(first, 100))
        assert callback.best_mean_reward == score
        assert len([path for path in Path(run.save_path).iterdir() if path.is_file()]) == n_files


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


def test_a_killed_worker_ends_training_and_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    n_calls = 0
    original = UninterruptedSubprocVecEnv.step_async

    def step_async(self: UninterruptedSubprocVecEnv, actions: np.ndarray) -> None:
        nonlocal n_calls
        n_calls += 1
        if n_calls == 60:
            self.processes[1].kill()
            self.processes[1].join()
        original(self, actions)

    monkeypatch.setattr(UninterruptedSubprocVecEnv, "step_async", step_async)
    assert cli.main(command("--vec-env", "subproc")) == 2
    out, err = capsys.readouterr()
    assert err == (
        "sb3-ext train: worker 2 of 2 was ended by SIGKILL: training ended after 118 steps, and all is saved\n"
    )
    assert "Interrupted after 118 of 300 steps" in out
    saved = checkpoints.Interrupted.read(RUNS / f"{NAME}_1").newest_whole(NAME, True, False)
    assert saved.num_timesteps == R2D2.load(saved.model, device="cpu").num_timesteps == 118


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
    assert cli.main(arguments) == 0
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
