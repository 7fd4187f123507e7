"""Trackers of a run, each in a process of its own that follows the run's files.

    with tracked(config.trackers, config.run_dir, config, resume_step=40):
        …                                                       the run writes metrics.jsonl and eval.jsonl

The run waits for a tracker twice, each time with a deadline: until it is open, before any model loads, and at the end.
In between nothing that a tracker does can stop, slow down or fail the run: it is warned about once.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel
from rich.markup import escape

from grpo.common.config_io import dump
from grpo.common.console import say, starting
from grpo.common.errors import RunError
from grpo.tracking.jsonl import truncate_to
from grpo.tracking.trackers.child import CLOSE_S
from grpo.tracking.trackers.registry import TENSORBOARD, target
from grpo.tracking.trackers.tracker import Status
from policies.json_types import JsonDict

OPEN_TIMEOUT_S = 120.0
"""Longest wait for a tracker to open: a server that does not answer."""
CLOSE_TIMEOUT_S = CLOSE_S + 5.0
"""Longest wait for what is left at the end of a run; the process ends itself a little earlier."""
FOLDER = "trackers"
"""In the run directory: each tracker's NAME.json, by which a resumed run finds it again, and NAME.log."""


@contextmanager
def tracked(
    names: Sequence[str],
    run_dir: Path,
    config: BaseModel,
    resume_step: int,
    open_timeout_s: float = OPEN_TIMEOUT_S,
    close_timeout_s: float = CLOSE_TIMEOUT_S,
) -> Iterator[None]:
    """Have each tracker follow the run while the body lasts; how the body ends is how the run ended.

    Args:
        names: of the recipe, checked by `check_trackers`.
        run_dir: its metrics.jsonl and eval.jsonl are followed, from the beginning for a tracker that is new.
        config: the recipe.
        resume_step: updates that are done; rows of later steps are dropped, since they will be written again.
        open_timeout_s: longest wait until all are open.
        close_timeout_s: longest wait for all at the end.

    Raises:
        RunError: a tracker that the run has not had before cannot be opened: says why, and how to go on without. One
            that it has had is warned about, so that a restart in the night does not depend on it.
    """
    others = [name for name in names if name != TENSORBOARD]
    if not others:
        yield
        return
    for file in ("metrics.jsonl", "eval.jsonl"):
        truncate_to(run_dir / file, resume_step)
    (run_dir / FOLDER).mkdir(parents=True, exist_ok=True)
    starting(f"starting {', '.join(map(escape, others))}")
    tree: JsonDict = json.loads(dump(config))
    processes = [TrackerProcess(name, run_dir, tree) for name in others]
    status: Status = "failed"
    try:
        deadline = time.monotonic() + open_timeout_s
        for process in processes:
            process.wait_open(deadline)
        yield
        status = "finished"
    except KeyboardInterrupt:
        status = "interrupted"
        raise
    finally:
        for process in processes:
            process.end(status)
        deadline = time.monotonic() + close_timeout_s
        for process in processes:
            process.wait_closed(deadline)


class TrackerProcess:
    """One tracker's process, seen from the run."""

    def __init__(self, name: str, run_dir: Path, config: JsonDict, show: Callable[[str], None] = say) -> None:
        """Start it, without waiting.

        Args:
            name: the recipe's.
            run_dir: the run's; has the folder `FOLDER`.
            config: the recipe, as JSON.
            show: takes warnings, in rich's markup.
        """
        self._name, self._show = name, show
        stem = re.sub(r"[^\w-]", "_", name)
        self._memory = run_dir.resolve() / FOLDER / f"{stem}.json"
        self._log = self._memory.with_suffix(".log")
        self._is_known = self._memory.exists()
        self._lock = threading.Lock()
        self._warned = False
        self._opened, self._answered = threading.Event(), threading.Event()
        self._error: str | None = None
        self._unsent: int | None = None
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "grpo.tracking.trackers.child", target(name)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the run alone; and its helpers can be ended with it.
            )
        self._reader = threading.Thread(target=self._read, daemon=True, name=f"tracker {name}")
        self._reader.start()
        self._tell({"run_dir": str(run_dir.resolve()), "config": config, "memory": str(self._memory)})

    def wait_open(self, deadline: float) -> None:
        """Wait until the tracker is open, or cannot be.

        Args:
            deadline: by `time.monotonic`.

        Raises:
            RunError: it is new to this run and cannot be opened.
        """
        self._answered.wait(max(0.0, deadline - time.monotonic()))
        if self._opened.is_set():
            return
        reason = self._error or "no answer in time"
        self._kill()
        if not self._is_known:
            raise RunError(
                f"tracker {self._name} cannot be opened: {reason}\n(its output: {self._log}). Correct its settings, "
                f"or leave it out: --set trackers=[]{self._hint()}"
            )
        self._warn(f"cannot be opened again: {reason}; the run goes on without it")

    def end(self, status: Status) -> None:
        """Say how the run ended, without waiting."""
        if self._process.poll() is None:
            self._tell(status)

    def wait_closed(self, deadline: float) -> None:
        """Wait until the tracker has sent what is left; end its process at the deadline."""
        if not self._opened.is_set():
            self._kill()
            return
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._warn("did not take what was left in time", again=True)
        self._kill()
        if self._unsent:
            self._warn(f"did not take the last {self._unsent:,} rows of metrics", again=True)

    def _read(self) -> None:
        """Take the process's messages until it ends."""
        assert self._process.stdout is not None
        closed = False
        for line in self._process.stdout:
            message = json.loads(line)
            if "opened" in message:
                self._opened.set()
                self._answered.set()
            elif "closed" in message:
                closed, self._unsent = True, message["closed"]
            elif self._opened.is_set():
                self._warn(f"{message['error']}; the run goes on, and what was not taken is sent again later")
            else:
                self._error = message["error"]
        self._answered.set()
        if self._opened.is_set() and not closed:
            self._warn("has ended; the run goes on without it")

    def _warn(self, text: str, again: bool = False) -> None:
        """Print a warning: the first alone, but for those at the end of the run (`again`)."""
        with self._lock:
            if self._warned and not again:
                return
            self._warned = True
        self._show(
            f"[yellow]warning[/] tracker {escape(self._name)}: {escape(text)} ({escape(str(self._log))})"
        )

    def _tell(self, message: JsonDict | str) -> None:
        assert self._process.stdin is not None
        line = message if isinstance(message, str) else json.dumps(message)
        with contextlib.suppress(OSError):  # It has ended: `_read` says so.
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()

    def _kill(self) -> None:
        """End the process and its helpers, if it has not ended."""
        if self._process.poll() is None:
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._reader.join(5.0)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what was not read
                    pipe.close()

    def _hint(self) -> str:
        hints = {
            "wandb": " (offline: WANDB_MODE=offline)",
            "mlflow": " (local: MLFLOW_TRACKING_URI=sqlite:///mlflow.db)",
        }
        return hints.get(self._name, "")
