"""`sb3-ext train` of a table: what was interrupted learns what it would have learned, bit for bit."""

from __future__ import annotations

import signal
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.toy_text.blackjack import BlackjackEnv
from gymnasium.envs.toy_text.frozen_lake import FrozenLakeEnv
from support.runs import at_step, kill

from sb3_ext import QLearning
from sb3_ext.cli import main as cli
from sb3_ext.zoo import register

# The stock scripts and what they call are not ours to keep free of deprecations and of files left open.
pytestmark = pytest.mark.filterwarnings("ignore")  # of the stock scripts

register()
N_STEPS = 2000


def command(env_id: str, *flags: str, n_envs: int = 4) -> list[str]:
    begin = ["train", "--algo", "qlearning", "--env", env_id, "-n", str(N_STEPS), "--seed", "5", "--verbose", "0"]
    evaluated = ["--eval-freq", "500", "--eval-episodes", "2", "--n-eval-envs", "1", "--final-eval-episodes", "0"]
    return [*begin, *evaluated, *flags, "-params", f"n_envs:{n_envs}"]


def table_of(run: Path) -> QLearning:
    (path,) = run.glob("*-v?.zip")
    return QLearning.load(path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("env_id", "env_class"), [("FrozenLake-v1", FrozenLakeEnv), ("Blackjack-v1", BlackjackEnv)])
def test_a_resumed_table_equals_the_one_that_was_not_interrupted(
    env_id: str, env_class: type[gym.Env], number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = Path("logs/qlearning")
    assert cli.main(command(env_id)) == 0
    with monkeypatch.context() as patch:
        at_step(751, kill(number), patch, env_class)
        assert cli.main(command(env_id)) == 128 + number
    half = table_of(runs / f"{env_id}_2")
    assert 500 < half.num_timesteps < 900 and half.num_timesteps == half.policy.visits.sum()
    assert cli.main(command(env_id, "--resume", str(runs / f"{env_id}_2"))) == 0
    whole, resumed = (table_of(runs / f"{env_id}_{n}") for n in (1, 3))
    assert whole.num_timesteps == resumed.num_timesteps == N_STEPS
    for name, x in whole.policy.state_dict().items():
        np.testing.assert_array_equal(resumed.policy.state_dict()[name], x)
    assert whole._generator == resumed._generator
