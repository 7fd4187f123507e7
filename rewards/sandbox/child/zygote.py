"""The launcher, run as a script by `python -s -P -S`: a preloaded Python that forks a process 1 for every run.

    owner ──control socket──▶ zygote ──clone──▶ process 1 of a run (`watch`) ──fork──▶ program
      └──────── one job socket per run, handed on, never read by the zygote ──────▲

The zygote reads no data of a run, not even the program: its heap, which every run inherits, holds only this code.

Tier "namespaces": the zygote is process 1 of a pid namespace of its own, with the programs' root file system; an outer
process waits for it. When the owner or the outer process dies, the zygote dies, and with it its namespace and all
mounts. Weaker tiers: the zygote lives on the host; when the owner dies, it ends the runs and then itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from typing import NoReturn

sys.path.insert(
    0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
)
from rewards.sandbox.child import isolation, landlock, process_tree, program, rootfs, system, watch
from rewards.sandbox.child.job import Job, Message
from rewards.sandbox.child.keepers import Keepers

sys.path.pop(0)


def main(control_fd: int, owner: int) -> str:
    """Run as the launcher. Return the program's path, but only in a process that is to become a Python program."""
    os.umask(0o022)
    # Reset what the caller ignores or blocks, and Python's own handler, by which programs could interrupt process 1.
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE, signal.SIGXFSZ}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    system.raise_soft_limits()
    control = socket.socket(fileno=control_fd)
    owner_fd = os.pidfd_open(owner)
    if os.getppid() != owner:
        os._exit(0)
    config = json.loads(control.recv(1 << 18))
    try:
        start = _own_namespaces if config["tier"] == "namespaces" else _shared_host
        keepers, facts = start(config, control, owner_fd)
        program.warm_up(config["serves_many"])
        program.allow_imports(config["modules"])
        control.send(json.dumps({"ready": True, **facts}).encode())
    except BaseException as error:
        with contextlib.suppress(OSError):
            control.send(json.dumps({"error": str(error)}).encode())
        os._exit(1)
    return _serve(control, owner_fd, keepers, config)


def _own_namespaces(config: Message, control: socket.socket, owner_fd: int) -> tuple[Keepers, Message]:
    """Leave the host's namespaces and continue in a fork, which is process 1 of the new pid namespace.

    Root needs no user namespace here, and can still reach directories that the sandbox's user may not enter. Where root
    lacks the capability (in a container), it becomes that user at once and continues as an ordinary user would.
    """
    flags = system.ALL_NAMESPACES & ~system.CLONE_NEWUSER
    is_able = bool(config["uids"])
    if is_able:
        try:
            system.unshare(flags)
        except PermissionError:
            is_able = False
            system.become(config["uids"][0], config["uids"][0])
            _check_ways([path for path, _ in config["binds"]])
    if not is_able:
        uid, gid = os.getuid(), os.getgid()
        system.unshare(flags | system.CLONE_NEWUSER)
        system.map_own_ids(uid, uid, gid)
    zygote = os.fork()
    if zygote:
        control.close()
        os.waitpid(zygote, 0)
        _leave(owner_fd, config)
    for parent, _ in config["groups"]:
        os.close(parent)
    rootfs.build_root(config["binds"], config["is_counted"])
    if is_able:
        system.become(config["uids"][0], config["uids"][0])
    system.prctl(system.PR_SET_PDEATHSIG, signal.SIGKILL)
    ids = os.getuid(), os.getgid()
    config["groups"] = []
    return Keepers(system.ALL_NAMESPACES, lambda _: isolation.Namespaces(config, ids)), {}


def _shared_host(config: Message, control: socket.socket, owner_fd: int) -> tuple[Keepers, Message]:
    """Stay on the host. Root gives every run a user of its own and, if it may mount, private /tmp and /dev/shm."""
    system.prctl(system.PR_SET_CHILD_SUBREAPER, 1)
    # Not the first: launchers of the tier "namespaces" run as it, and giving out a user id kills its processes.
    uids = config["uids"][1:]
    toolchains = [path for path, _ in config["binds"]]
    is_private = bool(uids) and _own_mounts(toolchains)
    if config["tier"] == "landlock":
        config["landlock"] = landlock.abi()
        if not config["landlock"]:
            raise OSError(
                "the kernel has no Landlock (Linux 5.13 and later have it, unless lsm= leaves it out)"
            )
    else:
        config["landlock"] = 0
    if uids and not is_private:
        _check_ways(toolchains)
    flags = system.CLONE_NEWNS if is_private else 0
    places: Callable[[int | None], isolation.Place] = lambda slot: isolation.SharedHost(  # noqa: E731
        config, slot, is_private
    )
    return Keepers(flags, places, uids), {"landlock": config["landlock"], "is_private": is_private}


def _check_ways(paths: list[str]) -> None:
    """Raise OSError if another user cannot reach one of these paths."""
    for path in paths:
        if closed := rootfs.first_closed(path):
            raise OSError(f"programs run as a user who may not enter {closed}, on the way to {path}")


def _own_mounts(toolchains: list[str]) -> bool:
    """Move the launcher into a mount namespace of its own; return False if the host refuses."""
    try:
        system.unshare(system.CLONE_NEWNS)
        private = system.MS_REC | system.MS_PRIVATE
        system.mount("none", "/", flags=private)
        rootfs.make_reachable(toolchains)
        return True
    except PermissionError:
        return False


def _serve(control: socket.socket, owner_fd: int, keepers: Keepers, config: Message) -> str:
    """Fork a process 1 for every job socket that arrives; end with the owner."""
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    poller = select.poll()
    for fd in (control.fileno(), owner_fd, wake_read):
        poller.register(fd, select.POLLIN)
    while True:
        ready = {fd for fd, _ in poller.poll()}
        if wake_read in ready:
            os.read(wake_read, 4096)
            keepers.bury()
        if owner_fd in ready:
            break
        if control.fileno() not in ready:
            continue
        message, fds, _, _ = socket.recv_fds(control, 16, 2)
        if not message:
            break
        job = socket.socket(fileno=fds[0])
        place = keepers.clone(job, fds[1] if fds[1:] else None)
        if place is None:
            continue
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for fd in (control.detach(), owner_fd, wake_read, wake_write, *(fd for fd, _ in config["groups"])):
            os.close(fd)
        return _run(job, place)
    keepers.end_all()
    if config["base"]:
        process_tree.remove_tree(config["base"])
    _leave(owner_fd, config)


def _leave(owner_fd: int, config: Message) -> NoReturn:
    """Exit. Remove the owner's control groups first if it was killed and cannot do so itself."""
    if select.select([owner_fd], [], [], 0)[0]:
        for parent, name in config["groups"]:
            process_tree.remove_groups(parent, name)
    os._exit(0)


def _run(channel: socket.socket, place: isolation.Place) -> str:
    """Act as process 1 of a run. Return the program's path, but only in the program's process and if it runs Python."""
    try:
        job = Job(channel)
        if watch.run(job, place):
            return f"{place.work}/{job.request['files'][0][0]}"
    except BaseException as error:
        with contextlib.suppress(OSError):
            channel.send(json.dumps({"error": f"{type(error).__name__}: {error}"}).encode())
        place.clean()
    os._exit(1)


if __name__ == "__main__":
    program.run_python(main(int(sys.argv[1]), int(sys.argv[2])))
