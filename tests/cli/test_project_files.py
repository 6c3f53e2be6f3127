"""Files that say what the project is, and those that GitHub reads: each repeats something, and must say the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import sb3_ext
from sb3_ext.cli import main as cli

ROOT = Path(__file__).parents[2]
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


def of_pyproject(name: str) -> Any:
    """:return: a value of one line in pyproject.toml: text or a list of texts (tomllib is of Python 3.11)"""
    (line,) = re.findall(rf"^{name} = (.*)$", (ROOT / "pyproject.toml").read_text(), flags=re.MULTILINE)
    return yaml.safe_load(line)


def lines_of(path: str) -> list[str]:
    """:return: commands of a script of ours, without comments and with the interpreter named as in the workflow"""
    lines = re.sub(r"\\\n\s*", "", (ROOT / path).read_text()).splitlines()
    return [re.sub(r'^"\$python"|^"\$environment/bin/python"', "python", line.split(" # ")[0]) for line in lines]


# ---------------------------------------------------------------------- who wrote it


def test_the_citation_names_what_is_installed() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == sb3_ext.__version__ == of_pyproject("version")
    assert citation["title"] == of_pyproject("name") and citation["license"] == of_pyproject("license")
    assert citation["abstract"] == of_pyproject("description") and citation["keywords"] == of_pyproject("keywords")
    assert f'authors = [{{ name = "{citation["authors"][0]["name"]}" }}]' in (ROOT / "pyproject.toml").read_text()


def test_the_citation_has_what_the_format_asks_for() -> None:
    """
    Citation File Format 1.2.0: four keys must be there, and no unknown one may be. A wider range of versions than this
    one is not looked at.
    """
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    known = {"cff-version", "message", "title", "authors", "type", "abstract", "version", "license", "keywords"}
    assert {"cff-version", "message", "title", "authors"} <= citation.keys() <= known
    assert citation["cff-version"] == "1.2.0" and citation["type"] == "software"
    assert all(isinstance(value, str) for key, value in citation.items() if key not in ("authors", "keywords"))
    assert [set(author) for author in citation["authors"]] == [{"name"}]  # an entity
    assert len(set(citation["keywords"])) == len(citation["keywords"])


# ---------------------------------------------------------------------- what is checked


def workflow() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / "checks.yml").read_text())
    return loaded


def commands(job: str) -> list[str]:
    return [line for step in workflow()["jobs"][job]["steps"] for line in step.get("run", "").splitlines()]


def test_the_workflow_runs_the_commands_of_the_checks() -> None:
    checks = [line for line in lines_of(".ci/check") if line.startswith("python -m")]
    assert len(checks) >= 4
    installs = [
        line.replace('"$environment/bin/pip"', "python -m pip") for line in lines_of(".ci/run") if "/bin/pip" in line
    ]
    assert commands("checks") == [*installs, *checks]
    assert commands("floor") == [".ci/floor"] and ".ci/floor" in lines_of(".ci/run")
    exported = [line.removeprefix("export ").split("=") for line in lines_of(".ci/check") if line.startswith("export")]
    assert {name: str(value) for name, value in workflow()["env"].items()} == dict(exported)


def test_the_workflow_begins_with_the_oldest_python() -> None:
    pythons = workflow()["jobs"]["checks"]["strategy"]["matrix"]["python"]
    assert of_pyproject("requires-python") == f">={pythons[0]}"
    tested = re.search(r"CPython ([\d.]+)", (ROOT / "constraints.txt").read_text())
    assert tested is not None and tested[1] == pythons[-1]


def test_the_workflow_may_only_read() -> None:
    assert workflow()["permissions"] == {"contents": "read"}
    for job in workflow()["jobs"].values():
        assert job["timeout-minutes"] <= 60 and "permissions" not in job


# ---------------------------------------------------------------------- forms of issues


@pytest.mark.parametrize("path", [path for path in FORMS if path.name != "config.yml"], ids=lambda path: path.stem)
def test_a_form_is_one_that_github_shows(path: Path) -> None:
    form = yaml.safe_load(path.read_text())
    assert {"name", "description", "body"} <= form.keys() <= {"name", "description", "title", "labels", "body"}
    ids = [element["id"] for element in form["body"] if element["type"] != "markdown"]
    assert ids and len(set(ids)) == len(ids)
    for element in form["body"]:
        assert element["type"] in ("markdown", "textarea", "input", "dropdown", "checkboxes")
        assert ("value" if element["type"] == "markdown" else "label") in element["attributes"]
        assert element["type"] != "dropdown" or element["attributes"]["options"]


@pytest.mark.parametrize("name", ["bug", "question_or_feature"])
def test_a_form_asks_for_the_doctor_with_flags_that_it_has(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / ".github" / "ISSUE_TEMPLATE" / f"{name}.yml").read_text()
    assert "`sb3-ext doctor" in text
    with pytest.raises(SystemExit, match="0"):
        cli.main(["doctor", "--help"])
    known = capsys.readouterr().out + cli.usage()
    flags = set(re.findall(r"(?<![\w-])--[a-z-]+", text))
    assert flags and all(flag in known for flag in flags)


def test_what_security_promises_is_named_as_it_is() -> None:
    """Names in it exist: who reads such a page does not try them first."""
    from sb3_ext.exchange import hub, safe_files

    text = (ROOT / "SECURITY.md").read_text()
    for name in ("load_safe", "save_safe"):
        assert name in text and hasattr(safe_files, name)
    assert (
        "load_from_hub" in text
        and "trust_remote_code" in text
        and "trust_remote_code" in str(hub.load_from_hub.__doc__)
    )
    for command in re.findall(r"`sb3-ext (\w+)", text):
        assert command in cli.COMMANDS
