"""The launcher, run as a script by `python -I -S`: builds the root file system, then forks each run into namespaces.

    owner ──control socket──▶ zygote (process 1 of its pid namespace) ──clone──▶ process 1 of a run ──fork──▶ program
      └────────────── one job socket per run, handed on, never read by the zygote ──────────▲

The zygote reads nothing of a run, not even the program: its heap, which every run inherits, holds only this code. When
the owner or the outer process dies, the zygote dies, and with it its pid namespace and all mounts.
"""

from __future__ import annotations

import builtins
import contextlib
import gc
import io
import json
import os
import select
import signal
import socket
import sys
import types
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
from rewards.sandbox import child_init, child_root, child_system

sys.path.pop(0)

_INSIDE_ID = 1000
_WARM = "bisect collections copy datetime decimal fractions functools heapq itertools json math operator random re"
_WARM_MORE = "statistics string typing dataclasses enum contextlib traceback linecache warnings"


def main(control_fd: int, owner: int) -> child_init.Job:
    """Run as launcher. Returns in the process that is to become a Python program, and nowhere else."""
    os.umask(0o022)
    control = socket.socket(fileno=control_fd)
    owner_fd = os.pidfd_open(owner)
    if os.getppid() != owner:
        os._exit(0)
    config = json.loads(control.recv(1 << 18))
    try:
        zygote = _enter_namespaces()
        if zygote == 0:
            child_root.build_root(config["binds"])
            if os.getuid() == 0:
                child_system.become(config["uid"], config["uid"])
            child_system.prctl(child_system.PR_SET_PDEATHSIG, signal.SIGKILL)
            _warm_up()
            control.send(json.dumps({"ready": True}).encode())
    except BaseException as error:
        control.send(json.dumps({"error": str(error)}).encode())
        os._exit(1)
    if zygote:
        control.close()
        os.close(owner_fd)
        os.waitpid(zygote, 0)
        os._exit(0)
    return _serve(control, owner_fd, bytes.fromhex(config["seccomp"]))


def _enter_namespaces() -> int:
    """Leave the host's namespaces and fork into the new pid namespace: child's pid, 0 in the child.

    Root needs no user namespace here (and keeps sight of directories that the sandbox's user may not enter); root
    without the capability goes the way of an ordinary user, with the ids it has.
    """
    flags = child_system.ALL_NAMESPACES & ~child_system.CLONE_NEWUSER
    uid, gid = os.getuid(), os.getgid()
    if uid == 0:
        child_system.unshare(flags)
    else:
        child_system.unshare(flags | child_system.CLONE_NEWUSER)
        child_system.map_own_ids(uid, uid, gid)
    return os.fork()


def _warm_up() -> None:
    """Import what programs use most, before the first fork; `exit` and friends as an interactive Python has them."""
    import site

    site.setquit()
    site.setcopyright()
    site.sethelper()
    for name in f"{_WARM} {_WARM_MORE}".split():
        __import__(name)
    gc.collect()
    gc.freeze()


def _serve(control: socket.socket, owner_fd: int, seccomp: bytes) -> child_init.Job:
    """Fork a process 1 for every job socket that arrives; end with the owner."""
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    poller = select.poll()
    for fd in (control.fileno(), owner_fd, wake_read):
        poller.register(fd, select.POLLIN)
    uid, gid = os.getuid(), os.getgid()
    while True:
        ready = {fd for fd, _ in poller.poll()}
        if wake_read in ready:
            os.read(wake_read, 4096)
            _bury()
        if owner_fd in ready:
            os._exit(0)
        if control.fileno() not in ready:
            continue
        message, fds, _, _ = socket.recv_fds(control, 16, 1)
        if not message:
            os._exit(0)
        job = socket.socket(fileno=fds[0])
        try:
            child = child_system.clone(child_system.ALL_NAMESPACES)
        except OSError as error:
            _answer(job, {"error": str(error)})
            continue
        if child:
            _introduce(job, child)
            continue
        signal.set_wakeup_fd(-1)
        for fd in (control.detach(), owner_fd, wake_read, wake_write):
            os.close(fd)
        return _run(job, uid, gid, seccomp)


def _bury() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _introduce(job: socket.socket, child: int) -> None:
    """Give the owner a handle on the run's process 1, to kill it whatever happens."""
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


def _answer(job: socket.socket, message: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        job.send(json.dumps(message).encode())
    job.close()


def _run(channel: socket.socket, uid: int, gid: int, seccomp: bytes) -> child_init.Job:
    """Process 1 of a run. Returns in the program's process if that is Python."""
    job = None
    try:
        child_system.map_own_ids(_INSIDE_ID, uid, gid)
        job = child_init.Job(channel)
        socket.sethostname("sandbox")
        child_root.mount_private(job.request["tmp_bytes"])
        job.write_files()
        ready_read, ready_write = os.pipe2(os.O_CLOEXEC)
        program = os.fork()
        if program == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            child_init.become_program(job, seccomp, True, ready_write)
            return job
        child_system.prctl(child_system.PR_SET_DUMPABLE, 0)
        for fd in (ready_write, *job.fds[:4]):
            os.close(fd)
        child_init.supervise(job, program, ready_read)
    except BaseException as error:
        _answer(channel, {"error": f"{type(error).__name__}: {error}"})
    os._exit(1)


def run_python(path: str) -> None:
    """Run a program in this process as `python -I path` would, from fresh standard streams to exit code."""
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        errors = "backslashreplace" if name == "stderr" else "surrogateescape"
        raw = io.FileIO(fd, "r" if name == "stdin" else "w", closefd=False)
        buffer = io.BufferedReader(raw) if name == "stdin" else io.BufferedWriter(raw)
        stream = io.TextIOWrapper(buffer, encoding="utf-8", errors=errors, line_buffering=name == "stderr")
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    with io.open_code(path) as file:
        source = file.read()
    main_module = types.ModuleType("__main__")
    main_module.__dict__.update(__file__=path, __builtins__=builtins)
    for name in [name for name in sys.modules if name.partition(".")[0] == "rewards"]:
        del sys.modules[name]
    sys.modules["__main__"] = main_module
    sys.argv[:] = [path]
    try:
        exec(compile(source, path, "exec", dont_inherit=True), main_module.__dict__)
    except SystemExit:
        raise
    except BaseException:
        kind, value, trace = sys.exc_info()
        assert kind is not None
        assert value is not None
        own_frame_gone = trace and trace.tb_next
        sys.excepthook(kind, value.with_traceback(own_frame_gone), own_frame_gone)
        raise SystemExit(1) from None


if __name__ == "__main__":
    _job = main(int(sys.argv[1]), int(sys.argv[2]))
    run_python(f"{_job.work}/{_job.request['files'][0][0]}")
