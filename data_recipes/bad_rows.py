"""Rows that cannot be used: all of them are looked for and counted, the first few told, then the stage stops.

bad = BadRows()
for where, row in read_rows(config, on_bad=bad.add):
    with bad.caught():
        use(where, row)                      DataError: counted, and reading goes on
bad.stop()                                   DataError, if there was any
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from data_recipes.errors import DataError

SHOWN = 5
"""Rows that an error names in full."""


class BadRows:
    """What is wrong with the rows of a source."""

    def __init__(self) -> None:
        self.told: list[str] = []
        """The first `SHOWN` of them, file and line first."""
        self.count = 0

    def add(self, error: DataError) -> None:
        """One more."""
        self.count += 1
        if len(self.told) < SHOWN:
            self.told.append(str(error))

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Takes the DataError of the block as a bad row."""
        try:
            yield
        except DataError as error:
            self.add(error)

    def stop(self, mend: str = "mend or delete them") -> None:
        """Raise if there was one.

        Args:
            mend: what to do, for the message about several.

        Raises:
            DataError: names the first rows and how many there are.
        """
        if not self.count:
            return
        lines = list(self.told)
        if self.count > len(lines):
            lines.append(f"… and {self.count - len(lines):,} more")
        if self.count > 1:
            lines.append(f"{self.count:,} bad rows; {mend}")
        raise DataError("\n".join(lines))
