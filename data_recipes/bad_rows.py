"""Rows that cannot be used: all are found and counted, the first few are reported, then the stage stops.

bad = BadRows()
for where, row in read_rows(config, on_bad=bad.add):
    with bad.caught():
        use(where, row)                      a DataError is counted, and reading continues
bad.settle(config.bad_rows, config.source)   "error" raises a DataError if there was one; "skip" logs a warning
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from data_recipes.config import BadRowsMode
from data_recipes.errors import DataError

logger = logging.getLogger(__name__)

SHOWN = 5
"""Number of rows whose errors are reported in full."""


class BadRows:
    """Collects the errors of a source's rows."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        """One message per bad row, which begins with file and line."""

    @property
    def count(self) -> int:
        """Number of bad rows."""
        return len(self.problems)

    def add(self, error: DataError) -> None:
        """Record the error of one row."""
        self.problems.append(str(error))

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Record a DataError of the block as a bad row."""
        try:
            yield
        except DataError as error:
            self.add(error)

    def settle(self, mode: BadRowsMode, source: str, hint: str = 'or set bad_rows = "skip"') -> None:
        """Raise if there are bad rows, or log how many were left out; called when all rows are read.

        Args:
            mode: "error" or "skip".
            source: name of the source, for the warning.
            hint: what can be done instead of fixing or deleting the rows.

        Raises:
            DataError: the mode is "error" and there are bad rows; the message names the first ones and their number.
        """
        if not self.count:
            return
        if mode == "skip":
            logger.warning("%s: left out %d bad rows, the first: %s", source, self.count, self.problems[0])
            return
        lines = self.problems[:SHOWN]
        if self.count > len(lines):
            lines.append(f"… and {self.count - len(lines):,} more")
        rows, them = (f"{self.count:,} bad rows", "them") if self.count > 1 else ("1 bad row", "it")
        lines.append(f"{rows}; fix or delete {them}{f', {hint}' if hint else ''}")
        raise DataError("\n".join(lines))
