"""
Agents on the Hugging Face Hub. A repository holds the safe files of `safe_files`, results and a card, and SB3's zip for
those who have SB3 alone.

What is read of a stranger's repository: files of fixed names, through `safe_files`. A repository with a zip alone gives
its weights, nothing else, unless its code is trusted.
"""

from __future__ import annotations

import io
import os
import pathlib
import re
from typing import Any

import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import VecNormalize

from sb3_ext.errors import UserError
from sb3_ext.exchange.agent_files import RESULTS as RESULTS
from sb3_ext.exchange.agent_files import Score as Score
from sb3_ext.exchange.agent_files import agent_files
from sb3_ext.exchange.hub_card import CARD as CARD
from sb3_ext.exchange.hub_card import card, file_name
from sb3_ext.exchange.hub_source import Source, named_errors
from sb3_ext.exchange.hub_source import reach as reach
from sb3_ext.exchange.known_algorithms import algorithm_of_zip
from sb3_ext.exchange.safe_files import (
    CONFIG,
    NORMALIZE,
    WEIGHTS,
    load_safe,
    load_safe_policy,
    read_json,
)
from sb3_ext.exchange.safe_optimizers import OPTIMIZER
from sb3_ext.exchange.sb3_zip import load_zip_weights as load_zip_weights
from sb3_ext.exchange.strict_json import MAX_JSON_BYTES
from sb3_ext.exchange.tensor_files import MAX_WEIGHT_BYTES
from sb3_ext.planning import PlannerPolicy

MAX_ZIP_BYTES = 4 * MAX_WEIGHT_BYTES  # weights, and two numbers of Adam for each
# Bytes, by name of a file; statistics are two numbers for each of an observation.
LIMITS = {
    CONFIG: MAX_JSON_BYTES,
    WEIGHTS: MAX_WEIGHT_BYTES,
    f"{OPTIMIZER}.json": MAX_JSON_BYTES,
    f"{OPTIMIZER}.safetensors": MAX_WEIGHT_BYTES,
    f"{NORMALIZE}.json": MAX_JSON_BYTES,
    f"{NORMALIZE}.safetensors": 2**28,
}
OPTIONAL = tuple(LIMITS.keys() - {CONFIG, WEIGHTS})


def push_to_hub(
    model: BaseAlgorithm | PlannerPolicy,
    repo_id: str,
    env_id: str,
    *,
    score: Score | None = None,
    vec_normalize: VecNormalize | None = None,
    command: str | None = None,
    replay: str | os.PathLike[str] | None = None,
    curve: str | os.PathLike[str] | None = None,
    optimizer: bool = False,
    legacy_zip: bool = True,
    private: bool | None = None,
    token: str | None = None,
    message: str | None = None,
    environment: dict[str, Any] | None = None,
    endpoint: str | None = None,
) -> str:
    """
    One commit with all files: an upload that breaks off leaves the repository as it was, and can be repeated.

    :param model: of ours, of SB3 or of sb3-contrib; or a planner's policy, which `load_policy_from_hub` reads
    :param repo_id: "user/name"; created if there is none
    :param env_id: what it was trained on
    :param score: for the card and `results.json`
    :param vec_normalize: its statistics; None = those of the model's environment, if it has them
    :param command: that trained it, for the card, which shows it without passwords, tokens and paths
    :param replay: a video, kept as ``replay.mp4`` or ``replay.gif``
    :param curve: picture of the learning curve for the card, kept as ``curve.png`` or with its own suffix
    :param optimizer: keep the state of the optimizers, to go on training
    :param legacy_zip: SB3's zip too, which runs code when it is loaded; of an algorithm, a policy alone has none
    :param private: None = as the account says
    :param token: None = that of `hf auth login`
    :param message: of the commit
    :param environment: ``env_wrapper`` and ``frame_stack`` as in rl-zoo3's yml, for `sb3-ext load_from_hub`
    :param endpoint: of another hub
    :return: address of the commit
    :raises NotPlain: for a setting that only a pickle could hold; nothing is sent then
    :raises UserError: where the hub refuses, or nobody could load it: for an ``env_id`` that is none, and wrappers that
        a repository may not name
    """
    from huggingface_hub import CommitOperationAdd, HfApi  # of the extra `hub`

    files: dict[str, bytes | str] = {**agent_files(model, env_id, environment, score, vec_normalize, optimizer)}
    name = file_name(f"{type(model).__name__.lower()}-{env_id}")
    for kind, given in (("replay", replay), ("curve", curve)):
        if given is not None:
            path = pathlib.Path(given)
            if not path.is_file():
                raise UserError(f"there is no {path}")
            if re.fullmatch(r"\.[A-Za-z0-9]{1,8}", path.suffix) is None:
                raise UserError(
                    f"{kind} {path}: its name must end as that of a picture or a video, such as .png or .mp4"
                )
            files[f"{kind}{path.suffix}"] = str(path)
    zip_name = None
    if legacy_zip and isinstance(model, BaseAlgorithm):
        buffer = io.BytesIO()
        # A path of this machine, and what an expert, perhaps a person, was asked: that is the asker's to publish.
        model.save(buffer, exclude=["tensorboard_log", "labels"])
        zip_name = f"{name}.zip"
        files[zip_name] = buffer.getvalue()
    pictures = [name for name in files if name.startswith(("replay.", "curve."))]
    files[CARD] = card(model, repo_id, env_id, score, command, zip_name, pictures)
    api = HfApi(endpoint=endpoint, token=token)
    with named_errors(repo_id):
        api.create_repo(repo_id, private=private, exist_ok=True)
        operations = [CommitOperationAdd(name, content) for name, content in files.items()]
        commit = api.create_commit(
            repo_id, operations, commit_message=message or f"{type(model).__name__} on {env_id}", repo_type="model"
        )
    return str(commit.commit_url)


# ---------------------------------------------------------------------- reading


def load_from_hub(
    repo_id: str,
    *,
    env: GymEnv | None = None,
    device: th.device | str = "auto",
    revision: str | None = None,
    filename: str | None = None,
    trust_remote_code: bool = False,
    token: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    endpoint: str | None = None,
    **keywords: Any,
) -> BaseAlgorithm:
    """
    :param repo_id: "user/name"
    :param env: to go on training, or None to act; needed for a repository with a zip alone
    :param device: of the networks
    :param revision: branch, tag or commit
    :param filename: the zip to take, where there are several and no safe files
    :param trust_remote_code: load SB3's zip as SB3 does, which runs whatever code its author put in
    :param token: None = that of `hf auth login`
    :param cache_dir: of downloads
    :param endpoint: of another hub
    :param keywords: of the algorithm, in place of the saved ones
    :return: the agent; its class is the saved one
    :raises UnsafeFile: for files that are not what they should be
    :raises UserError: where there is no such repository, revision or file
    """
    folder = download(repo_id, revision, token, cache_dir, endpoint)
    if folder is not None and not trust_remote_code:
        return load_safe(folder, env=env, device=device, **keywords)
    path = _download_zip(repo_id, filename, revision, token, cache_dir, endpoint)
    algorithm = algorithm_of_zip(path.name)
    if trust_remote_code:
        return algorithm.load(path, env=env, device=device, **keywords)
    if env is None:
        raise UserError(
            f"{repo_id} has no safe files, only {path.name}: give env=..., whose spaces its weights are tried with"
        )
    return load_zip_weights(path, algorithm, env, device, **keywords)


def load_policy_from_hub(
    repo_id: str,
    *,
    device: th.device | str = "auto",
    revision: str | None = None,
    token: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    endpoint: str | None = None,
) -> PlannerPolicy:
    """
    A policy without an algorithm. Parameters as in `load_from_hub`.

    :return: the policy
    :raises UnsafeFile: for files that are not what they should be
    :raises UserError: where there is no such repository or revision, or no safe files in it
    """
    folder = download(repo_id, revision, token, cache_dir, endpoint)
    if folder is None:
        raise UserError(f"{repo_id} has no safe files")
    return load_safe_policy(folder, device)


def download(
    repo_id: str,
    revision: str | None = None,
    token: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    endpoint: str | None = None,
) -> pathlib.Path | None:
    """
    Parameters as in `load_from_hub`.

    :return: folder with the safe files, None where the repository has none
    """
    from huggingface_hub import try_to_load_from_cache  # of the extra `hub`
    from huggingface_hub.errors import LocalEntryNotFoundError, RemoteEntryNotFoundError

    where = Source(repo_id, revision, token, cache_dir, endpoint)
    with named_errors(repo_id, revision):
        info = where.info()
        try:
            config = where.download(CONFIG, LIMITS[CONFIG], info)
        except RemoteEntryNotFoundError:
            return None
        if "schema" not in read_json(config):  # another program's
            return None
        # All files shall be of one commit. By the name of a branch the first one was asked for, since huggingface_hub
        # notes then what the branch is, for when there is no connection; it may have moved on meanwhile.
        there = where._replace(revision=config.parent.name)
        if info is not None and info.commit != there.revision:
            info = there.info()
        weights = there.download(WEIGHTS, LIMITS[WEIGHTS], info)
        for name in OPTIONAL:
            try:
                there.download(name, LIMITS[name], info)
            except (RemoteEntryNotFoundError, LocalEntryNotFoundError) as error:
                cache = None if cache_dir is None else str(cache_dir)
                known = try_to_load_from_cache(repo_id, name, cache, there.revision)
                if isinstance(error, LocalEntryNotFoundError) and known is None:
                    raise  # offline, and nobody knows whether there is one
    return weights.parent


def _download_zip(
    repo_id: str,
    filename: str | None,
    revision: str | None,
    token: str | None,
    cache_dir: str | os.PathLike[str] | None,
    endpoint: str | None,
) -> pathlib.Path:
    where = Source(repo_id, revision, token, cache_dir, endpoint)
    with named_errors(repo_id, revision):
        info = where.info()
        if filename is None and info is not None:
            zips = [name for name in info.sizes if re.fullmatch(r"[\w.+-]+\.zip", name)]
            if len(zips) != 1:
                found = (
                    f"has {', '.join(zips)}: give filename=..."
                    if zips
                    else "has no agent: neither safe files nor a zip"
                )
                raise UserError(f"{repo_id} {found}")
            (filename,) = zips
        if filename is None:
            raise UserError(f"{repo_id}: no connection to the hub, which could say what there is: give filename=...")
        return where.download(filename, MAX_ZIP_BYTES, info)
