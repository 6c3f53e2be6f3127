"""
Agents on the Hugging Face Hub. A repository holds the safe files of `safe_files`, results and a card, and SB3's zip for
those who have SB3 alone.

What is read of a stranger's repository: files of fixed names, through `safe_files`. A repository with a zip alone gives
its weights, nothing else, unless its code is trusted.
"""

from __future__ import annotations

import io
import json
import os
import pathlib
import pickletools
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import VecNormalize

import sb3_ext
from sb3_ext.zoo.errors import UserError
from sb3_ext.zoo.plain_json import CLASSES
from sb3_ext.zoo.registry import ALGORITHMS
from sb3_ext.zoo.safe_files import (
    CONFIG,
    CONTRIB,
    MAX_JSON_BYTES,
    MAX_WEIGHT_BYTES,
    NORMALIZE,
    OPTIMIZER,
    SPARE_WEIGHTS,
    WEIGHTS,
    UnsafeFile,
    algorithm_of,
    at_most,
    json_bytes,
    load_safe,
    name_of,
    read_json,
    safe_files,
    versions,
)

RESULTS, CARD = "results.json", "README.md"
OPTIONAL = (f"{OPTIMIZER}.json", f"{OPTIMIZER}.safetensors", f"{NORMALIZE}.json", f"{NORMALIZE}.safetensors")


class Score(NamedTuple):
    """What an agent reached."""

    mean: float
    """return of an episode"""
    std: float
    """over the episodes"""
    n_episodes: int


def push_to_hub(
    model: BaseAlgorithm,
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

    :param model: of ours, of SB3 or of sb3-contrib
    :param repo_id: "user/name"; created if there is none
    :param env_id: what it was trained on
    :param score: for the card and `results.json`
    :param vec_normalize: its statistics; None = those of the model's environment, if it has them
    :param command: that trained it, for the card
    :param replay: a video, kept as ``replay.mp4`` or ``replay.gif``
    :param curve: picture of the learning curve for the card, kept as ``curve.png`` or with its own suffix
    :param optimizer: keep the state of the optimizers, to go on training
    :param legacy_zip: SB3's zip too, which runs code when it is loaded
    :param private: None = as the account says
    :param token: None = that of `hf auth login`
    :param message: of the commit
    :param environment: ``env_wrapper`` and ``frame_stack`` as in rl-zoo3's yml, for `sb3-ext load_from_hub`
    :param endpoint: of another hub
    :return: address of the commit
    :raises NotPlain: for a setting that only a pickle could hold; nothing is sent then
    :raises UserError: where the hub refuses
    """
    from huggingface_hub import CommitOperationAdd, HfApi  # of the extra `hub`

    if vec_normalize is None:
        vec_normalize = model.get_vec_normalize_env()
    files: dict[str, bytes | str] = dict(safe_files(model, optimizer, vec_normalize))
    config = {**json.loads(files[CONFIG]), "env_id": env_id, "environment": environment or {}}
    files[CONFIG] = json_bytes(config)
    name = f"{type(model).__name__.lower()}-{env_id.replace('/', '-')}"
    if score is not None:
        files[RESULTS] = json_bytes({"env_id": env_id, **score._asdict()})
    for kind, given in (("replay", replay), ("curve", curve)):
        if given is not None:
            path = pathlib.Path(given)
            if not path.is_file():
                raise UserError(f"there is no {path}")
            files[f"{kind}{path.suffix}"] = str(path)
    if legacy_zip:
        buffer = io.BytesIO()
        model.save(buffer)
        files[f"{name}.zip"] = buffer.getvalue()
    pictures = [name for name in files if name.startswith(("replay.", "curve."))]
    files[CARD] = card(model, repo_id, env_id, score, command, f"{name}.zip" if legacy_zip else None, pictures)
    api = HfApi(endpoint=endpoint, token=token)
    with named_errors(repo_id):
        api.create_repo(repo_id, private=private, exist_ok=True)
        operations = [CommitOperationAdd(name, content) for name, content in files.items()]
        commit = api.create_commit(
            repo_id, operations, commit_message=message or f"{type(model).__name__} on {env_id}", repo_type="model"
        )
    return str(commit.commit_url)


def card(
    model: BaseAlgorithm,
    repo_id: str,
    env_id: str,
    score: Score | None,
    command: str | None,
    legacy_zip: str | None,
    pictures: Sequence[str] = (),
) -> bytes:
    """Parameters as in `push_to_hub`; ``pictures`` are files beside it. :return: the README of a repository"""
    from huggingface_hub import EvalResult, ModelCardData  # of the extra `hub`

    name = type(model).__name__
    results = None
    if score is not None:
        value = f"{score.mean:.2f} +/- {score.std:.2f}"
        results = [
            EvalResult(
                task_type="reinforcement-learning",
                task_name="reinforcement-learning",
                dataset_type=env_id,
                dataset_name=env_id,
                metric_type="mean_reward",
                metric_name="mean_reward",
                metric_value=value,
            )
        ]
    data = ModelCardData(
        library_name="stable-baselines3",
        tags=["reinforcement-learning", "deep-reinforcement-learning", "stable-baselines3", "sb3-ext", env_id],
        model_name=name if results else None,
        eval_results=results,
    )
    lines = ["---", data.to_yaml(), "---", "", f"# {name} on {env_id}", ""]
    lines += [f"An agent of `{name_of(model)}` after {model.num_timesteps} env steps.", ""]
    if score is not None:
        half = 1.96 * score.std / max(score.n_episodes, 1) ** 0.5
        lines += [
            f"Mean return {score.mean:.2f} over {score.n_episodes} episodes "
            f"(95 % interval {score.mean - half:.2f} to {score.mean + half:.2f}; standard deviation {score.std:.2f}).",
            "",
        ]
    for picture in pictures:
        shown = "!" if picture.endswith((".gif", ".png", ".svg")) else ""
        lines += [f"{shown}[{picture.split('.')[0]}]({picture})", ""]
    if command is not None:
        lines += ["Trained with", "", "```", command, "```", ""]
    lines += [
        "Load it without running any code of this repository:",
        "",
        "```python",
        "from sb3_ext.zoo.hub import load_from_hub",
        "",
        f'model = load_from_hub("{repo_id}")',
        "```",
        "",
    ]
    if legacy_zip is not None:
        lines += [f"`{legacy_zip}` is SB3's own format. Like any of its zips it runs code when it is loaded.", ""]
    lines += ["Versions: " + ", ".join(f"{key} {value}" for key, value in versions().items()) + ".", ""]
    return "\n".join(lines).encode()


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

    limits = {WEIGHTS: MAX_WEIGHT_BYTES, CONFIG: MAX_JSON_BYTES}
    limits |= {name: MAX_JSON_BYTES if name.endswith(".json") else 2 * MAX_WEIGHT_BYTES for name in OPTIONAL}
    with named_errors(repo_id, revision):
        check_sizes(repo_id, limits, revision, token, endpoint)
        try:
            config = download_file(repo_id, CONFIG, revision, token, cache_dir, endpoint)
        except RemoteEntryNotFoundError:
            return None
        if "schema" not in read_json(config):  # another program's
            return None
        revision = config.parent.name  # the commit, of which all files shall be
        weights = download_file(repo_id, WEIGHTS, revision, token, cache_dir, endpoint)
        for name in OPTIONAL:
            try:
                download_file(repo_id, name, revision, token, cache_dir, endpoint)
            except (RemoteEntryNotFoundError, LocalEntryNotFoundError) as error:
                known = try_to_load_from_cache(repo_id, name, None if cache_dir is None else str(cache_dir), revision)
                if isinstance(error, LocalEntryNotFoundError) and known is None:
                    raise  # offline, and nobody knows whether there is one
                continue
    return weights.parent


def algorithm_of_zip(name: str) -> type[BaseAlgorithm]:
    """
    :param name: of a zip as rl-zoo3 and `push_to_hub` call it, "ppo-CartPole-v1.zip"
    :return: its algorithm
    :raises UserError: where the name does not say
    """
    algo = name.split("-")[0].lower()
    known = {"ppo_lstm": "sb3_contrib.RecurrentPPO", "ppo_mask": "sb3_contrib.MaskablePPO"}
    known |= {x.lower(): f"sb3_contrib.{x}" for x in CONTRIB}
    known |= {x.lower(): f"stable_baselines3.{x}" for x in ("A2C", "DDPG", "DQN", "PPO", "SAC", "TD3")}
    known |= {key: f"sb3_ext.{x}" for key, x in ALGORITHMS.items() if key not in known}
    if algo not in known:
        raise UserError(f"{name} does not begin with the name of an algorithm: {', '.join(sorted(known))}")
    return algorithm_of(known[algo])


def load_zip_weights(
    path: pathlib.Path, algorithm: type[BaseAlgorithm], env: GymEnv, device: th.device | str = "auto", **keywords: Any
) -> BaseAlgorithm:
    """
    The weights of SB3's zip in a network of our own making. No pickle in it is read.

    :param path: of the zip
    :param algorithm: that made it
    :param env: of the same spaces
    :param device: of the networks
    :param keywords: of the algorithm, such as ``policy`` and ``policy_kwargs`` where the zip does not say them plainly
    :return: the agent; all other settings are the algorithm's defaults
    :raises UnsafeFile: for another file, or weights of another network
    """
    try:
        with zipfile.ZipFile(path) as archive:
            data = json.loads(_member(archive, "data", MAX_JSON_BYTES))
            if not isinstance(data, dict):
                raise ValueError("data is no object")
            weights = _tensors_of(_member(archive, "policy.pth", MAX_WEIGHT_BYTES))
    except (zipfile.BadZipFile, ValueError, RuntimeError, KeyError, EOFError) as error:
        raise UnsafeFile(f"{path.name} is not SB3's zip, or holds more than weights ({error})") from None
    except Exception as error:  # what torch raises for a pickle that is none of tensors
        if type(error).__name__ != "UnpicklingError":
            raise
        raise UnsafeFile(f"{path.name}: policy.pth holds more than tensors, and nothing of it was run") from None
    kwargs = _plain_policy_kwargs(data.get("policy_kwargs"))
    policies = [keywords.pop("policy")] if "policy" in keywords else list(algorithm.policy_aliases)
    given = {"policy_kwargs": kwargs, **keywords}
    reasons = []
    for policy in policies:
        try:
            with at_most(2 * sum(x.numel() for x in weights.values()) + SPARE_WEIGHTS):
                model = algorithm(policy, env, device=device, **given)
            model.policy.load_state_dict(weights)
        except (RuntimeError, AssertionError, TypeError, ValueError, AttributeError) as error:
            reasons.append(f"{policy}: {' '.join(str(error).split())[:200]}")
        else:
            return model
    raise UnsafeFile(
        f"{path.name}: its weights fit no policy of {algorithm.__name__} on this environment; give policy=... and "
        f"policy_kwargs=... ({'; '.join(reasons)})"
    )


def _member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """:raises ValueError: for a member that unpacks to more than it says, or than the limit"""
    info = archive.getinfo(name)
    size = info.file_size
    # SB3 stores, and does not compress.
    if size > min(limit, max(20 * info.compress_size, 2**20)):
        raise ValueError(f"{name} unpacks to {size} bytes, more than {limit} or than 20 times its {info.compress_size}")
    with archive.open(name) as file:
        content = file.read(limit + 1)
    if len(content) != size:
        raise ValueError(f"{name} unpacks to {len(content)} bytes and says {size}")
    return content


def _tensors_of(content: bytes) -> dict[str, th.Tensor]:
    """
    :param content: of ``policy.pth``
    :return: by name
    :raises ValueError: for more than tensors
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for info in archive.infolist():
            if info.compress_type != zipfile.ZIP_STORED:
                raise ValueError("policy.pth is compressed, which PyTorch's files are not")
            if info.filename.endswith("data.pkl"):
                for op, argument, _ in pickletools.genops(archive.read(info)):
                    # PyTorch's own reader would make a bytearray of any size.
                    if op.name == "STACK_GLOBAL" or (op.name == "GLOBAL" and "bytearray" in str(argument)):
                        raise ValueError("policy.pth holds more than tensors")
    weights = th.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    if not isinstance(weights, dict) or not all(isinstance(x, th.Tensor) for x in weights.values()):
        raise ValueError("policy.pth holds more than tensors")
    return weights


def _plain_policy_kwargs(data: Any) -> dict[str, Any]:  # Any: JSON of anyone
    """:return: what SB3's JSON says in plain text, classes out of our own list"""
    if not isinstance(data, Mapping):
        return {}
    texts = {f"{cls.__module__}.{cls.__qualname__}": cls for cls in CLASSES.values()}
    kwargs: dict[str, Any] = {}
    for key, value in data.items():
        if key in (":type:", ":serialized:"):
            continue
        if isinstance(value, str) and value.startswith("<class '"):
            cls = texts.get(value[len("<class '") : -len("'>")])
            if cls is not None:
                kwargs[key] = cls
        elif isinstance(value, bool | int | float | list | dict | None):
            kwargs[key] = value
    return kwargs


def _download_zip(
    repo_id: str,
    filename: str | None,
    revision: str | None,
    token: str | None,
    cache_dir: str | os.PathLike[str] | None,
    endpoint: str | None,
) -> pathlib.Path:
    from huggingface_hub import HfApi  # of the extra `hub`

    with named_errors(repo_id, revision):
        if filename is None:
            info = HfApi(endpoint=endpoint, token=token).model_info(repo_id, revision=revision)
            zips = [x.rfilename for x in info.siblings or [] if x.rfilename.endswith(".zip") and "/" not in x.rfilename]
            if len(zips) != 1:
                found = (
                    f"has {', '.join(zips)}: give filename=..."
                    if zips
                    else "has no agent: neither safe files nor a zip"
                )
                raise UserError(f"{repo_id} {found}")
            (filename,) = zips
        # Weights, and two numbers of Adam for each.
        check_sizes(repo_id, {filename: 4 * MAX_WEIGHT_BYTES}, revision, token, endpoint)
        return download_file(repo_id, filename, revision, token, cache_dir, endpoint)


def check_sizes(
    repo_id: str,
    limits: Mapping[str, int],
    revision: str | None,
    token: str | None,
    endpoint: str | None,
    repo_type: str = "model",
) -> None:
    """
    Before anything is downloaded. Where the hub does not answer, the download says so, or has the file already.

    Parameters as in `load_from_hub`; ``repo_type`` is huggingface_hub's.

    :param limits: bytes by name of a file
    :raises UnsafeFile: for a larger one
    """
    from huggingface_hub import HfApi, errors  # of the extra `hub`

    transport_error = errors.HfHubHTTPError.__bases__[0]  # see `named_errors`
    assert issubclass(transport_error, Exception)
    api = HfApi(endpoint=endpoint, token=token)
    try:
        ask = api.dataset_info if repo_type == "dataset" else api.model_info
        info = ask(repo_id, revision=revision, files_metadata=True)
    except (OSError, transport_error, errors.HFValidationError):
        return
    for file in info.siblings or []:
        limit = limits.get(file.rfilename)
        if limit is not None and (file.size or 0) > limit:
            raise UnsafeFile(
                f"{repo_id}: {file.rfilename} has {file.size} bytes, more than {limit}; nothing was loaded"
            )


def download_file(
    repo_id: str,
    filename: str,
    revision: str | None,
    token: str | None,
    cache_dir: str | os.PathLike[str] | None,
    endpoint: str | None,
    repo_type: str = "model",
) -> pathlib.Path:
    """
    Parameters as in `load_from_hub`; ``repo_type`` is huggingface_hub's.

    :return: path of the file, which is whole: huggingface_hub renames it when it is complete
    """
    from huggingface_hub import hf_hub_download  # of the extra `hub`

    return pathlib.Path(
        hf_hub_download(
            repo_id,
            filename,
            repo_type=repo_type,
            revision=revision,
            token=token,
            cache_dir=None if cache_dir is None else pathlib.Path(cache_dir),
            endpoint=endpoint,
            library_name="sb3-ext",
            library_version=sb3_ext.__version__,
        )
    )


@contextmanager
def named_errors(repo_id: str, revision: str | None = None) -> Iterator[None]:
    """
    What the hub says, as one line with what to do.

    :raises UserError: for every answer but the wanted one
    """
    from huggingface_hub import errors  # of the extra `hub`

    transport_error = errors.HfHubHTTPError.__bases__[0]  # of requests or httpx, whichever huggingface_hub has
    assert issubclass(transport_error, Exception)
    try:
        yield
    except errors.RemoteEntryNotFoundError as error:
        raise UserError(f"{repo_id} has no such file: {error}") from None
    except errors.GatedRepoError:
        raise UserError(f"{repo_id} is gated: ask for access on its page, and log in with `hf auth login`") from None
    except errors.RepositoryNotFoundError:
        raise UserError(
            f"there is no {repo_id} on the hub, or you may not see it: check the name, and log in with `hf auth login`"
        ) from None
    except errors.RevisionNotFoundError:
        raise UserError(f"{repo_id} has no revision {revision!r}") from None
    except errors.HFValidationError as error:
        raise UserError(f"{repo_id!r} is no name of a repository: {error}") from None
    except errors.LocalEntryNotFoundError:
        raise UserError(f"{repo_id}: no connection to the hub, and nothing of it in the cache") from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise UserError(f"{repo_id}: the hub refuses the token: log in with `hf auth login`") from None
        raise UserError(f"{repo_id}: the hub answers {status}; nothing was changed, try again ({error})") from None
    except (OSError, transport_error) as error:
        raise UserError(f"{repo_id}: no connection to the hub ({error})") from None
    except RuntimeError as error:  # of a large file, which is uploaded before the commit
        raise UserError(f"{repo_id}: {error} Nothing was changed, try again ({error.__cause__})") from None
