"""Objects by their short names: every way to say one, and one line for what says none."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import pytest

from sb3_ext.specs import fields_of, resolve


@runtime_checkable
class Shape(Protocol):
    def area(self) -> float: ...


@dataclass(frozen=True)
class Square:
    side: float = 2.0
    seen: list[int] = field(default_factory=list, init=False, compare=False)

    def __post_init__(self) -> None:
        if not self.side > 0:
            raise ValueError(f"side {self.side} must be > 0")

    def area(self) -> float:
        return self.side**2


class Mine:
    def area(self) -> float:
        return 7.0


SHAPES = {"square": Square}


def test_one_object_however_it_is_said() -> None:
    mine = Mine()
    assert resolve(Shape, mine, SHAPES) is mine  # of a class that the table does not know
    ways: list[object] = ["square", {"square": {}}, {"square": None}, {"square": {"side": 2.0}}, Square(2.0)]
    for said in ways:
        assert resolve(Shape, said, SHAPES) == Square()
    assert resolve(Shape, {"square": {"side": 3}}, SHAPES).area() == 9


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("circle", "shape 'circle' is none of 'square'"),
        (None, "shape None is none of"),
        (3, "shape 3 is none of"),
        ({}, r"shape \{\} is none of"),
        ({"square": {}, "circle": {}}, "is none of"),
        ({"square": [2.0]}, "is none of"),
        ({1: {}}, "is none of"),
        (Square, r"shape Square is a class: give an object, Square\(\.\.\.\)"),
        ({"square": {"edge": 1}}, "shape 'square' has no keyword 'edge': side"),
        ({"square": {"side": 0}}, "side 0 must be > 0"),
        ({"square": {"side": "2"}}, "has a value of the wrong kind"),
    ],
)
def test_anything_else_is_one_line(said: object, told: str) -> None:
    with pytest.raises(ValueError, match=told) as refused:
        resolve(Shape, said, SHAPES)
    assert "\n" not in str(refused.value)


def test_fields_are_what_the_class_was_called_with() -> None:
    assert fields_of(Square(3.0)) == {"side": 3.0}
