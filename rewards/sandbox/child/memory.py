"""Measure how much memory the processes of a run hold together. Runs inside the launcher: standard library only."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence

from rewards.sandbox.child import process_tree
from rewards.sandbox.child.process_tree import Process, proportional

_PATIENCE_S = 2.0


class MemoryLook:
    """Measures the resident bytes of a run without ever blocking.

    The sum of the processes' sizes counts a shared page once for each process. Up to the limit, that sum is good
    enough; above it, the proportional sizes decide. Reading a proportional size blocks while the process is forking,
    and a fork bomb can stretch that to seconds, so a separate thread reads them. If the thread yields no usable result
    for too long, the sum counts, unless the kernel limits the run's memory as well.
    """

    def __init__(self, limit: int, is_bounded: bool) -> None:
        self._limit, self._is_bounded = limit, is_bounded
        self._thread: threading.Thread | None = None
        self._unknown_since: float | None = None
        self._found: int | None = None

    def resident(self, processes: Sequence[Process]) -> int:
        """Return the resident bytes as far as they are known now.

        The result exceeds the limit only if the run certainly does, or if that cannot be determined in time.
        """
        total = sum(process.resident for process in processes)
        if total <= self._limit or len(processes) < 2:
            self._unknown_since = None
            return total
        if self._thread is None or not self._thread.is_alive():
            found, self._found = self._found, None
            self._thread = threading.Thread(target=self._read, args=(list(processes),), daemon=True)
            with contextlib.suppress(RuntimeError):  # no thread can be started: as if it took too long
                self._thread.start()
            if found is not None:
                self._unknown_since = None
                return found
        now = time.monotonic()
        self._unknown_since = self._unknown_since or now
        return total if now - self._unknown_since > _PATIENCE_S and not self._is_bounded else 0

    def _read(self, processes: Sequence[Process]) -> None:
        total = sum(proportional(process.pid, process.resident) for process in processes)
        # If a process ended meanwhile, its share went to those read after it, and the same pages count several times:
        # such a result is discarded.
        if {process.pid for process in processes} <= {process.pid for process in process_tree.processes()}:
            self._found = total
