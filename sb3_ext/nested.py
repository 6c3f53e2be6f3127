"""
Arrays, and trees of arrays: an observation of a Dict space, a recurrent state, a batch. Every function takes either.

A tree is a dictionary, a tuple (a named one too) or a list of trees; None is a tree without leaves, and whatever else
is a leaf: a NumPy array or a tensor, unless it is said otherwise. A result has the kinds and the keys of its first
tree; the trees beside it may hold more keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar, overload

import numpy as np
import torch as th

T = TypeVar("T")
Array: TypeAlias = np.ndarray | th.Tensor
Nested: TypeAlias = T | Sequence["Nested[T]"] | Mapping[str, "Nested[T]"]
Tree = TypeVar("Tree", bound=Nested[Array | None])
Leaf = TypeVar("Leaf", np.ndarray, th.Tensor, np.ndarray | th.Tensor)


@overload
def map(change: Callable[..., T], tree: Leaf, *more: Any) -> T: ...
@overload
def map(change: Callable[..., T], tree: dict[str, Leaf], *more: Any) -> dict[str, T]: ...
@overload
def map(change: Callable[..., T], tree: Any, *more: Any) -> Any: ...
def map(change: Callable[..., Any], tree: Any, *more: Any) -> Any:  # Any: a tree, of whatever leaves
    """
    :param change: called with a leaf of each tree
    :param tree: whose kinds and keys the result has
    :param more: trees like it
    :raises ValueError: where the trees differ in kind or length
    """
    if tree is None:
        return None
    if isinstance(tree, (np.ndarray, th.Tensor)):  # the rest of the way takes longer than most changes
        return change(tree, *more)
    if isinstance(tree, (tuple, list)):
        _check_kind(Sequence, tree, more)
        parts = [map(change, *each) for each in zip(tree, *more, strict=True)]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    if isinstance(tree, Mapping):
        _check_kind(Mapping, tree, more)
        return {key: map(change, part, *(other[key] for other in more)) for key, part in tree.items()}
    return change(tree, *more)


@overload
def leaves(tree: Leaf | dict[str, Leaf]) -> Iterator[Leaf]: ...
@overload
def leaves(tree: Any) -> Iterator[Any]: ...
def leaves(tree: Any) -> Iterator[Any]:  # Any: a tree, and what its leaves are
    """:return: each leaf, in the order in which it is held"""
    if isinstance(tree, (np.ndarray, th.Tensor)):
        yield tree
    elif isinstance(tree, (tuple, list)):
        for part in tree:
            yield from leaves(part)
    elif isinstance(tree, Mapping):
        for part in tree.values():
            yield from leaves(part)
    elif tree is not None:
        yield tree


def named(tree: Any, name: str) -> Iterator[tuple[str, Any]]:  # Any: as above
    """
    :param tree: what to name
    :param name: of the whole
    :return: each leaf by its name: that of the whole, ``name.key`` in a dictionary, ``name[i]`` in a tuple or a list
    """
    if isinstance(tree, Mapping):
        for key, part in tree.items():
            yield from named(part, f"{name}.{key}")
    elif isinstance(tree, (tuple, list)):
        for i, part in enumerate(tree):
            yield from named(part, f"{name}[{i}]")
    elif tree is not None:
        yield name, tree


def rows(tree: Nested[Array | None]) -> int:
    """
    :param tree: at least one leaf [n, ...]
    :return: n
    """
    return len(next(leaves(tree)))


def take(tree: Tree, rows: Any) -> Tree:  # Any: whatever both kinds of arrays take as an index
    """
    :param tree: leaves [n, ...]
    :param rows: index of the first axis: a number, a slice, [m] numbers or [n] bool
    :return: those rows, each leaf ``leaf[rows]``
    """
    taken: Tree = map(lambda x: x[rows], tree)
    return taken


def put(tree: Nested[Array | None], rows: Any, values: Nested[Array | None]) -> None:  # Any: as for `take`
    """
    Write in place.

    :param tree: leaves [n, ...]
    :param rows: index of the first axis
    :param values: what `take` with the same rows will give
    """
    map(lambda x, value: x.__setitem__(rows, value), tree, values)


def where(flags: Array, tree: Tree, other: Tree) -> Tree:
    """
    :param flags: [n] bool
    :param tree: leaves [n, ...], taken where a flag is true
    :param other: leaves [n, ...] or [1, ...], taken where it is false
    """

    def chosen(a: Any, b: Any) -> Any:  # Any: both arrays or both tensors
        wide = flags.reshape(-1, *[1] * (a.ndim - 1))
        return th.where(th.as_tensor(wide, device=a.device), a, b) if isinstance(a, th.Tensor) else np.where(wide, a, b)

    merged: Tree = map(chosen, tree, other)
    return merged


def stack(trees: Sequence[Tree]) -> Tree:
    """
    :param trees: at least one, leaves of the same shapes
    :return: leaves [len(trees), ...]
    """
    stacked: Tree = map(lambda *x: th.stack(x) if isinstance(x[0], th.Tensor) else np.stack(x), *trees)
    return stacked


def cat(trees: Sequence[Tree]) -> Tree:
    """
    :param trees: at least one, leaves [n_i, ...]
    :return: leaves [sum of n_i, ...]
    """
    joined: Tree = map(lambda *x: th.cat(x) if isinstance(x[0], th.Tensor) else np.concatenate(x), *trees)
    return joined


def _check_kind(kind: type, tree: Any, more: tuple[Any, ...]) -> None:  # Any: trees
    for other in more:
        if not isinstance(other, kind) or (isinstance(other, Sequence) and len(other) != len(tree)):
            raise ValueError(f"a tree of {_kind(tree)} does not go with {_kind(other)}")


def _kind(tree: Any) -> str:  # Any: a tree
    return f"{type(tree).__name__}" + (f" of {len(tree)}" if isinstance(tree, Sequence) else "")
