"""Text of a file names no code."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.demo_worlds import random_demos, read_as, write_as

from sb3_ext.demonstrations import (
    from_arrays,
    load,
    save,
)
from sb3_ext.env_ids import id_of_file, without_module

EXTRA = "in the extra `demos`"

NAMES_CODE = ["evilmod:Foo-v0", "os:mkdir", ":Foo-v0", "a/b:c-v0"]


@pytest.mark.parametrize("env_id", [*NAMES_CODE, "../x", "/etc/x-v0", "a\x1b[2J-v0", "", "x" * 201, 3, None, ["a"]])
def test_an_id_of_a_file_is_a_plain_name(env_id: Any) -> None:
    with pytest.raises(ValueError, match="env_id: "):
        id_of_file(env_id)


@pytest.mark.parametrize("env_id", [*NAMES_CODE, "../x", "/etc/x-v0", 3])
def test_an_id_of_the_hub_is_a_plain_name(env_id: Any) -> None:
    from sb3_ext.errors import UserError
    from sb3_ext.exchange.environments import check_env_id

    check_env_id("CartPole-v1")
    with pytest.raises(UserError, match="env_id: "):
        check_env_id(env_id)


@pytest.mark.parametrize(
    "env_id",
    ["CartPole-v1", "ALE/Pong-v5", "sb3_ext/MemoryChain-v0", "D4RL/door/human-v2", "_Maze-v0", "Größe-v0", "迷路-v1"],
)
def test_plain_names_pass(env_id: str) -> None:
    assert id_of_file(env_id) == env_id == without_module(env_id) == without_module(f"module.sub:{env_id}")


@pytest.fixture
def evil_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """:return: what appears when ``evilmod`` is imported"""
    marker = tmp_path / "imported"
    (tmp_path / "evilmod.py").write_text(f"open({str(marker)!r}, 'w').close()")
    monkeypatch.syspath_prepend(tmp_path)
    return marker


@pytest.mark.parametrize("env_id", NAMES_CODE)
def test_npz_whose_id_names_a_module_is_refused_when_it_is_read(tmp_path: Path, evil_module: Path, env_id: str) -> None:
    from sb3_ext.cli import main as cli

    path = save(random_demos(), tmp_path / "demos")
    with np.load(path) as file:
        parts = dict(file)
    header = json.loads(str(parts["header"])) | {"env_id": env_id}
    np.savez(path, **parts | {"header": np.array(json.dumps(header))})
    with pytest.raises(ValueError, match=r"demos\.npz: env_id: .* names a module to import, which only you may"):
        load(path)
    assert cli.main(["demos", "check", str(path)]) == 2
    assert not evil_module.exists()


@pytest.mark.parametrize("place", ["sb3_ext_env_id", "env_spec"])
def test_minari_folder_whose_id_names_a_module_is_refused(tmp_path: Path, evil_module: Path, place: str) -> None:
    pytest.importorskip("minari", reason=EXTRA)
    path = write_as("minari", random_demos(), tmp_path / "random-v0")
    metadata_path = path / "data" / "metadata.json"
    metadata = json.loads(metadata_path.read_text()) | {"sb3_ext_env_id": None}
    spec = {"id": "evilmod:Foo-v0", "entry_point": "evilmod:Foo"}
    metadata[place] = json.dumps(spec) if place == "env_spec" else "evilmod:Foo-v0"
    metadata_path.write_text(json.dumps(metadata))
    with pytest.raises(ValueError, match=rf"metadata\.json: {place}: 'evilmod:Foo-v0' names a module to import"):
        read_as("minari", path)
    assert not evil_module.exists()


def test_a_module_that_the_user_names_is_left_out_of_what_is_written(tmp_path: Path) -> None:
    demos = random_demos()
    fields: dict[str, Any] = dict(
        observations=[e.observations for e in demos.episodes],
        actions=[e.actions for e in demos.episodes],
        terminated=[True] * 3,
    )
    typed = from_arrays(
        **fields, observation_space=demos.observation_space, action_space=demos.action_space, env_id="my.envs:Foo-v0"
    )
    assert typed.env_id == "Foo-v0" and load(save(typed, tmp_path / "a")).env_id == "Foo-v0"
    with pytest.raises(ValueError, match=r"env_id: 'my.envs:Foo-v0' names a module"):
        replace(demos, env_id="my.envs:Foo-v0")
    with pytest.raises(ValueError, match="env_id: 'a b' is no name"):  # what could not be read is not written
        save(replace(demos, env_id="a b"), tmp_path / "b")
    assert not (tmp_path / "b.npz").exists()


def test_text_that_moves_the_cursor_is_refused(tmp_path: Path) -> None:
    path = save(replace(random_demos(), versions={"numpy": "\x1b[2J"}), tmp_path / "demos")
    with pytest.raises(ValueError, match="versions: must map"):
        load(path)
