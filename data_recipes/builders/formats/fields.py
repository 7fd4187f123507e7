"""Reads a field of a public data set's row. Each error names file, line, field and the value found."""

from __future__ import annotations

import json
from collections.abc import Iterable

from data_recipes.errors import DataError
from data_recipes.fields import MISSING, Row, look_up, show
from data_recipes.prompts.answers import to_reference


def text(where: str, row: Row, name: str) -> str:
    """Return a field that must hold text.

    Raises:
        DataError: it is missing, empty or no text.
    """
    value = look_up(row, name)
    if value is MISSING:
        raise DataError(f"{where}: no field {name!r}; there are {', '.join(map(str, row))}")
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: {name} = {show(value)}; expected text")
    return value.strip()


def any_text(where: str, row: Row, names: Iterable[str]) -> str:
    """Return the first of several fields that the row has; see `text`."""
    names = tuple(names)
    found = next((name for name in names if look_up(row, name) is not MISSING), None)
    if found is None:
        raise DataError(
            f"{where}: no field {' or '.join(map(repr, names))}; there are {', '.join(map(str, row))}"
        )
    return text(where, row, found)


def optional(where: str, row: Row, name: str) -> str | None:
    """Return a field that may be missing, null or empty (then None), and must hold text otherwise."""
    value = look_up(row, name)
    if value is MISSING or value is None or value == "":
        return None
    if not isinstance(value, str):
        raise DataError(f"{where}: {name} = {show(value)}; expected text or null")
    return value.strip() or None


def reference(where: str, row: Row, name: str) -> str:
    """Return a reference answer as text, a number in its shortest spelling (142.0 → "142").

    Raises:
        DataError: there is none, or it is no text and no finite number.
    """
    value = look_up(row, name)
    if value is MISSING:
        raise DataError(f"{where}: no field {name!r}; there are {', '.join(map(str, row))}")
    found = to_reference(where, name, value)
    if isinstance(found, list | bool):
        raise DataError(f"{where}: {name} = {show(value)}; expected text or a number")
    return str(found).strip()


def number(where: str, row: Row, name: str, low: int, high: int) -> int:
    """Return a whole number from low to high, written as a number or as text.

    Raises:
        DataError: it is none.
    """
    value = look_up(row, name)
    is_whole = (isinstance(value, str) and value.strip().lstrip("-").isdecimal()) or (
        isinstance(value, int | float) and not isinstance(value, bool) and float(value).is_integer()
    )
    found = int(value) if is_whole and isinstance(value, str | int | float) else None
    if found is None or not low <= found <= high:
        raise DataError(f"{where}: {name} = {show(value)}; expected a whole number from {low} to {high}")
    return found


def texts(where: str, row: Row, name: str) -> tuple[str, ...]:
    """Return a field that must hold a list of texts.

    Raises:
        DataError: it does not.
    """
    value = look_up(row, name)
    if not isinstance(value, list) or not value or not all(isinstance(v, str) and v.strip() for v in value):
        raise DataError(f"{where}: {name} = {show(value)}; expected a list of texts")
    return tuple(v.strip() for v in value)


def parsed(where: str, row: Row, name: str) -> object:
    """Return a field that holds JSON as text, or the value itself; None if it is missing or empty.

    Raises:
        DataError: it is text and no JSON.
    """
    value = look_up(row, name)
    if value is MISSING or value is None or value == "":
        return None
    if not isinstance(value, str):
        return value
    try:
        found: object = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: {name} = {show(value)}: not JSON ({error})") from error
    return found
