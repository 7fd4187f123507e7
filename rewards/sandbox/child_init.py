"""Process 1 of one run: prepares the sandbox, starts the program, watches it, ends all that is left, reports.

It is out of the program's reach: signals to process 1 from inside are ignored, and it keeps capabilities (over the
sandbox alone) that the program lacks, so that it cannot be traced or its memory opened.

Messages on the job socket (SOCK_SEQPACKET, JSON): owner → request with descriptors (stdin, stdout, stderr, files in
one stream, what to collect into or none) → "started" → report. Anything else from the owner, or its end, stops the
run.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import socket
import stat
import time
from collections.abc import Mapping
from typing import Any

from rewards.sandbox.child_system import (
    PR_SET_DUMPABLE,
    drop_capabilities,
    install_filter,
    prctl,
    set_limits,
)

_PAGE = resource.getpagesize()
_SLOWEST_POLL_S = 0.010
_FASTEST_POLL_S = 0.002
_MAX_COLLECTED = 256


class Job:
    """One run as process 1 sees it."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        data, self.fds, flags, _ = socket.recv_fds(channel, 1 << 18, 8)
        if not data or flags & socket.MSG_TRUNC:
            os._exit(0)  # the owner went away
        self.request: dict[str, Any] = json.loads(data)
        self.work: str = self.request["work"]

    def send(self, message: Mapping[str, Any]) -> None:
        """Tell the owner; if it is gone, so is the reason to run."""
        try:
            self.channel.send(json.dumps(message).encode())
        except OSError:
            os._exit(0)

    def write_files(self) -> None:
        """Put the program's files into its work directory."""
        offset = 0
        for name, size, mode in self.request["files"]:
            if "/" in name or name in ("", ".", ".."):
                raise ValueError(f"bad file name {name!r}")
            path = f"{self.work}/{name}"
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
            try:
                _copy(fd, self.fds[3], offset, size)
            finally:
                os.close(fd)
            offset += size

    def collect(self) -> list[tuple[str, int, int]] | None:
        """After the end of all processes: copy the work directory's top-level files out. None: too large."""
        files: list[tuple[str, int, int]] = []
        left = int(self.request["collect_bytes"])
        given = {name for name, _, _ in self.request["files"]}
        for entry in sorted(os.scandir(self.work), key=lambda entry: entry.name):
            if entry.name in given or not entry.is_file(follow_symlinks=False):
                continue
            fd = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                found = os.fstat(fd)
                left -= found.st_size
                if not stat.S_ISREG(found.st_mode) or left < 0 or len(files) == _MAX_COLLECTED:
                    return None
                _copy(self.fds[4], fd, 0, found.st_size)
            finally:
                os.close(fd)
            files.append((entry.name, found.st_size, found.st_mode & 0o755))
        return files


def _copy(target: int, source: int, offset: int, size: int) -> None:
    while size > 0:
        sent = os.sendfile(target, source, offset, min(size, 1 << 24))
        if sent == 0:
            raise OSError("a file is shorter than announced")
        offset, size = offset + sent, size - sent


def become_program(job: Job, seccomp: bytes, confine: bool, ready: int) -> None:
    """In the forked child: give up everything; then exec, or return to run Python code in this very process.

    `ready` gets "+" when all is set, and a message after it if exec fails; it is closed when the program starts.
    """
    try:
        os.setsid()
        for target in range(3):
            os.dup2(job.fds[target], target)
        os.dup2(ready, 3)
        ready = 3
        job.channel.detach()
        _close_from(4)
        os.chdir(job.work)
        os.umask(0o022)
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("500")  # if the host runs out of memory, this goes before what pays for it
        set_limits(job.request["rlimits"])
        if confine:
            drop_capabilities()
            prctl(PR_SET_DUMPABLE, 1)
            install_filter(seccomp)
        os.write(ready, b"+")
        command = job.request["argv"]
        if command:
            os.set_inheritable(ready, False)
            for number in (signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(number, signal.SIG_DFL)
            os.execvpe(command[0], command, job.request["env"])
        os.close(ready)
    except BaseException as error:
        os.write(ready, f"{type(error).__name__}: {error}".encode())
        os._exit(127)


def _close_from(lowest: int) -> None:
    for name in os.listdir("/proc/self/fd"):
        if int(name) >= lowest:
            with contextlib.suppress(OSError):  # the listing's own descriptor is gone
                os.close(int(name))


def supervise(job: Job, program: int, ready: int) -> None:
    """Watch the program until it ends or must end; end everything else; report; exit."""
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    said = b""
    while part := os.read(ready, 4096):
        said += part
    start = time.monotonic()
    error = None
    if said == b"+":
        job.send({"started": True})
        status, flag, ended, peak = _watch(job, program, start, wake_read)
    else:
        error = said.lstrip(b"+").decode(errors="replace") or "it was killed while being prepared"
        status, flag, ended, peak = None, None, start, 0
    status = _end_all(program, status)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    report: dict[str, Any] = {
        "status": status,
        "flag": flag,
        "error": error,
        "wall_s": ended - start,
        "cpu_s": used.ru_utime + used.ru_stime,
        "max_rss_bytes": max(peak, used.ru_maxrss * 1024),
        "files": [],
    }
    if job.request["collect_bytes"] and status == 0 and flag is None and error is None:
        report["files"] = job.collect()
    job.send(report)
    os._exit(0)


def _watch(job: Job, program: int, start: float, wake: int) -> tuple[int | None, str | None, float, int]:
    """(wait status or None, flag, time of the end, peak bytes)."""
    wall, memory, tasks = (job.request[name] for name in ("wall_s", "memory_bytes", "tasks"))
    poller = select.poll()
    poller.register(job.channel.fileno(), select.POLLIN)
    poller.register(wake, select.POLLIN)
    pause, peak = _FASTEST_POLL_S, 0
    while True:
        status = _reap(program)
        now = time.monotonic()
        if now - start > wall:
            return status, "time", now, peak
        resident, count = _measure(memory)
        peak = max(peak, resident)
        if count > tasks:
            return status, "tasks", now, peak
        if resident > memory:
            return status, "memory", now, peak
        if status is not None:
            return status, None, now, peak
        pause = min(pause * 1.5, _SLOWEST_POLL_S) if 2 * count < tasks else _FASTEST_POLL_S
        for fd, _ in poller.poll(max(1.0, min(pause, wall - (now - start)) * 1000)):
            if fd != wake:
                return _reap(program), "stopped", time.monotonic(), peak
            os.read(wake, 4096)


def _reap(program: int) -> int | None:
    """Collect dead children, orphans included; the program's wait status if it is among them."""
    status = None
    try:
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            if found[0] == program:
                status = found[1]
    except ChildProcessError:
        pass
    return status


def _end_all(program: int, status: int | None) -> int | None:
    """Kill every other process of this pid namespace and wait for each, so that its CPU time is counted."""
    while True:
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        try:
            pid, found = os.waitpid(-1, 0)
        except ChildProcessError:
            return status
        if pid == program:
            status = found


def _measure(limit: int) -> tuple[int, int]:
    """(resident bytes, tasks) of all processes but this one. /proc here shows this sandbox and nothing else.

    Pages shared between processes count once each in the sum, so past the limit the proportional sizes decide.
    """
    resident, tasks, pids = 0, 0, []
    for name in os.listdir("/proc"):
        if name.isdigit() and name != "1":
            try:
                resident += int(_read(f"/proc/{name}/statm").split()[1]) * _PAGE
                tasks += os.stat(f"/proc/{name}/task").st_nlink - 2
            except (OSError, IndexError):
                continue
            pids.append(name)
    if resident > limit and len(pids) > 1:
        resident = sum(_proportional(name) for name in pids)
    return resident, tasks


def _proportional(pid: str) -> int:
    try:
        for line in _read(f"/proc/{pid}/smaps_rollup").splitlines():
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return int(_read(f"/proc/{pid}/statm").split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 4096)
    finally:
        os.close(fd)
