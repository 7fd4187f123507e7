"""Is a candidate's value the reference's? DIFFERENT, EQUAL (by mathematics) or SAME (the very literal).

The difference between EQUAL and SAME tells an echo of the question from an answer. Strict in doubt: a false
positive teaches, a false negative only costs a sample.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

from rewards import math_symbolic
from rewards.math_units import singular
from rewards.math_values import (
    Based,
    Clock,
    Day,
    Expression,
    Group,
    Matrix,
    Measured,
    Quantity,
    Ratio,
    Relation,
    Union,
    Value,
    Words,
)

DIFFERENT, EQUAL, SAME = 0, 1, 2
_MIN_SIGNIFICANT = 6
_PERCENT_WORDS = re.compile(r"percent|per cent|%|百分", re.IGNORECASE)
_BASE_WORDS = re.compile(r"\bbase\b|binary|octal|hexadecimal|进制", re.IGNORECASE)
_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
_ARTICLE = re.compile(r"^(?:the|a|an)\s+", re.IGNORECASE)
_MAX_ITEMS = 64


def compare(reference: Value, candidate: Value, prompt: str = "") -> int:
    """DIFFERENT, EQUAL or SAME. Raises `math_symbolic.Refused` if an expression is too large to compare."""
    reference, candidate = _unnamed(reference, candidate)
    reference, candidate = _interval(reference), _interval(candidate)
    match reference, candidate:
        case Quantity(), Quantity():
            return _quantities(reference, candidate, prompt)
        case Based(), Based():
            return SAME if reference == candidate else DIFFERENT
        case Based(), Quantity():
            plain = str(candidate.number.value) == reference.digits and candidate.unit is None
            return SAME if plain and _BASE_WORDS.search(prompt) else DIFFERENT
        case Clock(), Clock():
            return _clocks(reference, candidate)
        case Day(), Day():
            return SAME if reference == candidate else DIFFERENT
        case Ratio(), Ratio():
            return _ratios(reference, candidate, prompt)
        case Matrix(), Matrix():
            return _matrices(reference, candidate, prompt)
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
            return compare(reference, candidate.value, prompt)
        case Relation(), Relation():
            return _relations(reference, candidate, prompt)
        case (Expression() | Quantity(), Expression() | Quantity()):
            return _expressions(reference, candidate)
        case Words(), Words():
            return SAME if _folded(reference.text) == _folded(candidate.text) != "" else DIFFERENT
    return DIFFERENT


def _quantities(reference: Quantity, candidate: Quantity, prompt: str) -> int:
    a, b = reference.number, candidate.number
    level = SAME
    if reference.unit is not None and candidate.unit is not None:
        if not _same_quantity(reference, candidate):
            return DIFFERENT
        if reference.unit.factor != candidate.unit.factor:
            return EQUAL if a.value * reference.unit.factor == b.value * candidate.unit.factor else DIFFERENT
    elif candidate.unit is not None and candidate.unit.noun and not _mentions(prompt, candidate.unit.noun):
        return DIFFERENT
    if reference.is_percent != candidate.is_percent:
        return _percentages(reference, candidate, prompt)
    if a.value == b.value:
        literal = {"integer", "decimal"} >= {a.form, b.form} or (a.form, a.digits) == (b.form, b.digits)
        return level if literal else EQUAL
    return EQUAL if _rounded(a.value, b.value, b.decimals, b.significant, b.form, a.form) else DIFFERENT


def _percentages(reference: Quantity, candidate: Quantity, prompt: str) -> int:
    """25% is 1/4; the sign may be left out; it may be added where the question asks for a percentage."""
    a, b = reference.number.value, candidate.number.value
    if reference.is_percent:
        return SAME if a == b else EQUAL if a / 100 == b else DIFFERENT
    if a == b and _PERCENT_WORDS.search(prompt):
        return SAME
    return EQUAL if b / 100 == a else DIFFERENT


def _rounded(
    exact: Fraction, value: Fraction, decimals: int, significant: int, form: str, exact_form: str
) -> bool:
    """A decimal of six digits or more stands for the fraction that it rounds or cuts."""
    if form != "decimal" or significant < _MIN_SIGNIFICANT or exact_form in ("integer", "decimal"):
        return False
    return abs(exact - value) * 10**decimals < 1


def _same_quantity(reference: Quantity, candidate: Quantity) -> bool:
    a, b = reference.unit, candidate.unit
    if a is None or b is None:
        return True
    return a.dims == b.dims


def _mentions(prompt: str, noun: str) -> bool:
    """The counted thing occurs in the question: "5 apples" answers "how many apples"."""
    if not noun.isascii():
        return True  # Chinese measure words are a closed list
    words = {singular(word) for word in re.findall(r"[a-z]+", prompt.lower())}
    return all(singular(part) in words for part in noun.split())


def _clocks(reference: Clock, candidate: Clock) -> int:
    if (reference.minute, reference.second) != (candidate.minute, candidate.second):
        return DIFFERENT
    if reference.half and not candidate.half and reference.hour == candidate.hour:
        return SAME
    return SAME if _hour(reference) == _hour(candidate) else DIFFERENT


def _hour(clock: Clock) -> int:
    if not clock.half:
        return clock.hour
    return clock.hour % 12 + (12 if clock.half == "pm" else 0)


def _ratios(reference: Ratio, candidate: Ratio, prompt: str) -> int:
    a, b = reference.parts, candidate.parts
    if len(a) != len(b):
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


def _matrices(reference: Matrix, candidate: Matrix, prompt: str) -> int:
    if [len(row) for row in reference.rows] != [len(row) for row in candidate.rows]:
        return DIFFERENT
    flat = [[cell for row in matrix.rows for cell in row] for matrix in (reference, candidate)]
    return _ordered(flat[0], flat[1], prompt)


def _groups(reference: Group, candidate: Group, prompt: str) -> int:
    a, b = reference.brackets, candidate.brackets
    if a == b:
        if a in ("{}", ""):
            return _unordered(reference.items, candidate.items, prompt)
        return _ordered(reference.items, candidate.items, prompt)
    if {a, b} == {"{}", ""}:
        return _unordered(reference.items, candidate.items, prompt)
    is_interval = (
        len(reference.items) == 2 and "[" in a + b
    )  # [1, 2] written without brackets lost its meaning
    if "" in (a, b) and {a, b} <= {"", "()", "[]"} and not is_interval:
        return _ordered(reference.items, candidate.items, prompt)
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
    """Each item has its own partner. Equality is transitive, so the first partner found will do."""
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
    sides = [_latex(side) for side in (*reference.parts, *candidate.parts)]
    if any(side is None for side in sides):
        return DIFFERENT
    a, b, c, d = (side or "" for side in sides)
    first, second = reference.operators[0], candidate.operators[0]
    if first == second and first in ("=", "!=", *_FLIPPED):
        return EQUAL if math_symbolic.proportional(a, b, c, d, positive=first in _FLIPPED) else DIFFERENT
    if _FLIPPED.get(first) == second:
        return EQUAL if math_symbolic.proportional(a, b, d, c, positive=True) else DIFFERENT
    return DIFFERENT


def _expressions(reference: Value, candidate: Value) -> int:
    a, b = _latex(reference), _latex(candidate)
    if a is None or b is None:
        return DIFFERENT
    if a.replace(" ", "") == b.replace(" ", ""):
        return SAME
    for exact, decimal in ((a, candidate), (b, reference)):
        if isinstance(decimal, Quantity) and decimal.number.form == "decimal":
            number = decimal.number
            enough = number.significant >= _MIN_SIGNIFICANT
            return EQUAL if enough and math_symbolic.near(exact, number.value, number.decimals) else DIFFERENT
    return EQUAL if math_symbolic.same(a, b) else DIFFERENT


def _latex(value: Value) -> str | None:
    """LaTeX of a scalar; a number with a unit or a percent sign is none (its fraction would be another value)."""
    if isinstance(value, Expression):
        return value.latex
    if isinstance(value, Quantity) and value.unit is None and not value.is_percent:
        number = value.number.value
        if number.denominator == 1:
            return str(number.numerator)
        sign = "-" if number < 0 else ""
        return f"{sign}\\frac{{{abs(number.numerator)}}}{{{number.denominator}}}"
    return None


def _unnamed(reference: Value, candidate: Value) -> tuple[Value, Value]:
    """x = 5 against 5: the name may be left out or added, but x = 5 is not y = 5. A chain gives its last part."""
    candidate = _last_of_chain(candidate)
    if _is_assignment(reference) and _is_assignment(candidate):
        return reference, candidate
    if _is_assignment(candidate) and not isinstance(reference, Relation):
        return reference, candidate.parts[1]  # type: ignore[union-attr]
    if _is_assignment(reference) and not isinstance(candidate, Relation):
        return reference.parts[1], candidate  # type: ignore[union-attr]
    return reference, candidate


def _is_assignment(value: Value) -> bool:
    """name = value, f(x) = value, x ∈ set, Area = value."""
    if not isinstance(value, Relation) or value.operators not in (("=",), ("in",)):
        return False
    name = value.parts[0]
    if isinstance(name, Expression):
        pattern = r"\\?[A-Za-z]+(?:_\{?[A-Za-z0-9]+\}?)?(?:\s?\([A-Za-z](?:,\s?[A-Za-z])*\))?'?"
        return re.fullmatch(pattern, name.latex.strip()) is not None
    return (
        isinstance(name, Words)
        and re.fullmatch(r"[A-Za-z]+(?: [A-Za-z]+){0,2}", name.text) is not None
        and not re.search(r"\b(?:not|no|never|isn|wrong|or)\b", name.text, re.IGNORECASE)
    )


def _last_of_chain(value: Value) -> Value:
    """2 + 3 = 5 is 5 if it holds, and x = 2 + 3 = 5 is x = 5; a chain that does not hold stays what it is."""
    if not isinstance(value, Relation) or set(value.operators) != {"="}:
        return value
    *before, last = value.parts
    named = _is_assignment(Relation(("=",), (before[0], last)))
    sums = before[1:] if named else before
    if not sums or any(_latex(part) is None for part in (*sums, last)):
        return value
    if not named and any(
        re.search(r"[A-Za-z]", re.sub(r"\\[A-Za-z]+", "", _latex(part) or "")) for part in sums
    ):
        return value
    if not all(_expressions(last, part) for part in sums):
        return value
    return Relation(("=",), (before[0], last)) if named else last


def _interval(value: Value) -> Value:
    """Inequalities as intervals, and a list of nothing but inequalities ("x < 1 or x > 2") as their union."""
    if (
        isinstance(value, Group)
        and not value.brackets
        and all(isinstance(item, Relation) for item in value.items)
    ):
        parts = tuple(_one_interval(item) for item in value.items)
        return Union(parts) if all(isinstance(part, Group) for part in parts) else value
    return _one_interval(value)


def _one_interval(value: Value) -> Value:
    """x > 2 as (2, ∞), 1 ≤ x < 3 as [1, 3), x ∈ S as S is done by `_unnamed`."""
    if not isinstance(value, Relation) or not set(value.operators) <= set(_FLIPPED):
        return value
    parts, operators = value.parts, value.operators
    if set(operators) <= {">", ">="}:
        parts, operators = parts[::-1], tuple(_FLIPPED[o] for o in operators[::-1])
    if not set(operators) <= {"<", "<="}:
        return value
    infinity = Expression(r"\infty")
    if (
        len(parts) == 3
        and _is_variable(parts[1])
        and not _is_variable(parts[0])
        and not _is_variable(parts[2])
    ):
        low, high, opening, closing = parts[0], parts[2], operators[0], operators[1]
    elif len(parts) == 2 and _is_variable(parts[0]) and _is_constant(parts[1]):
        low, high, opening, closing = Expression(r"-\infty"), parts[1], "<", operators[0]
    elif len(parts) == 2 and _is_variable(parts[1]) and _is_constant(parts[0]):
        low, high, opening, closing = parts[0], infinity, operators[0], "<"
    else:
        return value
    return Group(("(" if opening == "<" else "[") + (")" if closing == "<" else "]"), (low, high))


def _is_variable(value: Value) -> bool:
    return (
        isinstance(value, Expression)
        and re.fullmatch(r"[A-Za-z]|\\(?:theta|alpha|lambda)", value.latex.strip()) is not None
    )


def _is_constant(value: Value) -> bool:
    latex = _latex(value)
    return latex is not None and not re.search(r"[A-Za-z]", re.sub(r"\\[A-Za-z]+", "", latex))


def _folded(text: str) -> str:
    text = " ".join(text.casefold().split()).strip(" .,!:;'\"()[]")
    return _ARTICLE.sub("", text)
