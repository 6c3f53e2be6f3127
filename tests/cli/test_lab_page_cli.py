"""`sb3-ext lab`: mazes and agents that the command line names, as a page, as a file, as a picture."""

from __future__ import annotations

import json
import re
import signal
import socket
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize
from support.served import served

from sb3_ext import R2D2
from sb3_ext.cli import main as cli
from sb3_ext.envs.grid_world import GridWorldEnv
from sb3_ext.exchange.safe_files import save_safe
from sb3_ext.imitation import MaxEntReward
from sb3_ext.planning import TabularMDP, solve
from sb3_ext.viz import lab_server
from sb3_ext.viz.lab import Lab

MAZE = "sb3_ext/GridWorld-v0"
TALL = "grid:[[0,0,1],[0,9,-1],[0,0,0],[0,0,0],[0,0,0]]"
TALL_GRID = [[0, 0, 1], [0, 9, -1], [0, 0, 0], [0, 0, 0], [0, 0, 0]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """:return: with a run of `sb3-ext train` on a maze that the page would draw, and zips that came from elsewhere"""
    path = tmp_path_factory.mktemp("mazes")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        command = ["train", "--algo", "qlearning", "--env", MAZE, "--env-kwargs", TALL, "move_prob:0.9", "start:[3,2]"]
        assert cli.main([*command, "-n", "300", "--eval-freq", "-1", "--final-eval-episodes", "0"]) == 0
        PPO("MlpPolicy", "FrozenLake-v1", n_steps=8, batch_size=8, device="cpu").save("lake.zip")
        DQN("MlpPolicy", GridWorldEnv(), buffer_size=10, device="cpu", seed=0).save("maze.zip")
        PPO("MlpPolicy", "CartPole-v1", n_steps=8, batch_size=8, device="cpu").save("pole.zip")
        R2D2("MlpLstmPolicy", GridWorldEnv(), buffer_size=200, device="cpu").save("memory.zip")
    return path


@pytest.fixture(autouse=True)
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def written(*arguments: str) -> dict[str, Any]:
    """:return: what the file that is written shows"""
    assert cli.main(["lab", *arguments, "--write", "page"]) == 0
    (data,) = re.findall(r'id="data">(.*?)</script>', Path("page.html").read_text())
    found: dict[str, Any] = json.loads(data)
    return found


def test_a_file_holds_the_maze_that_was_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert written() == {
        "lab": {
            "model": None,
            "grid": None,
            "start": None,
            "prob": 0.8,
            "default_reward": -0.04,
            "gamma": None,
            "reward": None,
        },
        "policy": None,
    }
    assert capsys.readouterr().out == "page.html\n"
    lab = written("--env-kwargs", TALL, "move_prob:0.7", "default_reward:-0.1", "start:(3, 2)", "--gamma", "0.5")["lab"]
    assert (lab["grid"], lab["start"], lab["prob"], lab["default_reward"]) == (TALL_GRID, [3, 2], 0.7, -0.1)
    assert lab["gamma"] == 0.5
    assert written("--env-kwargs", "grid:['..+', 'S#-']")["lab"]["start"] == [1, 0]


def test_a_trained_agent_comes_with_the_maze_that_it_was_trained_in() -> None:
    shown = written("--algo", "qlearning", "--env", MAZE)
    assert shown["lab"]["model"] == {"name": "QLearning", "algo": "qlearning", "n_states": 15}
    assert (shown["lab"]["grid"], shown["lab"]["start"], shown["lab"]["prob"]) == (TALL_GRID, [3, 2], 0.9)
    assert shown["policy"]["gamma"] == shown["lab"]["gamma"] == 0.99
    assert np.shape(shown["policy"]["pi"]) == np.shape(shown["policy"]["q"]) == (15, 4)
    assert set(np.ravel(shown["policy"]["pi"])) == {0.0, 1.0}
    drawn = written("--algo", "qlearning", "--env", MAZE, "--stochastic")
    assert not set(np.ravel(drawn["policy"]["pi"])) <= {0.0, 1.0}
    assert written("--algo", "qlearning", "--env-kwargs", "move_prob:0.5")["lab"]["prob"] == 0.5


def test_a_zip_alone_is_enough() -> None:
    assert written("--algo", "dqn", "--model", "maze.zip")["lab"]["grid"] == GridWorldEnv().grid.tolist()
    of_the_lake = written("--algo", "ppo", "--model", "lake.zip")  # which says nothing of a maze
    assert of_the_lake["lab"]["model"]["n_states"] == 16 and of_the_lake["lab"]["grid"] is None
    assert of_the_lake["policy"] is None
    four = written("--algo", "ppo", "--model", "lake.zip", "--env-kwargs", "grid:['....', '....', '....', '...+']")
    assert np.shape(four["policy"]["pi"]) == (16, 4) and four["policy"]["q"] is None


def test_safe_files_are_shown_as_well(tmp_path: Path) -> None:
    model = DQN.load("maze.zip", device="cpu")
    save_safe(model, tmp_path / "safe")
    from_files = written("--algo", "dqn", "--model", str(tmp_path / "safe"))
    assert from_files["policy"] == written("--algo", "dqn", "--model", "maze.zip")["policy"]


def test_the_planner_shows_what_is_best() -> None:
    shown = written("--algo", "planner", "--env-kwargs", TALL, "--gamma", "0.9")
    best = solve(TabularMDP.from_env(GridWorldEnv(TALL_GRID), 0.9))
    np.testing.assert_allclose(shown["policy"]["value"], best.v, atol=1e-9)


def test_values_are_in_units_of_the_maze_where_rewards_were_normalised(tmp_path: Path) -> None:
    """As rl-zoo3 lays a run down."""
    env = VecNormalize(make_vec_env(MAZE), norm_obs=False)
    model = DQN("MlpPolicy", env, buffer_size=10, device="cpu", seed=0)
    env.reset()
    for _ in range(60):
        env.step(np.array([env.action_space.sample()]))
    run = tmp_path / "dqn" / "sb3_ext-GridWorld-v0_1"
    settings = run / "sb3_ext-GridWorld-v0"
    settings.mkdir(parents=True)
    model.save(run / "sb3_ext-GridWorld-v0.zip")
    env.save(str(settings / "vecnormalize.pkl"))
    (settings / "config.yml").write_text("normalize: \"{'norm_obs': False, 'norm_reward': True}\"\n")
    q = np.array(written("--algo", "dqn", "--env", MAZE, "-f", str(tmp_path))["policy"]["q"])
    unit = np.sqrt(env.ret_rms.var + env.epsilon)
    assert abs(unit - 1.0) > 0.01
    seen = model.q_net(model.policy.obs_to_tensor(np.arange(12))[0]).detach().numpy()
    np.testing.assert_allclose(q, unit * seen, rtol=1e-5)


def test_q_values_are_written_as_a_picture(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["lab", "--algo", "qlearning", "--table", str(tmp_path / "q")]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "q.png")
    with Image.open(tmp_path / "q.png") as image:
        width, height = image.size
    assert height > width > 300  # 5 x 3 cells


def a_reward(of_arrival: np.ndarray | None) -> MaxEntReward:
    """:return: found nowhere, of the usual maze"""
    return MaxEntReward(
        weights=np.zeros(12),
        reward=np.zeros((12, 4)),
        policy=np.full((12, 4), 0.25),
        of_arrival=of_arrival,
        feature_gap=0.0,
        log_likelihood=-1.0,
        history=np.array([-1.0]),
        gamma=0.9,
        l2=0.1,
        n_steps=1,
        converged=True,
    )


def test_a_reward_is_given_with_the_maze_or_without(capsys: pytest.CaptureFixture[str]) -> None:
    paid = np.linspace(-1.0, 1.0, 12)
    a_reward(paid).save("found.json")
    assert written("--reward", "found.json")["lab"]["reward"] == {"name": "found.json", "of_arrival": paid.tolist()}
    assert written("--reward", "found.json", "--env", MAZE)["lab"]["reward"]["of_arrival"] == paid.tolist()
    a_reward(None).save("of_actions.json")
    Path("garbage.json").write_text("[1, 2]")
    for arguments, line in (
        (["found.json", "--env-kwargs", TALL], "the reward has 12 states, the maze 15"),
        (
            ["of_actions.json"],
            "--reward of_actions.json is of actions, not of cells: nothing of it can be drawn in a cell",
        ),
        (["garbage.json"], "garbage.json"),
        (["nothing.json"], "there is no nothing.json"),
    ):
        capsys.readouterr()
        assert cli.main(["lab", "--reward", *arguments]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"sb3-ext lab: {line}") and error.count("\n") == 1


WRONG: list[tuple[list[str], str]] = [
    (["--model", "maze.zip"], "--model maze.zip needs --algo, which it is a model of"),
    (["--table", "q.png"], "--table needs --algo: whose Q-values are drawn"),
    (["--algo", "dqm"], "unknown --algo 'dqm', did you mean 'dqn'?"),
    (["--algo", "dqn", "--model", "nothing.zip"], f"no dqn agent for {MAZE}: no nothing.zip"),
    (
        ["--algo", "planner", "--model", "x"],
        "--model x: --algo planner has none, it solves the environment's own table",
    ),
    (["--algo", "ppo", "--model", "lake.zip", "--env", MAZE], "the model has 16 states, the maze 12"),
    (["--algo", "dqn", "--model", "maze.zip", "--env-kwargs", TALL], "the model has 12 states, the maze 15"),
    (
        ["--algo", "ppo", "--model", "pole.zip"],
        "PPO observes Box([-4.8 -inf -0.41887903 -inf], [4.8 inf 0.41887903 inf], (4,), float32): only Discrete states "
        "and actions make a table",
    ),
    (
        ["--algo", "r2d2", "--model", "memory.zip"],
        "R2D2 is recurrent: what it does depends on more than the state, so it has no table",
    ),
    (["--env", "FrozenLake-v1"], f"FrozenLake-v1 is no maze: the page shows those of {MAZE}"),
    (["--env", "sb3_ext/GridWrld-v0"], f"unknown environment 'sb3_ext/GridWrld-v0', did you mean '{MAZE}'?"),
    (["--env-kwargs", "grid:[[0,0],[9,0]]"], "start (1, 0) is a block: give start=(row, column) of a free cell"),
    (["--env-kwargs", "grid:[[0,0],[0]]"], "row 1 of the grid has 1 cells, row 0 has 2: all must be as long"),
    (
        ["--algo", "planner", "--env", "CliffWalking-v1"],
        "CliffWalking-v1 is no maze, nor a lake, which has a maze's actions; --table draws Q-values of other grid "
        "worlds",
    ),
    (["--algo", "planner", "--table", "q.png"], "PlannerPolicy has no Q-values to draw"),
]


@pytest.mark.parametrize(("arguments", "line"), WRONG, ids=lambda x: " ".join(x)[:40] if isinstance(x, list) else "")
def test_wrong_input_is_answered_in_one_line(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["lab", *arguments]) == 2
    assert capsys.readouterr().err == f"sb3-ext lab: {line}\n"


def test_a_port_that_is_taken_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert cli.main(["lab", "--port", str(port)]) == 2
    assert capsys.readouterr().err.startswith(
        f"sb3-ext lab: port {port} of 127.0.0.1: Address already in use; --port 0"
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_told_to_end(number: signal.Signals) -> None:
    with served("--port", "0", "--env-kwargs", TALL) as (address, process):
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
        with urllib.request.urlopen(f"{address}lab.json", timeout=300) as answer:
            assert json.loads(answer.read())["grid"] == TALL_GRID
        process.send_signal(number)
        out, err = process.communicate(timeout=300)
        assert (process.returncode, out, err) == (130, "", "")


def test_the_server_has_what_the_command_line_named(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[Lab, int]] = []

    class Fake(lab_server.LabServer):
        def __init__(self, lab: Lab, port: int) -> None:
            given.append((lab, port))
            super().__init__(lab, 0)

        def serve_forever(self, poll_interval: float = 0.5) -> None:
            """At once."""

    monkeypatch.setattr(lab_server, "LabServer", Fake)
    assert cli.main(["lab", "--algo", "qlearning", "--port", "1234"]) == 0
    ((lab, port),) = given
    assert port == 1234 and lab.model is not None and lab.maze is not None and lab.maze.grid.shape == (5, 3)
