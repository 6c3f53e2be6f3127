"""Code on pages: every block runs, or says why not; some must print what they say."""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import importlib.util
import pkgutil
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from rl_zoo3.utils import ALGOS
from support.hub_server import TOKEN, reachable
from support.notebooks import TUTORIALS
from support.pages import PAGES, ROOT, RUN, Block, Reader, blocks_of, commands
from support.reports import bare_trace, report

from sb3_ext.algorithms import ALGORITHMS, MODULES, Row
from sb3_ext.cli import main as cli
from sb3_ext.demonstrations.formats import FORMATS
from sb3_ext.exchange import allowed
from sb3_ext.viz import panels
from sb3_ext.viz import report as reports

DOCS = Path(__file__).parents[2] / "docs"
MAP = (DOCS / "architecture.md").read_text()
BLOCKS = {page: blocks_of(page) for page in PAGES}
DOCTESTED = [("td3_update.md", 20), ("planning.md", 20), ("tabular.md", 10), ("bandits.md", 25), ("irl.md", 11)]


@pytest.mark.parametrize(("page", "least"), DOCTESTED)
def test_a_page_prints_what_it_says(page: str, least: int) -> None:
    result = doctest.testfile(str(DOCS / page), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted >= least and result.failed == 0


def test_tables_are_drawn_as_their_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page: dict[str, Any] = {"__name__": "page"}
    for code in blocks("python", (DOCS / "lab.md").read_text()):
        exec(compile(code.replace("50_000", "500"), "lab.md", "exec"), page)
    assert (tmp_path / "q.png").is_file() and (tmp_path / "best.png").is_file()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:rich is experimental")  # what tqdm says of its own bar
def test_actors_come_and_go_as_their_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = blocks("python", (DOCS / "scale_out.md").read_text())
    page: dict[str, Any] = {"__name__": "page"}
    exec(compile(code.replace("50_000", "2_000").replace("10_000", "400"), "scale_out.md", "exec"), page)
    model = page["model"]
    assert model.num_timesteps >= 2_000 + 2 * 400 and model._n_updates > 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # rl-zoo3's scripts are not ours to keep free of deprecations
def test_commands_about_exact_answers_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """One after the other, as they stand; training is short."""
    monkeypatch.chdir(tmp_path)
    page = (DOCS / "planning.md").read_text()
    commands = re.findall(r"^sb3-ext (.*)$", page, flags=re.MULTILINE)
    assert len(commands) >= 6
    for command in commands:
        arguments = shlex.split(command)
        short = ["-n", "600", "--eval-freq", "-1"] if arguments[0] == "train" else []
        assert cli.main([*arguments, *short]) == 0, command
        said = capfd.readouterr().out
        if arguments[0] == "lab":
            assert said.strip() in page
    assert (tmp_path / "report.html").is_file()


@pytest.mark.filterwarnings("ignore")  # rl-zoo3's scripts are not ours to keep free of deprecations
def test_the_page_about_dagger_does_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its code and its commands, one after the other; training is short."""
    monkeypatch.chdir(tmp_path)
    text = (DOCS / "dagger.md").read_text()
    (code,) = blocks("python", text)
    page: dict[str, Any] = {}
    exec(compile(code.replace("1_000", "100"), "dagger.md", "exec"), page)
    assert len(page["model"].labels) == 300 and (tmp_path / "labels.npz").is_file()
    assert "replaying" not in capsys.readouterr().out
    commands = re.findall(r"^sb3-ext (.*)$", text, flags=re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        short = ["-n", "300", "--eval-freq", "-1", "--final-eval-episodes", "0", "--device", "cpu"]
        assert cli.main([*shlex.split(command), *short]) == 0, command


def test_tables_are_written_as_their_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "benchmarks").symlink_to(DOCS.parent / "benchmarks")
    for name, score in (
        ("logs/r2d2", 400.0),
        ("logs/ppo_lstm", 100.0),
        ("runs/a/r2d2", 300.0),
        ("runs/b/r2d2", 200.0),
    ):
        for seed in range(2):
            run = tmp_path / name / f"CartPoleNoVel-v1_{seed + 1}"
            run.mkdir(parents=True)
            np.savez(run / "evaluations.npz", timesteps=[100, 200], results=[[0.0, 1.0], [score, score + seed]])
    commands = re.findall(r"^sb3-ext (table .*)$", (DOCS / "report.md").read_text(), flags=re.MULTILINE)
    assert len(commands) == 6
    for command in commands:
        assert cli.main(shlex.split(command)) == 0, command
        said = capsys.readouterr()
        assert not said.err
        assert ("burn-in,2,200" in said.out) == ("zero-state" in command)
    assert "| CartPoleNoVel-v1 | r2d2 | 2 | 200 | 400.2 | " in (tmp_path / "scores.md").read_text()
    assert "normalised" in (tmp_path / "scores.tex").read_text()


@pytest.mark.filterwarnings("ignore")  # rl-zoo3's scripts are not ours to keep free of deprecations
def test_the_page_about_export_does_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its commands, and a process that can import neither PyTorch nor Stable-Baselines3 nor us."""
    pytest.importorskip("onnxruntime", reason="the extra export is not installed")
    monkeypatch.chdir(tmp_path)
    text = (DOCS / "export.md").read_text()
    alone, in_code, _ = blocks("python", text)
    for command in re.findall(r"^sb3-ext (.*)$", text, flags=re.MULTILINE):
        arguments = shlex.split(command)
        short = ["-n", "20", "--eval-freq", "-1", "--final-eval-episodes", "0", "--device", "cpu"]
        assert cli.main([*arguments, *(short if arguments[0] == "train" else [])]) == 0, command
    said = capfd.readouterr().out
    assert "in:  observation [batch, 4] float32, state_0 [batch, 1, " in said
    assert re.search(r"policy.onnx \(\d+ kB\): at most [\de.-]+ from `predict` in 100 steps", said)
    lines = [line for line in alone.splitlines() if line]
    assert len(lines) <= 20
    blocked = "import sys; sys.modules |= dict.fromkeys(['torch', 'stable_baselines3', 'sb3_ext', 'onnx'])\n"
    show = "\nprint(about['algorithm'], int(action), outputs['q_values'].shape)"
    process = subprocess.run([sys.executable, "-c", blocked + alone + show], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert re.fullmatch(r"R2D2 [01] \(1, 2\)\n", process.stdout)
    exec(compile(in_code.replace("1_000", "60").replace(".onnx", ".pt2"), "export.md", "exec"), {})
    assert (tmp_path / "rainbow.pt2").is_file()


def test_a_missing_export_extra_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the agent is loaded."""
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else found(name))
    assert cli.main(["export", "--algo", "ppo", "--env", "CartPole-v1"]) == 2
    error = capsys.readouterr().err
    assert error == 'sb3-ext export needs the export extra: pip install "sb3-ext[export]"\n'
    assert cli.main(["export", "--algo", "ppo", "--env", "CartPole-v1", "-o", "a.h5"]) == 2
    assert capsys.readouterr().err == "sb3-ext export: a.h5: a policy is exported as FILE.onnx or FILE.pt2\n"


# ---------------------------------------------------------------------- all pages

# huggingface_hub 2.4 uploads bytes by a keyword of httpx2 that is deprecated.
FROM_THE_HUB = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """
    :return: one in a folder of its own, where the repository's benchmarks are; its names can be pickled, and its Hub is
        a server of the tests
    """
    monkeypatch.chdir(tmp_path)
    (tmp_path / "benchmarks").symlink_to(ROOT / "benchmarks")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(allowed, "_classes", {})
    reader = Reader()
    monkeypatch.setitem(sys.modules, "page", reader.names)
    with reachable(monkeypatch) as hub:
        files = f"{hub.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.endpoint)
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", files)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield reader


def is_for_the_reader(block: Block) -> bool:
    """:return: whether it is run here, and not by another test, as a notebook, or by nobody"""
    elsewhere = block.is_doctest or block.mark("not run") or block.mark("tested") or block.page in TUTORIALS
    return block.language in RUN and not elsewhere


def pages_with(slow: bool) -> list[Path]:
    return [
        page
        for page, found in BLOCKS.items()
        if any(is_for_the_reader(block) and (block.mark("slow") is not None) == slow for block in found)
    ]


def test_every_block_is_run_or_says_why_not(capsys: pytest.CaptureFixture[str]) -> None:
    everything = [block for found in BLOCKS.values() for block in found]
    complaints = [f"{block.place}: {said}" for block in everything if (said := block.complaint())]
    assert not complaints, "\n".join(complaints)
    code = [block for block in everything if block.language in RUN]
    for block in code:
        assert block.mark("tested") is None or block.mark("tested") in globals(), block.place
        assert not block.is_doctest or block.page.name in dict(DOCTESTED), block.place
    not_run = [block for block in code if block.mark("not run")]
    slow = [block for block in code if block.mark("slow") and not block.mark("not run")]
    with capsys.disabled():
        print(
            f"\n{len(code)} blocks of code on {len(PAGES)} pages: {len(code) - len(slow) - len(not_run)} executed, "
            f"{len(slow)} marked slow (executed with -m slow), {len(not_run)} marked as not run; "
            f"{sum(block.mark('shortened') is not None for block in code)} are shortened"
        )


@pytest.mark.parametrize(
    ("page", "complaint"),
    [
        ("```\nls\n```", "no language"),
        ("```fortran\nstop\n```", "'fortran' behind"),
        ("```bash\nsb3-ext doctor\npip install x  # twice\n```", "pip is not run by the tests"),
        ("<!-- skipped: why not -->\n```bash\nls\n```", "'skipped' is none of"),
        ("<!-- not run: why not -->\nText.\n```bash\nls\n```", "ls is not run"),
        ("<!-- not run: why not -->\n```bash\nls\n```", None),
        ("1. In a list:\n\n   ```bash\n   sb3-ext doctor  # and no more\n   ```", None),
        ("```text\nls\n```", None),
    ],
)
def test_a_block_of_which_nobody_knows_is_named(page: str, complaint: str | None, tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(page)
    (block,) = blocks_of(tmp_path / "page.md")
    said = block.complaint()
    assert said is None if complaint is None else complaint in str(said)


def test_a_block_is_shortened_where_it_says_so(tmp_path: Path) -> None:
    text = "sb3-ext train --algo td3  # long\nsb3-ext lab\nsb3-ext train \\\n  -n 90\n"
    (tmp_path / "page.md").write_text(f"<!-- shortened: train -n 2; -n 90 -> -n 9 -->\n```bash\n{text}```\n")
    (block,) = blocks_of(tmp_path / "page.md")
    words = [["sb3-ext", "train", "--algo", "td3", "-n", "2"], ["sb3-ext", "lab"]]
    assert list(commands(block.shortened())) == [*words, ["sb3-ext", "train", "-n", "9", "-n", "2"]]
    with pytest.raises(AssertionError, match="there is no 50_000 to shorten"):
        dataclasses.replace(block, marks=(("shortened", "50_000 -> 5"),)).shortened()


@FROM_THE_HUB
@pytest.mark.parametrize("page", pages_with(slow=False), ids=lambda page: str(page.relative_to(ROOT)))
def test_the_blocks_of_a_page_run(page: Path, reader: Reader) -> None:
    for block in BLOCKS[page]:
        if is_for_the_reader(block) and block.mark("slow") is None:
            reader.run(block)


@pytest.mark.slow
@FROM_THE_HUB
@pytest.mark.parametrize("page", pages_with(slow=True), ids=lambda page: str(page.relative_to(ROOT)))
def test_the_slow_blocks_of_a_page_run_too(page: Path, reader: Reader) -> None:
    for block in BLOCKS[page]:
        if is_for_the_reader(block):
            reader.run(block)


# ---------------------------------------------------------------------- the map: each example of adding something


def blocks(language: str, page: str = MAP) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE)


def file_of(name: str) -> str:
    """:return: the block that is a file, or a piece of one, of this name"""
    (found,) = (text for text in blocks("python") + blocks("yaml") if text.startswith(f"# {name}\n"))
    return found


def test_a_head_a_core_a_sampler_a_column_and_a_format_are_added_as_the_map_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One after the other, as a module that is imported: dataclasses and pickles look for theirs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(FORMATS, "lists", FORMATS["npz"])  # what the page sets is taken away again
    page = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", page)
    code = [text for text in blocks("python") if not text.startswith("# sb3_ext/")]
    assert len(code) >= 6
    for text in code:
        exec(compile(text, str(DOCS / "architecture.md"), "exec"), vars(page))
    assert (tmp_path / "expert.json").is_file()
    assert cli.main(["demos", "check", "expert.json", "--env", "CartPole-v1", "--terminated", "yes"]) == 0


def test_a_panel_is_added_as_the_map_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "length.py").write_text(file_of("sb3_ext/viz/panels/length.py"))
    before, modules_in = panels.PANELS, pkgutil.iter_modules

    def with_another_folder(path: list[str]) -> Iterator[pkgutil.ModuleInfo]:
        path.append(str(tmp_path))
        return modules_in(path)

    monkeypatch.setattr(pkgutil, "iter_modules", with_another_folder)
    try:
        found = importlib.reload(panels).PANELS
        assert len(found) == len(before) + 1
        monkeypatch.setattr(reports, "PANELS", found)
        trace = bare_trace()
        assert f"<p>{len(trace)} steps</p>" in reports.build(report(trace))
    finally:
        monkeypatch.undo()
        sys.modules.pop("sb3_ext.viz.panels.length", None)
        importlib.reload(panels)
    assert len(panels.PANELS) == len(before)


@pytest.mark.filterwarnings("ignore")  # rl-zoo3's scripts are not ours to keep free of deprecations
def test_an_algorithm_is_added_as_the_map_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "patient.py").write_text(file_of("sb3_ext/patient/patient.py"))
    (tmp_path / "patient.yml").write_text(file_of("zoo_configs/patient.yml"))
    row: Row = eval(file_of("sb3_ext/algorithms.py"), {"Row": Row})
    monkeypatch.setitem(ALGORITHMS, row.name.lower(), row._replace(module="patient"))
    monkeypatch.setitem(MODULES, row.name, "patient")
    monkeypatch.setitem(ALGOS, "patient", Any)  # what `register` sets is taken away again
    flags = ["--algo", "patient", "--env", "CartPole-v1", "-conf", "patient.yml", "--eval-freq", "-1"]
    small = [
        "-params",
        "learning_starts:20",
        "buffer_size:200",
        "batch_size:4",
        "burn_in:2",
        "sequence_length:4",
        "period:2",
    ]
    assert cli.main(["train", *flags, "-n", "60", "--final-eval-episodes", "0", *small]) == 0
    trained = importlib.import_module("patient").Patient.load(
        "logs/patient/CartPole-v1_1/CartPole-v1.zip", device="cpu"
    )
    assert trained.gamma == 0.9 and trained.num_timesteps >= 60
