"""From a forked child to the program: give everything up, then exec, or run Python code in this very process.

Runs inside the launcher: standard library only.
"""

from __future__ import annotations

import builtins
import contextlib
import gc
import io
import os
import signal
import sys
import types
from collections.abc import Mapping
from typing import NoReturn

from rewards.sandbox.child_job import Job
from rewards.sandbox.child_places import Place
from rewards.sandbox.child_system import set_limits

_WARM = "bisect collections copy datetime decimal fractions functools heapq itertools json math operator random re"
_WARM_MORE = "statistics string typing dataclasses enum contextlib traceback linecache warnings"


def warm_up() -> None:
    """Import what programs use most, before the first fork; `exit` and friends as an interactive Python has them."""
    import site

    site.setquit()
    site.setcopyright()
    site.sethelper()
    for name in f"{_WARM} {_WARM_MORE}".split():
        __import__(name)
    gc.collect()
    gc.freeze()


def become_program(job: Job, place: Place, limits: Mapping[str, int], ready: int) -> None:
    """In the forked child: exec the command, or return to run Python code in this process.

    `ready` gets "+" when all is set, and a message after it if exec fails; it is closed when the program starts.
    """
    try:
        job.join_cgroups()
        os.setsid()
        for target, role in enumerate(("stdin", "stdout", "stderr")):
            os.dup2(job.fds[role], target)
        os.dup2(ready, 3)
        ready = 3
        job.channel.detach()
        _close_from(4)
        os.chdir(place.work)
        os.umask(0o022)
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("500")  # if memory runs out, this goes before what pays for it
        set_limits(limits)
        env = _at_work(job.request["env"], place.work)
        place.confine(job.request)
        os.write(ready, b"+")
        command = job.request["argv"]
        if command:
            os.set_inheritable(ready, False)
            for number in (signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(number, signal.SIG_DFL)
            _execute(command, env)
        os.environ.update(env)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.close(ready)
    except BaseException as error:
        os.write(ready, f"{type(error).__name__}: {error}".encode())
        os._exit(127)


def _execute(command: list[str], env: Mapping[str, str]) -> NoReturn:
    try:
        os.execvpe(command[0], command, env)
    except OSError as error:
        if not command[0].startswith("./"):
            raise
        # Made from the program's source: that it cannot be started is the program's fault, not the sandbox's.
        os.write(2, f"cannot be started: {error.strerror}\n".encode())
        os._exit(126)


def _at_work(env: Mapping[str, str], work: str) -> dict[str, str]:
    """What the variables call /tmp is the work directory, wherever that is."""
    if work == "/tmp":
        return dict(env)
    moved = {
        name: work + value.removeprefix("/tmp") if value == "/tmp" or value.startswith("/tmp/") else value
        for name, value in env.items()
    }
    return moved | {"TMPDIR": work}


def _close_from(lowest: int) -> None:
    for name in os.listdir("/proc/self/fd"):
        if int(name) >= lowest:
            with contextlib.suppress(OSError):  # the listing's own descriptor is gone
                os.close(int(name))


def run_python(path: str) -> None:
    """Run a program in this process as `python path` would, from fresh standard streams to exit code."""
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
    sys.path.insert(0, os.path.dirname(path))
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
