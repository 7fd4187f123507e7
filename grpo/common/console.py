"""What stages print to, how much, what a run's log keeps of it, and how they write a duration.

    with run_log(run_dir / "run.log"):
        say("[bold]60/60[/] …")            on screen unless -q, in the log always, with the time before it
        starting("loading the policy")     the same, with the time since the command began: "0:07  loading the policy"

A terminal wraps a line at its width; a log file gets it whole, so that `grep` finds it.
"""

from __future__ import annotations

import re
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO  # Any: attributes of a stream

from rich.console import Console, RenderableType
from rich.text import Text

LOG_FILE = "run.log"
"""Name of a run's log in its folder."""
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_BEGAN = time.monotonic()
_quiet = False
_logs: list[TextIO] = []
"""Logs that are open, the newest last."""

console = Console(width=None if Console().is_terminal else 120)
"""Tables go here; in a log file they are 120 columns wide."""


def set_quiet(quiet: bool) -> None:
    """Print no progress from now on, or print it again. Warnings and errors, on stderr, are printed always."""
    global _quiet
    _quiet = quiet


def say(text: str) -> None:
    """Print one line, with rich's markup."""
    if not _quiet:
        console.print(text, highlight=False, soft_wrap=not console.is_terminal)
    log(Text.from_markup(text).plain)


def show(table: RenderableType) -> None:
    """Print a table."""
    if not _quiet:
        console.print(table)
    if _logs:
        plain = Console(width=120, color_system=None, force_terminal=False)
        with plain.capture() as captured:
            plain.print(table)
        log(captured.get().rstrip("\n"))


def starting(what: str) -> None:
    """Print what begins now, in rich's markup, after the time since the command began."""
    say(f"[dim]{clock(time.monotonic() - _BEGAN):>7}[/]  {what}")


def log(text: str) -> None:
    """Write lines into the run's log alone, if one is open, each after the time."""
    if _logs:
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        _logs[-1].write("".join(f"{now}  {line}".rstrip() + "\n" for line in text.split("\n")))


@contextmanager
def run_log(path: Path) -> Iterator[None]:
    """Keep what reaches the screen in a file too: messages, warnings, and the error that ends the work.

    The file is appended to, so that it covers a run over all its starts.
    """
    with path.open("a", encoding="utf-8", errors="backslashreplace", buffering=1) as file:
        before, sys.stderr = sys.stderr, _Tee(sys.stderr)
        _logs.append(file)
        log(f"$ {' '.join(sys.argv)}")
        try:
            yield
        except BaseException as error:
            log("".join(traceback.format_exception(error)).rstrip("\n"))
            raise
        finally:
            _logs.remove(file)
            sys.stderr = before


class _Tee:
    """stderr, whose lines stand in the log too: warnings, log records, tracebacks of threads."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._line = stream, ""

    def write(self, text: str) -> int:
        """Write to stderr; a line that is complete goes to the log, of a redrawn one the last state."""
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            shown = _ESCAPES.sub("", line).rstrip("\r").rpartition("\r")[2]
            if shown.strip():
                log(shown)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def middle_out(text: str, limit: int) -> str:
    """Return a text of more than `limit` characters without its middle: as many of its beginning and of its end."""
    half = limit // 2
    return (
        text
        if len(text) <= limit
        else f"{text[:half]} … {len(text) - 2 * half:,} characters … {text[-half:]}"
    )


def counted(number: int, noun: str) -> str:
    """Return "1 engine", "2 engines"."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def clock(seconds: float) -> str:
    """A duration as 1:02:03, or 2:03 below an hour; to the nearest second, and 0:00 for what is negative."""
    minutes, second = divmod(max(0, round(seconds)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
