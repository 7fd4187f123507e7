"""Reads a code problem's columns: candidate tests and programs.

{"tests": [{"args": [1, 2]}] or its JSON, "correct": ["def add…"], "wrong": […], "generators": ["print(…)"]}
"""

from __future__ import annotations

import json

from data_recipes.errors import DataError
from data_recipes.fields import show
from policies.json_types import JsonMapping


def candidates(where: str, row: JsonMapping) -> list[object]:
    """Return the row's tests, expected results or none beside them; [] if the column is missing or empty.

    Raises:
        DataError: they are no list, nor the JSON of one.
    """
    value = row.get("tests")
    if isinstance(value, str):
        try:
            value = json.loads(value.strip() or "[]")
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where}: tests is no JSON ({error}); expected a list of tests") from error
    if value is None:
        return []
    if not isinstance(value, list):
        raise DataError(f"{where}: tests is {type(value).__name__}; expected a list of tests")
    return list(value)


def programs(where: str, row: JsonMapping, name: str) -> list[str]:
    """Return the programs in a column, each once, in order; [] if it is missing.

    Raises:
        DataError: it is no list of texts, or one of them is blank.
    """
    found = row.get(name)
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(text, str) and text.strip() for text in found):
        raise DataError(f"{where}: {name} = {show(found)}; expected a list of programs as text")
    return list(dict.fromkeys(found))
