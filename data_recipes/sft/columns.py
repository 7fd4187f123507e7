"""Names of the columns that the data stages read, where they changed."""

from __future__ import annotations

from policies.json_types import JsonMapping

RENAMED_COLUMNS = {"prompt_text": "prompt", "completion_text": "completion"}
"""Names before 0.2 and what `grpo sample` calls these columns now."""


def renamed(row: JsonMapping, wanted: str) -> str:
    """Return the end of an error message: " (…)" if the row has the wanted column under its former name, else ""."""
    former = next((old for old, new in RENAMED_COLUMNS.items() if new == wanted and old in row), None)
    return f" (the column {former} is called {wanted} since 0.2: rename it)" if former else ""
