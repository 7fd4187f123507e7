"""Output that cannot end a run: stdout and stderr go on when nobody can read them any more.

    steady()        print, rich, logging and tracebacks write through it from now on

`grpo rl … | tee log` loses its reader at Ctrl-C, before the checkpoint is written; a terminal that hangs up takes
nothing more; a Latin-1 locale has no arrow. What is printed then is lost on the screen, and stands in the run's log.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Any, TextIO  # Any: attributes of a stream

GONE = (errno.EPIPE, errno.EIO)
"""What a write says to a pipe without a reader, and to a terminal that hung up."""


def steady() -> None:
    """Replace stdout and stderr by streams that outlive their readers; a character they lack becomes an escape."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or isinstance(stream, _Steady):  # None: the descriptor was closed at the start
            continue
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
        setattr(sys, name, _Steady(stream))


class _Steady:
    """A text stream; once nobody reads, what is written goes to /dev/null. Other errors, a full disk's, are raised."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text; returns its length."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._let_go(error)
            return len(text)

    def flush(self) -> None:
        """Hand on what is buffered."""
        try:
            self._stream.flush()
        except OSError as error:
            self._let_go(error)

    def _let_go(self, error: OSError) -> None:
        if error.errno not in GONE:
            raise error
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self._stream.fileno())
        os.close(null)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
