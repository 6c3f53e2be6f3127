"""An agent of the Hub as a run in the log folder, where rl-zoo3's scripts find it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import gymnasium as gym

from sb3_ext.errors import UserError
from sb3_ext.zoo.registry import register
from sb3_ext.zoo.typed_ids import name_in_folders


class Downloaded(NamedTuple):
    """A run that was trained elsewhere."""

    folder: Path
    algo: str
    """the zoo's id"""
    env_id: str
    n_bytes: int
    """that were downloaded"""
    is_watchable: bool
    """`enjoy` knows the algorithm: rl-zoo3 has no MaskablePPO"""


def download_run(repo_id: str, logs: Path, revision: str | None = None, device: str = "cpu") -> Downloaded:
    """
    :param repo_id: "user/name"
    :param logs: log folder
    :param revision: branch, tag or commit
    :param device: of the networks
    :return: the run; only safe files were read, and no code of the agent's author ran
    :raises UserError: where there are no safe files, or they name no environment
    """
    register()
    import yaml
    from rl_zoo3.utils import ALGOS, get_latest_run_id
    from stable_baselines3.common.vec_env import DummyVecEnv

    from sb3_ext.exchange.environments import check_env_id, checked_environment
    from sb3_ext.exchange.hub import download
    from sb3_ext.exchange.known_algorithms import zoo_id
    from sb3_ext.exchange.safe_files import CONFIG, NORMALIZE, load_safe, load_vec_normalize, read_json
    from sb3_ext.exchange.safe_normalize import observed_space
    from sb3_ext.saving import write_folder_whole

    source = download(repo_id, revision)
    if source is None:
        raise UserError(
            f"{repo_id} has no safe files; in Python, sb3_ext.exchange.hub.load_from_hub takes the weights out of a zip"
        )
    config = read_json(source / CONFIG)
    model = load_safe(source, device=device)
    env_id = check_env_id(config.get("env_id"))
    algo, name = zoo_id(type(model)), name_in_folders(env_id)
    runs = logs / algo
    environment = checked_environment(config.get("environment"))
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
    n_bytes = sum(path.stat().st_size for path in source.iterdir() if path.is_file())
    return Downloaded(run, algo, env_id, n_bytes, algo in ALGOS)
