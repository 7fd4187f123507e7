"""ledger.jsonl: every attempt of a rollout worker at a chunk, over all starts of the run. Appended, never rewritten.

    {"step": 12, "chunk": "train/11/0/3", "worker": 1, "attempt": 1, "state": "lost", "groups": 2, "repeated": 0,
     "cause": "…"}

`step` counts the updates done when the row was written, so that a resumed run can drop what it will do again. A row
that changed after it had been written stands in the file twice; `read_ledger` takes the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from grpo.common.errors import BrokenRun
from grpo.tracking.jsonl import append_rows, read_rows, truncate_to
from rollout.ledger import LedgerRow

FILE = "ledger.jsonl"


def read_ledger(path: Path) -> list[LedgerRow]:
    """Read the last state of every attempt, in the order in which the attempts were first written.

    Raises:
        BrokenRun: a line in the middle of the file is damaged, or a row has other fields; a last line that a crash cut
            is left out.
    """
    last: dict[tuple[str, int], LedgerRow] = {}
    for number, line in enumerate(read_rows(path), 1):
        try:
            row = LedgerRow(**{key: value for key, value in line.items() if key != "step"})
        except TypeError as error:
            raise BrokenRun(f"{path}, line {number}: not a row of the ledger ({error})") from error
        last[row.chunk, row.attempt] = row
    return list(last.values())


class LedgerWriter:
    """Appends the attempts of one process to the run's ledger."""

    def __init__(self, run_dir: Path, resume_step: int) -> None:
        """Drop what earlier processes wrote after `resume_step` updates: those chunks will be sampled again.

        Raises:
            BrokenRun: a line in the middle of the file is damaged.
        """
        self._path = run_dir / FILE
        self._seen = 0
        self._unsettled: list[tuple[LedgerRow, LedgerRow]] = []
        """Live rows that may still change, with a copy of what was written of each."""
        run_dir.mkdir(parents=True, exist_ok=True)
        truncate_to(self._path, resume_step)

    def write(self, step: int, rows: Sequence[LedgerRow]) -> None:
        """Append the rows that are new, or have changed, since the last call; on disk when it returns.

        Args:
            step: updates done.
            rows: every attempt of this process (`Ledger.rows`); the list only grows from call to call.
        """
        changed = [row for row, written in self._unsettled if row != written]
        unchanged = [(row, written) for row, written in self._unsettled if row == written]
        fresh = [*changed, *rows[self._seen :]]
        append_rows(self._path, ({"step": step, **asdict(row)} for row in fresh))
        self._unsettled = [*unchanged, *((row, replace(row)) for row in fresh if not row.is_settled)]
        self._seen = len(rows)
