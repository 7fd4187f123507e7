"""One reward host seen from its parent: starts it, loads a reward in it, calls it, ends it with its descendants."""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any  # Any: JSON messages

from policies.json_types import JsonDict, JsonMapping
from rewards.errors import RewardLoadError
from rewards.hosts.channel import Channel, HostGone, HostProtocolError, HostTimeout
from rewards.hosts.processes import TAG_VARIABLE, end_tree, live_children
from rewards.rows import RewardRow, dump_line, encode_rows
from rewards.types import Needs, Score

_ROOT = str(Path(__file__).resolve().parents[2])
_BOOT = (
    "import sys; sys.path.insert(0, {root!r}); from rewards.hosts.host import main; "
    "main({request}, {result}, {parent})"
)
_LOAD_TIMEOUT_S = 120.0
_TRANSPORT_TIMEOUT_S = 60.0
_LEAVE_TIMEOUT_S = 2.0
_GATHER_S = 0.01


@dataclass(frozen=True)
class HostSpec:
    """The reward that a host runs, and its limits."""

    name: str
    params: JsonMapping
    timeout_s: float
    """Deadline of one row (row-wise) or one call (list-wise)."""
    memory_bytes: int = 0
    """Address space it may add to what it has at start; 0: no limit (a plug-in may load a model)."""
    log_path: Path | None = None
    """The file for the reward's stdout and stderr; None: nowhere."""
    gives_up: bool = True
    """After 8 hosts died one after the other, judge the remaining rows of the call without trying."""


class Host:
    """One child process with its reward loaded. Used by one thread at a time.

    Raises:
        RewardLoadError: the reward cannot be loaded; the process is gone.
    """

    def __init__(self, spec: HostSpec) -> None:
        self._spec = spec
        self._tag = secrets.token_hex(16)
        self._process, self._channel = _spawn(spec, self._tag)
        try:
            ready = self._load()
        except BaseException:
            self.end()
            raise
        self.style: str = ready["style"]
        self.is_row_wise: bool = ready["row_wise"]
        self.needs_ids: bool = ready["needs_ids"]
        needs = ready["needs"]
        self.needs = Needs(
            frozenset(needs["columns"]),
            needs["answer"],
            tuple((column, what) for column, what in needs["reads"]),
        )

    def _load(self) -> JsonDict:
        token = secrets.token_hex(16)
        path = [entry or os.getcwd() for entry in sys.path]
        message = {
            "token": token,
            "name": self._spec.name,
            "params": dict(self._spec.params),
            "path": path if _ROOT in path else [*path, _ROOT],
            "memory_bytes": self._spec.memory_bytes,
        }
        try:
            self._channel.send(dump_line(message), _TRANSPORT_TIMEOUT_S)
            reply = self._channel.receive(token, _LOAD_TIMEOUT_S)
        except HostTimeout:
            raise RewardLoadError(
                f"reward {self._spec.name!r}: loading took longer than {_LOAD_TIMEOUT_S:g} s"
            ) from None
        except HostGone:
            raise RewardLoadError(
                f"reward {self._spec.name!r}: its process ended while loading ({self.fate()})"
            ) from None
        except HostProtocolError as error:
            raise RewardLoadError(f"reward {self._spec.name!r}: {error} while loading") from None
        if "load_error" in reply:
            raise RewardLoadError(reply["load_error"])
        ready: JsonDict = reply["ready"]
        return ready

    def call(self, rows: Sequence[RewardRow], take: Callable[[int, Score], None]) -> bool:
        """Score `rows`; `take(i, score)` is called as each verdict arrives. True if the host may be used again.

        Raises:
            HostGone, HostTimeout, HostProtocolError: the host is of no more use; rows not taken yet have no verdict.
        """
        token = secrets.token_hex(16)
        message = {"token": token, "deadline_s": self._spec.timeout_s} | encode_rows(rows, self.needs_ids)
        self._channel.send(dump_line(message), _TRANSPORT_TIMEOUT_S)
        self._channel.receive(token, _TRANSPORT_TIMEOUT_S)
        left, gather_s = len(rows), 0.0
        while "done" not in (reply := self._channel.receive(token, self._spec.timeout_s, gather_s)):
            score = _score(reply["score"])
            take(reply["row"], score)
            left -= 1
            # Waking up for every row costs the cores that score: sleep through a part of what is still to come.
            gather_s = max(0.0, min(_GATHER_S, left * score.seconds / 4))
        return reply["threads"] == 0 and set(live_children(self._process.pid)) <= set(reply["kept"])

    def fate(self) -> str:
        """Describe how the process ended, for the reason of a verdict."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self._process.wait(_LEAVE_TIMEOUT_S)
            if code < 0:
                return f"killed by {signal.Signals(-code).name}"
            return f"exit code {code}"
        return "closed its result channel"

    def leave(self) -> None:
        """End politely: the host reads the end of its requests and exits; then make sure nothing is left."""
        self._channel.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_LEAVE_TIMEOUT_S)
        self.end()

    def kill(self) -> None:
        """Kill the process and everything it started, from any thread; a call in progress then raises HostGone."""
        if self._process.poll() is None:
            end_tree(self._process.pid, self._tag)

    def end(self) -> None:
        """Kill the process and everything it started, and close its pipes. Only for the thread that uses the host."""
        self._channel.close()
        end_tree(self._process.pid, self._tag)
        self._process.wait()


def _spawn(spec: HostSpec, tag: str) -> tuple[subprocess.Popen[bytes], Channel]:
    request_read, request_write = os.pipe()
    result_read, result_write = os.pipe()
    boot = _BOOT.format(root=_ROOT, request=request_read, result=result_write, parent=os.getpid())
    log = open(spec.log_path, "ab") if spec.log_path else subprocess.DEVNULL  # noqa: SIM115 (closed below)
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", boot],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(request_read, result_write),
            start_new_session=True,
            env=os.environ | {TAG_VARIABLE: tag},
        )
    except BaseException:
        os.close(request_write)
        os.close(result_read)
        raise
    finally:
        os.close(request_read)
        os.close(result_write)
        if not isinstance(log, int):
            log.close()
    return process, Channel(request_write, result_read)


def _score(message: Sequence[Any]) -> Score:
    total, verdict, reason, seconds, trace = message
    if verdict == "ok" and not (isinstance(total, float | int) and math.isfinite(total)):
        raise HostProtocolError("a score that is no finite number")
    return Score(
        None if total is None else float(total),
        verdict=verdict,
        reason=str(reason),
        seconds=float(seconds),
        trace=str(trace),
    )
