"""Where the tuned hyperparameters lie: package data in a wheel, `zoo_configs/` at the repository root otherwise."""

from pathlib import Path
from typing import Any

from sb3_ext.zoo.checked_settings import check_blocks

_IN_WHEEL = Path(__file__).parent / "zoo_configs"
_IN_REPOSITORY = Path(__file__).parents[2] / "zoo_configs"


def config_path(algo: str) -> Path:
    """
    :param algo: the zoo's algorithm id, e.g. "r2d2"
    :return: its yml, for rl-zoo3's ``-conf``
    :raises ValueError: where there is none
    """
    folder = _folder()
    path = folder / f"{algo}.yml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.yml"))) or "none"
        raise ValueError(f"no hyperparameters for algorithm {algo!r} in {folder}: there are {known}")
    return path


def stock_path(algo: str, env_id: str, theirs: str | Path) -> Path | None:
    """
    :param algo: id of a stock algorithm
    :param env_id: environment
    :param theirs: the yml that rl-zoo3 reads
    :return: ours, where it has a block of the environment and theirs has none; else None
    """
    ours = _folder() / "stock" / f"{algo}.yml"
    if not ours.is_file() or env_id not in read_blocks(ours) or env_id in read_blocks(theirs):
        return None
    return ours


def _folder() -> Path:
    return _IN_WHEEL if _IN_WHEEL.is_dir() else _IN_REPOSITORY


def read_blocks(path: str | Path) -> dict[str, dict[str, Any]]:
    """
    :param path: of a yml
    :return: settings by environment
    :raises UserError: where it holds none
    """
    import yaml  # of the `zoo` extra: without it `sb3-ext` can still say so

    with open(path) as file:  # by whose name YAML says where an error is
        blocks: dict[str, dict[str, Any]] = yaml.safe_load(file)
    check_blocks(blocks, path)
    return blocks


def read_block(algo: str, env_id: str) -> dict[str, Any]:
    """
    :param algo: the zoo's algorithm id
    :param env_id: environment
    :return: its block of the yml, unprocessed, or the default block
    """
    blocks = read_blocks(config_path(algo))
    block: dict[str, Any] = blocks.get(env_id, blocks["default"])
    return block


def read_presets(path: str | Path) -> dict[str, dict[str, Any]]:
    """
    :param path: of a yml
    :return: settings by name, to be laid over the block of an environment
    """
    presets: dict[str, dict[str, Any]] = read_blocks(path).get("presets", {})
    return presets
