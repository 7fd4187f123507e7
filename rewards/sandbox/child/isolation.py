"""Where a run takes place: in namespaces of its own, or on a host that it shares, with less around it.

Process 1 of a run (`watch.py`) is the same in both; a place says which processes are the run's, how all of them
end, and what the program gives up before it starts. Runs inside the launcher: standard library only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from typing import Protocol

from rewards.sandbox.child import landlock, process_tree, rootfs, system
from rewards.sandbox.child.job import Message
from rewards.sandbox.child.process_tree import Process

_INSIDE_ID = 1000
_SOCKET_BYTES = 208 * 1024
"""net.core.wmem_default: what one unix socket may have on the way."""
_FEW_SOCKETS = 64


class Place(Protocol):
    """What process 1 needs to know about its surroundings."""

    work: str
    """The work directory."""
    uid: int | None
    """Owner of the program's files, if process 1 has another id."""
    bounds_files: bool
    """The kernel bounds the work directory; else process 1 watches it."""
    end_signals: tuple[signal.Signals, ...]
    """What the launcher tells process 1 to end the run with, other than by ending process 1."""

    def prepare(self, request: Message) -> None:
        """In process 1: make the work directory."""

    def processes(self) -> list[Process]:
        """Every process of the run but process 1."""

    def hidden_bytes(self) -> int:
        """Most memory that the run holds and no process of it shows."""

    def kill_all(self) -> None:
        """SIGKILL to every process of the run but process 1."""

    def task_limit(self, limit: int) -> int:
        """RLIMIT_NPROC for `limit` tasks of the run."""

    def confine(self, request: Message) -> None:
        """In the program's process: give up everything, for good."""

    def clean(self) -> None:
        """After the end of all processes: remove what would stay."""


class Namespaces:
    """Own user, mount, pid, network, ipc and uts namespaces; process 1 is really that."""

    work = "/tmp"
    uid: int | None = None
    bounds_files = True
    end_signals: tuple[signal.Signals, ...] = ()

    def __init__(self, config: Message, outside_id: tuple[int, int]) -> None:
        self._filters = config["filters"]
        self._is_counted = config["is_counted"]
        self._outside_id = outside_id

    def prepare(self, request: Message) -> None:  # noqa: D102 (Place says it)
        system.map_own_ids(_INSIDE_ID, *self._outside_id)
        socket.sethostname("sandbox")
        rootfs.mount_proc()
        rootfs.hide_keys()
        rootfs.mount_private(request["tmp_bytes"], None)

    def processes(self) -> list[Process]:  # noqa: D102
        return [process for process in process_tree.processes() if process.pid != 1]

    def hidden_bytes(self) -> int:
        """What sockets may hold in their buffers: a few of them nothing worth counting. A control group counts all."""
        if self._is_counted:
            return 0
        used = int(process_tree.read_file("/proc/net/sockstat").split()[2])
        return used * _SOCKET_BYTES if used > _FEW_SOCKETS else 0

    def kill_all(self) -> None:  # noqa: D102
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)

    def task_limit(self, limit: int) -> int:  # noqa: D102
        return limit

    def confine(self, request: Message) -> None:  # noqa: D102
        system.drop_capabilities()
        system.prctl(system.PR_SET_DUMPABLE, 1)
        system.install_filter(bytes.fromhex(self._filters[request["filter"]]))

    def clean(self) -> None:
        """Nothing: the mounts go with the last process."""


class SharedHost:
    """The host itself: a user of its own if the launcher is root, Landlock and a system-call filter if asked for.

    Args:
        config: the launcher's.
        slot: user id that no other run has; None: the launcher's own.
        is_private: this process is in a mount namespace of its own and may mount.
    """

    end_signals: tuple[signal.Signals, ...] = (signal.SIGTERM,)

    def __init__(self, config: Message, slot: int | None, is_private: bool) -> None:
        self._config, self._private = config, is_private
        self.uid = slot
        self.bounds_files = is_private
        self.work = "/tmp" if is_private else f"{config['base']}/{os.urandom(8).hex()}"
        self._keeper = os.getpid()

    def prepare(self, request: Message) -> None:  # noqa: D102
        system.prctl(system.PR_SET_CHILD_SUBREAPER, 1)
        if self._private:
            rootfs.mount_private(request["tmp_bytes"], self.uid)
            return
        os.mkdir(self.work, 0o700)
        if self.uid is not None:
            os.chown(self.work, self.uid, self.uid)

    def processes(self) -> list[Process]:  # noqa: D102
        return process_tree.below(self._keeper, process_tree.processes())

    def hidden_bytes(self) -> int:  # noqa: D102
        return 0

    def kill_all(self) -> None:  # noqa: D102
        if self.uid is not None:
            with contextlib.suppress(OSError):  # the run has used up all processes: the next line makes room
                process_tree.kill_user(self.uid)
        process_tree.kill_below(self._keeper)

    def task_limit(self, limit: int) -> int:
        """The kernel counts by user: what the user already has comes on top."""
        if self.uid is not None:
            return limit
        return process_tree.counted_tasks(os.getuid()) + limit

    def confine(self, request: Message) -> None:  # noqa: D102
        if self.uid is not None:
            system.become(self.uid, self.uid)
        system.prctl(system.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != self._keeper:
            os._exit(0)
        system.drop_capabilities()
        system.prctl(system.PR_SET_DUMPABLE, 1)
        if self._config["landlock"]:
            writable = ["/tmp", "/dev/shm"] if self._private else [self.work]
            devices = [
                f"/dev/{name}" for name in rootfs.DEVICES if name != "zero" or self._config["is_counted"]
            ]
            landlock.restrict(self._config["landlock"], self._config["readable"], writable, devices)
            system.install_filter(bytes.fromhex(self._config["filters"][request["filter"]]))

    def clean(self) -> None:  # noqa: D102
        if not self._private:
            process_tree.remove_tree(self.work)
