"""What an answer can be. Plain data; made by `rewards.math.parse`, compared by `rewards.math.compare`."""

from __future__ import annotations

from dataclasses import dataclass

from rewards.math.numbers import Numeral
from rewards.math.units import Unit


@dataclass(frozen=True)
class Quantity:
    """A number, perhaps a percentage, perhaps with a unit."""

    number: Numeral
    unit: Unit | None = None
    is_percent: bool = False


@dataclass(frozen=True)
class Based:
    """Digits in a stated base: 1010_2. Not the same answer as its decimal value."""

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
    """A calendar date, perhaps without its year."""

    year: int | None
    month: int
    day: int


@dataclass(frozen=True)
class Ratio:
    """a : b (: c …)."""

    parts: tuple[Value, ...]


@dataclass(frozen=True)
class Group:
    """Items in brackets: "()", "[]", "(]", "[)", "{}", "" for a bare list, "&" for inequalities that hold together,
    "|" for those of which one holds."""

    brackets: str
    items: tuple[Value, ...]


@dataclass(frozen=True)
class Union:
    """Intervals or sets joined by ∪."""

    parts: tuple[Value, ...]


@dataclass(frozen=True)
class Matrix:
    """Rows of equal length."""

    rows: tuple[tuple[Value, ...], ...]


@dataclass(frozen=True)
class Relation:
    """An equation or inequality; chains keep every part: 1 < x <= 2 has operators ("<", "<=")."""

    operators: tuple[str, ...]
    parts: tuple[Value, ...]


@dataclass(frozen=True)
class Expression:
    """Something for the symbolic parser; `latex` passed its grammar check."""

    latex: str


@dataclass(frozen=True)
class Measured:
    """An expression with a unit: 4\\pi cm^2."""

    value: Value
    unit: Unit


@dataclass(frozen=True)
class Words:
    """Anything else: compared as text alone."""

    text: str


Value = (
    Quantity | Based | Clock | Day | Ratio | Group | Union | Matrix | Relation | Expression | Measured | Words
)
