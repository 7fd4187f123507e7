"""Build the file system that sandboxed programs see.

It is built once per launcher; each run adds its own /tmp, /dev/shm and /proc.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Sequence

from rewards.sandbox.child.system import (
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_REC,
    mount,
    pivot_root,
    set_mount_flags,
    unmount,
)

_OLD = "/.host"
DEVICES = ("null", "zero", "full", "random", "urandom")
_SYSTEM_LINKS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_KEY_LISTS = ("/proc/keys", "/proc/key-users")
_SHM_BYTES = 16 * 1024 * 1024
MAX_FILES = 16384
_ENDLESS = 1 << 62


def build_root(binds: Sequence[tuple[str, str]], is_counted: bool) -> None:
    """Replace the root by a small read-only one.

    Needs a mount and a pid namespace of its own, and CAP_SYS_ADMIN there.

    Args:
        binds: pairs (real path on the host, path inside), bound read-only with everything mounted below them.
        is_counted: whether a control group counts all memory. If not, /dev/zero is an endless file of zeros instead of
            the device, because a shared mapping of the device is memory that no process shows.

    Raises:
        OSError: the host refuses a step; the process must not be used any further.
    """
    base = next(path for path in ("/tmp", "/mnt", "/var", "/usr") if os.path.isdir(path))
    mount("none", "/", flags=MS_REC | MS_PRIVATE)
    mount("tmpfs", base, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=1m,nr_inodes=4096")
    os.mkdir(base + _OLD)
    pivot_root(base, base + _OLD)
    os.chdir("/")
    for name in ("proc", "dev", "dev/shm", "tmp", "etc"):
        os.mkdir(f"/{name}", 0o755)
    # Do this before unmounting the old root: the kernel allows a new proc only where a complete one is visible.
    mount_proc()
    for source, target in [("/usr", "/usr"), *_system_directories(), *binds]:
        _bind(source, target)
    for name in DEVICES:
        if name == "zero" and not is_counted:
            with open("/dev/zero", "wb") as zeros:
                bound = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
                zeros.truncate(_ENDLESS if bound == resource.RLIM_INFINITY else bound)
        else:
            _bind_file(f"/dev/{name}", f"/dev/{name}")
    for name, link in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        os.symlink(f"/proc/self/fd{link}", f"/dev/{name}")
    unmount(_OLD)
    os.rmdir(_OLD)
    set_mount_flags("/", MOUNT_ATTR_RDONLY, recursive=False)


def mount_proc() -> None:
    """Mount a /proc that shows the pid namespace of this process, which must be a new one."""
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)


def hide_keys() -> None:
    """Hide /proc/keys and /proc/key-users in the mount namespace of one run.

    No namespace hides the names of the host user's keys from /proc.
    """
    for name in _KEY_LISTS:
        if os.path.exists(name):  # a kernel without keyrings has no such files
            mount("/dev/null", name, flags=MS_BIND)


def mount_private(tmp_bytes: int, uid: int | None) -> None:
    """Mount a private /tmp and /dev/shm, limited in bytes and inodes, in the mount namespace of one run.

    Args:
        tmp_bytes: the size of /tmp; /dev/shm is at most that large.
        uid: the owner of both; None for this process's user.
    """
    for path, size in (("/tmp", tmp_bytes), ("/dev/shm", min(tmp_bytes, _SHM_BYTES))):
        options = f"mode=0755,size={size},nr_inodes={MAX_FILES}"
        if uid is not None:
            options += f",uid={uid},gid={uid}"
        mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, options)


def make_reachable(paths: Sequence[str]) -> None:
    """Give other users access to paths below directories that they may not enter (a toolchain in root's home).

    Covers each such directory, in this mount namespace only, by an empty one in which only `paths` appear, read-only.
    Needs a mount namespace of its own and CAP_SYS_ADMIN.
    """
    hidden: dict[str, list[str]] = {}
    for path in paths:
        if (closed := first_closed(path)) is not None:
            hidden.setdefault(closed, []).append(path)
    for closed, wanted in hidden.items():
        sources = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in wanted}
        mount("tmpfs", closed, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=1m,nr_inodes=4096")
        for path, source in sources.items():
            os.makedirs(path, 0o755, exist_ok=True)
            mount(f"/proc/self/fd/{source}", path, flags=MS_BIND | MS_REC)
            os.close(source)
            set_mount_flags(path, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, recursive=True)
        set_mount_flags(closed, MOUNT_ATTR_RDONLY, recursive=False)


def first_closed(path: str) -> str | None:
    """Return the first directory on the way to `path` that not everybody may enter; None if there is none."""
    parts = path.split("/")
    for end in range(2, len(parts)):
        folder = "/".join(parts[:end])
        if not os.stat(folder).st_mode & 0o001:
            return folder
    return None


def _system_directories() -> list[tuple[str, str]]:
    """Recreate the links of the host's root (/bin, /lib …) into /usr; return those that are directories, to bind."""
    binds = []
    for name in _SYSTEM_LINKS:
        path = f"{_OLD}/{name}"
        if os.path.islink(path):
            os.symlink(os.readlink(path), f"/{name}")
        elif os.path.isdir(path):
            binds.append((f"/{name}", f"/{name}"))
    return binds


def _bind(source: str, target: str) -> None:
    source = _OLD + source
    if not os.path.exists(source):
        return
    if not os.path.isdir(source):
        _bind_file(source.removeprefix(_OLD), target)
        set_mount_flags(target, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, recursive=False)
        return
    os.makedirs(target, 0o755, exist_ok=True)
    mount(source, target, flags=MS_BIND | MS_REC)
    set_mount_flags(target, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, recursive=True)


def _bind_file(source: str, target: str) -> None:
    os.makedirs(os.path.dirname(target), 0o755, exist_ok=True)
    os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
    mount(_OLD + source, target, flags=MS_BIND)
