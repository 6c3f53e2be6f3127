"""`sb3-ext train --actors N`: what is left behind is as if one process had trained, whatever ends the run."""

from __future__ import annotations

import functools
import json
import signal
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch as th
import yaml
from stable_baselines3.common.monitor import load_results
from support.hub_server import TOKEN, reachable
from support.runs import ENV, NAME, RUNS, at_step, command, kill, killed, manifest_of, saved_in

from sb3_ext import R2D2
from sb3_ext.cli import main as cli
from sb3_ext.envs import MemoryChainEnv
from sb3_ext.exchange import hub as sb3_hub
from sb3_ext.zoo.actors import ActorSettings

pytestmark = pytest.mark.filterwarnings("ignore")  # of the stock scripts
INLINE = ("--actors", "2", "--backend", "inline")
AGENT = ("--algo", "r2d2", "--env", ENV, "--device", "cpu")
EVALUATED = ("--eval-freq", "100", "--eval-episodes", "2")


def weights(run: Path, name: str = f"{NAME}.zip") -> dict[str, th.Tensor]:
    return R2D2.load(run / name, device="cpu").policy.state_dict()


def files_of(run: Path) -> set[str]:
    return {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}


def test_one_actor_in_lockstep_leaves_what_one_process_leaves() -> None:
    flags = (*EVALUATED, "--save-freq", "100", "--save-replay-buffer", "--seed", "3")
    settings = ("normalize:True",)
    assert cli.main(command(*flags, settings=settings)) == 0
    assert cli.main(command(*flags, "--actors", "1", "--backend", "inline", "--lockstep", settings=settings)) == 0
    one, two = (RUNS / f"{NAME}_{n}" for n in (1, 2))
    assert files_of(one) - {"0.monitor.csv", "1.monitor.csv"} == files_of(two) - {"monitor.csv"}
    for name in (f"{NAME}.zip", "best_model.zip", "rl_model_200_steps.zip"):
        for key, value in weights(one, name).items():
            assert th.equal(value, weights(two, name)[key]), (name, key)
    evaluations = [np.load(run / "evaluations.npz") for run in (one, two)]
    for key in ("timesteps", "results", "ep_lengths"):
        np.testing.assert_array_equal(evaluations[0][key], evaluations[1][key])
    episodes: list[pd.DataFrame] = [load_results(str(run)) for run in (one, two)]
    returns = [sorted(each[["r", "l"]].itertuples(index=False)) for each in episodes]
    assert returns[0] == returns[1] and len(returns[0]) > 10
    configs = [yaml.load((run / NAME / "config.yml").read_text(), yaml.UnsafeLoader) for run in (one, two)]
    assert configs[1].pop("actors") == {"n_actors": 1, "envs_per_actor": 2, "backend": "inline", "lockstep": True}
    assert dict(configs[0]) == configs[1]


def test_the_result_is_watched_plotted_reported_and_shared_as_any_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = command(*INLINE, *EVALUATED, "-tb", "tb", "-P", settings=("normalize:True",))
    arguments[arguments.index("--final-eval-episodes") + 1] = "3"
    assert cli.main(arguments) == 0
    out = capsys.readouterr().out
    assert "Evaluation of best_model.zip: mean return" in out and "over 3 episodes" in out
    assert "2 actors of 1 environments" in out and "Actors sent " in out and " bytes per env step\n" in out
    assert list(tmp_path.glob("tb/**/events*"))
    assert manifest_of(f"{NAME}_1").ended == "finished"

    assert cli.main(["enjoy", *AGENT, "-n", "30", "--load-best"]) == 0
    assert cli.main(["plot_train", "-a", "r2d2", "-e", ENV, "-f", "logs", "-w", "2"]) == 0
    assert Path("plot_train_1.png").is_file()
    assert cli.main(["plot", str(RUNS / f"{NAME}_1"), "-o", "curve.png", "--source", "monitor", "--window", "3"]) == 0
    assert cli.main(["report", *AGENT, "-o", "report.html", "-n", "0", "--max-steps", "4"]) == 0
    assert "sb3-ext train --algo r2d2" in Path("report.html").read_text()
    with reachable(monkeypatch) as hub:
        there: dict[str, Any] = {"endpoint": hub.endpoint, "token": TOKEN}
        monkeypatch.setattr(sb3_hub, "push_to_hub", functools.partial(sb3_hub.push_to_hub, **there))
        monkeypatch.setattr(sb3_hub, "reach", functools.partial(sb3_hub.reach, **there))
        assert cli.main(["push_to_hub", *AGENT, "--repo-id", "me/chain", "-n", "2", "--no-replay"]) == 0
        card = hub.repositories["me/chain"].commits[-1][1]["README.md"].decode()
    assert f"--env {ENV} -n 300" in card and "--actors 2 --backend inline" in card


def test_an_interrupted_run_goes_on_with_its_actors_or_split_otherwise(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    four = ("n_envs:4",)
    with monkeypatch.context() as patch:
        at_step(150, kill(signal.SIGINT), patch)
        assert cli.main(command(*INLINE, "--chunk", "5", settings=four)) == 130
    first = RUNS / f"{NAME}_1"
    assert "Interrupted after " in capsys.readouterr().out
    written = json.loads((first / "run.json").read_text())
    own = ActorSettings(2, 2, "inline", chunk=5)
    assert written["actors"] == asdict(own) and manifest_of(first.name).actors == own

    assert cli.main(command("--resume", str(first), "--actors", "3", settings=four)) == 2
    assert "4 environments do not split into 3 actors: --actors 2 or 4" in capsys.readouterr().err
    assert cli.main(command("--resume", str(first), "--actors", "2", "--envs-per-actor", "3", settings=four)) == 2
    assert "the run had 4 environments, 2 actors with 2 each; 2 with 3 are 6" in capsys.readouterr().err
    assert len(list(RUNS.iterdir())) == 1

    for flags in ((), ("--actors", "4"), ("--envs-per-actor", "4")):
        assert cli.main(command("--resume", str(first), *flags, settings=four)) == 0
        out = capsys.readouterr().out
        assert f"Going on after {written['num_timesteps']} of 300 steps" in out
        split = {(): "2 actors of 2", ("--actors", "4"): "4 actors of 1"}.get(flags, "1 actors of 4")
        assert f"{split} environments" in out
    resumed = [R2D2.load(RUNS / f"{NAME}_{n}" / f"{NAME}.zip", device="cpu") for n in (2, 3, 4)]
    assert [model.num_timesteps for model in resumed] == [300] * 3
    assert all(model._n_updates > R2D2.load(first / f"{NAME}.zip", device="cpu")._n_updates for model in resumed)


def test_a_killed_learner_goes_on_from_its_checkpoint_with_its_actors(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--save-freq", "100", "--save-replay-buffer")
    with monkeypatch.context() as patch:
        at_step(280, kill(signal.SIGKILL), patch)
        killed(command(*INLINE, "--chunk", "5", *flags))
    assert cli.main(command(*flags, "--resume", str(RUNS / f"{NAME}_1"))) == 0
    out = capsys.readouterr().out
    assert "Going on after 200 of 300 steps" in out and "2 actors of 1 environments" in out
    assert R2D2.load(RUNS / f"{NAME}_2" / f"{NAME}.zip", device="cpu").num_timesteps == 300


def test_a_checkpoint_of_one_process_is_gone_on_with_by_actors(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(command("--save-freq", "100", "--save-replay-buffer")) == 0
    checkpoint = RUNS / f"{NAME}_1" / "rl_model_300_steps.zip"
    capsys.readouterr()
    assert cli.main(command(*INLINE, "-i", str(checkpoint), steps=60)) == 0
    assert "Going on after 300 of 360 steps" in capsys.readouterr().out
    assert R2D2.load(RUNS / f"{NAME}_2" / f"{NAME}.zip", device="cpu").num_timesteps == 360


@pytest.mark.parametrize("broken", [{"n_actors": 2}, {"n_actors": 0, "envs_per_actor": 1}, 3])
def test_broken_notes_of_actors_are_one_line(broken: Any, capsys: pytest.CaptureFixture[str]) -> None:
    folder = RUNS / f"{NAME}_1"
    folder.mkdir(parents=True)
    note = {"n_timesteps": 300, "num_timesteps": 100, "tensorboard": None, "actors": broken}
    (folder / "interrupted.json").write_text(json.dumps(note))
    assert cli.main(command("--resume", str(folder))) == 2
    assert capsys.readouterr().err.endswith("interrupted.json is broken; -i goes on from any model\n")


def test_actors_that_fail_again_and_again_end_training_and_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    n_calls = 0
    original = MemoryChainEnv.step

    def step(self: MemoryChainEnv, action: int) -> Any:
        nonlocal n_calls
        n_calls += 1
        if n_calls > 150:
            raise ArithmeticError("no luck")
        return original(self, action)

    monkeypatch.setattr(MemoryChainEnv, "step", step)
    assert cli.main(command(*INLINE)) == 2
    out, err = capsys.readouterr()
    (line,) = err.splitlines()
    assert line.startswith("sb3-ext train: actor ") and "ArithmeticError: no luck" in line and "env seed " in line
    n_steps = R2D2.load(RUNS / f"{NAME}_1" / f"{NAME}.zip", device="cpu").num_timesteps
    assert 60 < n_steps <= 150
    assert line.endswith(f": training ended after {n_steps} steps, and all is saved")
    assert f"Interrupted after {n_steps} of 300 steps" in out
    saved = saved_in(f"{NAME}_1")
    assert saved.num_timesteps == n_steps


def test_actors_that_cannot_begin_leave_no_folder(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def reset(self: MemoryChainEnv, **_: Any) -> Any:
        raise ArithmeticError("no luck")

    monkeypatch.setattr(MemoryChainEnv, "reset", reset)
    assert cli.main(command(*INLINE)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "ArithmeticError: no luck (env seed " in line and line.endswith("training ended before the first step")
    assert not RUNS.exists()


@pytest.mark.parametrize(
    ("flags", "settings", "message"),
    [
        (("--chunk", "2000"), (), "chunk"),
        ((), ("train_freq:(1,'episode')",), "episode"),
    ],
)
def test_what_the_model_refuses_is_one_line_and_leaves_no_folder(
    flags: tuple[str, ...], settings: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(command(*INLINE, *flags, settings=settings)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("sb3-ext train: ") and message in line
    assert not RUNS.exists()
