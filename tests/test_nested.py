"""Trees against the same tree written as paths: every function does to each leaf what it does to one."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch as th

from sb3_ext import nested

Paths = dict[tuple[Any, ...], Any]


class Pair(NamedTuple):
    one: Any
    other: Any


def numbers(shape: tuple[int, ...], seed: int, tensor: bool) -> Any:
    values = np.random.default_rng(seed).normal(size=shape)
    return th.as_tensor(values) if tensor else values


def make(n: int, seed: int, tensor: bool) -> list[Any]:
    """:return: a tree of each kind with leaves [n, ...]"""
    a, b, c = (numbers((n, *shape), seed + i, tensor) for i, shape in enumerate([(), (3,), (2, 2)]))
    return [a, {"a": a, "b": b}, (a, b), [a], Pair(a, None), {"x": Pair((a, [b]), {"c": c}), "y": None, "z": ()}]


def paths(tree: Any, at: tuple[Any, ...] = ()) -> Paths:
    """A tree as its leaves by kinds and keys on the way to them; what holds no leaf is a path of its own."""
    if isinstance(tree, (np.ndarray, np.generic, th.Tensor)):
        return {at: np.asarray(tree)}
    items = tree.items() if isinstance(tree, dict) else enumerate(tree or ())
    return {(*at, type(tree)): None} | {
        path: x for key, part in items for path, x in paths(part, (*at, type(tree), key)).items()
    }


def assert_same(found: Any, expected: Paths) -> None:
    here = paths(found)
    assert here.keys() == expected.keys()
    for path, x in expected.items():
        np.testing.assert_array_equal(here[path], x)


def each(paths: Paths, change: Callable[..., Any], *more: Paths) -> Paths:
    return {path: None if x is None else change(x, *(other[path] for other in more)) for path, x in paths.items()}


@pytest.fixture(params=[False, True], ids=["array", "tensor"])
def tensor(request: pytest.FixtureRequest) -> bool:
    given: bool = request.param
    return given


@pytest.mark.parametrize("kind", range(6))
class TestEveryKind:
    def test_map_and_leaves(self, kind: int, tensor: bool) -> None:
        one, other = make(4, 0, tensor)[kind], make(4, 7, tensor)[kind]
        assert_same(
            nested.map(lambda a, b: a - 2 * b, one, other), each(paths(one), lambda a, b: a - 2 * b, paths(other))
        )
        expected = [x for x in paths(one).values() if x is not None]
        found = list(nested.leaves(one))
        assert len(found) == len(expected) and all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
        assert nested.rows(one) == 4

    @pytest.mark.parametrize("rows", [2, slice(1, 3), [3, 0, 3], [True, False, True, True]])
    def test_take_and_put(self, kind: int, tensor: bool, rows: Any) -> None:
        rows = np.array(rows) if isinstance(rows, list) else rows
        tree = make(4, 0, tensor)[kind]
        taken = nested.take(tree, rows)
        assert_same(taken, each(paths(tree), lambda x: x[rows]))
        target = nested.map(lambda x: 0 * x, tree)
        nested.put(target, rows, taken)
        keeps = np.zeros(4, dtype=bool)
        keeps[rows] = True
        assert_same(target, each(paths(tree), lambda x: x * keeps.reshape(-1, *[1] * (x.ndim - 1))))

    @pytest.mark.parametrize("n_other", [1, 4])
    @pytest.mark.parametrize("tensor_flags", [False, True])
    def test_where(self, kind: int, tensor: bool, n_other: int, tensor_flags: bool) -> None:
        one, other = make(4, 0, tensor)[kind], make(n_other, 7, tensor)[kind]
        flags = np.array([True, False, False, True])
        found = nested.where(th.as_tensor(flags) if tensor and tensor_flags else flags, one, other)
        expected = each(
            paths(one), lambda a, b: np.stack([a[i] if flags[i] else b[i % n_other] for i in range(4)]), paths(other)
        )
        assert_same(found, expected)

    def test_stack_and_cat(self, kind: int, tensor: bool) -> None:
        trees = [make(4, seed, tensor)[kind] for seed in (0, 7, 14)]
        one, *more = (paths(tree) for tree in trees)
        assert_same(nested.stack(trees), each(one, lambda *x: np.array(x), *more))
        assert_same(nested.cat(trees), each(one, lambda *x: np.array([row for each in x for row in each]), *more))
        kinds = {type(x) for tree in (nested.stack(trees), nested.cat(trees)) for x in nested.leaves(tree)}
        assert kinds == {th.Tensor if tensor else np.ndarray}


def test_leaves_may_be_anything() -> None:
    assert nested.map(len, {"a": "xyz", "b": (range(2), None)}) == {"a": 3, "b": (2, None)}
    assert list(nested.leaves({"a": "xyz", "b": (range(2), None)})) == ["xyz", range(2)]


def test_more_keys_are_left_out() -> None:
    assert nested.map(lambda a, b: a + b, {"a": 1}, {"a": 2, "b": 3}) == {"a": 3}


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        ((1, 2), th.zeros(2), "a tree of tuple of 2 does not go with Tensor"),
        ((1, 2), (1, 2, 3), "a tree of tuple of 2 does not go with tuple of 3"),
        ({"a": 1}, [1], "a tree of dict does not go with list of 1"),
    ],
)
def test_trees_that_differ(one: Any, other: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        nested.map(lambda a, b: a, one, other)


def test_leaves_have_names() -> None:
    tree = {"a": np.zeros(1), "b": (np.ones(1), {"c": np.full(1, 2)}), "d": None}
    names = {"x.a": 0, "x.b[0]": 1, "x.b[1].c": 2}
    assert {name: float(x[0]) for name, x in nested.named(tree, "x")} == names
    assert list(nested.named(7, "x")) == [("x", 7)]
