"""`sb3-ext doctor` says what is there, what is missing and what does not run."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from sb3_ext.algorithms import MODULES
from sb3_ext.cli import doctor
from sb3_ext.cli import main as cli


def test_everything_here_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "N_STEPS", 100)
    monkeypatch.setattr(doctor, "BACKENDS", {"process": None, "elsewhere": "no_such_package"})
    assert cli.main(["doctor"]) == 0
    out = capsys.readouterr().out
    for name in MODULES:
        assert f"  {name:9} ok, " in out
    assert "\n  process   ok, " in out and "elsewhere" not in out
    assert f"stable_baselines3 {metadata.version('stable_baselines3')}" in out
    assert "pygame     ok, CartPole-v1 drawn at 600 x 400" in out
    assert "FAILS" not in out and list(tmp_path.iterdir()) == []


def test_what_is_missing_comes_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    known = metadata.version

    def version(name: str) -> str:
        if name in ("ray", "mujoco"):
            raise metadata.PackageNotFoundError(name)
        return known(name)

    monkeypatch.setattr(metadata, "version", version)
    lines = list(doctor.extras())
    assert '  ray        lacks ray: pip install "sb3-ext[ray]"' in lines
    assert '  mujoco     lacks mujoco: pip install "sb3-ext[mujoco]"' in lines
    assert not any("dev" in line for line in lines)
    assert not any("mujoco" in line for line in doctor.rendering())


def test_what_does_not_run_is_named_and_the_rest_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        raise RuntimeError("no\nluck")

    monkeypatch.setattr(doctor, "algorithms", lambda: {"R2D2": broken, "TD3": lambda: None})
    monkeypatch.setattr(doctor, "actors", lambda: {"process": lambda: None, "ray": broken})
    monkeypatch.setattr(doctor, "rendering", list)
    assert cli.main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "R2D2      FAILS: RuntimeError: no luck" in out and "TD3       ok" in out
    assert "process   ok" in out and "ray       FAILS: RuntimeError: no luck" in out
    monkeypatch.setattr(doctor, "algorithms", dict)
    assert cli.main(["doctor"]) == 1, "it is enough that actors do not"
    capsys.readouterr()
    assert cli.main(["doctor", "--no-run"]) == 0
    assert "algorithms" not in capsys.readouterr().out
