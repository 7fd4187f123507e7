"""Fields of rows by name; a.b names the field b inside a, 0 the first element of a list.

look_up({"reward_model": {"ground_truth": "72"}}, "reward_model.ground_truth")      "72"
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Final

from data_recipes.errors import DataError
from policies.json_types import JsonDict, JsonMapping

Row = JsonDict


class ArrowRow(JsonDict):
    """A row of an Arrow table. In its structs, keys of other rows' structs stand with the value None."""


MISSING: Final = object()
"""What `look_up` returns where there is no such field."""


def look_up(row: JsonMapping, name: str) -> object:
    """Return the value of a field, or MISSING. A field whose own name has the dots comes before a nested one."""
    if name in row:
        return row[name]
    value: object = row
    parts = name.split(".")
    for at, part in enumerate(parts):
        if isinstance(value, Mapping):
            rest = ".".join(parts[at:])
            if rest in value:
                return value[rest]
            if part not in value:
                return MISSING
            value = value[part]
        elif isinstance(value, Sequence) and not isinstance(value, str) and part.isdecimal():
            if int(part) >= len(value):
                return MISSING
            value = value[int(part)]
        else:
            return MISSING
    return value


def field(where: str, row: JsonMapping, key: str, name: str, or_else: str = "") -> object:
    """Return the value of a field that a row must have.

    Args:
        where: location of the row, for the message.
        row: the row.
        key: the recipe's key that names the field.
        name: the field, dotted.
        or_else: another fix, for the message.

    Raises:
        DataError: there is no such field; names those there are and the nearest one.
    """
    value = look_up(row, name)
    if value is MISSING:
        near = difflib.get_close_matches(name, field_names(row), n=1, cutoff=0.6)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise DataError(
            f"{where}: no field {name!r}; there are {', '.join(map(str, row))} (set {key} to one{or_else}){hint}"
        )
    return value


def field_names(row: JsonMapping, prefix: str = "") -> list[str]:
    """Return the names of all fields of a row, those of its objects dotted."""
    names = []
    for name, value in row.items():
        names.append(f"{prefix}{name}")
        if isinstance(value, Mapping):
            names += field_names(value, f"{prefix}{name}.")
    return names


def show(value: object, limit: int = 80) -> str:
    """Return a value's repr, shortened for a message."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}…"
