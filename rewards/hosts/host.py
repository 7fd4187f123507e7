"""The child process that runs one reward function. Started by `rewards.hosts.host_process`, never imported by it.

    parent ──requests──▶ fd ──▶ host: load once, then one call after the other ──▶ fd ──results──▶ parent
                                 stdin empty, stdout and stderr to a log: never the result channel

Messages are JSON lines; nothing is pickled. Every request bears a random token that its results repeat, so a line
that a plug-in writes into some file descriptor is not a result. This stops accidents and cheap tricks: code in this
process could read the token if it went looking. Plug-ins are the user's own code; programs written by a model
belong in the sandbox.

First message: {"token", "name", "params", "path", "memory_bytes"} → {"token", "ready": {"style", "needs_ids",
"row_wise", "needs"}} or {"token", "load_error"}. Then {"token", "deadline_s", "stage", "step", "groups", "rows"} →
{"token", "begun"}, one {"token", "row", "score"} each, and {"token", "done", "threads", "kept"}: Python threads the
call left behind, and children that are to stay (`rewards.hosts.processes.keep`).
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import resource
import signal
import sys
import threading
import time
from typing import BinaryIO

import psutil

from policies.json_types import JsonMapping
from rewards.errors import RewardLoadError
from rewards.hosts.processes import become_subreaper, kept, live_children
from rewards.registry import load_reward
from rewards.rows import decode_rows, dump_line
from rewards.signatures import RewardFunction, call_batch, call_row, describe
from rewards.types import Score

_PARENT_CHECK_S = 1.0


class Results:
    """The way back: whole lines to the result descriptor."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def send(self, message: JsonMapping) -> None:
        """Write one line; ends the process if the parent is gone or the descriptor was closed."""
        line = memoryview(dump_line(message))
        try:
            while line:
                line = line[os.write(self._fd, line) :]
        except OSError:
            os._exit(3)


def main(request_fd: int, result_fd: int, parent_pid: int) -> None:
    """Serve requests until the parent closes the pipe."""
    # Ray's processes do not hear these (grpo/common/stopping.py), but what a reward starts must be able to.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGHUP})
    requests: BinaryIO = os.fdopen(_hide(request_fd), "rb")
    results = Results(_hide(result_fd))
    become_subreaper()
    threading.Thread(target=_follow_parent, args=(parent_pid,), name="follow-parent", daemon=True).start()
    function = _load(json.loads(requests.readline()), results)
    if function is None:
        return
    own_threads = set(sys._current_frames())
    for line in requests:
        _serve(json.loads(line), function, results, own_threads)


def _load(message: JsonMapping, results: Results) -> RewardFunction | None:
    sys.path[:] = message["path"]
    if message["memory_bytes"]:
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        mapped = psutil.Process().memory_info().vms  # libraries reserve address space by the core
        resource.setrlimit(resource.RLIMIT_AS, (mapped + message["memory_bytes"], hard))
    try:
        function = load_reward(message["name"], message["params"])
    except RewardLoadError as error:
        results.send({"token": message["token"], "load_error": str(error)})
        return None
    except BaseException as error:
        results.send(
            {"token": message["token"], "load_error": f"reward {message['name']!r}: {describe(error)}"}
        )
        return None
    ready = {
        "style": function.style,
        "needs_ids": function.needs_ids,
        "row_wise": function.is_row_wise,
        "needs": {
            "columns": sorted(function.needs.columns),
            "answer": function.needs.answer,
            "reads": function.needs.reads,
        },
    }
    results.send({"token": message["token"], "ready": ready})
    return function


def _serve(message: JsonMapping, function: RewardFunction, results: Results, own_threads: set[int]) -> None:
    token = message["token"]
    rows = decode_rows(message)
    results.send({"token": token, "begun": len(rows)})
    traced: set[str] = set()
    if function.is_row_wise:
        for number, row in enumerate(rows):
            results.send({"token": token, "row": number, "score": _plain(call_row(function, row), traced)})
    else:
        for number, score in enumerate(call_batch(function, rows, message["deadline_s"])):
            results.send({"token": token, "row": number, "score": _plain(score, traced)})
    threads = len(set(sys._current_frames()) - own_threads)
    results.send({"token": token, "done": True, "threads": threads, "kept": kept()})


def _plain(score: Score, traced: set[str]) -> list[object]:
    """Return a score as JSON has it; the traceback is sent with the first of the call's equal errors alone."""
    trace = "" if score.reason in traced else score.trace
    traced.add(score.reason)
    return [score.total, score.verdict, score.reason, score.seconds, trace]


def _hide(fd: int) -> int:
    """Move a descriptor to a high, random number, closed on exec: out of reach of guesses, loops and children."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    top = min(soft, 65536) if soft > 0 else 65536
    lowest = random.SystemRandom().randrange(top // 2, max(top - 64, top // 2 + 1))
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, lowest)
    os.close(fd)
    return moved


def _follow_parent(parent_pid: int) -> None:
    """Die when the parent dies, also in the middle of a call that never returns to read the pipe."""
    while os.getppid() == parent_pid:
        time.sleep(_PARENT_CHECK_S)
    for child in live_children(os.getpid()):
        os.kill(child, signal.SIGKILL)
    os.killpg(0, signal.SIGKILL)
