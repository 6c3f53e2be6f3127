"""
A folder of safe files as a run in a log folder, where rl-zoo3's scripts find it: a zip of what was built out of them,
and the settings of its environment. No code of the agent's author runs on the way.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import gymnasium as gym

from sb3_ext.errors import UserError
from sb3_ext.zoo.registry import register
from sb3_ext.zoo.typed_ids import know_env, name_in_folders

if TYPE_CHECKING:
    from sb3_ext.exchange.agent_files import Names


class Run(NamedTuple):
    """A run that was trained elsewhere."""

    folder: Path
    algo: str
    """the zoo's id"""
    env_id: str
    is_watchable: bool
    """`enjoy` knows the algorithm: rl-zoo3 has no MaskablePPO"""


def write_run(source: Path, logs: Path, env_id: str | None = None, device: str = "cpu") -> Run:
    """
    :param source: folder of safe files
    :param logs: log folder
    :param env_id: None = what the folder says
    :param device: of the networks
    :return: the run
    :raises UnsafeFile: for files that are not what they should be
    :raises UserError: where nobody says which environment it is
    """
    register()
    import yaml
    from rl_zoo3.utils import ALGOS, get_latest_run_id
    from stable_baselines3.common.vec_env import DummyVecEnv

    from sb3_ext.exchange.agent_files import names_of
    from sb3_ext.exchange.environments import checked_environment
    from sb3_ext.exchange.safe_files import CONFIG, NORMALIZE, load_safe, load_vec_normalize, read_json
    from sb3_ext.exchange.safe_normalize import observed_space
    from sb3_ext.saving import write_folder_whole

    algo, named = names_of(source)
    env_id = env_id or named
    if env_id is None:
        raise UserError(f"{source}/{CONFIG} does not say what it was trained on")
    model = load_safe(source, device=device)
    name = name_in_folders(env_id)
    runs = logs / algo
    environment = checked_environment(read_json(source / CONFIG).get("environment"))
    env_kwargs = environment.pop("env_kwargs", None)

    def write(folder: Path) -> None:
        model.save(folder / f"{name}.zip")
        settings = folder / name
        settings.mkdir()
        normalized = (source / f"{NORMALIZE}.json").is_file()
        # JSON's values alone: rl-zoo3 evaluates text.
        (settings / "config.yml").write_text(yaml.safe_dump({**environment, "normalize": normalized}))
        (settings / "args.yml").write_text(yaml.safe_dump({"env": env_id, "algo": algo, "env_kwargs": env_kwargs}))
        if normalized:
            spaces = gym.Env()
            spaces.observation_space = observed_space(source)
            spaces.action_space = model.action_space
            load_vec_normalize(source, DummyVecEnv([lambda: spaces])).save(str(settings / "vecnormalize.pkl"))
            for suffix in ("json", "safetensors"):  # which `enjoy` and its like take in place of the pickle
                shutil.copyfile(source / f"{NORMALIZE}.{suffix}", settings / f"{NORMALIZE}.{suffix}")

    run = runs / f"{name}_{get_latest_run_id(str(runs), name) + 1}"
    write_folder_whole(run, write)
    return Run(run, algo, env_id, algo in ALGOS)


@contextlib.contextmanager
def run_of(source: Path, env_id: str) -> Iterator[Run]:
    """
    Parameters as in `write_run`.

    :return: a run in a log folder of its own, which is gone after the block
    :raises UserError: where `enjoy` does not know its algorithm or environment
    """
    know_env(env_id)
    with tempfile.TemporaryDirectory(prefix="sb3-ext-") as logs:
        run = write_run(source, Path(logs), env_id)
        if not run.is_watchable:
            raise UserError(f"rl-zoo3's `enjoy` knows no {run.algo}; `sb3-ext video --agent {source}` films it")
        yield run


def said_by(source: Path) -> Names:
    """
    :param source: as typed
    :return: the algorithm and the environment of the agent in it
    :raises UserError: where there is no such folder
    """
    from sb3_ext.exchange.agent_files import names_of

    if not source.is_dir():
        raise UserError(f"there is no folder {source}")
    return names_of(source)
