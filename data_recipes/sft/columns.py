"""Names of the columns that the data stages read, where they changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RENAMED_COLUMNS = {"prompt_text": "prompt", "completion_text": "completion"}
"""Names before 0.2 and what `grpo sample` calls these columns now."""


def renamed(row: Mapping[str, Any], wanted: str) -> str:
    """Return the end of an error message: " (…)" if the row has the wanted column under its former name, else ""."""
    former = next((old for old, new in RENAMED_COLUMNS.items() if new == wanted and old in row), None)
    return f" (the column {former} is called {wanted} since 0.2: rename it)" if former else ""
