"""report.html while a run trains: written again at every checkpoint, beside the training, not in its way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Lock, Thread

from rich.markup import escape

from grpo.common.console import say
from grpo.tracking.report.page import write_report

JOIN_TIMEOUT_S = 60.0


class LiveReport:
    """Writes the report of a run on a thread of its own; what goes wrong there is one warning, never the run's end."""

    def __init__(
        self,
        run_dir: Path,
        write: Callable[[Path, Path], object] = write_report,
        show: Callable[[str], None] = say,
    ) -> None:
        """Write nothing yet.

        Args:
            run_dir: the run's.
            write: (run directory, page) → writes the page.
            show: takes the warning, in rich's markup.
        """
        self._run_dir, self._write, self._show = run_dir, write, show
        self._lock = Lock()
        self._wanted = False
        self._thread: Thread | None = None
        self._warned = False

    def update(self) -> None:
        """Ask for a new page and return at once; calls that come while one is written are answered by one more."""
        with self._lock:
            self._wanted = True
            if self._thread is None:
                self._thread = Thread(target=self._work, name="grpo-report", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Wait until nothing is being written, so that a page that is written now is the last one."""
        with self._lock:
            self._wanted = False
            thread = self._thread
        if thread is not None:
            thread.join(JOIN_TIMEOUT_S)

    def _work(self) -> None:
        while self._take():
            try:
                self._write(self._run_dir, self._run_dir / "report.html")
            except Exception as error:  # a page is not worth a run, whatever is wrong with it
                if not self._warned:
                    self._show(f"[yellow]warning[/] report.html could not be written: {escape(repr(error))}")
                self._warned = True

    def _take(self) -> bool:
        """Return True if a page is wanted; False ends the thread."""
        with self._lock:
            wanted, self._wanted = self._wanted, False
            if not wanted:
                self._thread = None
            return wanted
