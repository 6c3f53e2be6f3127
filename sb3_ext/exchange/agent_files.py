"""
An agent with the task that it was trained on and what it reached there: the safe files of `safe_files`, of which
``config.json`` names the environment, and ``results.json``. A repository of the Hub holds these, and a folder that
`sb3-ext enjoy --agent` plays.
"""

from __future__ import annotations

import json
import math
import os
import pathlib
from typing import Any, NamedTuple

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecNormalize

from sb3_ext.errors import UserError
from sb3_ext.exchange.agent_config import ALONE, check_schema
from sb3_ext.exchange.environments import check_env_id, checked_environment
from sb3_ext.exchange.known_algorithms import algorithm_of, zoo_id
from sb3_ext.exchange.safe_files import CONFIG, read_json, safe_files, write_files
from sb3_ext.exchange.strict_json import json_bytes
from sb3_ext.planning import PlannerPolicy
from sb3_ext.saving import write_folder_whole

RESULTS = "results.json"


class Score(NamedTuple):
    """What an agent reached."""

    mean: float
    """return of an episode"""
    std: float
    """over the episodes"""
    n_episodes: int


def save_agent(
    model: BaseAlgorithm | PlannerPolicy,
    path: str | os.PathLike[str],
    env_id: str,
    *,
    environment: dict[str, Any] | None = None,
    score: Score | None = None,
    vec_normalize: VecNormalize | None = None,
    optimizer: bool = False,
) -> pathlib.Path:
    """
    :param model: of ours, of SB3 or of sb3-contrib; or a planner's policy, which `load_safe_policy` reads
    :param path: of a folder that does not exist yet
    :param env_id: what it was trained on
    :param environment: ``env_wrapper``, ``vec_env_wrapper``, ``frame_stack`` and ``env_kwargs`` as in rl-zoo3's yml
    :param score: what it reached
    :param vec_normalize: its statistics; None = those of the model's environment, if it has them
    :param optimizer: keep the state of the optimizers, to go on training
    :return: the folder, which `sb3-ext enjoy --agent` plays and `load_safe` reads
    :raises NotPlain: for a setting that only a pickle could hold
    :raises UserError: for an ``env_id`` that is none, wrappers that a file may not name, and a score that is not finite
    :raises ValueError: if there is something at the path
    """
    files = agent_files(model, env_id, environment, score, vec_normalize, optimizer)
    return write_folder_whole(path, lambda folder: write_files(files, folder))


def agent_files(
    model: BaseAlgorithm | PlannerPolicy,
    env_id: str,
    environment: dict[str, Any] | None = None,
    score: Score | None = None,
    vec_normalize: VecNormalize | None = None,
    optimizer: bool = False,
) -> dict[str, bytes]:
    """
    Parameters as for `save_agent`.

    :return: contents by name
    """
    check_env_id(env_id)
    checked_environment(environment)
    if score is not None and not (math.isfinite(score.mean) and math.isfinite(score.std)):
        raise UserError(f"score {score.mean} +- {score.std} must be finite")
    if vec_normalize is None and isinstance(model, BaseAlgorithm):
        vec_normalize = model.get_vec_normalize_env()
    files = dict(safe_files(model, optimizer, vec_normalize))
    config = {**json.loads(files[CONFIG]), "env_id": env_id, "environment": environment or {}}
    files[CONFIG] = json_bytes(config, CONFIG)
    if score is not None:
        files[RESULTS] = json_bytes({"env_id": env_id, **score._asdict()}, RESULTS)
    return files


class Names(NamedTuple):
    """What a folder says that it holds."""

    algo: str
    """the zoo's id"""
    env_id: str | None
    """None where nobody said it: `save_safe` is not told"""


def names_of(path: str | os.PathLike[str]) -> Names:
    """
    :param path: of a folder of `save_agent` or `save_safe`, perhaps a stranger's
    :return: whose agent it is, before anything of it is built
    :raises UnsafeFile: for a folder without an agent, and names that no file may give
    :raises UserError: for a planner's policy, which has no algorithm, or the name of no environment
    """
    folder = pathlib.Path(path)
    config = read_json(folder / CONFIG)
    check_schema(config.get("schema"))
    if ALONE in config:
        raise UserError(f"{folder} holds a policy without an algorithm: in Python, load_safe_policy reads it")
    env_id = config.get("env_id")
    return Names(zoo_id(algorithm_of(str(config.get("algorithm")))), None if env_id is None else check_env_id(env_id))
