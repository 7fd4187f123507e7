"""The account of which worker had which chunk, and what came of it; written to the run directory, read by
tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass
class LedgerRow:
    """One attempt at one chunk."""

    chunk: str
    worker: int
    attempt: int
    """1 for the first."""
    state: Literal["running", "done", "lost", "abandoned"] = "running"
    """done: with this attempt the chunk is complete; lost: the worker died or fell silent; abandoned: the caller
    stopped listening."""
    groups: int = 0
    """Groups that this attempt delivered first."""
    repeated: int = 0
    """Groups that an earlier attempt had already delivered."""
    cause: str = ""


class Ledger:
    """Every attempt since the start, in order of issue."""

    def __init__(self) -> None:
        self._rows: list[LedgerRow] = []

    def rows(self) -> list[LedgerRow]:
        """All attempts; the objects are live."""
        return list(self._rows)

    def open(self, chunk: str, worker: int) -> LedgerRow:
        """Note that a worker begins a chunk."""
        attempt = 1 + sum(row.chunk == chunk for row in self._rows)
        self._rows.append(LedgerRow(chunk, worker, attempt))
        return self._rows[-1]
