"""The learner's monitor.csv holds what SB3's files beside the environments would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import pandas as pd
import pytest
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import load_results

from sb3_ext import Rainbow
from sb3_ext.distributed.monitor_file import MonitorFile


class Lengths(gym.Env[Any, Any]):
    """Its episodes are 2, 3, 4, ... steps long, of reward 1, and say what is left of 10."""

    def __init__(self, begin: int = 2) -> None:
        self.observation_space, self.action_space = spaces.Discrete(2), spaces.Discrete(2)
        self.length = begin - 1

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.t, self.length = 0, self.length + 1
        return 0, {}

    def step(self, action: int) -> Any:
        self.t += 1
        return 0, 1.0, self.t == self.length, False, {"left": 10 - self.length}


@pytest.fixture
def results(tmp_path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """:return: of the learner's file, and of those of the environments"""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    keywords = {"info_keywords": ("left",)}
    env = make_vec_env(Lengths, 2, monitor_dir=str(theirs), monitor_kwargs=keywords)
    model = Rainbow("MlpPolicy", env, learning_starts=1000, buffer_size=100, device="cpu")
    file = MonitorFile(ours, "Lengths-v0", ["left"])
    model.learn(30, callback=[file])
    assert len((ours / "monitor.csv").read_text().splitlines()) > 5
    model.learn(30, callback=[file], reset_num_timesteps=False)
    env.close()
    return load_results(str(ours)), load_results(str(theirs))


def test_it_has_every_episode_of_all_trainings(results: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    ours, theirs = results
    columns = ["r", "l", "left"]
    assert len(ours) > 8
    assert sorted(ours[columns].itertuples(index=False)) == sorted(theirs[columns].itertuples(index=False))
    assert (ours["l"] == 10 - ours["left"]).all()


def test_seconds_count_from_the_start_and_do_not_fall(results: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    ours, _ = results
    assert ours["t"].is_monotonic_increasing and ours["t"].iloc[0] >= 0


def test_a_new_file_replaces_the_one_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "monitor.csv").write_text("of another run\n")
    model = Rainbow("MlpPolicy", Lengths(), learning_starts=1000, buffer_size=100, device="cpu")
    model.learn(3, callback=MonitorFile(tmp_path, "Lengths-v0"))
    header, columns, first = (tmp_path / "monitor.csv").read_text().splitlines()
    assert header.startswith('#{"t_start": ') and header.endswith('"env_id": "Lengths-v0"}')
    assert columns == "r,l,t" and first.startswith("2.0,2,")
