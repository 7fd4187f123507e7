"""Control one run from outside: hand over the program, read its output up to the cap, and receive the report."""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from policies.json_types import JsonDict
from rewards.sandbox.cgroups import Slot
from rewards.sandbox.launcher import ENVIRONMENT, Launcher
from rewards.sandbox.memory_files import SandboxFile, collector, read_parts, sealed

_PREPARE_TIMEOUT_S = 30.0
_END_TIMEOUT_S = 10.0
_OWN_GRACE_S = 2.0
_CHUNK = 1 << 16
_LONGEST_POLL_S = 3600.0


@dataclass(frozen=True)
class Work:
    """What one sandbox has to run."""

    files: Sequence[SandboxFile]
    """The files to write to the work directory first. The first one is the Python program if `argv` is empty."""
    argv: Sequence[str] = ()
    """The command; if empty, the launcher's Python runs files[0]."""
    env: Mapping[str, str] | None = None
    """Variables to add to PATH, HOME and LANG."""
    stdin: bytes = b""
    wall_s: float = 10.0
    memory_bytes: int = 1 << 29
    tasks: int = 256
    output_bytes: int = 1 << 20
    tmp_bytes: int = 1 << 26
    open_files: int = 256
    collect_bytes: int = 0
    """If above 0, return new files of the work directory, up to this many bytes, after a run with exit code 0."""
    compiles: bool = False
    """True for a compiler, which may change the modes of files by name on every tier."""


@dataclass(frozen=True)
class Report:
    """What was observed of a run. If `failure` names a failure of the sandbox, no other field is valid."""

    failure: str = ""
    flag: str | None = None
    """"time", "memory", "tasks", "output" or "disk": the limit that ended the run."""
    status: int | None = None
    """The wait status of the program."""
    stdout: bytes = b""
    stderr: bytes = b""
    wall_s: float = 0.0
    cpu_s: float = 0.0
    max_rss_bytes: int = 0
    files: Sequence[SandboxFile] | None = ()
    """The collected files; None if they are larger than allowed."""


def do(launcher: Launcher, work: Work, slot: Slot | None = None) -> tuple[Report, int]:
    """Run the work. Always returns within the wall limit plus a few seconds of grace.

    Args:
        launcher: the launcher that starts the run.
        work: what to run.
        slot: the control group to run in.

    Returns:
        The report, and a pidfd of process 1, which may still be ending. The caller closes it.

    Raises:
        LauncherGone: the launcher is dead, or the kernel refused it the run.
    """
    channel, handle = launcher.open_job(slot.birth if slot else None)
    try:
        with channel:
            report = _converse(channel, handle, work, slot)
    except BaseException:
        _kill(handle)
        os.close(handle)
        raise
    if report.failure:
        _kill(handle)
    return (_with_kernel_verdict(report, slot) if slot else report), handle


def _with_kernel_verdict(report: Report, slot: Slot) -> Report:
    """Let the kernel's counts decide the verdict: a program can imitate an exit code, but not the counts."""
    if report.flag in ("tasks", "memory"):
        return report  # the limit that was reached first counts
    flag = slot.verdict()
    if flag == "host":
        return Report(failure="the host ran out of memory and killed a process of the run")
    return replace(report, flag=flag, failure="") if flag else report


def _converse(channel: socket.socket, handle: int, work: Work, slot: Slot | None) -> Report:
    with contextlib.ExitStack() as stack:
        pipes = [os.pipe(), os.pipe()]
        for read_end, write_end in pipes:
            os.fchmod(write_end, 0o622)  # the program may run as another user and open /dev/stdout by name
            os.set_blocking(read_end, False)
            stack.callback(os.close, read_end)
        collected = None
        with contextlib.ExitStack() as handed_over:
            for _, write_end in pipes:
                handed_over.callback(os.close, write_end)
            fds = {"stdin": sealed(work.stdin), "stdout": pipes[0][1], "stderr": pipes[1][1]}
            handed_over.callback(os.close, fds["stdin"])
            fds["files"] = sealed([file.content for file in work.files])
            handed_over.callback(os.close, fds["files"])
            if work.collect_bytes:
                collected = fds["collect"] = collector()
                stack.callback(os.close, collected)
            if slot:
                fds |= {**slot.join, "oom": slot.oom, "pids": slot.pids}
            request = _request(work) | {"fds": list(fds), "counted": slot.counted if slot else {}}
            try:
                socket.send_fds(channel, [json.dumps(request).encode()], list(fds.values()))
            except OSError as error:
                return Report(failure=f"the sandbox ended before it began: {error}")
        exchange = _Exchange(channel, handle, [pipes[0][0], pipes[1][0]], work)
        message = exchange.run()
        if message is None or message.get("error"):
            return Report(failure=message["error"] if message else exchange.failure)
        files = message["files"]
        if files:
            assert collected is not None
            contents = read_parts(collected, [size for _, size, _ in files])
            files = [
                SandboxFile(name, content, mode)
                for (name, _, mode), content in zip(files, contents, strict=True)
            ]
        stdout, stderr = (bytes(output[: work.output_bytes]) for output in exchange.outputs)
        return Report(
            flag="output" if exchange.flooded else message["flag"],
            status=message["status"],
            stdout=stdout,
            stderr=stderr,
            wall_s=message["wall_s"],
            cpu_s=message["cpu_s"],
            max_rss_bytes=message["max_rss_bytes"],
            files=files,
        )


def _request(work: Work) -> JsonDict:
    cores = os.cpu_count() or 1
    return {
        "filter": "compile" if work.compiles else "run",
        "argv": list(work.argv),
        "env": {**ENVIRONMENT, **(work.env or {})},
        "files": [(file.name, len(file.content), file.mode) for file in work.files],
        "wall_s": work.wall_s,
        "memory_bytes": work.memory_bytes,
        "tasks": work.tasks,
        "tmp_bytes": work.tmp_bytes,
        "collect_bytes": work.collect_bytes,
        "rlimits": {
            # Higher than the limit at which process 1 ends the run: otherwise a program that was refused a fork could
            # not be told from one that never tried. This limit holds between two polls.
            "NPROC": work.tasks + max(16, work.tasks // 2),
            "NOFILE": work.open_files,
            "FSIZE": work.tmp_bytes,
            # Too small for a core file, like 0. Unlike 0, the kernel takes 1 as "no dump" also where core_pattern is a
            # pipe to a program (coredump.c), which would run outside, as root.
            "CORE": 1,
            "MEMLOCK": 1 << 16,
            "SIGPENDING": 1024,  # timers and queued signals are counted per user, whose other runs need some too
            "MSGQUEUE": 0,
            # Wall time ends the run first; this limit catches what wall time might miss.
            "CPU": math.ceil(work.wall_s * cores) + 2,
        },
    }


class _Exchange:
    """The conversation with a running sandbox."""

    def __init__(self, channel: socket.socket, handle: int, pipes: Sequence[int], work: Work) -> None:
        self._channel, self._handle, self._pipes, self._work = channel, handle, pipes, work
        self.outputs = [bytearray(), bytearray()]
        self.flooded = False
        self._started: float | None = None
        self.failure = ""

    def run(self) -> JsonDict | None:
        """Return the report, or set `failure` and return None. All output that counts is in `outputs`."""
        poller = select.poll()
        for fd in (self._channel.fileno(), *self._pipes):
            poller.register(fd, select.POLLIN)
        deadline = time.monotonic() + _PREPARE_TIMEOUT_S
        asked_to_stop = False
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                if asked_to_stop:
                    return self._give_up()
                self._stop()
                asked_to_stop, deadline = True, time.monotonic() + _END_TIMEOUT_S
                continue
            for fd, _ in poller.poll(max(1, min(left, _LONGEST_POLL_S) * 1000)):
                if fd == self._channel.fileno():
                    message = self._hear()
                    if message is None or "started" not in message:
                        self._drain()
                        return message
                    self._started = time.monotonic()
                    deadline = self._started + self._work.wall_s + _OWN_GRACE_S
                elif not self._read(self._pipes.index(fd)):
                    poller.unregister(fd)
            if self.flooded and not asked_to_stop:
                self._stop()
                asked_to_stop, deadline = True, time.monotonic() + _END_TIMEOUT_S

    def _give_up(self) -> JsonDict | None:
        """Kill a run that does not stop on request. If the program has passed a limit, that stays its verdict."""
        _kill(self._handle)
        if self._started is None:
            self.failure = "the sandbox did not stop on request"
            return None
        took = time.monotonic() - self._started
        nothing = {"cpu_s": 0.0, "max_rss_bytes": 0, "files": []}
        return {"flag": "time", "status": int(signal.SIGKILL), "wall_s": took, **nothing}

    def _stop(self) -> None:
        with contextlib.suppress(OSError):
            self._channel.send(b"stop")

    def _hear(self) -> JsonDict | None:
        try:
            try:
                data = self._channel.recv(1 << 18)
            except (
                ConnectionResetError
            ):  # process 1 ended without reading "stop"; what it sent before can still be read
                data = self._channel.recv(1 << 18)
        except OSError as error:
            self.failure = str(error)
            return None
        if not data:
            self.failure = "the sandbox was killed"
            return None
        message: JsonDict = json.loads(data)
        return message

    def _read(self, which: int) -> bool:
        """Read what is available; return False at the end of the stream or past the cap."""
        output = self.outputs[which]
        try:
            part = os.read(self._pipes[which], _CHUNK)
        except BlockingIOError:
            return True
        output += part[: self._work.output_bytes + 1 - len(output)]
        if len(output) > self._work.output_bytes:
            self.flooded = True
            return False
        return bool(part)

    def _drain(self) -> None:
        """Read what the pipes still hold after all writers are gone: output may lag behind the report."""
        for which in range(len(self._pipes)):
            while len(self.outputs[which]) <= self._work.output_bytes:
                before = len(self.outputs[which])
                if not self._read(which) or len(self.outputs[which]) == before:
                    break


def _kill(handle: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(handle, signal.SIGKILL)
