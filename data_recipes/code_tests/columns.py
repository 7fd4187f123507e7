"""Reads a code problem's columns: candidate tests and programs.

    {"tests": [{"args": [1, 2]}], "correct": ["def add…"], "wrong": […], "generators": ["print(…)"]}

Tests stand in any form that the reward `code` reads (rewards/code/tests.py).
"""

from __future__ import annotations

from data_recipes.errors import DataError
from data_recipes.fields import show
from policies.json_types import JsonMapping
from rewards.code.tests import BadTests, listed


def candidates(where: str, row: JsonMapping) -> list[object]:
    """Return the row's tests one by one, some without an expected result; [] if the column is missing or empty.

    Raises:
        DataError: they are in no form that the reward `code` reads.
    """
    try:
        return listed(row.get("tests"), str(row.get("entry_point") or ""))
    except BadTests as error:
        raise DataError(f"{where}: tests: {error}") from error


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
