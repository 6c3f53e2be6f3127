"""What the command line answers: one line for wrong input, a traceback for a bug, help."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch as th
from support.pole_runs import train

from sb3_ext import R2D2
from sb3_ext.cli import main as cli

# The stock scripts and what they call are not ours to keep free of deprecations and of files left open.
pytestmark = pytest.mark.filterwarnings("ignore")  # of the stock scripts


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("trian", "unknown command 'trian', did you mean 'train'?"),
        ("train --algo r2d3", "unknown --algo 'r2d3', did you mean 'r2d2'?"),
        (
            "train --algo r2d2 --env CartPoleNoVel-v7",
            "CartPoleNoVel-v7 not found in gym registry, you maybe meant CartPole",
        ),
        ("train --algo r2d2 --env CartPole-v1 -params burnin:3", "'burnin', did you mean 'burn_in'?"),
        ("train --algo r2d2 --env CartPole-v1 -params n_env:3", "'n_env', did you mean 'n_envs'?"),
        (
            "train --algo r2d2 --env CartPole-v1 -params policy_kwargs:dict(lstm_size=3)",
            "key of policy_kwargs for MlpLstmPolicy: 'lstm_size', did you mean 'lstm_hidden_size'?",
        ),
        ("train --algo r2d2 --env CartPole-v1 -params period:7", "period 7 must divide sequence_length 40"),
        ("train --algo r2d2 --env CartPole-v1 -params n_steps:0", "n_steps 0 must be an integer >= 1"),
        ("train --algo r2d2 --env CartPole-v1 -params buffer_size:10", "set buffer_size >= "),
        (
            "train --algo r2d2 --env CartPole-v1 -params state_init:zero",
            "name 'zero' is not defined. Values of -params",
        ),
        (
            "train --algo rainbow --env CartPole-v1 --preset data-eficient",
            "unknown preset of rainbow: 'data-eficient', did you mean 'data-efficient'?",
        ),
        ("train --algo r2d2 --env CartPole-v1 --preset fast", "unknown preset of r2d2: 'fast'"),
        ("train --algo r2d2 --env CartPole-v1 -params period:3+", "Values of -params and --env-kwargs are Python"),
        ("train --algo r2d2 --env CartPole-v1 -conf none.yml", "there is no none.yml"),
        ("train --algo r2d2 --env CartPole-v1 -conf bad.yml", "the block for CartPole-v1 in bad.yml lacks 'policy'"),
        ("train --algo r2d2 --env CartPole-v1 -i none.zip", "The trained_agent must be a valid path to a .zip file"),
        ("train --algo r2d2 --env Pendulum-v1", "it takes Discrete; take TD3, SAC or PPO"),
        ("enjoy --algo r2d2 --env CartPol-v1", "unknown --env 'CartPol-v1', did you mean 'CartPole-v1'?"),
        (
            "enjoy --algo r2d2 --env CartPole-v1",
            "no r2d2 agent for CartPole-v1 in logs/r2d2: train one with `sb3-ext train",
        ),
        ("enjoy --algo r2d2 --env CartPole-v1 --exp-id 3 --no-render", "logs/r2d2/CartPole-v1_3 folder was not found"),
        ("record_video --algo r2d2 --env CartPole-v1", "no r2d2 agent for CartPole-v1"),
    ],
)
def test_wrong_input_is_answered_in_one_line(
    arguments: str, message: str, headless_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (headless_folder / "bad.yml").write_text("CartPole-v1: {n_timesteps: 10}")
    assert cli.main(arguments.split(" ")) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"sb3-ext {arguments.split(' ')[0]}: ")
    assert message in line
    assert not list(headless_folder.glob("logs/r2d2/*")), "a run that could not start leaves nothing behind"


@pytest.mark.parametrize(
    ("module", "arguments", "extra"),
    [
        ("rl_zoo3", "train --algo r2d2", "zoo"),
        ("seaborn", "plot_train -a r2d2 -e CartPole-v1 -f logs", "zoo"),
        ("Box2D", "train --algo r2d2 --env LunarLander-v3", "box2d"),
        ("mujoco", "train --algo r2d2 --env HalfCheetah-v5", "mujoco"),
    ],
)
def test_a_missing_extra_is_named(
    module: str, arguments: str, extra: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    users = {"Box2D": "gymnasium.envs.box2d", "mujoco": "gymnasium.envs.mujoco"}.get(module, "rl_zoo3")
    for name in list(sys.modules):
        if name == module or name.startswith((f"{module}.", users)):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    assert cli.main(arguments.split()) == 2
    command = arguments.split()[0]
    assert capsys.readouterr().err == f'sb3-ext {command} needs the {extra} extra: pip install "sb3-ext[{extra}]"\n'


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(R2D2, "train", lambda *_, **__: [][0])
    with pytest.raises(IndexError):
        train("--eval-freq", "-1")


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert cli.main(["--help"]) == 0
    assert cli.main([]) == 2
    out = capsys.readouterr().out
    assert out.startswith("sb3-ext 0.1.0")
    for command, ours in (("train", "--final-eval-episodes"), ("enjoy", "logs/"), ("record_video", "logs/")):
        with pytest.raises(SystemExit, match="0"):
            cli.main([command, "--help"])
        out = capsys.readouterr().out
        assert ours in out
        assert "--deterministic" in out or "-optimize" in out


@pytest.mark.parametrize("chosen", ["nothing", "flag", "variable"])
def test_small_networks_train_with_one_thread_unless_the_user_chose(
    chosen: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if chosen == "variable":
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
    before = th.get_num_threads()
    th.set_num_threads(2)
    try:
        flags = ["--num-threads", "2"] if chosen == "flag" else []
        assert train("--eval-freq", "-1", "--final-eval-episodes", "0", *flags, steps=20) == 0
        assert th.get_num_threads() == (1 if chosen == "nothing" else 2)
        assert ("Using 1 torch thread" in capsys.readouterr().out) == (chosen == "nothing")
    finally:
        th.set_num_threads(before)
