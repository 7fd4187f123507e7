"""Process 1 of one run: it prepares the sandbox, starts the program, watches it, ends what is left, and reports.

In namespaces it is out of the program's reach: the kernel ignores signals to process 1 from inside, and process 1 keeps
capabilities (over the sandbox only) that the program lacks, so that the program can neither trace it nor open its
memory. On a shared host, another user id and Landlock protect it. Runs inside the launcher: standard library only.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import time

from rewards.sandbox.child import process_tree
from rewards.sandbox.child.isolation import Place
from rewards.sandbox.child.job import Job, Message
from rewards.sandbox.child.memory import MemoryLook
from rewards.sandbox.child.program import become_program
from rewards.sandbox.child.rootfs import MAX_FILES
from rewards.sandbox.child.system import PR_SET_DUMPABLE, prctl

_SLOWEST_POLL_S = 0.010
_FASTEST_POLL_S = 0.002
_SHARE_OF_LOOKING = 0.2
"""The largest share of one core spent on polling: a host with very many processes is polled less often."""
_DISK_POLL_S = 0.1


def run(job: Job, place: Place) -> bool:
    """Run the job. Returns True in the program's process if that is to run Python; process 1 never returns."""
    request = job.request
    place.prepare(request)
    job.write_files(place.work, place.uid)
    limits = request["rlimits"] | {"NPROC": place.task_limit(request["rlimits"]["NPROC"])}
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    ready_read, ready_write = os.pipe2(os.O_CLOEXEC)
    # Do this before the fork: the program could otherwise open /proc/1 before this process gets this far.
    prctl(PR_SET_DUMPABLE, 0)
    program = os.fork()
    if program == 0:
        become_program(job, place, limits, ready_write)
        return True
    for fd in (ready_write, *(job.fds[role] for role in ("stdin", "stdout", "stderr", "files"))):
        os.close(fd)
    job.leave_cgroups()
    # A signal with a handler reaches process 1 even from inside: in namespaces only SIGCHLD, which is harmless.
    for number in (signal.SIGCHLD, *place.end_signals):
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    report = _supervise(job, place, program, ready_read, wake_read)
    job.send(report)
    os._exit(0)


def _supervise(job: Job, place: Place, program: int, ready: int, wake: int) -> Message:
    received = b""
    while part := os.read(ready, 4096):
        received += part
    start = time.monotonic()
    error = None
    if received == b"+":
        job.send({"started": True})
        status, flag, ended, peak = _watch(job, place, program, start, wake)
    else:
        error = received.lstrip(b"+").decode(errors="replace") or "it was killed while being prepared"
        status, flag, ended, peak = None, None, start, 0
    status = _end_all(place, program, status)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    files: list[tuple[str, int, int]] | None = []
    if job.request["collect_bytes"] and status == 0 and flag is None and error is None:
        files = job.collect(place.work)
    place.clean()
    return {
        "status": status,
        "flag": flag,
        "error": error,
        "wall_s": ended - start,
        "cpu_s": used.ru_utime + used.ru_stime,
        "max_rss_bytes": max(peak, used.ru_maxrss * 1024),
        "files": files,
    }


def _watch(
    job: Job, place: Place, program: int, start: float, wake: int
) -> tuple[int | None, str | None, float, int]:
    """Watch the run until it ends or passes a limit.

    Returns (wait status or None, flag, time of the end, peak bytes).
    """
    wall, memory, tasks = (job.request[name] for name in ("wall_s", "memory_bytes", "tasks"))
    poller = select.poll()
    poller.register(job.channel.fileno(), select.POLLIN)
    poller.register(wake, select.POLLIN)
    pause, peak = _FASTEST_POLL_S, 0
    memory_look = MemoryLook(memory, is_bounded="oom" in job.fds)
    next_disk = start + _DISK_POLL_S
    while True:
        status = _reap(program)
        now = time.monotonic()
        if now - start > wall:
            return status, "time", now, peak
        if flag := _counted(job):
            return status, flag, now, peak
        found = place.processes()
        count = sum(process.tasks for process in found)
        if count > tasks:  # before memory, which takes long to measure for many processes
            return status, "tasks", now, peak
        resident = memory_look.resident(found) + place.hidden_bytes()
        peak = max(peak, resident)
        if resident > memory:
            return status, "memory", now, peak
        if status is not None:
            return status, None, now, peak
        if not place.bounds_files and now > next_disk:
            if not process_tree.usage(place.work, job.request["tmp_bytes"], MAX_FILES):
                return status, "disk", now, peak
            next_disk = time.monotonic() + max(_DISK_POLL_S, (time.monotonic() - now) / _SHARE_OF_LOOKING)
        pause = min(pause * 1.5, _SLOWEST_POLL_S) if 2 * count < tasks else _FASTEST_POLL_S
        rest = max(pause, (time.monotonic() - now) / _SHARE_OF_LOOKING)
        for fd, _ in poller.poll(max(1.0, min(rest, wall - (now - start)) * 1000)):
            if fd != wake or signal.SIGTERM in os.read(wake, 4096):
                now = time.monotonic()
                return _reap(program), "time" if now - start > wall else "stopped", now, peak


def _reap(program: int) -> int | None:
    """Wait for dead children, orphans included; return the program's wait status if it is among them."""
    status = None
    try:
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            if found[0] == program:
                status = found[1]
    except ChildProcessError:
        pass
    return status


def _end_all(place: Place, program: int, status: int | None) -> int | None:
    """Kill every other process of the run and wait for each, so that its CPU time is counted."""
    while True:
        place.kill_all()
        try:
            pid, found = os.waitpid(-1, 0)
            while pid:
                if pid == program:
                    status = found
                pid, found = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status


def _counted(job: Job) -> str | None:
    """Return the limit at which the kernel refused the run's cgroup something since the run began, if any."""
    for role, line, flag in (("pids", b"max", "tasks"), ("oom", b"oom_kill", "memory")):
        if role in job.fds and counter(os.pread(job.fds[role], 4096, 0), line) > job.request["counted"][role]:
            return flag
    return None


def counter(content: bytes, name: bytes) -> int:
    """Return the number after `name` in a file of "name number" lines; 0 if there is none."""
    for line in content.splitlines():
        words = line.split()
        if len(words) == 2 and words[0] == name:
            return int(words[1])
    return 0
