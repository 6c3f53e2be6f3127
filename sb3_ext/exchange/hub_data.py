"""Demonstrations as data sets on the Hugging Face Hub: the native file, which holds no pickle, and a card."""

from __future__ import annotations

import json
import os
import pathlib
import tempfile

from sb3_ext.demonstrations import Demonstrations, load, save
from sb3_ext.demonstrations.info import info
from sb3_ext.errors import UserError
from sb3_ext.exchange.hub_card import CARD, as_text, fenced
from sb3_ext.exchange.hub_source import Source, named_errors
from sb3_ext.exchange.hub_source import reach as reach
from sb3_ext.exchange.redaction import redacted

DATA = "demonstrations.npz"
MAX_DATA_BYTES = 16 * 2**30


def push_demonstrations(
    demos: Demonstrations,
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | None = None,
    message: str | None = None,
    endpoint: str | None = None,
) -> str:
    """
    One commit with both files: an upload that breaks off leaves the data set as it was, and can be repeated.

    :param demos: whole episodes
    :param repo_id: "user/name"; created if there is none
    :param private: None = as the account says
    :param token: None = that of `hf auth login`
    :param message: of the commit
    :param endpoint: of another hub
    :return: address of the commit
    :raises UserError: where the hub refuses
    """
    from huggingface_hub import CommitOperationAdd, HfApi  # of the extra `hub`

    api = HfApi(endpoint=endpoint, token=token)
    with tempfile.TemporaryDirectory() as folder, named_errors(repo_id):
        path = save(demos, pathlib.Path(folder) / DATA)
        # huggingface_hub 2.4 trips over the address of another hub where a token may not create what is there.
        if not api.repo_exists(repo_id, repo_type="dataset"):
            api.create_repo(repo_id, private=private, exist_ok=True, repo_type="dataset")
        operations = [CommitOperationAdd(DATA, path), CommitOperationAdd(CARD, _card(demos, repo_id))]
        commit = api.create_commit(
            repo_id,
            operations,
            commit_message=message or f"{len(demos)} episodes of {demos.env_id or 'an environment'}",
            repo_type="dataset",
        )
    return str(commit.commit_url)


def load_demonstrations(
    repo_id: str,
    *,
    revision: str | None = None,
    token: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    endpoint: str | None = None,
    max_bytes: int | None = None,
) -> Demonstrations:
    """
    :param repo_id: "user/name"
    :param revision: branch, tag or commit
    :param token: None = that of `hf auth login`
    :param cache_dir: of downloads
    :param endpoint: of another hub
    :param max_bytes: that reading may make, None = by the file's size
    :return: the episodes, checked as every file is; nothing of the data set is run
    :raises UserError: where there is no such data set, revision or file
    :raises UnsafeFile: for a file of more than 16 GiB
    :raises ValueError: for a file that is not what it should be
    """
    from huggingface_hub.errors import RemoteEntryNotFoundError  # of the extra `hub`

    with named_errors(repo_id, revision):
        where = Source(repo_id, revision, token, cache_dir, endpoint, "dataset")
        try:
            path = where.download(DATA, MAX_DATA_BYTES, where.info())
        except RemoteEntryNotFoundError:
            raise UserError(f"the data set {repo_id} has no {DATA}: it was not pushed by sb3_ext") from None
    return load(path, "npz", max_bytes=max_bytes)


def _card(demos: Demonstrations, repo_id: str) -> bytes:
    from huggingface_hub import DatasetCardData  # of the extra `hub`

    data = DatasetCardData(
        tags=["reinforcement-learning", "imitation-learning", "stable-baselines3", "sb3-ext", demos.env_id or "unknown"]
    )
    title = f"# Demonstrations on {as_text(demos.env_id or 'an unnamed environment')}"
    lines = ["---", data.to_yaml(), "---", "", title, "", *fenced(redacted(info(demos))), ""]
    lines += ["Load them without running any code of this data set:", ""]
    example = "from sb3_ext.exchange.hub_data import load_demonstrations\n\n"
    example += f"demos = load_demonstrations({json.dumps(repo_id)})"
    lines += [*fenced(example, "python"), ""]
    return "\n".join(lines).encode()
