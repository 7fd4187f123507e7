"""Reads the arguments and results of call tests in the forms of public data sets.

    [[3, 4], [5]]                 a list of arguments per test (APPS, TACO)
    ["[3, 4]\\n2", "[5]\\n1"]       one JSON value per line, each an argument (LiveCodeBench)
    ["abc", "x y"]                a single argument, the text itself

A row is read in one form as a whole: text counts as JSON only if every test of the row is. Where arguments are lines of
JSON, results given as text are JSON too, again only if all of them are.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

_NOT_JSON = object()


def read_calls(
    inputs: Sequence[object], outputs: Sequence[object]
) -> tuple[list[list[object]], list[object], bool]:
    """Return the arguments and the expected result of each test, and whether they were written as lines of JSON."""
    lines = [line for item in inputs if (line := _lines(item)) is not None]
    if len(lines) == len(inputs):
        return lines, _all_json(outputs), True
    calls = [[_int_keys(a) for a in item] if isinstance(item, list) else [item] for item in inputs]
    return calls, list(outputs), False


def _lines(item: object) -> list[object] | None:
    """Return the values of lines of JSON, or None if `item` is not such text."""
    if not isinstance(item, str) or not item.strip():
        return None
    values = [_json(line) for line in item.strip().splitlines() if line.strip()]
    return None if any(value is _NOT_JSON for value in values) else values


def _all_json(outputs: Sequence[object]) -> list[object]:
    values = [_json(item) if isinstance(item, str) else item for item in outputs]
    return list(outputs) if any(value is _NOT_JSON for value in values) else values


def _json(text: str) -> object:
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return _NOT_JSON


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _int_keys(value: object) -> object:
    """Turn an object whose keys are all integers back into a dict of integers: JSON has only text as keys."""
    if (
        isinstance(value, dict)
        and value
        and all(k.lstrip("-").isdecimal() and k.isascii() for k in map(str, value))
    ):
        return {int(key): item for key, item in value.items()}
    return value
