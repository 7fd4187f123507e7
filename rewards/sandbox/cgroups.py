"""Control groups for runs, where this user may make them: the kernel limits memory and tasks, and counts refusals.

    Groups.find() -> one group per Sandbox, a slot below it per concurrent run, which is reused

Supports cgroup v1 (memory and pids mounted separately) and v2. Moving a process waits about 10 ms for other cores, so
no process is moved: in v1 the program's process moves its own single thread; in v2 the run's process 1 starts in its
slot (`child/system.py`, `clone`).
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rewards.sandbox import leases
from rewards.sandbox.child.process_tree import remove_groups
from rewards.sandbox.child.watch import counter
from rewards.sandbox.types import MIB

_CONTROLLERS = ("memory", "pids")
_ENOUGH = 4
"""With at least this many slots whose runs are just ending, wait for one instead of making another at once."""
_PATIENCE_S = 0.2
_NEEDED_BESIDE_BYTES = 48 * MIB
"""Added to the run's memory and its /tmp, which are charged together: room for /dev/shm, page tables and process 1.

Polling (`child/watch.py`) enforces the exact limit; the kernel's limit catches what is faster than polling.
"""


@dataclass
class Slot:
    """The control group of one run at a time."""

    folders: Mapping[str, Path]
    """The folders of the group, by controller."""
    join: Mapping[str, int]
    """v1: descriptors of `tasks` by role, which the program's process writes to."""
    birth: int | None
    """v2: descriptor of the folder, in which process 1 starts."""
    oom: int
    pids: int
    bounds: tuple[int, int] = (0, 0)
    counted: dict[str, int] = field(default_factory=dict)
    """The counts when the run began."""
    handle: int | None = None
    """pidfd of the last run's process 1: until that has ended, the slot is not free."""

    def counts(self) -> dict[str, int]:
        """Return how often the kernel has refused memory ("oom": kills) and forks ("pids") so far."""
        return {
            "oom": counter(os.pread(self.oom, 4096, 0), b"oom_kill"),
            "pids": counter(os.pread(self.pids, 4096, 0), b"max"),
        }

    def verdict(self) -> str | None:
        """Return "memory" or "tasks" if the kernel refused that to this run.

        Returns "host" if the whole host ran out of memory, and None if nothing was refused.
        """
        now = self.counts()
        if now["pids"] > self.counted["pids"]:
            return "tasks"  # first: if both were refused, many processes wanted memory
        if now["oom"] > self.counted["oom"]:
            return "memory" if self._met_bound() else "host"
        return None

    def begin(self, memory_bytes: int, tasks: int) -> None:
        """Set the limits and remember the counts. Raises OSError."""
        if self.bounds != (memory_bytes, tasks):
            self._bound(memory_bytes, tasks)
            self.bounds = memory_bytes, tasks
        self.counted = self.counts() | {"refusals": self._refusals()}

    def _met_bound(self) -> bool:
        """Return whether it was this group that ran out of memory. v1: newer kernels leave its failure count at 0."""
        memory = self.folders["memory"]
        if self.birth is None:
            return int((memory / "memory.max_usage_in_bytes").read_bytes()) >= self.bounds[0] - MIB
        return self._refusals() > self.counted["refusals"]

    def _refusals(self) -> int:
        """v2: return how often memory was refused. v1: reset the high-water mark and return 0."""
        memory = self.folders["memory"]
        if self.birth is None:
            (memory / "memory.max_usage_in_bytes").write_bytes(b"0")
            return 0
        return counter((memory / "memory.events").read_bytes(), b"oom")

    def _bound(self, memory_bytes: int, tasks: int) -> None:
        memory, pids = self.folders["memory"], self.folders["pids"]
        if self.birth is None:
            both = memory / "memory.memsw.limit_in_bytes"
            if both.exists():
                both.write_text("-1")
            (memory / "memory.limit_in_bytes").write_text(str(memory_bytes))
            if both.exists():
                both.write_text(str(memory_bytes))
        else:
            (memory / "memory.max").write_text(str(memory_bytes))
            if (memory / "memory.swap.max").exists():
                (memory / "memory.swap.max").write_text("0")
        beside = 0 if self.birth is None else 2  # v2: process 1, which may have a second thread
        (pids / "pids.max").write_text(str(tasks + beside))


class Groups:
    """The control groups of one Sandbox. Thread-safe."""

    def __init__(self, parents: Mapping[str, Path], is_v2: bool) -> None:
        self._v2 = is_v2
        self._lock = threading.Lock()
        self._count = 0
        self._closed = False
        self._run_uid = os.getuid()
        self._free: deque[Slot] = deque()
        self._parents = parents
        self._folders: dict[str, Path] = {}
        self._leases: list[int] = []
        self.parent_fds: list[tuple[int, str]] = []
        """(descriptor of the parent, name) of each group: a launcher removes them if this process is killed."""

    @classmethod
    def find(cls, run_uid: int) -> Groups | None:
        """Make the groups; return None if this user may not, or if the controllers are missing.

        Args:
            run_uid: the user that launchers become.
        """
        for parents, is_v2 in _candidates():
            groups = cls(parents, is_v2)
            try:
                groups._make(run_uid)
                groups._free.append(groups._new_slot())
                return groups
            except OSError:
                groups.close()
        return None

    def adopt_launcher(self, pid: int) -> None:
        """v2: put the launcher into a group of its own, so that it may start processes in a slot. Raises OSError."""
        if self._v2:
            (self._folders["memory"] / "launcher/cgroup.procs").write_text(str(pid))

    def acquire(self, memory_bytes: int, tasks: int) -> Slot:
        """Return an empty slot with these limits. Raises OSError."""
        while slot := self._pop():
            try:
                slot.begin(memory_bytes + _NEEDED_BESIDE_BYTES, tasks)
                return slot
            except OSError:  # the last run left more charged than this one may have
                self._drop(slot)
        slot = self._new_slot()
        try:
            slot.begin(memory_bytes + _NEEDED_BESIDE_BYTES, tasks)
        except OSError:
            self._drop(slot)
            raise
        return slot

    def release(self, slot: Slot, handle: int | None) -> None:
        """Give the slot back. `handle`, a pidfd that the slot now owns, shows when its last process is gone."""
        slot.handle = handle
        with self._lock:
            if self._closed:
                self._drop(slot)
            else:
                self._free.append(slot)

    def close(self) -> None:
        """Remove all groups. No run may be in progress."""
        with self._lock:
            self._closed = True
            while self._free:
                self._drop(self._free.popleft())
            for parent, name in self.parent_fds:
                remove_groups(parent, name)
                os.close(parent)
            self.parent_fds = []
            for fd in self._leases:
                os.close(fd)
            self._leases = []

    def _make(self, run_uid: int) -> None:
        for parent in dict.fromkeys(self._parents.values()):
            parent_fd = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            for left in leases.abandoned(parent):
                remove_groups(parent_fd, left.name)
            try:
                path, lease = leases.take(parent)
            except OSError:
                os.close(parent_fd)
                raise
            self._leases.append(lease)
            self.parent_fds.append((parent_fd, path.name))
            self._folders |= {name: path for name, folder in self._parents.items() if folder == parent}
            if self._v2:
                (path / "cgroup.subtree_control").write_text("+memory +pids")
                (path / "launcher").mkdir()
                self._run_uid = run_uid
                self._give(path)

    def _give(self, folder: Path) -> None:
        """Let the launcher's user move its own processes between the groups here, but change no limit."""
        if self._run_uid != os.getuid():
            os.chown(folder / "cgroup.procs", self._run_uid, -1)

    def _pop(self) -> Slot | None:
        """Return a slot whose last run is gone, or None. If several are just ending, wait a moment for one."""
        give_up = time.monotonic() + _PATIENCE_S
        while True:
            with self._lock:
                for _ in range(len(self._free)):
                    slot = self._free.popleft()
                    if slot.handle is None or _has_ended(slot.handle):
                        if slot.handle is not None:
                            os.close(slot.handle)
                            slot.handle = None
                        return slot
                    self._free.append(slot)
                if len(self._free) < _ENOUGH or time.monotonic() > give_up:
                    return None
            time.sleep(0.002)

    def _new_slot(self) -> Slot:
        with self._lock:
            self._count += 1
            name = f"run-{self._count}"
        folders = {controller: folder / name for controller, folder in self._folders.items()}
        with contextlib.ExitStack() as undo:
            for folder in set(folders.values()):
                folder.mkdir()
                undo.callback(folder.rmdir)

            def opened(path: Path, flags: int) -> int:
                fd = os.open(path, flags | os.O_CLOEXEC)
                undo.callback(os.close, fd)
                return fd

            memory, pids = folders["memory"], folders["pids"]
            oom_file = "memory.events" if self._v2 else "memory.oom_control"
            join = {}
            if self._v2:
                self._give(memory)
            else:
                join = {f"join_{name}": opened(path / "tasks", os.O_WRONLY) for name, path in folders.items()}
            slot = Slot(
                folders,
                join,
                opened(memory, os.O_RDONLY | os.O_DIRECTORY) if self._v2 else None,
                opened(memory / oom_file, os.O_RDONLY),
                opened(pids / "pids.events", os.O_RDONLY),
            )
            undo.pop_all()
        return slot

    def _drop(self, slot: Slot) -> None:
        for fd in (slot.birth, slot.oom, slot.pids, slot.handle, *slot.join.values()):
            if fd is not None:
                os.close(fd)
        for folder in set(slot.folders.values()):
            with contextlib.suppress(OSError):  # still busy: close() will remove it
                folder.rmdir()


def _has_ended(handle: int) -> bool:
    poller = select.poll()  # not select(), which accepts no descriptor above 1023
    poller.register(handle, select.POLLIN)
    return bool(poller.poll(0))


def _candidates() -> Iterator[tuple[Mapping[str, Path], bool]]:
    """Yield groups below which new ones may be made: v1, this process's own; v2, the nearest with both controllers."""
    own: dict[str, str] = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        own |= dict.fromkeys(controllers.split(","), path)
    mounts = _mounts()
    if all(name in mounts and name in own for name in _CONTROLLERS):
        yield {name: _below(mounts[name], own[name]) for name in _CONTROLLERS}, False
    if "" in mounts and "" in own:
        start = _below(mounts[""], own[""])
        for folder in (start, *start.parents):
            with contextlib.suppress(OSError):
                if set(_CONTROLLERS) <= set((folder / "cgroup.subtree_control").read_text().split()):
                    yield dict.fromkeys(_CONTROLLERS, folder), True
                    return


def _mounts() -> dict[str, tuple[Path, str]]:
    """Map each controller ("" for v2) to (mount point, the group that is mounted there)."""
    found: dict[str, tuple[Path, str]] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        _, _, _, root, point = before.split()[:5]
        kind, _, options = after.split()[:3]
        if kind == "cgroup2":
            found.setdefault("", (Path(point), root))
        elif kind == "cgroup":
            for name in options.split(","):
                found.setdefault(name, (Path(point), root))
    return found


def _below(mount: tuple[Path, str], group: str) -> Path:
    """Return the path of the group. A container may show only its own subtree, as the mount's root."""
    point, root = mount
    if root != "/" and (group == root or group.startswith(f"{root}/")):
        group = group.removeprefix(root)
    path = point / group.lstrip("/")
    return path if path.is_dir() else point
