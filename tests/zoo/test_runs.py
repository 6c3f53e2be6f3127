"""Runs of `sb3-ext train` that meet each other in a folder, or are told to end: nothing is lost or mixed up."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.runs import NAME, RUNS, at_step, command, experiment, kill, manifest_of, on_write, saved_in

from sb3_ext import R2D2
from sb3_ext.cli import main as cli
from sb3_ext.envs import MemoryChainEnv
from sb3_ext.errors import UserError
from sb3_ext.zoo.agent_ref import AgentRef
from sb3_ext.zoo.experiment import Experiment
from sb3_ext.zoo.runs.folders import latest_run, take_folder

# The stock scripts and what they call are not ours to keep free of deprecations and of files left open.
pytestmark = pytest.mark.filterwarnings("ignore")  # of the stock scripts


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
    assert not RUNS.parent.exists()


def test_a_run_that_fails_at_its_first_step_leaves_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    at_step(1, broken, monkeypatch)
    RUNS.parent.mkdir()
    with pytest.raises(ZeroDivisionError):
        cli.main(command())
    assert RUNS.parent.is_dir() and not RUNS.exists()  # what was there before is left


def test_ctrl_c_twice_before_the_first_step_keeps_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def reset(self: MemoryChainEnv, **kwargs: Any) -> Any:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(MemoryChainEnv, "reset", reset)
    assert cli.main(command()) == 130
    assert "Ended before the first step: nothing is kept" in capsys.readouterr().out
    assert not RUNS.parent.exists()


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
    assert cli.main(command()) == 143
    assert signal.getsignal(signal.SIGTERM) is before
    out, err = capfd.readouterr()
    assert "SIGTERM: ending after this step or rollout" in err and "Interrupted after 150 of 300 steps" in out
    assert {"run.json", "replay_buffer.pkl", f"{NAME}.zip"} <= {path.name for path in (RUNS / f"{NAME}_1").iterdir()}


@pytest.mark.parametrize(("before", "code", "steps"), [(signal.SIG_DFL, 129, 150), (signal.SIG_IGN, 0, 300)])
def test_a_terminal_that_is_closed_is_ctrl_c_unless_nohup_has_it_ignored(
    before: signal.Handlers, code: int, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shell sends the same signal once more."""

    def close() -> None:
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGHUP)

    at_step(150, close, monkeypatch)
    of_pytest = signal.signal(signal.SIGHUP, before)
    try:
        assert cli.main(command()) == code
        assert signal.getsignal(signal.SIGHUP) is before
    finally:
        signal.signal(signal.SIGHUP, of_pytest)
    told = manifest_of(f"{NAME}_1")
    assert (told.ended, told.num_timesteps) == ("finished" if code == 0 else "interrupted", steps)


@pytest.mark.parametrize("what", [f"{NAME}.zip", "replay_buffer.pkl", "vecnormalize.pkl"])
def test_ctrl_c_during_the_last_save_waits_for_it(
    what: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    at_step(100, kill(signal.SIGINT), monkeypatch)
    on_write(what, kill(signal.SIGINT), monkeypatch)
    assert cli.main(command(settings=("normalize:True",))) == 130
    out, err = capfd.readouterr()
    assert "Ctrl-C: what is under way is saved first, then it ends" in err and "Interrupted after 100 of 300" in out
    saved = saved_in(f"{NAME}_1", needs_statistics=True)
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
    assert cli.main(command()) == 130
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
    assert manifest_of(f"{NAME}_1").ended == "finished"


def test_each_run_has_its_own_curves_and_goes_on_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """SB3 would go on in the latest folder, which is another run's by now."""
    with monkeypatch.context() as patch:
        at_step(100, kill(signal.SIGINT), patch)
        assert cli.main(command("-tb", "tb")) == 130
    assert cli.main(command("-tb", "tb", steps=40)) == 0
    folders = [Path("tb") / NAME / f"R2D2_{n}" for n in (1, 2)]
    assert sorted((Path("tb") / NAME).iterdir()) == folders
    assert [len(list(folder.glob("events*"))) for folder in folders] == [1, 1]
    assert cli.main(command("-tb", "tb", "--resume", f"{RUNS}/{NAME}_1")) == 0
    assert [len(list(folder.glob("events*"))) for folder in folders] == [2, 1]
    assert cli.main(command("-tb", "tb", "-i", f"{RUNS}/{NAME}_1/{NAME}.zip", steps=40)) == 0
    assert len(list((Path("tb") / NAME).iterdir())) == 3
