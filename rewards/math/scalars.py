"""Compare numbers and expressions by value, unit, percent sign and algebra."""

from __future__ import annotations

import re
from fractions import Fraction

from rewards.math import symbolic
from rewards.math.question import may_name
from rewards.math.values import Expression, Quantity, Value

DIFFERENT, EQUAL, SAME = 0, 1, 2
"""Levels of agreement: different values; the same value written differently; the same literal."""
_MIN_SIGNIFICANT = 6
_PERCENT_WORDS = re.compile(r"percent|per cent|%|百分", re.IGNORECASE)


def quantities(reference: Quantity, candidate: Quantity, prompt: str) -> int:
    """Compare two quantities; return DIFFERENT, EQUAL or SAME."""
    a, b = reference.number, candidate.number
    level = SAME
    if (reference.is_percent and candidate.unit) or (candidate.is_percent and reference.unit):
        return DIFFERENT
    if reference.unit is not None and candidate.unit is not None:
        if not _same_quantity(reference, candidate):
            return DIFFERENT
        if reference.unit.dims == candidate.unit.dims and reference.unit.factor != candidate.unit.factor:
            return EQUAL if a.value * reference.unit.factor == b.value * candidate.unit.factor else DIFFERENT
    elif candidate.unit is not None and not may_name(candidate.unit, prompt):
        return DIFFERENT
    if reference.is_percent != candidate.is_percent:
        return _percentages(reference, candidate, prompt)
    if a.value == b.value:
        literal = {"integer", "decimal"} >= {a.form, b.form} or (a.form, a.digits) == (b.form, b.digits)
        return level if literal else EQUAL
    return EQUAL if _rounded(a.value, b.value, b.decimals, b.significant, b.form, a.form) else DIFFERENT


def _percentages(reference: Quantity, candidate: Quantity, prompt: str) -> int:
    """Compare a percentage with a number: 25% equals 1/4.

    The candidate may omit the reference's percent sign, and may add one if the question mentions percentages.
    """
    a, b = reference.number.value, candidate.number.value
    if reference.is_percent:
        return SAME if a == b else EQUAL if a / 100 == b else DIFFERENT
    if a == b and _PERCENT_WORDS.search(prompt):
        return SAME
    return EQUAL if b / 100 == a else DIFFERENT


def _rounded(
    exact: Fraction, value: Fraction, decimals: int, significant: int, form: str, exact_form: str
) -> bool:
    """Return True if `value` is a decimal with six or more significant digits that rounds or truncates `exact`.

    It is always False if the exact number was itself written as an integer or a decimal.
    """
    if form != "decimal" or significant < _MIN_SIGNIFICANT or exact_form in ("integer", "decimal"):
        return False
    return symbolic.rounds_to(exact, value, decimals)


def _same_quantity(reference: Quantity, candidate: Quantity) -> bool:
    a, b = reference.unit, candidate.unit
    if a is None or b is None:
        return True
    return a.dims == b.dims or ((a.also, 1),) == b.dims or ((b.also, 1),) == a.dims


def expressions(reference: Value, candidate: Value) -> int:
    """Compare two scalars as expressions; return DIFFERENT, EQUAL or SAME.

    Raises `symbolic.Refused` if an expression is too large to compare.
    """
    a, b = latex_of(reference), latex_of(candidate)
    if a is None or b is None:
        return DIFFERENT
    if a.replace(" ", "") == b.replace(" ", ""):
        return SAME
    for exact, decimal in ((a, candidate), (b, reference)):
        if isinstance(decimal, Quantity) and decimal.number.form == "decimal":
            number = decimal.number
            if number.significant >= _MIN_SIGNIFICANT:
                return EQUAL if symbolic.near(exact, number.value, number.decimals) else DIFFERENT
    return EQUAL if symbolic.same(a, b) else DIFFERENT


def latex_of(value: Value) -> str | None:
    """Return the LaTeX of a scalar, or None for any other value.

    A number with a unit or a percent sign has none, because the bare number would be a different value.
    """
    if isinstance(value, Expression):
        return value.latex
    if isinstance(value, Quantity) and value.unit is None and not value.is_percent:
        number = value.number.value
        if number.denominator == 1:
            return str(number.numerator)
        sign = "-" if number < 0 else ""
        return f"{sign}\\frac{{{abs(number.numerator)}}}{{{number.denominator}}}"
    return None
