"""Test modules stand alone: what several of them need lies in `support`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent
MODULES = sorted(TESTS.rglob("*.py"))


def imported(source: str) -> Iterator[str]:
    """:return: the modules that a source names in its imports, wherever they stand"""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_no_module_imports_a_test_module() -> None:
    others = {module.stem for module in MODULES if module.name.startswith("test_")}
    taken = {
        str(path.relative_to(TESTS)): [name for name in imported(path.read_text()) if others & set(name.split("."))]
        for path in MODULES
    }
    assert not {path: names for path, names in taken.items() if names}, "shared makers belong in tests/support"


def test_an_import_of_a_test_module_would_be_seen() -> None:
    inside = "def f():\n    from q_learning.test_rainbow import make_rainbow\n"
    assert list(imported(inside)) == ["q_learning.test_rainbow.make_rainbow"]
    assert list(imported("import a.test_b as c")) == ["a.test_b"]


def test_no_two_modules_have_one_name() -> None:
    """pytest would refuse to collect the second, but only where it collects both."""
    names = [path.name for path in MODULES if path.name.startswith("test_")]
    assert not {name for name in names if names.count(name) > 1}
