"""The wheel and the sdist: what they hold, that they install alone, and that the sdist can be tested."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

import sb3_ext
from sb3_ext.zoo import config_path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "sb3_ext"
DATA = [PACKAGE / "viz" / name for name in ("lab_page", "report_page")]
NOTHING_OF_OURS = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}


class Built(NamedTuple):
    """Files that `hatchling build` made, and where the wheel is unpacked."""

    wheel: Path
    sdist: Path
    site: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("built")
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return Built(wheel, sdist, folder / "site")


def files_of(folder: Path) -> set[Path]:
    return {p.relative_to(folder) for p in folder.rglob("*") if p.is_file()}


def test_wheel_holds_the_package_and_nothing_else(built: Built) -> None:
    expected = {p.relative_to(ROOT) for p in PACKAGE.rglob("*.py")} | {Path("sb3_ext/py.typed")}
    expected |= {p.relative_to(ROOT) for folder in DATA for p in folder.iterdir()}
    expected |= {Path("sb3_ext/zoo") / p.relative_to(ROOT) for p in (ROOT / "zoo_configs").rglob("*.yml")}
    assert {p for p in files_of(built.site) if ".dist-info" not in p.parts[0]} == expected


def test_configs_are_found_in_a_wheel_and_in_the_repository(built: Built) -> None:
    assert config_path("r2d2") == ROOT / "zoo_configs" / "r2d2.yml"
    code = "from sb3_ext.zoo import config_path; print(config_path('r2d2'))"
    # Its own folder comes first on the path of `python -c`.
    result = subprocess.run([sys.executable, "-c", code], cwd=built.site, capture_output=True, text=True, check=True)
    assert Path(result.stdout.strip()) == built.site / "sb3_ext" / "zoo" / "zoo_configs" / "r2d2.yml"


def unpack(sdist: Path, folder: Path) -> Path:
    """:return: the folder that everything in it lies in"""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    return folder / sdist.name.removesuffix(".tar.gz")


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout: nobody says what belongs to it")
def test_sdist_holds_all_that_is_kept_in_git(built: Built, tmp_path: Path) -> None:
    """So the tests, which read pages, results and `.ci`, find what they need in it."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    kept = {Path(name) for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()}
    assert len(kept) > 500
    assert sorted(kept - files_of(unpack(built.sdist, tmp_path))) == []


# ---------------------------------------------------------------------- installed, without anything else


def environment(folder: Path) -> Path:
    """
    A fresh environment that sees the packages of this one, but nothing that this one is told about by a `.pth` file, as
    an editable sb3_ext.

    :return: its interpreter
    """
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    ask = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = subprocess.run(ask, env=NOTHING_OF_OURS, capture_output=True, text=True, check=True).stdout.strip()
    (Path(site) / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


WHERE = """
from importlib import metadata
from pathlib import Path
import sb3_ext, sb3_ext.zoo
print(metadata.version("sb3-ext"), sb3_ext.__file__, sb3_ext.zoo.config_path("r2d2"), sep="\\n")
pages = [Path(sb3_ext.__file__).parent / "viz" / name for name in ("lab_page", "report_page")]
print(*sorted(path.name for page in pages for path in page.iterdir()))
"""


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_what_is_built_installs_and_runs_without_the_network(kind: str, built: Built, tmp_path: Path) -> None:
    python = environment(tmp_path / "fresh")
    # The sdist is made into a wheel by the hatchling of this environment.
    alone = ["--ignore-installed", "--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check"]
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", *alone, str(getattr(built, kind))]
    subprocess.run(install, env=NOTHING_OF_OURS, cwd=tmp_path, check=True, capture_output=True)

    def said_by(*command: str) -> str:
        result = subprocess.run(command, env=NOTHING_OF_OURS, cwd=tmp_path, capture_output=True, text=True, check=True)
        return result.stdout.strip()

    assert said_by(str(python.with_name("sb3-ext")), "--version") == f"sb3-ext {sb3_ext.__version__}"
    version, module, config, pages = said_by(str(python), "-c", WHERE).splitlines()
    assert version == sb3_ext.__version__
    inside = Path(module).parent
    assert inside.is_relative_to(tmp_path / "fresh") and Path(config) == inside / "zoo" / "zoo_configs" / "r2d2.yml"
    assert Path(config).read_text() == config_path("r2d2").read_text()
    assert pages.split() == sorted(p.name for folder in DATA for p in folder.iterdir())


@pytest.mark.slow
def test_tests_are_collected_in_an_unpacked_sdist(built: Built, tmp_path: Path) -> None:
    """With its own package, and those that read files of the repository pass there."""
    folder = unpack(built.sdist, tmp_path)
    environment = {**NOTHING_OF_OURS, "PYTHONPATH": str(folder)}
    pytest_of = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    for more in (
        ["--collect-only"],
        ["tests/cli/test_packaging.py", "tests/cli/test_pages.py", "tests/cli/test_project_files.py"],
    ):
        result = subprocess.run(
            [*pytest_of, *more], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stdout[-3000:]
