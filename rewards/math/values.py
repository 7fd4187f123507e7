"""Data classes for the kinds of answers. `rewards.math.parse` creates them, `rewards.math.compare` compares them."""

from __future__ import annotations

from dataclasses import dataclass

from rewards.math.numbers import Numeral
from rewards.math.units import Unit


@dataclass(frozen=True)
class Quantity:
    """A number, optionally a percentage or with a unit."""

    number: Numeral
    unit: Unit | None = None
    is_percent: bool = False


@dataclass(frozen=True)
class Based:
    """Digits in an explicit base, such as 1010_2. By default it does not equal its decimal value."""

    digits: str
    base: int


@dataclass(frozen=True)
class Clock:
    """A time of day or a duration as hh:mm(:ss); `half` is "am", "pm" or ""."""

    hour: int
    minute: int
    second: int
    half: str


@dataclass(frozen=True)
class Day:
    """A calendar date; `year` is None if it was not given."""

    year: int | None
    month: int
    day: int


@dataclass(frozen=True)
class Ratio:
    """A ratio of two or more parts: a : b (: c …)."""

    parts: tuple[Value, ...]


@dataclass(frozen=True)
class Group:
    """Items in brackets: "()", "[]", "(]", "[)", "{}", or "" for a list without brackets.

    For inequalities, "&" means that all of them hold and "|" that one of them holds.
    """

    brackets: str
    items: tuple[Value, ...]


@dataclass(frozen=True)
class Union:
    """Intervals or sets joined by ∪."""

    parts: tuple[Value, ...]


@dataclass(frozen=True)
class SetDifference:
    """The elements of `whole` that are not in `removed`."""

    whole: Value
    removed: Value


@dataclass(frozen=True)
class Ordinal:
    """A place in an order: 6th, the sixth term; `noun` is what is counted, or ""."""

    number: int
    noun: str


@dataclass(frozen=True)
class Weekday:
    """A day of the week, 0 for Monday; `is_short` for abbreviations, which may be other words (Sun, Sat)."""

    number: int
    is_short: bool


@dataclass(frozen=True)
class Matrix:
    """A matrix as a tuple of rows of equal length."""

    rows: tuple[tuple[Value, ...], ...]


@dataclass(frozen=True)
class Relation:
    """An equation or inequality. A chain keeps every part: 1 < x <= 2 has three parts and operators ("<", "<=")."""

    operators: tuple[str, ...]
    parts: tuple[Value, ...]


@dataclass(frozen=True)
class Expression:
    """A mathematical expression for the symbolic parser; `latex` has passed the check in `rewards.math.parse`."""

    latex: str


@dataclass(frozen=True)
class Measured:
    """An expression with a unit, such as 4\\pi cm^2."""

    value: Value
    unit: Unit


@dataclass(frozen=True)
class Words:
    """Any other answer; it is compared as text only."""

    text: str


Value = (
    Quantity
    | Based
    | Clock
    | Day
    | Weekday
    | Ordinal
    | Ratio
    | Group
    | Union
    | SetDifference
    | Matrix
    | Relation
    | Expression
    | Measured
    | Words
)
