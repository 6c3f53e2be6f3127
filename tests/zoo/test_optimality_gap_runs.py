"""`sb3-ext train --optimality-gap`: with any algorithm, a file that goes on with its run, a line at the end."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import yaml
from gymnasium.envs.toy_text.frozen_lake import FrozenLakeEnv
from support.pole_runs import ENV
from support.runs import at_step, kill

from sb3_ext.cli import main as cli
from sb3_ext.planning import read_gap
from sb3_ext.zoo import config_path
from sb3_ext.zoo.configs import stock_path

# The stock scripts and what they call are not ours to keep free of deprecations and of files left open.
pytestmark = pytest.mark.filterwarnings("ignore")  # of the stock scripts

LAKE = "FrozenLake-v1"
QUIET = ("--eval-freq", "-1", "--final-eval-episodes", "0", "--device", "cpu")


def train(algo: str, *more: str, env: str = LAKE, n: int = 400) -> int:
    return cli.main(["train", "--algo", algo, "--env", env, "-n", str(n), *QUIET, *more])


def run_of(algo: str, number: int = 1) -> Path:
    return Path(f"logs/{algo}/{LAKE}_{number}")


@pytest.mark.parametrize("algo", ["dqn", "ppo", "rainbow"])
def test_any_algorithm_is_measured_as_it_is_typed(algo: str, capsys: pytest.CaptureFixture[str]) -> None:
    """No -conf: of stock algorithms the block is ours, because rl-zoo3 has none of the lake."""
    assert train(algo, "--optimality-gap", "200") == 0
    out = capsys.readouterr().out
    assert "Optimality gap: " in out and " of V* 0.542 (exact return " in out and ", best 0.744)" in out
    assert f"zoo_configs/{'' if algo == 'rainbow' else 'stock/'}{algo}.yml" in out
    gap = read_gap(run_of(algo))
    assert set(range(0, 401, 200)) & set(gap.steps.tolist()) >= {0} and len(gap.steps) >= 3
    assert gap.yardstick.gamma == 0.99 and gap.yardstick.n_episodes is None


def test_a_recurrent_one_is_estimated(capsys: pytest.CaptureFixture[str]) -> None:
    assert train("r2d2", "--optimality-gap", n=100) == 0
    out = capsys.readouterr().out
    assert "Estimated return " in out and " over 2000 episodes (best with the state: 0.744 " in out
    assert "Optimality gap" not in out
    assert read_gap(run_of("r2d2")).values.keys() == {"return", "return_se"}


@pytest.mark.parametrize("more", [["--vec-env", "subproc"], ["--actors", "1", "--backend", "inline"]])
def test_environments_elsewhere_are_measured(more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert train("rainbow", "--optimality-gap", *more, "-params", "n_envs:2", n=60) == 0
    assert " of V* 0.542 (exact return " in capsys.readouterr().out


def test_a_yml_may_ask_for_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    block = {"policy": "MlpPolicy", "n_timesteps": 200, "n_steps": 50, "batch_size": 50}
    for callback in ("sb3_ext.planning.OptimalityGap", [{"sb3_ext.planning.OptimalityGap": {"every": 100}}]):
        (tmp_path / "my.yml").write_text(yaml.safe_dump({LAKE: {**block, "callback": callback}}))
        assert train("ppo", "-conf", str(tmp_path / "my.yml"), n=200) == 0
        assert capsys.readouterr().out.count("Optimality gap: ") == 1
    assert read_gap(run_of("ppo", 1)).steps.tolist() == [0, 200]
    assert read_gap(run_of("ppo", 2)).steps.tolist() == [0, 100, 200, 200]
    assert train("ppo", "-conf", str(tmp_path / "my.yml"), "--optimality-gap", n=200) == 0
    assert read_gap(run_of("ppo", 3)).steps.tolist() == [0, 100, 200, 200], "the yml says more than the flag"


def test_an_interrupted_run_is_measured_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        at_step(200, kill(signal.SIGINT), patch, FrozenLakeEnv)
        assert train("dqn", "--optimality-gap", "80", "-params", "n_envs:1") == 130
    assert read_gap(run_of("dqn")).steps.tolist() == [0, 80, 160, 200]
    assert json.loads((run_of("dqn") / "run.json").read_text())["num_timesteps"] == 200
    assert train("dqn", "--optimality-gap", "80", "-params", "n_envs:1", "--resume", str(run_of("dqn"))) == 0
    first, whole = (read_gap(run_of("dqn", n)) for n in (1, 2))
    assert whole.steps.tolist() == [0, 80, 160, 200, 240, 320, 400]
    assert whole.values["q_error"][:4].tolist() == first.values["q_error"].tolist()


def test_what_cannot_be_measured_is_one_line_and_leaves_no_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert train("ppo", "--optimality-gap", "--tensorboard-log", "tb", env=ENV) == 2
    assert "CartPoleNoVel-v1 publishes no transition table (.P)" in capsys.readouterr().err
    assert not Path("logs").exists() and list(Path("tb").rglob("PPO_*")) == []
    assert train("ppo", "--optimality-gap", "0") == 2
    assert "--optimality-gap 0 must be at least 1" in capsys.readouterr().err
    assert train("ppo", "--optimality-gap", "-optimize", "--n-trials", "1") == 2
    assert "--optimality-gap measures one training" in capsys.readouterr().err


def test_the_report_has_its_picture(capsys: pytest.CaptureFixture[str]) -> None:
    assert train("dqn", "--optimality-gap", "200") == 0
    assert cli.main(["report", "--algo", "dqn", "--env", LAKE, "-n", "2", "--max-steps", "5"]) == 0
    assert "gap to V* = 0.542 (discount 0.99)" in Path("report.html").read_text()
    (run_of("dqn") / "optimality.csv").unlink()
    assert cli.main(["report", "--algo", "dqn", "--env", LAKE, "-n", "2", "--max-steps", "5"]) == 0
    assert "gap to V*" not in Path("report.html").read_text()


def test_our_blocks_of_stock_algorithms_give_way_to_those_of_rl_zoo3(tmp_path: Path) -> None:
    theirs = tmp_path / "dqn.yml"
    theirs.write_text("default: {}")
    assert stock_path("dqn", LAKE, theirs) == config_path("r2d2").parent / "stock" / "dqn.yml"
    assert stock_path("dqn", "CartPole-v1", theirs) is None and stock_path("sac", LAKE, theirs) is None
    theirs.write_text(f"{LAKE}: {{}}")
    assert stock_path("dqn", LAKE, theirs) is None
