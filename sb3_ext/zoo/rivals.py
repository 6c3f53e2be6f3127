"""The agent that another one is compared with: `--versus ALGO`, `--versus PATH` or `--versus ALGO=PATH`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sb3_ext.errors import UserError, did_you_mean
from sb3_ext.zoo.agent_folders import said_by
from sb3_ext.zoo.agent_ref import AgentRef
from sb3_ext.zoo.registry import register
from sb3_ext.zoo.runs.folders import task_of
from sb3_ext.zoo.typed_ids import name_in_folders


def rival_of(ref: AgentRef, text: str) -> AgentRef:
    """
    :param ref: of the agent
    :param text: as typed: an algorithm, of which the latest run in the same log folder is meant; a run's folder, a zip
        in one, or a folder of safe files; a zip elsewhere with its algorithm before it
    :return: the other, in the same environment and with the same seed
    :raises UserError: where it is not known, or of another environment
    """
    register()
    from rl_zoo3.utils import ALGOS

    algo, found, rest = text.partition("=")
    path = Path(rest if found else text)
    if found and algo not in ALGOS:
        raise UserError(f"--versus {text}: unknown algorithm {algo!r}{did_you_mean(algo, ALGOS)}")
    if text in ALGOS:
        return replace(ref, algo=text, path=None, exp_id=min(ref.exp_id, 0))
    if not path.exists():
        what = (
            f"there is no {path}" if found else f"neither an algorithm nor a folder or zip{did_you_mean(text, ALGOS)}"
        )
        raise UserError(f"--versus {text}: {what}")
    if (path / "config.json").is_file():
        said = said_by(path)
        if said.env_id not in (None, ref.env_id):
            raise UserError(f"--versus {text}: an agent of {said.env_id}, not of {ref.env_id}")
        return replace(ref, algo=algo if found else said.algo, path=path)
    run = path if path.is_dir() else path.parent
    whose = algo if found else run.resolve().parent.name
    if whose not in ALGOS:
        raise UserError(f"--versus {text}: of which algorithm is it? Say --versus ALGO={path}")
    task = task_of(run.resolve().name)
    if not found and task != name_in_folders(ref.env_id):
        raise UserError(f"--versus {text}: a run of {task}, not of {ref.env_id}")
    return replace(ref, algo=whose, path=path if path.is_file() else _model_in(run, ref))


def _model_in(run: Path, ref: AgentRef) -> Path:
    """:return: the zip that is wanted of the agent too"""
    found = next((run / name for name in ref.wanted if (run / name).is_file()), None)
    if found is None:
        raise UserError(f"--versus {run}: no {' and no '.join(ref.wanted)} in it")
    return found
