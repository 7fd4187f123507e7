"""Compare sets of real numbers: intervals, points, unions, differences and inequalities, with numeric endpoints.

    (0, 5) ∪ (5, 11)   =   (0, 11) \\ {5}   =   0 < x < 11, x ≠ 5

All endpoints of both sets together cut the real line into points and open intervals between them. Two sets are equal if
they contain the same of these pieces.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cmp_to_key
from typing import Literal

from rewards.math import symbolic
from rewards.math.relations import interval
from rewards.math.scalars import expressions, latex_of
from rewards.math.values import Expression, Group, Quantity, Relation, SetDifference, Union, Value

_MAX_POINTS = 64
_CLOSE = Fraction(1, 10**20)


@dataclass(frozen=True)
class _Point:
    """An endpoint: its value, and the number that it is or is close to."""

    value: Value
    number: Fraction


@dataclass(frozen=True)
class _Span:
    """An interval; None stands for an infinite end."""

    low: _Point | None
    high: _Point | None
    has_low: bool
    has_high: bool


@dataclass(frozen=True)
class _Combined:
    kind: Literal["or", "and", "minus"]
    parts: tuple[_Span | _Combined, ...]


def is_same_set(a: Value, b: Value) -> bool | None:
    """Return whether two sets are equal, or None if one is no set of real numbers with numeric endpoints.

    Raises `symbolic.Refused` if an endpoint is too large to evaluate.
    """
    first, second = _read(a), _read(b)
    if first is None or second is None:
        return None
    ends = sorted([*_ends(first), *_ends(second)], key=cmp_to_key(_order))
    if len(ends) > _MAX_POINTS:
        return None
    points: list[_Point] = []
    for end in ends:
        if not points or _order(points[-1], end):
            points.append(end)
    return all(_holds(first, at, points) == _holds(second, at, points) for at in range(2 * len(points) + 1))


def _read(value: Value) -> _Span | _Combined | None:
    value = interval(value)
    if isinstance(value, SetDifference):
        return _combined("minus", (value.whole, value.removed))
    if isinstance(value, Union):
        return _combined("or", value.parts)
    if isinstance(value, Quantity | Expression) and (only := _point(value)):
        return _Span(only, only, True, True)  # {3}, its braces taken for grouping
    if not isinstance(value, Group):
        return None
    if (
        value.brackets in ("", "&")
        and value.items
        and all(isinstance(item, Relation) for item in value.items)
    ):
        return _combined("and", value.items)
    if value.brackets in ("{}", ""):
        points = [_point(item) for item in value.items]
        return None if None in points else _Combined("or", tuple(_Span(p, p, True, True) for p in points))
    if len(value.items) != 2:
        return None
    low, high = (None if _is_infinite(item) else _point(item) for item in value.items)
    if (low is None) != _is_infinite(value.items[0], "-") or (high is None) != _is_infinite(
        value.items[1], ""
    ):
        return None
    return _Span(low, high, value.brackets[0] == "[", value.brackets[1] == "]")


def _combined(kind: Literal["or", "and", "minus"], values: tuple[Value, ...]) -> _Combined | None:
    parts = tuple(part for value in values if (part := _read(value)) is not None)
    return _Combined(kind, parts) if len(parts) == len(values) else None


def _is_infinite(value: Value, sign: str | None = None) -> bool:
    latex = (latex_of(value) or "").replace(" ", "").replace("+", "")
    return latex in ((r"\infty", r"-\infty") if sign is None else (rf"{sign}\infty",))


def _point(value: Value) -> _Point | None:
    if isinstance(value, Quantity):
        return _Point(value, value.number.value) if value.unit is None and not value.is_percent else None
    latex = latex_of(value)
    number = None if latex is None else symbolic.real_number(latex)
    return None if number is None else _Point(value, number)


def _ends(part: _Span | _Combined) -> list[_Point]:
    if isinstance(part, _Combined):
        return [end for inner in part.parts for end in _ends(inner)]
    return [end for end in (part.low, part.high) if end is not None]


def _order(a: _Point, b: _Point) -> int:
    if abs(a.number - b.number) < _CLOSE and (a.value == b.value or expressions(a.value, b.value)):
        return 0
    return -1 if a.number < b.number else 1


def _holds(part: _Span | _Combined, at: int, points: list[_Point]) -> bool:
    """Return True if the set contains piece `at`: the point at // 2 if odd, else the open interval in front of it."""
    if isinstance(part, _Combined):
        found = [_holds(inner, at, points) for inner in part.parts]
        if part.kind == "minus":
            return found[0] and not any(found[1:])
        return any(found) if part.kind == "or" else all(found)
    low = -1 if part.low is None else _index(part.low, points)
    high = 2 * len(points) + 1 if part.high is None else _index(part.high, points)
    return (
        low < at < high
        or (at == low and at == high and part.has_low and part.has_high)
        or (low < high and ((at == low and part.has_low) or (at == high and part.has_high)))
    )


def _index(end: _Point, points: list[_Point]) -> int:
    return next(2 * at + 1 for at, point in enumerate(points) if not _order(point, end))
