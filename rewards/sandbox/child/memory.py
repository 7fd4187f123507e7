"""How much memory the processes of a run hold together. Runs inside the launcher: standard library only."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence

from rewards.sandbox.child import process_tree
from rewards.sandbox.child.process_tree import Process, proportional

_PATIENCE_S = 2.0


class MemoryLook:
    """Resident bytes of a run, by looks that never wait.

    The sum of the processes' sizes counts pages that they share once for each. Below the limit it will do; past it, the
    proportional sizes decide. To read one waits for a process that is just forking, which a fork bomb draws out to
    seconds: a thread of its own does that, and if none of its results is of use for too long, the sum stands: unless
    the kernel bounds the run's memory as well.
    """

    def __init__(self, limit: int, is_bounded: bool) -> None:
        self._limit, self._is_bounded = limit, is_bounded
        self._thread: threading.Thread | None = None
        self._unknown_since: float | None = None
        self._found: int | None = None

    def resident(self, processes: Sequence[Process]) -> int:
        """Bytes as far as known by now; more than the limit only if that is certain, or cannot be found out in time."""
        total = sum(process.resident for process in processes)
        if total <= self._limit or len(processes) < 2:
            self._unknown_since = None
            return total
        if self._thread is None or not self._thread.is_alive():
            found, self._found = self._found, None
            self._thread = threading.Thread(target=self._read, args=(list(processes),), daemon=True)
            with contextlib.suppress(RuntimeError):  # none to be had: as if it took too long
                self._thread.start()
            if found is not None:
                self._unknown_since = None
                return found
        now = time.monotonic()
        self._unknown_since = self._unknown_since or now
        return total if now - self._unknown_since > _PATIENCE_S and not self._is_bounded else 0

    def _read(self, processes: Sequence[Process]) -> None:
        total = sum(proportional(process.pid, process.resident) for process in processes)
        # One that ended meanwhile left its share to those read after it, so that the same pages count several times.
        if {process.pid for process in processes} <= {process.pid for process in process_tree.processes()}:
            self._found = total
