"""Things on the host that a hostile program could reach for. The harness makes them before and checks them after."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from resource import RLIMIT_NOFILE, prlimit

from rewards.sandbox.child.process_tree import remove_tree

ENV_NAME = "GRPO_ESCAPE_CANARY"
_IPC_PRIVATE, _IPC_RMID, _SHM_BYTES = 0, 0, 4096
_MESSAGE_BYTES = 4096
_NOTHING = "/nonexistent"
_OWN_FOLDERS = ("/", "/tmp", "/etc", "/dev", "/dev/shm")
"""Folders that a sandbox makes for itself (rewards/sandbox/child/rootfs.py): what is in them is not the host's."""
_READABLE = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/proc")
"""Folders that programs may read, beside the interpreter's."""


class Canaries:
    """Files, a process, listening sockets and shared memory, each open to everybody and with a secret in each.

    Make them before opening the sandbox: the environment and a descriptor left inheritable are canaries too.
    """

    def __init__(self) -> None:
        self.nonce = f"esc{secrets.token_hex(5)}"
        """Part of the names that programs give to what they leave: 13 characters, which fit into a process name."""
        self.secrets: dict[str, bytes] = {
            name: f"{name}-{secrets.token_hex(16)}".encode()
            for name in ("file", "environment", "process", "segment", "expected")
        }
        """The secrets that no output may contain, by where they are. "expected" is only in this process's memory."""
        self._stack = contextlib.ExitStack()
        try:
            self._make()
        except BaseException:
            self.close()
            raise

    def _make(self) -> None:
        # Not in /tmp, which a sandbox replaces anyway: this tests how it protects other folders.
        parent = "/var/tmp" if os.access("/var/tmp", os.W_OK | os.X_OK) else None
        self._folder = Path(tempfile.mkdtemp(prefix="grpo-canaries-", dir=parent))
        self._stack.callback(remove_tree, str(self._folder))
        self._folder.chmod(0o755)
        self._sockets = _Sockets(self._folder / "socket", self.nonce)
        self._stack.callback(self._sockets.close)
        self._files = _Files(self._folder, self.nonce, self.secrets["file"])
        os.environ[ENV_NAME] = self.secrets["environment"].decode()
        self._stack.callback(os.environ.pop, ENV_NAME, None)
        inherited = os.open(self._files.secret, os.O_RDONLY)
        os.set_inheritable(inherited, True)
        self._stack.callback(os.close, inherited)
        self._process = _Process(self.secrets["process"])
        self._stack.callback(lambda: self._process.close())
        self._segments = _Segments(self.nonce, self.secrets["segment"])
        self._stack.callback(self._segments.close)

    def tokens(self) -> dict[str, str]:
        """Return the current values of `@NAME@` in a program's text, by name."""
        return {
            "NONCE": self.nonce,
            "SECRET_FILE": str(self._files.secret),
            "OPEN_FILE": str(self._files.open_file),
            "OPEN_FOLDER": str(self._files.open_folder),
            "PID": str(self._process.pid),
            "ENV_NAME": ENV_NAME,
            "CWD": _of_the_host(_cwd()),
            "PROJECT": _of_the_host(str(Path(__file__).resolve().parents[3])),
            **self._sockets.tokens(),
            **self._segments.tokens(),
        }

    def disturbed(self) -> list[str]:
        """Return what happened to the canaries since the last call, and restore them."""
        found = [*self._files.changes(), *self._sockets.visits(), *self._segments.changes()]
        if harm := self._process.harm():
            found += harm
            self._process.close()
            self._process = _Process(self.secrets["process"])
        return found

    def close(self) -> None:
        """Remove all canaries."""
        self._stack.close()

    def __enter__(self) -> Canaries:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Files:
    """A secret that everybody may read, and a file and a folder that everybody may change."""

    def __init__(self, folder: Path, nonce: str, secret: bytes) -> None:
        self._top, self._content = folder, secret
        self.secret = folder / f"secret-{nonce}"
        self.open_file = folder / "open"
        self.open_folder = folder / "folder"
        self._plant()

    def _plant(self) -> None:
        for path in self._top.iterdir():
            if path.name != "socket":
                remove_tree(str(path)) if path.is_dir() and not path.is_symlink() else path.unlink()
        self.open_folder.mkdir()
        self.open_folder.chmod(0o777)
        for path, mode in ((self.secret, 0o644), (self.open_file, 0o666), (self.open_folder / "kept", 0o666)):
            path.write_bytes(self._content)
            path.chmod(mode)
        self._before = self._look()

    def changes(self) -> Iterator[str]:
        now = self._look()
        changed = sorted(path for path in {*now, *self._before} if now.get(path) != self._before.get(path))
        yield from (f"the host's file {path} was changed, made or removed" for path in changed)
        if changed:
            self._plant()

    def _look(self) -> dict[str, object]:
        found: dict[str, object] = {}
        for folder, folders, files in os.walk(self._top):
            for name in (*folders, *files):
                path = os.path.join(folder, name)
                facts = os.lstat(path)
                content: bytes | None = None
                if stat.S_ISREG(facts.st_mode):
                    with contextlib.suppress(OSError):  # its mode was changed, which the comparison shows
                        content = Path(path).read_bytes()
                attributes = [] if os.path.islink(path) else os.listxattr(path)
                times = None if name in folders else facts.st_mtime_ns
                found[os.path.relpath(path, self._top)] = (
                    facts.st_mode, facts.st_uid, facts.st_nlink, times, content, attributes,
                )  # fmt: skip
        return found


class _Process:
    """A process of this user with a secret in its environment. It ends with this one, the only writer to its input."""

    def __init__(self, secret: bytes) -> None:
        self._popen = subprocess.Popen(
            ["cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env={"PATH": "/usr/bin:/bin", ENV_NAME: secret.decode()},
            start_new_session=True,
        )
        self._before = self._look()

    @property
    def pid(self) -> int:
        return self._popen.pid

    def _look(self) -> dict[str, object]:
        return {
            "priority": os.getpriority(os.PRIO_PROCESS, self.pid),
            "scheduler": os.sched_getscheduler(self.pid),
            "processors": os.sched_getaffinity(self.pid),
            "limits": prlimit(self.pid, RLIMIT_NOFILE),
        }

    def harm(self) -> list[str]:
        code = self._popen.poll()
        if code is not None:
            return [f"a process of the host was ended (exit code {code})"]
        state = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
        if state in "Tt":
            return ["a process of the host was stopped"]
        return [f"the {name} of a process of the host changed" for name, value in self._look().items()
                if value != self._before[name]]  # fmt: skip

    def close(self) -> None:
        self._popen.kill()
        self._popen.send_signal(signal.SIGCONT)
        assert self._popen.stdin is not None
        self._popen.stdin.close()
        self._popen.wait()


class _Sockets:
    """Servers that everybody may connect to."""

    def __init__(self, path: Path, nonce: str) -> None:
        self._path, self._nonce = path, nonce
        self._listening: dict[str, socket.socket] = {}
        self._receiving: dict[str, socket.socket] = {}
        try:
            self._listen("TCP", socket.AF_INET, ("127.0.0.1", 0))
            with contextlib.suppress(OSError):  # a host without IPv6
                self._listen("TCP over IPv6", socket.AF_INET6, ("::1", 0))
            self._listen("unix", socket.AF_UNIX, str(path))
            path.chmod(0o666)
            self._listen("abstract unix", socket.AF_UNIX, f"\0{nonce}")
            self._receive("UDP", socket.AF_INET, ("127.0.0.1", 0))
            self._receive("abstract unix datagram", socket.AF_UNIX, f"\0{nonce}.dgram")
        except BaseException:
            self.close()
            raise

    def _listen(self, name: str, family: int, address: object) -> None:
        server = socket.socket(family, socket.SOCK_STREAM)
        self._listening[name] = server
        server.bind(address)  # type: ignore[arg-type]
        server.listen(64)
        server.setblocking(False)

    def _receive(self, name: str, family: int, address: object) -> None:
        server = socket.socket(family, socket.SOCK_DGRAM)
        self._receiving[name] = server
        server.bind(address)  # type: ignore[arg-type]
        server.setblocking(False)

    def tokens(self) -> dict[str, str]:
        tcp = self._listening["TCP"].getsockname()[1]
        tcp6 = (
            self._listening["TCP over IPv6"].getsockname()[1] if "TCP over IPv6" in self._listening else tcp
        )
        udp = self._receiving["UDP"].getsockname()[1]
        return {
            "TCP": str(tcp),
            "TCP6": str(tcp6),
            "UDP": str(udp),
            "UNIX": str(self._path),
            "ABSTRACT": self._nonce,
        }

    def visits(self) -> Iterator[str]:
        for name, server in self._listening.items():
            with contextlib.suppress(BlockingIOError):
                while True:
                    server.accept()[0].close()
                    yield f"the host's {name} server was connected to"
        for name, server in self._receiving.items():
            with contextlib.suppress(BlockingIOError):
                while True:
                    server.recv(_MESSAGE_BYTES)
                    yield f"the host's {name} server was sent something"

    def close(self) -> None:
        for server in (*self._listening.values(), *self._receiving.values()):
            server.close()


class _Segments:
    """Shared memory of both kinds. The System V segment is removed at once and lives as long as it is attached."""

    def __init__(self, nonce: str, secret: bytes) -> None:
        self._secret = secret
        self._libc = libc = ctypes.CDLL(None, use_errno=True)
        libc.shmat.restype = ctypes.c_void_p
        libc.shmat.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
        libc.shmdt.argtypes = (ctypes.c_void_p,)
        self._id = libc.shmget(_IPC_PRIVATE, _SHM_BYTES, 0o666)
        self._at = libc.shmat(self._id, None, 0) if self._id >= 0 else None
        if self._at is not None and self._at != ctypes.c_void_p(-1).value:
            libc.shmctl(self._id, _IPC_RMID, None)
        else:  # a host without System V shared memory
            self._id, self._at = -1, None
        self._file = Path("/dev/shm", nonce)
        self._plant()

    def _plant(self) -> None:
        if self._at is not None:
            ctypes.memmove(self._at, self._secret + b"\0", len(self._secret) + 1)
        with contextlib.suppress(OSError):  # a host without /dev/shm
            self._file.unlink(missing_ok=True)
            self._file.write_bytes(self._secret)
            self._file.chmod(0o666)
        self._has_file = self._file.exists()

    def tokens(self) -> dict[str, str]:
        return {"SHM": str(self._id), "POSIX_SHM": self._file.name}

    def changes(self) -> Iterator[str]:
        changed = False
        if self._at is not None and ctypes.string_at(self._at, len(self._secret)) != self._secret:
            changed = True
            yield "the host's System V shared memory was changed"
        if self._has_file and not (self._file.exists() and self._file.read_bytes() == self._secret):
            changed = True
            yield "the host's POSIX shared memory was changed"
        if changed:
            self._plant()

    def close(self) -> None:
        if self._at is not None:
            self._libc.shmdt(self._at)
        with contextlib.suppress(OSError):
            self._file.unlink(missing_ok=True)


def _cwd() -> str:
    """Return the current folder; the name of nothing if it was removed."""
    try:
        return os.getcwd()
    except OSError:
        return _NOTHING


def _of_the_host(folder: str) -> str:
    """Return a folder; the name of nothing if a sandbox has one of that name, its own or one that it may read."""
    readable = (*_READABLE, sys.prefix, sys.base_prefix)
    if folder in _OWN_FOLDERS or any(folder == path or folder.startswith(f"{path}/") for path in readable):
        return _NOTHING
    return folder
