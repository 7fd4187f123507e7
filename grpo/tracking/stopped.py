"""stopped.json: why a run ended before its end. Written when it stops, removed when it goes on.

    {"kind": "guard", "error": "GuardTripped", "message": "…", "step": 12, "at": "2026-11-29T10:00:00Z",
     "traceback": "…"}

A run that was killed leaves none: nothing could write it.
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from rich.markup import escape

from grpo.common import stopping
from grpo.common.console import say
from grpo.common.errors import BrokenRun, ConfigError, GuardTripped
from grpo.tracking.jsonl import read_rows
from policies.files import write_atomic

FILE = "stopped.json"
Kind = Literal["guard", "interrupt", "error"]
TITLES: dict[Kind, str] = {
    "guard": "stopped by a guard",
    "interrupt": "interrupted",
    "error": "stopped by an error",
}
MAX_TRACEBACK = 8000
"""Characters of a traceback that are kept, from its end."""


@dataclass(frozen=True)
class Stopped:
    """Why and where a run ended early."""

    kind: Kind
    error: str
    """Name of the exception's class."""
    message: str
    step: int
    """Updates done, as metrics.jsonl has them."""
    at: str
    """UTC, ISO 8601."""
    traceback: str

    @property
    def title(self) -> str:
        """What ended it, in words."""
        return TITLES[self.kind]


def read_stopped(run_dir: Path) -> Stopped | None:
    """Return why the run in this folder ended early; None if it runs, is done, or was killed.

    Raises:
        BrokenRun: the file is damaged.
    """
    path = run_dir / FILE
    try:
        return Stopped(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise BrokenRun(f"{path} is damaged ({error}); delete it") from error


@contextmanager
def recording_stop(run_dir: Path, on_stop: Callable[[], object]) -> Iterator[None]:
    """Leave stopped.json if the block raises, then call `on_stop`; the error goes on.

    Nothing is written for a run that ends before its inputs have been checked (it has no manifest.json). What fails
    while the stop is recorded is a warning: the error of the run matters more. A `ConfigError` refuses the call:
    the run stands where it stood, and so does what was recorded of it.
    """
    path = run_dir / FILE
    before = path.read_text(encoding="utf-8") if path.exists() else None
    path.unlink(missing_ok=True)
    try:
        yield
    except ConfigError:
        if before is not None:
            write_atomic(path, before)
        raise
    except BaseException as error:
        if (run_dir / "manifest.json").exists():
            try:
                _leave(run_dir, error)
                on_stop()
            except Exception as second:  # whatever it is, it must not hide the first
                say(
                    f"[yellow]warning[/] {escape(str(run_dir))}: no report of the stop ({escape(repr(second))})"
                )
        raise


def _leave(run_dir: Path, error: BaseException) -> None:
    rows = read_rows(run_dir / "metrics.jsonl")
    stopped = Stopped(
        kind=kind_of(error),
        error=type(error).__name__,
        message=_reason(error),
        step=rows[-1]["step"] if rows else 0,
        at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        traceback="".join(traceback.format_exception(error))[-MAX_TRACEBACK:],
    )
    write_atomic(run_dir / FILE, json.dumps(asdict(stopped), indent=2) + "\n")


def _reason(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):  # which is what every signal raises
        return f"{stopping.cause()}; the same command goes on from the last checkpoint"
    return str(error)


def kind_of(error: BaseException) -> Kind:
    """Sort an exception: what a guard found, what a person or the scheduler asked for, anything else."""
    if isinstance(error, GuardTripped):
        return "guard"
    return "error" if isinstance(error, Exception) else "interrupt"
