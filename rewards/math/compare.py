"""Compare a candidate value with the reference: DIFFERENT, EQUAL (mathematically) or SAME (the same literal).

Callers use the distinction between EQUAL and SAME to tell an answer that only repeats the question from a real one.
When in doubt the result is DIFFERENT: a false positive trains the model on a wrong answer, while a false negative only
wastes a sample.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

from rewards.math import symbolic
from rewards.math.numbers import Numeral
from rewards.math.quantity import BASE_NAMES
from rewards.math.question import asks_for_place, may_name
from rewards.math.real_sets import is_same_set
from rewards.math.relations import FLIPPED, in_order, interval, is_solved, letter_of, unnamed
from rewards.math.scalars import DIFFERENT, EQUAL, SAME, expressions, latex_of, quantities
from rewards.math.values import (
    Based,
    Clock,
    Day,
    Expression,
    Group,
    Matrix,
    Measured,
    Ordinal,
    Quantity,
    Ratio,
    Relation,
    SetDifference,
    Union,
    Value,
    Weekday,
    Words,
)

__all__ = ["DIFFERENT", "EQUAL", "SAME", "compare"]

_BASE_WORDS = re.compile(r"\bbase\b|binary|octal|hexadecimal|进制", re.IGNORECASE)
_BASES = BASE_NAMES | {"binary": 2, "octal": 8, "decimal": 10, "hexadecimal": 16}
_ASKED_BASE = re.compile(
    r"\b(?:in|to|into|as)\s+(?:a\s+)?(?:base[- ]?)?(\d+|" + "|".join(_BASES) + r")\b(?!\s*[a-z]*\s*to\b)",
    re.IGNORECASE,
)
_RATIO_WORDS = re.compile(r"\bratios?\b|\bproportion|比", re.IGNORECASE)
_SOLVES = re.compile(
    r"\bsol(?:ve|ution)|\broots?\b|\b(?:in)?equations?\b|inequalit|解|方程|不等式|根", re.IGNORECASE
)
_DAY_WORDS = re.compile(r"\bdays?\b|\bweekday|星期|周几|礼拜", re.IGNORECASE)
_SPELLINGS = {
    spelling: spellings[0]
    for spellings in (
        ("does not exist", "dne", "doesn't exist", "不存在"),
        ("no solution", "no solutions", "there is no solution", "there are no solutions", "无解", "没有解"),
        ("true", "correct", "对", "正确", "对的", "正确的", "是对的", "是正确的", "真", "真的", "√"),
        (
            "false",
            "incorrect",
            "错",
            "错误",
            "错的",
            "错误的",
            "是错的",
            "是错误的",
            "不对",
            "不正确",
            "假",
            "假的",
            r"\times",
        ),
        ("yes", "是", "是的"),
        ("no", "否", "不是"),
        ("undefined", "not defined", "无定义", "未定义"),
    )
    for spelling in spellings
}
_ARTICLE = re.compile(r"^(?:the|a|an)\s+", re.IGNORECASE)
_MAX_ITEMS = 64


def compare(reference: Value, candidate: Value, prompt: str = "") -> int:
    """Compare two values in the context of the question `prompt`; return DIFFERENT, EQUAL or SAME.

    Raises `symbolic.Refused` if an expression is too large to compare.
    """
    letters = letter_of(reference), letter_of(candidate)
    if None not in letters and letters[0] != letters[1]:
        return DIFFERENT
    reference, candidate = unnamed(interval(reference), interval(candidate))
    reference, candidate = interval(reference), interval(candidate)
    if isinstance(reference, Union | SetDifference) or isinstance(candidate, Union | SetDifference):
        is_same = None if reference == candidate else is_same_set(reference, candidate)
        if is_same is not None:
            return EQUAL if is_same else DIFFERENT
    match reference, candidate:
        case Quantity(), Quantity():
            return quantities(reference, candidate, prompt)
        case Based(), Based():
            return SAME if reference == candidate else DIFFERENT
        case Based(), Quantity():
            plain = str(candidate.number.value) == reference.digits and candidate.unit is None
            return SAME if plain and speaks_of_bases(prompt) else DIFFERENT
        case Quantity(unit=None, is_percent=False), Based():
            same_digits = str(reference.number.value) == candidate.digits
            return SAME if same_digits and candidate.base == _asked_base(prompt) else DIFFERENT
        case Clock(), Clock():
            level = _clocks(reference, candidate)
            if not level and _RATIO_WORDS.search(prompt):  # 10:15 equals 20:30 only as a ratio
                return _ratios(_as_ratio(reference), _as_ratio(candidate), prompt)
            return level
        case Weekday(), Weekday():
            return _weekdays(reference, candidate, prompt)
        case Ordinal(), Ordinal():
            return SAME if reference.number == candidate.number else DIFFERENT
        case Ordinal(), Quantity(unit=None, is_percent=False):
            is_place = asks_for_place(prompt)
            return SAME if candidate.number.value == reference.number and is_place else DIFFERENT
        case Quantity(unit=None, is_percent=False), Ordinal():
            is_place = asks_for_place(prompt, candidate.noun)
            return SAME if reference.number.value == candidate.number and is_place else DIFFERENT
        case Day(), Day():
            return SAME if reference == candidate else DIFFERENT
        case Ratio(), Ratio():
            return _ratios(reference, candidate, prompt)
        case (Ratio(), Quantity(unit=None)) | (Quantity(unit=None), Ratio()) if _RATIO_WORDS.search(prompt):
            return expressions(_as_fraction(reference), _as_fraction(candidate))
        case Ratio(), Clock():
            return _ratios(reference, _as_ratio(candidate), prompt)
        case Clock(), Ratio() if _RATIO_WORDS.search(prompt):
            return _ratios(_as_ratio(reference), candidate, prompt)
        case Matrix(), Matrix():
            return _matrices(reference, candidate, prompt)
        case (Matrix(), Group()) | (Group(), Matrix()):
            return _matrices(_as_matrix(reference), _as_matrix(candidate), prompt)
        case SetDifference(), SetDifference():
            return SAME if reference == candidate else DIFFERENT
        case Union(), Union():
            return _unordered(reference.parts, candidate.parts, prompt)
        case Group(), Group():
            return _groups(reference, candidate, prompt)
        case Group(brackets="{}", items=(only,)), _:
            return min(compare(only, candidate, prompt), EQUAL)
        case _, Group(brackets="{}", items=(only,)):
            return min(compare(reference, only, prompt), EQUAL)
        case Measured(), Measured():
            same_unit = (
                reference.unit.dims == candidate.unit.dims and reference.unit.factor == candidate.unit.factor
            )
            return compare(reference.value, candidate.value, prompt) if same_unit else DIFFERENT
        case Measured(), Expression() | Quantity(unit=None):
            return compare(reference.value, candidate, prompt)
        case Expression() | Quantity(unit=None), Measured():
            return (
                compare(reference, candidate.value, prompt) if may_name(candidate.unit, prompt) else DIFFERENT
            )
        case Relation(), Relation():
            return _relations(reference, candidate, prompt)
        case (Expression() | Quantity(), Expression() | Quantity()):
            return expressions(reference, candidate)
        case (Words(text=text), Group("{}", ())) | (Group("{}", ()), Words(text=text)) if _SOLVES.search(
            prompt
        ):
            return EQUAL if _folded(text) == "no solution" else DIFFERENT
        case Words(), Words():
            return SAME if _folded(reference.text) == _folded(candidate.text) != "" else DIFFERENT
    return DIFFERENT


def speaks_of_bases(prompt: str) -> bool:
    """Return True if the question mentions numerals in some base."""
    return _BASE_WORDS.search(prompt) is not None


def _asked_base(prompt: str) -> int:
    """Return the base that the question asks for: 10 if it mentions none, 0 if it is unclear."""
    match = _ASKED_BASE.search(prompt)
    if match is None:
        return 0 if re.search(r"\bbase\b|进制", prompt) else 10
    name = match[1].lower()
    return int(name) if name.isdigit() else _BASES.get(name, 0)


def _clocks(reference: Clock, candidate: Clock) -> int:
    if (reference.minute, reference.second) != (candidate.minute, candidate.second):
        return DIFFERENT
    if reference.half and not candidate.half and reference.hour == candidate.hour:
        return SAME
    return SAME if _hour(reference) == _hour(candidate) else DIFFERENT


def _weekdays(reference: Weekday, candidate: Weekday, prompt: str) -> int:
    """Compare days of the week. A reference such as "Sun" may be another word, unless the question is about days."""
    is_day = reference.is_short == candidate.is_short or not reference.is_short or _DAY_WORDS.search(prompt)
    return SAME if reference.number == candidate.number and is_day else DIFFERENT


def _hour(clock: Clock) -> int:
    if not clock.half:
        return clock.hour
    return clock.hour % 12 + (12 if clock.half == "pm" else 0)


def _as_ratio(value: Clock) -> Ratio:
    """Convert a time such as 10:15 to a ratio; with am, pm or seconds the result is empty and equals no ratio."""
    if value.half or value.second:
        return Ratio(())
    numbers = (Numeral(Fraction(n), "integer") for n in (value.hour, value.minute))
    return Ratio(tuple(Quantity(number) for number in numbers))


def _as_fraction(value: Value) -> Value:
    """Convert a ratio of two numbers such as 3:2 to 3/2; others stay as they are."""
    match value:
        case Ratio((Quantity(unit=None) as first, Quantity(unit=None) as second)) if second.number.value:
            return Quantity(Numeral(Fraction(first.number.value) / Fraction(second.number.value), "fraction"))
    return value


def _ratios(reference: Ratio, candidate: Ratio, prompt: str) -> int:
    a, b = reference.parts, candidate.parts
    if len(a) != len(b) or not a:
        return DIFFERENT
    level = _ordered(a, b, prompt)
    if level:
        return level
    numbers = [part.number.value for part in (*a, *b) if isinstance(part, Quantity)]
    if len(numbers) != 2 * len(a) or 0 in numbers:
        return DIFFERENT
    scale = numbers[0] / numbers[len(a)]
    return (
        EQUAL
        if all(x == scale * y for x, y in zip(numbers[: len(a)], numbers[len(a) :], strict=True))
        else DIFFERENT
    )


def _as_matrix(value: Value) -> Matrix:
    """Convert (1, 2) to a column vector and [[1, 2], [3, 4]] to a matrix; any other value gives an empty matrix.

    A matrix with a single row is transposed to a column, so that row and column vectors compare equal.
    """
    if isinstance(value, Matrix):
        return Matrix(tuple(zip(*value.rows, strict=True))) if len(value.rows) == 1 else value
    if not isinstance(value, Group) or value.brackets not in ("()", "[]"):
        return Matrix(())
    rows = [item.items for item in value.items if isinstance(item, Group) and item.brackets in ("()", "[]")]
    if not rows:
        return Matrix(tuple((item,) for item in value.items))
    is_matrix = (
        value.brackets == "[]" and len(rows) == len(value.items) and len({len(row) for row in rows}) == 1
    )
    return Matrix(tuple(rows)) if is_matrix else Matrix(())


def _matrices(reference: Matrix, candidate: Matrix, prompt: str) -> int:
    if not reference.rows or [len(row) for row in reference.rows] != [len(row) for row in candidate.rows]:
        return DIFFERENT
    flat = [[cell for row in matrix.rows for cell in row] for matrix in (reference, candidate)]
    return _ordered(flat[0], flat[1], prompt)


def _groups(reference: Group, candidate: Group, prompt: str) -> int:
    a, b = reference.brackets, candidate.brackets
    if a == b:
        if a == "{}":  # an element listed twice is in the set once
            a_items, b_items = (tuple(dict.fromkeys(g.items)) for g in (reference, candidate))
            return _unordered(a_items, b_items, prompt)
        if a in ("", "&"):
            return _unordered(reference.items, candidate.items, prompt)
        return _ordered(reference.items, candidate.items, prompt)
    if {a, b} == {"{}", ""}:
        return _unordered(reference.items, candidate.items, prompt)
    is_interval = (
        len(reference.items) == 2 and "[" in a + b
    )  # without its brackets, the interval [1, 2] loses its meaning
    if "" in (a, b) and {a, b} <= {"", "()", "[]"} and not is_interval:
        first, second = (in_order(group, prompt) for group in (reference, candidate))
        return _ordered(first.items, second.items, prompt)  # type: ignore[union-attr]
    return DIFFERENT


def _ordered(a: Sequence[Value], b: Sequence[Value], prompt: str) -> int:
    if len(a) != len(b):
        return DIFFERENT
    level = SAME
    for x, y in zip(a, b, strict=True):
        level = min(level, compare(x, y, prompt))
        if not level:
            return DIFFERENT
    return level


def _unordered(a: Sequence[Value], b: Sequence[Value], prompt: str) -> int:
    """Match each item with its own partner. Equality is transitive, so the first match found is good enough."""
    if len(a) != len(b) or len(a) > _MAX_ITEMS:
        return DIFFERENT
    level, left = SAME, list(b)
    for x in a:
        for y in left:
            if found := compare(x, y, prompt):
                level = min(level, found)
                left.remove(y)
                break
        else:
            return DIFFERENT
    return level


def _relations(reference: Relation, candidate: Relation, prompt: str) -> int:
    if reference.operators == candidate.operators and (
        level := _ordered(reference.parts, candidate.parts, prompt)
    ):
        return level
    if len(reference.operators) != 1 or len(candidate.operators) != 1:
        return DIFFERENT
    if is_solved(reference) and not is_solved(candidate):
        return DIFFERENT  # 2x = 10 is not yet solved for x
    sides = [latex_of(side) for side in (*reference.parts, *candidate.parts)]
    if any(side is None for side in sides):
        return DIFFERENT
    a, b, c, d = (side or "" for side in sides)
    first, second = reference.operators[0], candidate.operators[0]
    if first == second and first in ("=", "!=", *FLIPPED):
        return EQUAL if symbolic.proportional(a, b, c, d, positive=first in FLIPPED) else DIFFERENT
    if FLIPPED.get(first) == second:
        return EQUAL if symbolic.proportional(a, b, d, c, positive=True) else DIFFERENT
    return DIFFERENT


def _folded(text: str) -> str:
    text = " ".join(text.casefold().split()).strip(" .,!:;'\"()[]")
    text = _ARTICLE.sub("", text)
    return _SPELLINGS.get(text, text)
