"""Rows that cannot be used: all of them are looked for and counted, the first few told, then the stage stops.

bad = BadRows()
for where, row in read_rows(config, on_bad=bad.add):
    with bad.caught():
        use(where, row)                      DataError: counted, and reading goes on
    bad.settle(config.bad_rows, config.source)   "error": DataError, if there was any; "skip": a warning
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from data_recipes.config import BadRowsMode
from data_recipes.errors import DataError

logger = logging.getLogger(__name__)

SHOWN = 5
"""Rows that an error names in full."""


class BadRows:
    """What is wrong with the rows of a source."""

    def __init__(self) -> None:
        self.told: list[str] = []
        """What is wrong with each, file and line first."""

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.told)

    def add(self, error: DataError) -> None:
        """One more."""
        self.told.append(str(error))

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Takes the DataError of the block as a bad row."""
        try:
            yield
        except DataError as error:
            self.add(error)

    def settle(self, mode: BadRowsMode, source: str, mend: str = 'or set bad_rows = "skip"') -> None:
        """Once all rows are read: stop, or go on without the bad ones and say so.

        Args:
            mode: "error" or "skip".
            source: for the warning.
            mend: what else to do than to mend or delete them.

        Raises:
            DataError: with "error" and a bad row; names the first ones and how many there are.
        """
        if not self.count:
            return
        if mode == "skip":
            logger.warning("%s: left out %d bad rows, the first: %s", source, self.count, self.told[0])
            return
        lines = self.told[:SHOWN]
        if self.count > len(lines):
            lines.append(f"… and {self.count - len(lines):,} more")
        rows, them = (f"{self.count:,} bad rows", "them") if self.count > 1 else ("1 bad row", "it")
        lines.append(f"{rows}; mend or delete {them}{f', {mend}' if mend else ''}")
        raise DataError("\n".join(lines))
