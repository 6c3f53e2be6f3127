"""`sb3-ext enjoy --agent`, and `--agent` of the other commands: a folder of safe files says whose it is."""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import rl_zoo3.import_envs  # noqa: F401 - registers CartPoleNoVel-v1
from safetensors.numpy import load_file
from sb3_contrib import MaskablePPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_ext import R2D2, QLearning
from sb3_ext.cli import main as cli
from sb3_ext.cli.flags import Parser, add_agent_flags, agent_of
from sb3_ext.errors import UnsafeFile, UserError
from sb3_ext.exchange.agent_files import RESULTS, Names, Score, names_of, save_agent
from sb3_ext.exchange.safe_files import CONFIG, load_safe, save_safe
from sb3_ext.planning import PlannerPolicy

ENV = "CartPoleNoVel-v1"


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """:return: folder of one that sees normalised observations of an environment with another pole"""
    env = VecNormalize(DummyVecEnv([lambda: gym.make(ENV)]), norm_reward=False)
    model = R2D2("MlpLstmPolicy", env, learning_starts=50, batch_size=4, seed=0, device="cpu").learn(150)
    folder = tmp_path_factory.mktemp("published") / "r2d2-pole"
    wrappers = {"env_wrapper": [{"gymnasium.wrappers.TimeLimit": {"max_episode_steps": 12}}]}
    return save_agent(model, folder, ENV, environment=wrappers, score=Score(9.5, 1.0, 2))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """:return: an empty folder, in which the commands run, where temporary folders are made too"""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.delenv("DISPLAY", raising=False)
    return tmp_path


def returns_by_hand(folder: Path, seed: int, n_steps: int) -> list[float]:
    """:return: of whole episodes, with the statistics of the folder and nothing of the zoo"""
    model = load_safe(folder, device="cpu")
    settings = json.loads((folder / "vec_normalize.json").read_text())
    rms = load_file(folder / "vec_normalize.safetensors")
    mean, std = rms["observations/mean"], np.sqrt(rms["observations/var"] + settings["epsilon"])
    env = gym.wrappers.TimeLimit(gym.make(ENV), 12)
    seen, _ = env.reset(seed=seed)
    state, start, total, returns = None, True, 0.0, []
    for _ in range(n_steps):
        obs = np.clip((seen - mean) / std, -settings["clip_obs"], settings["clip_obs"])
        action, state = model.predict(obs, state, np.array([start]), deterministic=True)
        seen, reward, terminated, truncated, _ = env.step(action)
        total, start = total + float(reward), terminated or truncated
        if start:
            returns.append(total)
            total, (seen, _) = 0.0, env.reset()
    return returns


@pytest.mark.filterwarnings("ignore:.*TimeLimit.*")
def test_enjoy_plays_it_as_it_acts_and_leaves_nothing(
    agent: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["enjoy", "--agent", str(agent), "-n", "60", "--seed", "3"]) == 0
    out = capsys.readouterr().out
    shown = [float(x) for x in re.findall(r"^Episode Reward: (.*)$", out, re.MULTILINE)]
    assert shown == returns_by_hand(agent, 3, 60) and len(shown) >= 4
    assert max(shown) <= 12, "its wrapper"
    assert "Trusting" not in out, "whose files were made here"
    assert list(here.iterdir()) == []


def test_the_folder_says_algorithm_and_environment(agent: Path) -> None:
    assert names_of(agent) == Names("r2d2", ENV)
    assert json.loads((agent / RESULTS).read_text()) == {"env_id": ENV, "mean": 9.5, "std": 1.0, "n_episodes": 2}
    for flag in ("--agent", "--model"):
        ref = agent_of(parsed(flag, str(agent)))
        assert (ref.algo, ref.env_id, ref.path, ref.is_safe) == ("r2d2", ENV, agent, True)
    assert agent_of(parsed("--agent", str(agent), "--env", "CartPole-v1")).env_id == "CartPole-v1"
    with pytest.raises(UserError, match=f"--algo ppo: {agent} holds an agent of r2d2"):
        agent_of(parsed("--algo", "ppo", "--env", ENV, "--agent", str(agent)))


def parsed(*flags: str) -> argparse.Namespace:
    parser = Parser("sb3-ext some")
    add_agent_flags(parser)
    return parser.parse(flags)


def test_a_zip_does_not_say_it(here: Path) -> None:
    (here / "some.zip").touch()
    with pytest.raises(UserError, match="the following arguments are required: --algo, --env"):
        parsed("--model", "some.zip")


def test_what_no_folder_may_say(here: Path, agent: Path) -> None:
    config = json.loads((agent / CONFIG).read_text())
    for change, message in (
        ({"env_id": "os:Maze-v0"}, "names a module to import"),
        ({"algorithm": "os.system"}, "algorithm 'os.system' is not known here"),
        ({"schema": 99}, "schema 99 is newer"),
    ):
        (here / CONFIG).write_text(json.dumps({**config, **change}))
        with pytest.raises((UnsafeFile, UserError), match=message):
            names_of(here)
    save_safe(PlannerPolicy.from_env("FrozenLake-v1"), here / "planner")
    with pytest.raises(UserError, match="holds a policy without an algorithm"):
        names_of(here / "planner")


def test_what_enjoy_cannot_play_is_one_line(here: Path, agent: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_safe(QLearning("TablePolicy", "FrozenLake-v1"), here / "unnamed")
    masked = MaskablePPO("MlpPolicy", "CartPole-v1", device="cpu", policy_kwargs={"net_arch": [4]})
    save_agent(masked, here / "masked", "CartPole-v1")
    save_agent(masked, here / "elsewhere", "Nosuch-v0")
    for flags, message in (
        (["unnamed"], "unnamed does not say what it was trained on: name it by --env"),
        (["masked"], "rl-zoo3's `enjoy` knows no ppo_mask; `sb3-ext video --agent masked` films it"),
        (["elsewhere"], "unknown environment 'Nosuch-v0'"),
        ([str(agent), "-f", "logs"], f"--folder is for runs of a log folder, and --agent {agent} is none"),
        ([str(agent), "--load-best"], "--load-best is for runs of a log folder"),
    ):
        assert cli.main(["enjoy", "--agent", *flags]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("sb3-ext enjoy: ") and message in line
    assert cli.main(["enjoy", "--agent", "unnamed", "--env", "FrozenLake-v1", "-n", "5"]) == 0
