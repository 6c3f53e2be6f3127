"""What may be asked of a library that is reached into: names, parameters, who calls what, what is overridden."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import textwrap
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import sb3_ext

UNNAMED = {"__init__", "__module__", "__doc__", "__annotations__", "__abstractmethods__", "_abc_impl"}
UNNAMED |= {"__slotnames__"}  # pickle writes it into classes whose objects it has seen


def function_of(owner: type | ModuleType, name: str) -> Callable[..., Any]:
    """:return: the function itself, of a static method too"""
    found = inspect.getattr_static(owner, name)
    function: Callable[..., Any] = getattr(found, "__func__", found)
    return function


def parameters_of(owner: type | ModuleType, name: str) -> list[str]:
    return [p for p in inspect.signature(function_of(owner, name)).parameters if p != "self"]


@cache
def parsed(function: Callable[..., Any]) -> ast.Module:
    return ast.parse(textwrap.dedent(inspect.getsource(function)))


def calls_in(function: Callable[..., Any]) -> list[str]:
    """:return: last names of what a function calls, in the order of its text: ``self.env.step(x)`` is ``step``"""
    calls = [node for node in ast.walk(parsed(function)) if isinstance(node, ast.Call)]
    calls.sort(key=lambda call: (call.lineno, call.col_offset))
    names = (call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "") for call in calls)
    return [name for name in names if name]


def attributes_set_in(function: Callable[..., Any]) -> set[str]:
    nodes = ast.walk(parsed(function))
    return {node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}


def texts_in(function: Callable[..., Any]) -> set[str]:
    """:return: the strings that a function has in it"""
    nodes = ast.walk(parsed(function))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def our_modules() -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(sb3_ext.__path__, "sb3_ext."):
        if not found.name.endswith("__main__"):
            try:
                yield importlib.import_module(found.name)
            except ImportError:  # of an extra that is not there
                continue


def overridden(library: str) -> dict[tuple[type, str], set[str]]:
    """
    :param library: package
    :return: class of the library and name of what ours override in it -> names of our classes
    """
    found: dict[tuple[type, str], set[str]] = {}
    for ours in {x for module in our_modules() for x in vars(module).values() if inspect.isclass(x)}:
        if not ours.__module__.startswith("sb3_ext."):
            continue
        theirs = [base for base in ours.__mro__ if base.__module__.split(".")[0] == library]
        for name in vars(ours).keys() - UNNAMED:
            owner = next((base for base in theirs if name in vars(base)), None)
            if owner is not None:
                found.setdefault((owner, name), set()).add(ours.__name__)
    return found


def private_names(theirs: set[str]) -> dict[str, set[str]]:
    """
    :param theirs: attributes that are a library's, though our sources may set them too
    :return: private attributes that our sources read and nowhere define, and ``theirs`` -> the files that read them
    """
    read: dict[str, set[str]] = {}
    defined: set[str] = set()
    for path in Path(sb3_ext.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                defined.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                defined.add(node.id)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                defined.add(node.attr)
            elif isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.endswith("__"):
                read.setdefault(node.attr, set()).add(path.name)
    return {name: files for name, files in read.items() if name in theirs or name not in defined}
