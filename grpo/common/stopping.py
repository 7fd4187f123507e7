"""SIGTERM, Ctrl-C and a terminal that hangs up: a run stops where it can be resumed.

    stopping.listen()                    the first signal raises KeyboardInterrupt, a second ends the process at once
    with stopping.held():                … but not in here: the signal waits until the block is left
        update(); write_row()
    stopping.leave_note("checkpoint …")  what the last line on screen says
    sys.exit(stopping.exit_code())       130 after Ctrl-C, 75 after SIGTERM and SIGHUP

Slurm and Kubernetes send SIGTERM and kill what is still there half a minute later. A terminal that is closed, or whose
connection is lost, sends SIGHUP, often more than once; under `nohup` it is ignored and the run goes on. The state is
the process's own, as signal handlers are. Commands that run something that can go on listen; others keep Python's own
ways.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT."""
RESUMABLE = 75
"""Exit code after SIGTERM and SIGHUP: EX_TEMPFAIL of sysexits.h, for a script that submits the job again."""
REPEAT_S = 1.0
"""A signal that comes again within this time is the same one: a launcher passes on what the terminal sent as well."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
FROM_OUTSIDE = (signal.SIGTERM, signal.SIGHUP)
"""Signals that may go to every process of a run; children outlive them."""
NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "SIGHUP (the terminal hung up)"}


@dataclass
class _State:
    is_listening: bool = False
    second_ends: bool = True
    first: int | None = None
    """The first signal that came."""
    since: float = 0.0
    holds: int = 0
    is_waiting: bool = False
    """It came inside `held`."""
    note: str = ""


_state = _State()


def listen(second_ends: bool = True) -> None:
    """Handle the signals from now on; one that the process was started to ignore stays ignored.

    Args:
        second_ends: False for a process whose parent passes signals on, and decides how often.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    _state.is_listening, _state.second_ends = True, second_ends
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _handle)


@contextmanager
def kept_from_children() -> Iterator[None]:
    """Start processes inside the block that do not hear SIGTERM or SIGHUP, and that leave our handlers as they are.

    Ray's processes must outlive a signal to all of a job, or no learner is left to write the checkpoint.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, FROM_OUTSIDE)
    try:
        yield
    finally:
        if _state.is_listening:
            listen(_state.second_ends)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def held() -> Iterator[None]:
    """Let the block come to its end; a signal that arrives meanwhile raises KeyboardInterrupt then."""
    _state.holds += 1
    try:
        yield
    finally:
        _state.holds -= 1
    if _state.is_waiting and not _state.holds:
        _state.is_waiting = False
        raise KeyboardInterrupt


def leave_note(text: str) -> None:
    """Say what is left behind, for the line that is printed at the end."""
    _state.note = text


def last_line() -> str:
    """Return the line that tells a user how the process was stopped and how to go on."""
    if not _state.is_listening:
        return "interrupted"
    rest = _state.note or "a run goes on from the last checkpoint by the same command"
    return f"interrupted by {cause()}: {rest} (exit code {exit_code()})"


def cause() -> str:
    """Return the name of the signal that stopped the process; of Ctrl-C if none was heard."""
    return next((name for number, name in NAMES.items() if number == _state.first), "Ctrl-C")


def exit_code() -> int:
    """Return the exit code of a process that a signal stopped."""
    return RESUMABLE if _state.first in FROM_OUTSIDE else INTERRUPTED


def _handle(number: int, frame: FrameType | None) -> None:
    now = time.monotonic()
    if _state.first is not None:
        if _state.second_ends and number != signal.SIGHUP and now - _state.since > REPEAT_S:
            _tell(b"ended at once; a run goes on from the last checkpoint by the same command\n")
            os._exit(exit_code())
        return
    _state.first, _state.since = number, now
    if number == signal.SIGINT and _state.second_ends:
        _tell(b"\nstopping; Ctrl-C again ends at once\n")
    if _state.holds:
        _state.is_waiting = True
    else:
        raise KeyboardInterrupt


def _tell(text: bytes) -> None:
    # Nobody may be reading: `grpo rl … 2>&1 | tee log`, and tee has heard Ctrl-C first.
    with suppress(OSError):
        os.write(2, text)
