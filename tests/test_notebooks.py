"""
Notebooks of examples/notebooks/: each is made of a tutorial, and runs from its first cell to its last in a kernel of
its own; training is short.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.notebooks import EXTRAS, FOLDER, INSTALL, TUTORIALS, notebook_of, text_of

nbformat = pytest.importorskip("nbformat", reason="nbformat, of the extra dev, is not installed")
nbclient = pytest.importorskip("nbclient", reason="nbclient, of the extra dev, is not installed")
pytest.importorskip("ipykernel", reason="ipykernel, of the extra dev, is not installed")

# What each prints, whatever was learned.
SAYS = {
    "own_pomdp": [r"DQN delivers [01]\.\d\d", r"R2D2 delivers [01]\.\d\d", r"\d+ of 1\d\d letters"],
    "zoo_user": [r"ended  +finished\n", r"\| r2d2 \| 1 \|", r"\| quantile \| 1 \|", r"report\.html", r"r2d2\.mp4"],
    "imitation": ["rule: mean return 500\n", "warning terminated: ", "500 steps, of which 25 are shown\n"]
    + [rf"{name}: mean return \d+\n" for name in ("clone", "GAIL", "DAgger")],
    "table_to_write": [r"ended  +finished\n", r"\| dyna-2 \| 1 \|", r"3 rows of 3 runs: taxi\.tex\n", r"taxi\.png"],
}
IN_PYTHON_ALONE = {"own_pomdp", "imitation"}


def test_each_tutorial_has_its_notebook(capsys: pytest.CaptureFixture[str]) -> None:
    assert [page.stem for page in TUTORIALS] == sorted(SAYS) == [path.stem for path in sorted(FOLDER.iterdir())]
    n_cells = 0
    for page in TUTORIALS:
        written = (FOLDER / f"{page.stem}.ipynb").read_text()
        assert written == text_of(notebook_of(page)), (
            f"cd tests && python -m support.notebooks: {page.stem} has changed"
        )
        nbformat.validate(json.loads(written))
        n_cells += sum(cell["cell_type"] == "code" for cell in json.loads(written)["cells"])
    with capsys.disabled():
        print(f"\n{len(TUTORIALS)} notebooks with {n_cells} cells of code: all executed")


def test_links_of_a_notebook_lead_somewhere() -> None:
    for path in FOLDER.iterdir():
        text = "".join(line for cell in json.loads(path.read_text())["cells"] for line in cell["source"])
        links = re.findall(r"\]\((?!\w+:)([^)#]+)", text)
        assert links and all((FOLDER / link).exists() for link in links)


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """:return: in place of the folders of a user; sockets lie in it, whose names must be short"""
    with tempfile.TemporaryDirectory() as folder:
        for variable in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR"):
            monkeypatch.setenv(variable, folder)
        yield Path(folder)


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_notebook_runs(page: Path, home: Path, tmp_path: Path) -> None:
    notebook = nbformat.reads(text_of(notebook_of(page, short=True)), as_version=4)
    client = nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    manager = client.create_kernel_manager()  # by files, and not by ports that others may take
    manager.transport, manager.ip, manager.connection_file = "ipc", str(home / "kernel"), str(home / "kernel.json")
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    said = "".join(output.get("text", "") for output in outputs)
    for pattern in SAYS[page.stem]:
        assert re.search(pattern, said), (pattern, said)
    if page.stem in IN_PYTHON_ALONE:
        assert [output for output in outputs if output.get("name") != "stdout"] == []  # no warning either


def test_the_first_cell_installs_where_the_package_is_missing(home: Path) -> None:
    """In an IPython whose `%pip` prints what it is given."""
    cell = INSTALL.format(extras=EXTRAS)
    of_repository = cell.replace('REPOSITORY = ""', 'REPOSITORY = "https://host/package"')
    script = f"""
import importlib.util
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance()
shell.register_magic_function(print, magic_name="pip")
shell.run_cell({cell!r})
importlib.util.find_spec = lambda name: None
shell.run_cell({cell!r})
shell.run_cell({of_repository!r})
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    release = "sb3-ext[zoo,viz]"
    assert done.stdout.splitlines() == [f'install -q "{release}"', f'install -q "{release} @ git+https://host/package"']
