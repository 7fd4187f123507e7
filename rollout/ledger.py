"""The ledger of attempts: which worker had which chunk, and what came of it. The RL loop appends it to the run
directory (`grpo/tracking/ledger_file.py`); tests read it to prove that no group was lost or counted twice."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal


@dataclass
class LedgerRow:
    """One attempt at one chunk; its fields are final once it `is_settled`."""

    chunk: str
    worker: int
    attempt: int
    """1 for the first."""
    state: Literal["running", "done", "lost", "abandoned"] = "running"
    """done: with this attempt the chunk is complete; lost: the worker died, was killed for its silence, or raised;
    abandoned: the caller stopped listening."""
    groups: int = 0
    """Groups that this attempt delivered first."""
    repeated: int = 0
    """Groups that an earlier attempt had already delivered."""
    cause: str = ""
    """Why the attempt was lost."""

    @property
    def is_settled(self) -> bool:
        """True if the dispatcher changes the row no more."""
        return self.state != "running"


class Ledger:
    """Every attempt since the dispatcher started, in order of issue."""

    def __init__(self) -> None:
        self._rows: list[LedgerRow] = []
        self._attempts: Counter[str] = Counter()

    def rows(self) -> list[LedgerRow]:
        """All attempts; the objects are live."""
        return list(self._rows)

    def open(self, chunk: str, worker: int) -> LedgerRow:
        """Add the row of a worker that begins a chunk, and return it."""
        self._attempts[chunk] += 1
        self._rows.append(LedgerRow(chunk, worker, self._attempts[chunk]))
        return self._rows[-1]
