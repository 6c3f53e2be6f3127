"""`run.json`: what it tells at each moment of a run, what is refused, and that it names nothing of the machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from stable_baselines3.common.callbacks import EvalCallback
from support.manifests import manifest
from support.runs import ENV, NAME, RUNS, at_step, command, experiment, kill, killed, manifest_of

from sb3_ext import R2D2
from sb3_ext.cli import main as cli
from sb3_ext.envs import MemoryChainEnv
from sb3_ext.errors import UserError
from sb3_ext.zoo.actors import ActorSettings
from sb3_ext.zoo.runs.chains import chains_of
from sb3_ext.zoo.runs.manifests import Manifest, commit_here, is_under_way, path_between, under_way
from sb3_ext.zoo.runs.resuming import read_unfinished
from sb3_ext.zoo.runs.taken_over import take_over

pytestmark = pytest.mark.filterwarnings("ignore")  # of the stock scripts


# ---------------------------------------------------------------------- the file


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert Manifest.read(tmp_path) is None
    for written in (
        manifest(),
        manifest(parent="1" * 32, parent_folder="../E_1", parent_steps=7, actors=ActorSettings(2, 3, chunk=4)),
        manifest(ended="failed", trouble="no space", ended_at="2026-01-01T00:00:01+00:00", cpu_seconds=None),
    ):
        written.write(tmp_path)
        assert Manifest.read(tmp_path) == written


def test_what_is_no_manifest_is_one_line(tmp_path: Path) -> None:
    for change, said in (
        ({"seed": "3"}, "seed '3' is no int"),
        ({"seed": True}, "seed True is no int"),
        ({"num_timesteps": -1}, "num_timesteps -1 is negative"),
        ({"parent_steps": 10**400}, "parent_steps is more than 1e+18"),
        ({"num_timesteps": 1.5}, "num_timesteps 1.5 is no int"),
        ({"ended": "dead"}, "ended 'dead' is none of running, finished, interrupted, failed"),
        ({"versions": {"torch": 2}}, "versions {'torch': 2} are no texts"),
        ({"parent": 5}, "parent 5 is no str or NoneType"),
        ({"actors": {"n_actors": 0, "envs_per_actor": 1}}, "n_actors (--actors) 0 must be an integer >= 1"),
        ({"actors": 3}, "argument after ** must be a mapping"),
    ):
        (tmp_path / "run.json").write_text(json.dumps({**asdict(manifest()), **change}))
        with pytest.raises(UserError) as caught:
            Manifest.read(tmp_path)
        assert str(caught.value).startswith(f"{tmp_path}/run.json is broken: ") and said in str(caught.value)
    for text in ("", "{", "[]", "[" * 100_000, '{"id": ', " " * 1_000_001, "\xff"):
        (tmp_path / "run.json").write_bytes(text.encode("latin-1"))
        with pytest.raises(UserError, match=r"run\.json is broken: [^\n]+$"):
            Manifest.read(tmp_path)
        with pytest.raises(UserError, match=r"-i goes on from any model$"):
            read_unfinished(tmp_path)


def test_names_of_later_versions_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({**asdict(manifest()), "mood": "good"}))
    assert Manifest.read(tmp_path) == manifest()


def test_notes_of_earlier_versions_are_gone_on_with(tmp_path: Path) -> None:
    actors = ActorSettings(2, 1, "inline")
    for made, ended in ((100, "interrupted"), (None, "running")):
        note = {"n_timesteps": 300, "num_timesteps": made, "tensorboard": "tb", "actors": asdict(actors)}
        (tmp_path / "interrupted.json").write_text(json.dumps(note))
        found = read_unfinished(tmp_path)
        assert (found.n_timesteps, found.num_timesteps, found.ended) == (300, made or 0, ended)
        assert (found.tensorboard, found.actors, found.id) == ("tb", actors, "")


def test_one_process_at_a_time_is_at_a_run(tmp_path: Path) -> None:
    manifest().write(tmp_path)
    assert not is_under_way(tmp_path)
    with under_way(tmp_path):
        assert is_under_way(tmp_path)
        with pytest.raises(UserError, match="is under way in another process"), under_way(tmp_path):
            pass
        assert is_under_way(tmp_path), "it is as it was"
    assert not is_under_way(tmp_path) and not (tmp_path / "run.lock").exists()
    (tmp_path / "run.lock").touch()  # as a killed one leaves it
    assert not is_under_way(tmp_path) and read_unfinished(tmp_path) == manifest()


def test_paths_between_runs_name_nothing_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "a" / "b"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    run = Path("logs/ppo/E_2")
    assert path_between(run, Path("logs/ppo/E_1")) == "../E_1"
    assert path_between(run, here / "logs" / "dqn" / "E_1") == "../../dqn/E_1"
    assert path_between(run, Path("tb/E/PPO_1")) == "../../../tb/E/PPO_1"
    assert path_between(Path("deep/er/logs/ppo/E_2"), Path("logs/ppo/E_1")) == "../../../../../logs/ppo/E_1"
    assert path_between(run, Path("../logs/ppo/E_1")) is None and path_between(run, tmp_path / "E_1") is None
    elsewhere = tmp_path / "logs" / "ppo"
    assert path_between(elsewhere / "E_2", elsewhere / "E_1") == "../E_1", "of one log folder, wherever it lies"


def test_the_commit_is_that_of_the_working_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert commit_here() is None
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    for arguments in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run([*git, *arguments], check=True)
    told = subprocess.run(["git", "log", "--format=%H"], check=True, capture_output=True, text=True).stdout
    assert commit_here() == told.strip()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit_here() is None


# ---------------------------------------------------------------------- the moments of a run


def test_a_run_that_was_interrupted_twice_tells_of_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Ctrl-C, `--resume`, SIGKILL between two checkpoints, `--resume`: one chain of 300 steps."""
    flags = ("--save-freq", "40", "--save-replay-buffer", "-tb", str(tmp_path / "tb"), "--seed", "7")
    seen: list[Manifest] = []
    with monkeypatch.context() as patch:
        patch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
        at_step(20, lambda: seen.append(manifest_of(f"{NAME}_1")), patch)
        at_step(90, lambda: seen.append(manifest_of(f"{NAME}_1")), patch)
        at_step(110, kill(signal.SIGINT), patch)
        assert cli.main(command(*flags, "--storage", "sqlite:////secret/place.db")) == 130
    first = manifest_of(f"{NAME}_1")
    begin, later = seen
    assert begin == replace(first, num_timesteps=0, ended="running", ended_at=None, cpu_seconds=begin.cpu_seconds), (
        "all else is known from the start"
    )
    assert (later.num_timesteps, later.ended) == (80, "running")
    assert begin.cpu_seconds is not None and later.cpu_seconds is not None and first.cpu_seconds is not None
    assert begin.cpu_seconds <= later.cpu_seconds <= first.cpu_seconds
    assert (first.algorithm, first.env_id, first.seed, first.n_timesteps) == ("r2d2", ENV, 7, 300)
    assert (first.num_timesteps, first.ended, first.trouble) == (110, "interrupted", None)
    assert (first.parent, first.parent_folder, first.parent_steps, first.commit) == (None, None, 0, None)
    assert first.tensorboard == f"../../../tb/{NAME}/R2D2_1" and {"sb3_ext", "torch", "rl_zoo3"} <= set(first.versions)
    assert first.ended_at is not None and first.began <= first.ended_at
    assert first.command.startswith(f"sb3-ext train --algo r2d2 --env {ENV}") and "/secret" not in first.command

    with monkeypatch.context() as patch:
        at_step(110, kill(signal.SIGKILL), patch)
        killed(command(*flags, "--resume", str(RUNS / f"{NAME}_1")))
    second = manifest_of(f"{NAME}_2")
    assert (second.num_timesteps, second.n_timesteps, second.ended, second.ended_at) == (200, 300, "running", None)
    assert (second.parent, second.parent_folder, second.parent_steps) == (first.id, f"../{NAME}_1", 110)
    assert not is_under_way(RUNS / f"{NAME}_2") and (RUNS / f"{NAME}_2" / "run.lock").is_file()

    capsys.readouterr()
    assert cli.main(command(*flags, "--resume", str(RUNS / f"{NAME}_2"))) == 0
    assert "Going on after 200 of 300 steps" in capsys.readouterr().out
    third = manifest_of(f"{NAME}_3")
    assert (third.num_timesteps, third.n_timesteps, third.ended) == (300, 300, "finished")
    assert (third.parent, third.parent_steps) == (second.id, 200)
    assert len({first.id, second.id, third.id}) == 3
    assert not (RUNS / f"{NAME}_3" / "run.lock").exists()
    (chain,), notes = chains_of(RUNS / f"{NAME}_{n}" for n in (1, 2, 3))
    assert [part.name for part in chain.parts] == [f"{NAME}_{n}" for n in (1, 2, 3)] and notes == []
    assert list(chain.cuts) == [110, 200, float("inf")]
    assert str(tmp_path) not in (RUNS / f"{NAME}_3" / "run.json").read_text()

    assert cli.main(command("--resume", str(RUNS / f"{NAME}_3"))) == 2
    assert f"{RUNS}/{NAME}_3 has finished, after 300 steps" in capsys.readouterr().err


def test_a_run_that_breaks_down_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ZeroDivisionError(f"in {os.getcwd()}/env.py")

    at_step(150, broken, monkeypatch)
    with pytest.raises(ZeroDivisionError):
        cli.main(command("--save-freq", "100", "--save-replay-buffer"))
    told = manifest_of(f"{NAME}_1")
    assert (told.ended, told.num_timesteps, told.trouble) == ("failed", 100, "ZeroDivisionError: in .../env.py")
    assert cli.main(command("--resume", str(RUNS / f"{NAME}_1"))) == 0
    assert manifest_of(f"{NAME}_2").parent_steps == 100


def test_a_model_that_is_gone_on_with_is_a_parent_where_it_lies_in_a_run() -> None:
    arguments = ("--save-freq", "50")
    assert cli.main(command(*arguments, steps=100)) == 0
    first = RUNS / f"{NAME}_1"
    for model, steps, planned in (("rl_model_50_steps", 50, 110), (NAME, 0, 60)):
        assert cli.main(command("-i", str(first / f"{model}.zip"), steps=60)) == 0
        n = 2 if steps else 3
        told = manifest_of(f"{NAME}_{n}")
        assert (told.parent, told.parent_folder, told.parent_steps) == (
            manifest_of(first.name).id,
            f"../{NAME}_1",
            steps,
        )
        assert (told.n_timesteps, told.num_timesteps, told.ended) == (planned, planned, "finished")
    (first / "run.json").write_text("{")
    assert cli.main(command("-i", str(first / "rl_model_50_steps.zip"), steps=10)) == 0
    assert (manifest_of(f"{NAME}_4").parent, manifest_of(f"{NAME}_4").parent_folder) == (None, f"../{NAME}_1")
    (first / f"{NAME}.zip").rename("alone.zip")
    assert cli.main(command("-i", "alone.zip", steps=10)) == 0
    assert manifest_of(f"{NAME}_5").parent_folder is None


# ---------------------------------------------------------------------- what goes on is whole


def take(before: Path, steps: int, n_episodes: int = 2) -> tuple[EvalCallback, Path]:
    run = experiment()
    run.create_log_folder()
    callback = EvalCallback(MemoryChainEnv(), n_eval_episodes=n_episodes)
    take_over(before, Path(run.save_path), NAME, steps, [run.stop, callback])
    return callback, Path(run.save_path)


def test_evaluations_and_the_best_model_go_along_up_to_the_step_that_is_gone_on_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = tmp_path / "first"
    first.mkdir()
    model = R2D2("MlpLstmPolicy", ENV, buffer_size=200, device="cpu")
    model.num_timesteps = 20
    model.save(first / "best_model.zip")
    told = {
        "timesteps": np.array([10, 20, 30]),
        "results": np.array([[1.0, 3.0], [4.0, 5.0], [0.0, 1.0]]),
        "ep_lengths": np.array([[5, 5], [6, 6], [7, 7]]),
    }
    np.savez(first / "evaluations.npz", allow_pickle=False, **told)
    whole = (first / "evaluations.npz").read_bytes()

    for steps, n_kept, best in ((30, 3, 4.5), (25, 2, 4.5), (20, 2, 4.5), (19, 1, -np.inf), (5, 0, -np.inf)):
        callback, folder = take(first, steps)
        assert callback.evaluations_timesteps == [10, 20, 30][:n_kept]
        assert callback.evaluations_results == told["results"].tolist()[:n_kept]
        assert callback.evaluations_length == told["ep_lengths"].tolist()[:n_kept]
        assert callback.best_mean_reward == best
        assert (folder / "best_model.zip").is_file() == (steps >= 20)
        assert (folder / "evaluations.npz").is_file() == (n_kept > 0)
        line = f"The best model so far, of step 20, stays in {first}: this run goes on from step {steps}\n"
        assert capsys.readouterr().out == ("" if steps >= 20 else line)
        if n_kept:
            with np.load(folder / "evaluations.npz") as file:
                assert {name: file[name].tolist() for name in file.files} == {
                    name: x[:n_kept].tolist() for name, x in told.items()
                }
    callback, folder = take(first, 30, n_episodes=5)
    assert callback.evaluations_timesteps == [] and not (folder / "evaluations.npz").exists(), "no array holds both"
    assert callback.best_mean_reward == 4.5 and (folder / "best_model.zip").is_file()
    (first / "evaluations.npz").write_bytes(whole[:-40])  # killed while it wrote
    callback, folder = take(first, 30)
    assert callback.best_mean_reward == -np.inf and not (folder / "best_model.zip").exists()


def test_a_folder_has_the_evaluations_of_its_whole_run(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ("--eval-freq", "40", "--eval-episodes", "2")
    with monkeypatch.context() as patch:
        at_step(130, kill(signal.SIGINT), patch)
        assert cli.main(command(*flags)) == 130
    made = manifest_of(f"{NAME}_1").num_timesteps
    (RUNS / f"{NAME}_1" / "run.json").unlink()  # as if an earlier version had made it
    note = {"n_timesteps": 300, "num_timesteps": made, "tensorboard": None}
    (RUNS / f"{NAME}_1" / "interrupted.json").write_text(json.dumps(note))
    assert cli.main(command(*flags, "--resume", str(RUNS / f"{NAME}_1"))) == 0
    steps = [np.load(RUNS / f"{NAME}_{n}" / "evaluations.npz")["timesteps"].tolist() for n in (1, 2)]
    whole = list(range(40, 301, 40))
    assert made % 40 != 0 and steps == [[step for step in whole if step <= made], whole], "as if it had not stopped"
    (chain,), notes = chains_of([RUNS / f"{NAME}_2"])
    assert chain.parts == (RUNS / f"{NAME}_1", RUNS / f"{NAME}_2") and list(chain.cuts) == [made, float("inf")]
    assert manifest_of(f"{NAME}_2").parent is None and notes == []
