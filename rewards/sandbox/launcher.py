"""The owner's handle on a launcher process (`child/zygote.py`): start it, request runs, end it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pwd
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from policies.json_types import JsonDict
from rewards.sandbox.cgroups import Groups
from rewards.sandbox.errors import SandboxUnavailable
from rewards.sandbox.seccomp import MACHINES, build_filter
from rewards.sandbox.settings import TierName

_SCRIPT = Path(__file__).parent / "child" / "zygote.py"
_START_TIMEOUT_S = 30.0
_ANSWER_TIMEOUT_S = 10.0
_LEAVE_TIMEOUT_S = 10.0
_SLOT_USERS = 256
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8"}
_HASH_SEED = {"PYTHONHASHSEED": "0"}
"""A fixed seed: a zygote's programs share one anyway, and so a program prints a set in the same order every time."""
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_PUBLIC_FILES = ("/etc/ssl/openssl.cnf", "/etc/localtime")
"""Files that node and others need to read, if they exist."""


class LauncherGone(Exception):
    """Raised if the launcher died or does not answer. Nothing was run, and a new launcher may be started."""


class LauncherRefused(LauncherGone):
    """Raised if the launcher is alive, but the kernel refused it this run."""


@dataclass(frozen=True)
class Start:
    """The parameters with which a launcher is started."""

    tier: TierName
    uids: Sequence[int] = ()
    """Root only: the user ids that programs may run as."""
    groups: Groups | None = None
    base: Path | None = None
    """Weaker tiers: the folder for work directories if the launcher may not mount."""
    serves_many: bool = True
    """False if the launcher is for a single run, which imports for itself what it uses."""
    modules: Mapping[str, str] = field(default_factory=dict)
    """Packages that Python programs may import: name → folder or file, all among the launcher's binds."""


class Launcher:
    """One launcher. Several threads may call `open_job` at once.

    Args:
        binds: host paths that programs need besides /usr.

    Raises:
        SandboxUnavailable: the host refuses what the launcher needs; the message says what.
    """

    def __init__(self, start: Start, binds: Sequence[str]) -> None:
        machine = os.uname().machine
        if machine not in MACHINES:
            raise SandboxUnavailable(
                f"no system-call filter for {machine} (there is one for {', '.join(MACHINES)})"
            )
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if theirs.fileno() <= 2:  # the caller closed its standard streams, whose numbers the child needs
            with theirs as low:
                theirs = socket.socket(fileno=fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, 3))
        self._control.settimeout(_ANSWER_TIMEOUT_S)
        self._lock = threading.Lock()
        self._broken = False
        groups = start.groups.parent_fds if start.groups else []
        try:
            self._process = subprocess.Popen(
                [python_path(), "-s", "-P", "-S", str(_SCRIPT), str(theirs.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), *(fd for fd, _ in groups)),
                start_new_session=True,
                cwd="/",
                env=ENVIRONMENT | _HASH_SEED,
            )
        except OSError as error:
            self._control.close()
            raise SandboxUnavailable(f"the launcher cannot be started: {error}") from error
        finally:
            theirs.close()
        try:
            if start.groups:
                start.groups.adopt_launcher(self._process.pid)
            self._control.send(json.dumps(_config(start, machine, binds)).encode())
            self.facts = _receive(self._control, _START_TIMEOUT_S)
        except (OSError, LauncherGone) as error:
            self.close()
            raise SandboxUnavailable(f"the launcher did not start: {error}") from error
        if "error" in self.facts:
            self.close()
            raise SandboxUnavailable(self.facts["error"])

    @property
    def pid(self) -> int:
        """Return the id of the launcher process."""
        return self._process.pid

    def open_job(self, birth_cgroup: int | None = None) -> tuple[socket.socket, int]:
        """Start a new sandbox that waits for its job; return its job socket and a pidfd of its process 1.

        Args:
            birth_cgroup: descriptor of the cgroup v2 folder in which process 1 starts.

        Raises:
            LauncherGone: the launcher is dead.
            LauncherRefused: the kernel refused it the new process.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        fds = [theirs.fileno()] if birth_cgroup is None else [theirs.fileno(), birth_cgroup]
        try:
            try:
                with self._lock:
                    socket.send_fds(self._control, [b"run"], fds)
            finally:
                theirs.close()
            if not _is_readable(ours, _ANSWER_TIMEOUT_S):
                raise LauncherGone("the launcher does not answer")
            data, handles, _, _ = socket.recv_fds(ours, 4096, 1)
            if not data:
                raise LauncherGone("the launcher died")
        except (OSError, LauncherGone) as error:
            ours.close()
            self._broken = True
            raise LauncherGone(str(error)) from error
        if not handles:
            ours.close()
            raise LauncherRefused(json.loads(data).get("error", "no handle came"))
        return ours, handles[0]

    def is_usable(self) -> bool:
        """Return whether the launcher runs, as far as this process can see."""
        return not self._broken and self._process.poll() is None

    def close(self) -> None:
        """End the launcher and every run in it. Safe to call twice."""
        with self._lock:
            with contextlib.suppress(OSError):
                self._control.shutdown(
                    socket.SHUT_RDWR
                )  # a fork of this process may hold a copy of the socket
            self._control.close()
        try:
            self._process.wait(_LEAVE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)  # process 1 of its namespace dies with it
            self._process.wait()

    def disown(self) -> None:
        """Close the copy in a fork, and leave the launcher to its owner."""
        self._control.close()
        self._process.returncode = 0  # not a child of this process: there is nothing to wait for


def _config(start: Start, machine: str, binds: Sequence[str]) -> JsonDict:
    shares_host = start.tier != "namespaces"
    same_user = shares_host and not start.uids
    is_counted = start.groups is not None
    resolved = _resolve([*_python_binds(), *binds])
    modules = dict(start.modules)
    if not shares_host:
        beside = {os.path.dirname(where) for where in modules.values()}
        resolved = [(s, _seen_inside(t) if os.path.dirname(t) in beside else t) for s, t in resolved]
        modules = {name: _seen_inside(where) for name, where in modules.items()}
    return {
        "tier": start.tier,
        "binds": resolved,
        "uids": list(start.uids),
        "filters": {
            "run": build_filter(machine, shares_host, same_user, is_counted).hex(),
            "compile": build_filter(machine, shares_host, is_counted=is_counted).hex(),
        },
        "readable": [*_SYSTEM, *_PUBLIC_FILES, *dict.fromkeys(path for bind in resolved for path in bind)],
        "is_counted": is_counted,
        "serves_many": start.serves_many,
        "modules": modules,
        "base": str(start.base) if start.base else "",
        "groups": start.groups.parent_fds if start.groups else [],
    }


def python_path() -> str:
    """Return the interpreter below any virtual environment: a sandbox sees only that and its standard library."""
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))


def program_uids() -> list[int]:
    """Return user ids for programs started by root: mapped in this user namespace, and used by nobody.

    Returns an empty list for ordinary users. Root of a user namespace that maps only itself (a rootless container)
    counts as an ordinary user of the host.

    Raises:
        SandboxUnavailable: this process is root of the host, and no other user id is available.
    """
    if os.getuid() != 0 or _is_root_in_name_alone():
        return []
    for first in (2_113_929_216, 64_512, 60_000):
        uids = [uid for uid in range(first, first + _SLOT_USERS) if _is_mapped(uid) and not _is_known(uid)]
        if uids:
            return uids
    raise SandboxUnavailable("no free user id is mapped here; start as an ordinary user")


def _is_root_in_name_alone() -> bool:
    inside, outside, count = map(int, Path("/proc/self/uid_map").read_text().split()[:3])
    return inside == 0 and outside != 0 and count == 1


def _is_known(uid: int) -> bool:
    with contextlib.suppress(KeyError):
        pwd.getpwuid(uid)
        return True
    return False


def _is_mapped(uid: int) -> bool:
    for line in Path("/proc/self/uid_map").read_text().splitlines():
        first, _, count = map(int, line.split())
        if first <= uid < first + count:
            return True
    return False


def _python_binds() -> Iterator[str]:
    prefix = os.path.realpath(sys.base_prefix)
    for name in ("bin", "lib"):
        yield f"{prefix}/{name}"
    yield from ("/etc/alternatives", "/etc/ld.so.cache")


def _resolve(binds: Sequence[str]) -> list[tuple[str, str]]:
    """Return (real source, target) of the existing paths outside /usr, each once, parents first."""
    found: dict[str, str] = {}
    for target in sorted(set(binds)):
        source = os.path.realpath(target)
        inside = any(target == shown or target.startswith(f"{shown}/") for shown in ["/usr", *found])
        if os.path.exists(source) and not inside:
            found[target] = source
    return [(source, target) for target, source in found.items()]


def _seen_inside(package: str) -> str:
    """Return where a sandbox shows a package of the host: elsewhere if each run's own /tmp would hide it."""
    return f"/packages{package}" if package.startswith("/tmp/") else package


def _is_readable(channel: socket.socket, timeout_s: float) -> bool:
    poller = select.poll()
    poller.register(channel, select.POLLIN)
    return bool(poller.poll(timeout_s * 1000))


def _receive(channel: socket.socket, timeout_s: float) -> JsonDict:
    if not _is_readable(channel, timeout_s):
        raise LauncherGone(f"no answer in {timeout_s:g} s")
    data = channel.recv(1 << 18)
    if not data:
        raise LauncherGone("it died")
    answer: JsonDict = json.loads(data)
    return answer
