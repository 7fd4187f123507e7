"""The owner's handle on a launcher process (`zygote_child.py`): start it, ask for runs, end it."""

from __future__ import annotations

import contextlib
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
from pathlib import Path

from rewards.sandbox.errors import SandboxUnavailable
from rewards.sandbox.seccomp import MACHINES, build_filter

_SCRIPT = Path(__file__).with_name("zygote_child.py")
_START_TIMEOUT_S = 30.0
_ANSWER_TIMEOUT_S = 10.0
_LEAVE_TIMEOUT_S = 5.0
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8"}


class LauncherGone(Exception):
    """The launcher died or does not answer; a new one may be started."""


class Launcher:
    """One launcher. `open_job` may be called by several threads at once.

    Raises:
        SandboxUnavailable: the host refuses what the launcher needs; the message says what.
    """

    def __init__(self, binds: Sequence[str]) -> None:
        machine = os.uname().machine
        if machine not in MACHINES:
            raise SandboxUnavailable(
                f"no system-call filter for {machine} (there is one for {', '.join(MACHINES)})"
            )
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        try:
            self._process = subprocess.Popen(
                [python_path(), "-I", "-S", str(_SCRIPT), str(theirs.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                cwd="/",
                env=ENVIRONMENT,
            )
        except OSError as error:
            self._control.close()
            raise SandboxUnavailable(f"the launcher cannot be started: {error}") from error
        finally:
            theirs.close()
        config = {
            "binds": _resolve([*_python_binds(), *binds]),
            "uid": free_uid() if os.getuid() == 0 else os.getuid(),
            "seccomp": build_filter(machine).hex(),
        }
        try:
            self._control.send(json.dumps(config).encode())
            answer = _receive(self._control, _START_TIMEOUT_S)
        except (OSError, LauncherGone) as error:
            self.close()
            raise SandboxUnavailable(f"the launcher did not start: {error}") from error
        if "error" in answer:
            self.close()
            raise SandboxUnavailable(f"namespaces are refused here: {answer['error']}")

    def open_job(self) -> tuple[socket.socket, int]:
        """A new sandbox, not yet told what to run: its job socket and a pidfd of its process 1.

        Raises:
            LauncherGone: the launcher is dead, or the kernel refused the namespaces.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            try:
                socket.send_fds(self._control, [b"run"], [theirs.fileno()])
            finally:
                theirs.close()
            if not _is_readable(ours, _ANSWER_TIMEOUT_S):
                raise LauncherGone("no answer")
            data, handles, _, _ = socket.recv_fds(ours, 4096, 1)
        except (OSError, LauncherGone) as error:
            ours.close()
            raise LauncherGone(str(error)) from error
        if not handles:
            ours.close()
            raise LauncherGone(json.loads(data)["error"] if data else "the launcher died")
        return ours, handles[0]

    def is_alive(self) -> bool:
        """The process runs, as far as can be seen."""
        return self._process.poll() is None

    def close(self) -> None:
        """End it and every run in it."""
        with self._lock:
            self._control.close()
            try:
                self._process.wait(_LEAVE_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._process.pid, signal.SIGKILL)  # process 1 inside dies with it
                self._process.wait()


def python_path() -> str:
    """The interpreter below any virtual environment: it and its standard library are all that a sandbox sees."""
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))


def free_uid() -> int:
    """A user id for programs started by root: mapped in this user namespace, and nobody's."""
    for candidate in (2_113_929_216, 64_917, 60_917):
        if _is_mapped(candidate):
            with contextlib.suppress(KeyError):
                pwd.getpwuid(candidate)
                continue
            return candidate
    raise SandboxUnavailable("no free user id is mapped here; start as an ordinary user")


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
    """(real source, target) of those that exist and that /usr does not hold already, each once, parents first."""
    found: dict[str, str] = {}
    for target in sorted(set(binds)):
        source = os.path.realpath(target)
        inside = any(target == shown or target.startswith(f"{shown}/") for shown in ["/usr", *found])
        if os.path.exists(source) and not inside:
            found[target] = source
    return [(source, target) for target, source in found.items()]


def _is_readable(channel: socket.socket, timeout_s: float) -> bool:
    poller = select.poll()
    poller.register(channel, select.POLLIN)
    return bool(poller.poll(timeout_s * 1000))


def _receive(channel: socket.socket, timeout_s: float) -> Mapping[str, str]:
    if not _is_readable(channel, timeout_s):
        raise LauncherGone(f"no answer in {timeout_s:g} s")
    data = channel.recv(1 << 18)
    if not data:
        raise LauncherGone("it died")
    answer: Mapping[str, str] = json.loads(data)
    return answer
