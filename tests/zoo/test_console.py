"""What `sb3-ext train` shows: a line for each tenth, a bar, last lines. What it learns and writes is the same."""

from __future__ import annotations

import contextlib
import io
import math
import re
import shlex
import signal
import sys
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import numpy as np
import pytest
import yaml
from rl_zoo3 import exp_manager
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import EvalCallback
from support.checks import assert_same_weights

from sb3_ext.cli import main as cli
from sb3_ext.zoo.console import LOOK_STEPS, PARTS, Progress, _clock, hushed, silenced
from sb3_ext.zoo.typed_experiment import saved

ENV = "CartPole-v1"
# PPO with small rollouts: an evaluation and an update fit into each tenth.
TRAIN = f"train --algo ppo --env {ENV} -n 800 --eval-freq 200 --eval-episodes 2 --seed 3 --device cpu -tb tb "
TRAIN += "-params n_envs:1 n_steps:40 batch_size:40 n_epochs:2 target_kl:1e-9"


class Run(NamedTuple):
    out: str
    err: str
    folder: Path


def made(folder: Path, *more: str, code: int = 0) -> Run:
    out, err = io.StringIO(), io.StringIO()
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.chdir(folder)
        assert cli.main([*TRAIN.split(), *more]) == code
    return Run(out.getvalue(), err.getvalue(), folder)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """The same training, shown in three ways."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the stock scripts
        return {v: made(tmp_path_factory.mktemp(f"v{v}"), "-v", v) for v in "012"}


def lines_of(out: str) -> list[list[str]]:
    """:return: cells of the table"""
    rows = [line.split() for line in out.splitlines()]
    (head,) = (i for i, row in enumerate(rows) if row[:2] == ["steps", "return"])
    return [row for row in rows[head + 1 :] if len(row) == 6 and row[0].isdigit()]


def test_a_run_is_two_lines_a_table_and_what_comes_next(runs: dict[str, Run]) -> None:
    out = runs["1"].out.splitlines()
    assert out[0] == f"Training ppo on {ENV}, seed 3: 800 steps"
    assert out[1].startswith("Settings of ") and out[1].endswith(f"ppo.yml, run in logs/ppo/{ENV}_1")
    table = lines_of(runs["1"].out)
    assert [int(row[0]) for row in table] == [80 * (i + 1) for i in range(PARTS)]
    results = np.load(runs["1"].folder / f"logs/ppo/{ENV}_1/evaluations.npz")["results"].mean(axis=1)
    evaluated = [int(row[0]) // 200 for row in table]  # evaluations so far
    assert [row[2] for row in table] == ["-" if n == 0 else f"{results[n - 1]:.2f}" for n in evaluated]
    assert [row[3] for row in table] == ["-" if n == 0 else f"{results[:n].max():.2f}" for n in evaluated]
    episodes = np.genfromtxt(runs["1"].folder / f"logs/ppo/{ENV}_1/0.monitor.csv", delimiter=",", skip_header=2)
    for row in table:
        ended = episodes[np.cumsum(episodes[:, 1]) <= int(row[0]), 0]
        assert row[1] == f"{ended[-100:].mean():.2f}"
    assert table[-1][5] == "0:00"
    last = out[out.index(next(line for line in out if line.startswith("Saved"))) :]
    assert last[0] == (
        f"Saved logs/ppo/{ENV}_1/{ENV}.zip, and best_model.zip, mean return {results.max():.2f}. What comes next:"
    )
    agent = f"--algo ppo --env {ENV}"
    assert last[1:] == [
        f"  sb3-ext enjoy {agent} -f logs --exp-id 1 --load-best",
        f"  sb3-ext report {agent} --exp-id 1",
        f"  sb3-ext video {agent} --exp-id 1",
        "  tensorboard --logdir tb",
    ]
    assert len(out) == 2 + 1 + PARTS + 5, "and nothing else"
    assert not runs["1"].err, "no bar where stderr is no terminal"


def test_all_is_shown_with_verbosity_2_and_nothing_with_0(runs: dict[str, Run]) -> None:
    assert runs["0"].out == runs["0"].err == ""
    said = ["Loading hyperparameters from", "OrderedDict", "Using cpu device", "| rollout/", "Eval num_timesteps=200"]
    said += ["New best mean reward!", "Early stopping at step", "Log path: ", "Seed: 3", "What comes next"]
    assert [words for words in said if words not in runs["2"].out] == []
    assert "evaluation       best" not in runs["2"].out


def test_what_is_learned_and_written_does_not_depend_on_what_is_shown(runs: dict[str, Run]) -> None:
    shown, *others = (runs[v].folder for v in "120")
    names = sorted(str(path.relative_to(shown)) for path in shown.rglob("*") if "events" not in path.name)
    best = PPO.load(shown / f"logs/ppo/{ENV}_1/best_model.zip", device="cpu")
    for other in others:
        assert sorted(str(path.relative_to(other)) for path in other.rglob("*") if "events" not in path.name) == names
        assert_same_weights(best, PPO.load(other / f"logs/ppo/{ENV}_1/best_model.zip", device="cpu"))
        for name in (f"{ENV}/config.yml", "evaluations.npz"):
            one, two = ((folder / f"logs/ppo/{ENV}_1" / name).read_bytes() for folder in (shown, other))
            if name.endswith("yml"):
                assert yaml.unsafe_load(one) == yaml.unsafe_load(two)
            else:
                first, second = np.load(io.BytesIO(one)), np.load(io.BytesIO(two))
                assert all((first[key] == second[key]).all() for key in first)
        (logged,), (again,) = (list((folder / "tb").rglob("events*")) for folder in (shown, other))
        assert logged.stat().st_size > 1000 and abs(logged.stat().st_size - again.stat().st_size) < 200


def test_an_interrupted_run_says_how_to_go_on_and_its_lines_count_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_step = Progress._on_step

    def interrupted(self: Progress) -> bool:
        if self.num_timesteps == 200:
            signal.raise_signal(signal.SIGTERM)
        return on_step(self)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        monkeypatch.setattr(Progress, "_on_step", interrupted)
        first = made(tmp_path, "--eval-freq", "-1", code=143)
        monkeypatch.setattr(Progress, "_on_step", on_step)
        line = first.out.splitlines()[-1]
        with contextlib.redirect_stdout(io.StringIO()) as out:
            monkeypatch.chdir(tmp_path)
            assert cli.main(shlex.split(line)[1:]) == 0
    assert "What comes next" not in first.out and "--resume" in line
    assert [row[0] for row in lines_of(first.out)] == ["80", "160", "201"]
    assert f"Training ppo on {ENV}, seed 3\n" in out.getvalue() and "Going on after 201 of 800" in out.getvalue()
    rows = lines_of(out.getvalue())
    assert [int(row[0]) for row in rows] == [240, 320, 400, 480, 560, 640, 720, 800]
    assert {row[2] for row in rows} == {"-"}


# ------------------------------------------------------------------------------------------------------------- by hand


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown_of(steps: Iterable[int], goal: int, **settings: Any) -> Iterator[tuple[int, Progress]]:
    """A training that does nothing but count."""
    model: Any = SimpleNamespace(num_timesteps=0, ep_info_buffer=deque(), get_env=lambda: None, logger=None)
    evaluation: Any = SimpleNamespace(best_mean_reward=-math.inf, last_mean_reward=-math.inf)
    progress = Progress(evaluation, **settings)
    progress.model = model
    first, *others = steps
    model.num_timesteps = first
    progress.on_training_start({"total_timesteps": goal}, {})
    for n in others:
        model.num_timesteps = n
        evaluation.last_mean_reward, evaluation.best_mean_reward = -n, 7.0
        model.ep_info_buffer.append({"r": n / 2})
        assert progress.on_step()
        yield n, progress
    progress.close()
    progress.close()


@pytest.mark.parametrize(
    ("steps", "goal", "lines"),
    [
        (range(101), 100, list(range(10, 101, 10))),
        (range(0, 105, 3), 100, [12, 21, 30, 42, 51, 60, 72, 81, 90, 102]),  # three environments
        (range(0, 200, 64), 100, [64, 128]),  # a rollout at a time; nothing is said twice of the end
        (range(35, 101), 100, list(range(40, 101, 10))),  # an interrupted run goes on
        (range(37), 100, [10, 20, 30, 36]),  # it ends early
        (range(31), 100, [10, 20, 30]),
        (range(4), 3, [1, 2, 3]),
    ],
)
def test_there_is_a_line_for_each_tenth_that_began(
    steps: range, goal: int, lines: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    made = [n for n, _ in shown_of(steps, goal)]
    assert made == list(steps)[1:]
    rows = lines_of(capsys.readouterr().out)
    assert [int(row[0]) for row in rows] == lines
    for row in rows:
        so_far = [n for n in made if n <= int(row[0])]
        assert row[1:4] == [f"{np.mean(so_far) / 2:.2f}", f"{-so_far[-1]:.2f}", "7.00"]


def test_a_terminal_has_a_bar_past_which_lines_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = io.StringIO(), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    seen = [(n, progress._bar.n) for n, progress in shown_of(range(2001), 2000) if progress._bar is not None]
    assert all(0 <= n - shown < LOOK_STEPS for n, shown in seen)
    assert "2000/2000" in err.getvalue() and "best 7.00" in err.getvalue()
    assert [int(row[0]) for row in lines_of(out.getvalue())] == list(range(200, 2001, 200))
    assert "\r" not in out.getvalue()


def test_a_bar_ends_full_where_the_last_rollout_goes_past_the_goal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setattr(sys, "stderr", err := Terminal())
    assert [n for n, _ in shown_of(range(0, 129, 16), 100)][-1] == 128
    assert "100%" in err.getvalue() and "100/100" in err.getvalue()
    assert "128/" not in err.getvalue() and "128step" not in err.getvalue()  # a speed may begin with 128


@pytest.mark.parametrize(("bar", "has_bar"), [(None, False), (True, True), (False, False)])
def test_a_bar_is_wanted_or_not_where_there_is_no_terminal(
    bar: bool | None, has_bar: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(list(shown_of(range(11), 10, table=False, bar=bar))) == 10
    out, err = capsys.readouterr()
    assert not out and bool(err) == has_bar


@pytest.mark.parametrize("seconds", [0, 0.4, 59.6, 61, 3599.4, 3600, 36_000 + 61])
def test_what_is_left_is_shown_as_a_clock(seconds: float) -> None:
    """Against the sum of its parts."""
    parts = [int(part) for part in _clock(seconds).split(":")]
    assert sum(part * 60**i for i, part in enumerate(reversed(parts))) == round(seconds)
    assert re.fullmatch(r"(\d+:[0-5]\d|\d):[0-5]\d|[1-5]?\d:[0-5]\d", _clock(seconds))


def test_of_a_best_model_whose_score_is_not_known_none_is_told(tmp_path: Path) -> None:
    model, chosen = tmp_path / "last.zip", cast(EvalCallback, SimpleNamespace(best_mean_reward=-math.inf))
    assert saved(model, chosen) == f"Saved {model}"
    (tmp_path / "best_model.zip").touch()
    assert saved(model, None) == saved(model, chosen) == f"Saved {model}, and best_model.zip"
    chosen.best_mean_reward = 2.5
    assert saved(model, chosen) == f"Saved {model}, and best_model.zip, mean return 2.50"


def test_warnings_are_heard_where_prints_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    with hushed(), silenced():
        vars(exp_manager)["print"]("not heard")
        print("nor this")
        with pytest.warns(UserWarning, match="heard"):
            warnings.warn("heard", stacklevel=1)
    assert capsys.readouterr().out == "" and "print" not in vars(exp_manager)
    print("again")
    assert capsys.readouterr().out == "again\n"
