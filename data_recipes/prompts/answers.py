"""Reads a reference answer, so that one value is one reference whatever type a file stores it in.

    42, 42.0, Decimal("42.00")  ->  42          Decimal("18.40"), 18.4  ->  18.4
    NaN, infinity, "nan", a list that holds one of them  ->  DataError with file, line, field and a fix

A column of integers with a gap becomes floats and NaN in pandas, and a Parquet column of type decimal gives Decimals:
both would be compared with answers under another spelling, or not at all, from the first step on.
"""

from __future__ import annotations

import math
from decimal import Decimal

from data_recipes.errors import DataError
from data_recipes.fields import show

_MISSING = frozenset(("nan", "<na>", "nat"))
"""What pandas writes for a missing value that was turned into text."""
_EXACT = 1e15
"""Integers below this are exact as floats."""


def to_reference(where: str, name: str, value: object) -> str | int | float | list[object]:
    """Return the reference answer of field `name`, its numbers as int or float.

    Raises:
        DataError: there is none, or it is of a type or a value that nothing equals; the message begins with `where`.
    """
    if value is None or value == "" or value == [] or (isinstance(value, str) and not value.strip()):
        raise DataError(
            f"{where}: {name} = {show(value)}: no reference answer; add it, delete the row, or set "
            "answer_field = false in a recipe whose rewards need none"
        )
    if isinstance(value, list):
        return [_item(where, name, value, item) for item in value]
    plain = _plain(value)
    if plain is None:
        raise DataError(f"{where}: {name} = {show(value)}: expected text, a number or a list{_hint(value)}")
    return plain


def _item(where: str, name: str, whole: list[object], item: object) -> object:
    if isinstance(item, str) and not _is_missing(item):
        return item
    if isinstance(item, list | dict):
        return item
    plain = _plain(item)
    if plain is None:
        raise DataError(
            f"{where}: {name} = {show(whole)}: the item {show(item)} is no answer; delete it or write the value"
        )
    return plain


def _plain(value: object) -> str | int | float | None:
    """Return text or a finite number, an integer as int; None for anything else."""
    if isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return None if _is_missing(value) else value
    if isinstance(value, Decimal):
        if not value.is_finite():
            return None
        if value == value.to_integral_value():
            return int(value)
        number = float(value)
        return number if Decimal(repr(number)) == value else f"{value.normalize():f}"
    if isinstance(value, float) and math.isfinite(value):
        return int(value) if value.is_integer() and abs(value) < _EXACT else value
    return None


def _is_missing(text: str) -> bool:
    return text.strip().lower() in _MISSING


def _hint(value: object) -> str:
    if isinstance(value, float | Decimal | str):
        return "; a missing answer is often stored so: write the value or delete the row"
    return ""
