"""One run as its process 1 sees it: the request, the files copied in and out, and the messages to the owner.

Messages on the job socket (SOCK_SEQPACKET, JSON): owner → request with descriptors → "started" → report. Any
further message from the owner, or the end of the owner, stops the run. Runs inside the launcher: standard library only.
"""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Mapping
from typing import Any

Message = dict[str, Any]
"""JSON from the owner: a config or a request. The values are Any because each key has its own type."""

_MAX_COLLECTED = 256
_MAX_NAMES = 1 << 16
"""Most bytes of JSON for the names of collected files: a report has to fit into one message."""
_MAX_FDS = 16


class Job:
    """A request received from the owner.

    `fds` maps roles to the request's descriptors. The roles are stdin, stdout, stderr and files; if the request names
    them, also collect (the file to copy new files into), join* (cgroup v1 files to write "0" to), and oom and pids
    (the kernel's counts of what it refused the cgroup).
    """

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        data, fds, flags, _ = socket.recv_fds(channel, 1 << 18, _MAX_FDS)
        if not data or flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            os._exit(0)  # the owner went away
        self.request: Message = json.loads(data)
        self.fds: dict[str, int] = dict(zip(self.request["fds"], fds, strict=True))

    def send(self, message: Mapping[str, object]) -> None:
        """Send `message` to the owner. If the owner is gone, exit: nobody needs the run any more."""
        try:
            self.channel.send(json.dumps(message).encode())
        except OSError:
            os._exit(0)

    def join_cgroups(self) -> None:
        """Move this single-threaded process into the run's control groups.

        Writing "0" to cgroup v1's `tasks` does not wait for other cores; writing a pid would.
        """
        for role, fd in self.fds.items():
            if role.startswith("join"):
                os.write(fd, b"0")

    def leave_cgroups(self) -> None:
        """Close the control groups' descriptors in process 1.

        Process 1 stays outside the groups, so that no limit that the program reaches can stop it.
        """
        for role in [role for role in self.fds if role.startswith("join")]:
            os.close(self.fds.pop(role))

    def write_files(self, work: str, uid: int | None) -> None:
        """Write the program's files into the directory `work`, owned by `uid` if that is given.

        Raises:
            ValueError: a name is not that of a file directly in `work`.
            OSError: a file cannot be written, or is shorter than announced.
        """
        offset = 0
        for name, size, mode in self.request["files"]:
            if "/" in name or name in ("", ".", ".."):
                raise ValueError(f"bad file name {name!r}")
            path = f"{work}/{name}"
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
            try:
                _copy(fd, self.fds["files"], offset, size)
                if uid is not None:
                    os.fchown(fd, uid, uid)
            finally:
                os.close(fd)
            offset += size

    def collect(self, work: str) -> list[tuple[str, int, int]] | None:
        """Copy the new top-level files of the directory `work` out, and return (name, bytes, mode) of each.

        Called after the end of all processes. Returns None if the files are too large or too many, or if one of them is
        not a regular file.
        """
        files: list[tuple[str, int, int]] = []
        left, left_names = int(self.request["collect_bytes"]), _MAX_NAMES
        given = {name for name, _, _ in self.request["files"]}
        for entry in sorted(os.scandir(work), key=lambda entry: entry.name):
            if entry.name in given or not entry.is_file(follow_symlinks=False):
                continue
            fd = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                found = os.fstat(fd)
                left -= found.st_size
                left_names -= len(json.dumps(entry.name))
                if (
                    not stat.S_ISREG(found.st_mode)
                    or min(left, left_names) < 0
                    or len(files) == _MAX_COLLECTED
                ):
                    return None
                _copy(self.fds["collect"], fd, 0, found.st_size)
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
