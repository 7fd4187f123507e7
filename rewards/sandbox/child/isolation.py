"""The two surroundings of a run: namespaces of its own, or a host that it shares, with weaker isolation.

Process 1 of a run (`watch.py`) is the same in both. A `Place` determines which processes belong to the run, how to
end all of them, and what the program gives up before it starts. Runs inside the launcher: standard library only.
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
"""net.core.wmem_default: the most bytes that one unix socket may have in flight."""
_FEW_SOCKETS = 64


class Place(Protocol):
    """Everything process 1 needs to know about the surroundings of its run."""

    work: str
    """The work directory."""
    uid: int | None
    """The user id that owns the program's files, if it differs from that of process 1; else None."""
    bounds_files: bool
    """True if the kernel limits the size of the work directory; otherwise process 1 has to watch it."""
    end_signals: tuple[signal.Signals, ...]
    """The signals by which the launcher asks process 1 to end the run, other than by killing process 1."""

    def prepare(self, request: Message) -> None:
        """Make the work directory. Called in process 1."""

    def processes(self) -> list[Process]:
        """Return every process of the run except process 1."""

    def hidden_bytes(self) -> int:
        """Return the most bytes of memory that the run can hold without any of its processes showing them."""

    def kill_all(self) -> None:
        """Send SIGKILL to every process of the run except process 1."""

    def task_limit(self, limit: int) -> int:
        """Return the RLIMIT_NPROC that allows the run `limit` tasks."""

    def confine(self, request: Message) -> None:
        """Give up all privileges irrevocably. Called in the program's process."""

    def clean(self) -> None:
        """Remove whatever would remain of the run. Called after all its processes have ended."""


class Namespaces:
    """A place with its own user, mount, pid, network, ipc and uts namespaces, where process 1 really has pid 1."""

    work = "/tmp"
    uid: int | None = None
    bounds_files = True
    end_signals: tuple[signal.Signals, ...] = ()

    def __init__(self, config: Message, outside_id: tuple[int, int]) -> None:
        self._filters = config["filters"]
        self._is_counted = config["is_counted"]
        self._outside_id = outside_id

    def prepare(self, request: Message) -> None:  # noqa: D102 (documented in Place)
        system.map_own_ids(_INSIDE_ID, *self._outside_id)
        socket.sethostname("sandbox")
        rootfs.mount_proc()
        rootfs.hide_keys()
        rootfs.mount_private(request["tmp_bytes"], None)

    def processes(self) -> list[Process]:  # noqa: D102
        return [process for process in process_tree.processes() if process.pid != 1]

    def hidden_bytes(self) -> int:
        """Return the most bytes that socket buffers can hold.

        Returns 0 for a few sockets, whose buffers are negligible, and where a control group already counts them.
        """
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
        """Do nothing: the mounts disappear with the last process."""


class SharedHost:
    """The host itself, with a separate user if the launcher is root.

    The tier "landlock" adds Landlock and a system-call filter.

    Args:
        config: the launcher's configuration.
        slot: a user id that no other run has; None keeps the launcher's own.
        is_private: whether this process is in a mount namespace of its own and may mount.
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
            with contextlib.suppress(OSError):  # the run has used up all processes; the next line frees some
                process_tree.kill_user(self.uid)
        process_tree.kill_below(self._keeper)

    def task_limit(self, limit: int) -> int:
        """Return `limit` if the run has a user of its own; else add the tasks that the launcher's user already has.

        The kernel counts tasks per user.
        """
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
