"""
Wrong input of every command, as bad_inputs.txt lists it: exit code 2 and one line, and no work was done before it.

A line there is a command line, ` => ` and what the last line of stderr contains; it is typed in a folder that holds
`FILES`, an agent that was never trained, its evaluations, demonstrations and a study.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import optuna
import pytest
import yaml
from stable_baselines3 import PPO
from stable_baselines3.common.monitor import Monitor

from sb3_ext.demonstrations import record, save

LIST = Path(__file__).with_name("bad_inputs.txt")
SETTINGS = {"policy": "MlpPolicy", "n_timesteps": 100}
FILES = {
    "notes.txt": "hello\n",
    "text.zip": "hello\n",
    "text.npz": "hello\n",
    "taken.json": "{}\n",
    "empty.yml": "",
    "list.yml": "- 1\n",
    "scalar.yml": "hello\n",
    "broken.yml": "a: [1\n",
    "nothing.yml": "CartPole-v1:\n",
    "other.yml": yaml.safe_dump({"Pendulum-v1": SETTINGS}),
    "no_policy.yml": yaml.safe_dump({"CartPole-v1": {"n_timesteps": 100}}),
    "wrapper.yml": yaml.safe_dump({"CartPole-v1": {**SETTINGS, "env_wrapper": "nosuch.Wrapper"}}),
    "wrapper_name.yml": yaml.safe_dump({"CartPole-v1": {**SETTINGS, "env_wrapper": "gymnasium.wrappers.Nosuch"}}),
    "wrapper_word.yml": yaml.safe_dump({"CartPole-v1": {**SETTINGS, "env_wrapper": "Wrapper"}}),
    "callback.yml": yaml.safe_dump({"CartPole-v1": {**SETTINGS, "callback": "nosuch.Callback"}}),
    "schedule.yml": yaml.safe_dump({"CartPole-v1": {**SETTINGS, "learning_rate": "foo_1"}}),
    "many.yml": yaml.safe_dump({"CartPole-v1": {**SETTINGS, "n_timesteps": "many"}}),
    "no_settings.py": "x = 1\n",
    "broken_package.py": "import nosuch_part\n",
}


def cases() -> list[tuple[str, str]]:
    """:return: command lines, and what their last lines contain"""
    lines = [line for line in LIST.read_text().splitlines() if line and not line.startswith("#")]
    return [(command, line) for command, _, line in (text.rpartition(" => ") for text in lines)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """:return: in which the lines are typed"""
    path = tmp_path_factory.mktemp("inputs")
    prepare(path)
    return path


def prepare(path: Path) -> None:
    """:param path: an empty folder"""
    for name, text in FILES.items():
        (path / name).write_text(text)
    (path / "envs").mkdir()
    run = path / "logs" / "ppo" / "CartPole-v1_1"
    settings = run / "CartPole-v1"
    settings.mkdir(parents=True)
    model = PPO("MlpPolicy", "CartPole-v1", device="cpu")
    model.save(run / "CartPole-v1.zip")
    (settings / "config.yml").write_text(yaml.safe_dump(SETTINGS))
    np.savez(
        run / "evaluations.npz", timesteps=np.array([50, 100]), results=np.ones((2, 1)), ep_lengths=np.ones((2, 1))
    )
    env = Monitor(__import__("gymnasium").make("CartPole-v1"), str(run / "0"))
    env.reset(seed=0)
    while not any(env.step(0)[2:4]):
        pass
    env.close()
    save(record(model, "CartPole-v1", 1), path / "demos.npz")
    study = optuna.create_study(storage=f"sqlite:///{path}/study.db", study_name="one")
    study.enqueue_trial({"x": 1.0})
