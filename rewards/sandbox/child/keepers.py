"""Every process 1 of a launcher: how it starts, the user id it may use, and the cleanup if it is killed.

Runs inside the launcher: standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence

from rewards.sandbox.child import process_tree, system
from rewards.sandbox.child.isolation import Place

_END_TIMEOUT_S = 8.0


class Keepers:
    """The processes 1 of a launcher's runs, by pid.

    Args:
        flags: the CLONE_NEW* flags for a new one. 0 means that it shares the host, and that processes which outlive it
            must be searched for.
        make_place: makes the place of a run; called in the new process with its user id.
        uids: user ids to give out, one per run at a time; if empty, all runs have the launcher's.
    """

    def __init__(
        self, flags: int, make_place: Callable[[int | None], Place], uids: Sequence[int] = ()
    ) -> None:
        self._flags, self._make_place, self._uids = flags, make_place, uids
        self._alive: dict[int, int | None] = {}
        self._locks: dict[int, socket.socket] = {}

    def clone(self, job: socket.socket, cgroup: int | None) -> Place | None:
        """Start a new process 1 and send the owner a handle on it, or an error message.

        Returns the place of the run in the new process, and None in this one.
        """
        try:
            uid = self._free_uid() if self._uids else None
            child = system.clone(self._flags, cgroup)
        except OSError as error:
            _answer(job, {"error": str(error)})
            child = -1
        if child == 0:
            for lock in self._locks.values():
                lock.close()
            self._close(cgroup)
            return self._make_place(uid)
        self._close(cgroup)
        if child > 0:
            self._alive[child] = uid
            _introduce(job, child)
        return None

    def bury(self) -> None:
        """Wait for the processes that have ended.

        On a shared host, processes whose process 1 was killed become children of this one: end them too.
        """
        try:
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = found
                if pid in self._alive:
                    uid = self._alive.pop(pid)
                    if status and not self._flags & system.CLONE_NEWPID:
                        self._end_orphans(uid)
        except ChildProcessError:
            pass

    def end_all(self) -> None:
        """On a shared host, ask every run to end, wait, and kill whatever has not ended in time."""
        if self._flags & system.CLONE_NEWPID:
            return  # this process is process 1 of their namespace, so the kernel ends them with it
        for pid in self._alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        give_up = time.monotonic() + _END_TIMEOUT_S
        while self._alive and time.monotonic() < give_up:
            self.bury()
            time.sleep(0.002)
        for uid in list(self._alive.values()):
            self._end_orphans(uid)
        process_tree.kill_below(os.getpid())

    def _end_orphans(self, uid: int | None) -> None:
        give_up = time.monotonic() + _END_TIMEOUT_S
        while time.monotonic() < give_up:
            if uid is not None:
                process_tree.kill_user(uid)
            orphans = [
                process.pid
                for process in process_tree.processes()
                if process.parent == os.getpid() and process.pid not in self._alive
            ]
            if not orphans:
                return
            for pid in orphans:
                process_tree.kill_below(pid)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, 0)

    def _free_uid(self) -> int:
        """Return a user id that no run has. An abstract socket keeps other launchers from giving it out as well.

        Raises:
            OSError: no user id is free.
        """
        for uid in self._uids:
            if uid in self._alive.values():
                continue
            if uid not in self._locks:
                lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                try:
                    lock.bind(f"\0grpo-sandbox-user-{uid}")
                except OSError:
                    lock.close()
                    continue
                self._locks[uid] = lock
                process_tree.kill_user(uid)  # a launcher that was killed may have left processes
            return uid
        raise OSError("no user id is free for another run")

    def _close(self, fd: int | None) -> None:
        if fd is not None:
            os.close(fd)


def _introduce(job: socket.socket, child: int) -> None:
    """Send the owner a handle on the run's process 1, with which it can kill the run whatever happens."""
    try:
        handle = os.pidfd_open(child)
    except OSError as error:
        os.kill(child, signal.SIGKILL)
        _answer(job, {"error": str(error)})
        return
    try:
        socket.send_fds(job, [b"{}"], [handle])
    except OSError:
        os.kill(child, signal.SIGKILL)
    finally:
        os.close(handle)
        job.close()


def _answer(job: socket.socket, message: dict[str, str]) -> None:
    with contextlib.suppress(OSError):
        job.send(json.dumps(message).encode())
    job.close()
