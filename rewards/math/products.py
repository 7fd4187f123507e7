"""Multiply the cells of a matrix by the scalar that stands beside it, without evaluating expressions."""

from __future__ import annotations

import re
from fractions import Fraction

from rewards.math.numbers import Numeral, read_number
from rewards.math.scalars import latex_of
from rewards.math.values import Expression, Quantity, Value

_TIMES = re.compile(r"\s*(?:\\cdot|\\times|\*)\s*$")
_DIVISOR = re.compile(r"/\s*([0-9]{1,6})")
_SCALAR = re.compile(
    r"(?:[0-9A-Za-z+\-*/^().\s{}\[\]]|\\(?:frac|sqrt|pi|cdot|times|left|right)(?![A-Za-z]))+"
)


def scalar(before: str, after: str) -> Value | None:
    """Return the scalar made of the text before a matrix and a divisor behind it; None if it is anything else."""
    divisor = _DIVISOR.fullmatch(after) if after else None
    if (after and divisor is None) or (divisor and not int(divisor[1])):
        return None
    before = _TIMES.sub("", before)
    text = {"": "1", "+": "1", "-": "-1"}.get(before, before)
    number = read_number(text)
    over = Fraction(1, int(divisor[1])) if divisor else Fraction(1)
    if number is not None:
        return Quantity(Numeral(number.value * over, "fraction", (-1,)))
    if not _SCALAR.fullmatch(text) or text[-1] in "+-/^(" or re.search(r"[0-9)}]\s*[+-]", text):
        return None  # a sum before a matrix needs brackets, and these end with one
    return Expression(f"({text}) \\cdot \\frac{{1}}{{{over.denominator}}}")


def times(scale: Value, cell: Value) -> Value | None:
    """Return the product of a scalar and a cell; None if the cell is no scalar."""
    if isinstance(scale, Quantity) and scale.number.value == 1:
        return cell
    a, b = latex_of(scale), latex_of(cell)
    if a is None or b is None:
        return None
    if isinstance(scale, Quantity) and isinstance(cell, Quantity):
        return Quantity(Numeral(scale.number.value * cell.number.value, "fraction", (-1,)))
    return Expression(f"({a}) \\cdot ({b})")
