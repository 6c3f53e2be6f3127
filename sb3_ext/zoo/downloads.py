"""An agent of the Hub as a run in the log folder, where rl-zoo3's scripts find it."""

from __future__ import annotations

from pathlib import Path

from sb3_ext.errors import UserError
from sb3_ext.zoo.agent_folders import Run, write_run


def download_run(repo_id: str, logs: Path, revision: str | None = None, device: str = "cpu") -> tuple[Run, int]:
    """
    :param repo_id: "user/name"
    :param logs: log folder
    :param revision: branch, tag or commit
    :param device: of the networks
    :return: the run, and the bytes that were downloaded; only safe files were read, and no code of its author ran
    :raises UserError: where there are no safe files, or they name no environment
    """
    from sb3_ext.exchange.hub import download

    source = download(repo_id, revision)
    if source is None:
        raise UserError(
            f"{repo_id} has no safe files; in Python, sb3_ext.exchange.hub.load_from_hub takes the weights out of a zip"
        )
    run = write_run(source, logs, device=device)
    return run, sum(path.stat().st_size for path in source.iterdir() if path.is_file())
