"""Turn a forked child into the program: give up all privileges, then exec, or run Python code in this process.

Runs inside the launcher: standard library only.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import gc
import io
import os
import signal
import sys
import types
import weakref
from collections.abc import Callable, Mapping
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from typing import NoReturn

from rewards.sandbox.child.isolation import Place
from rewards.sandbox.child.job import Job
from rewards.sandbox.child.system import PR_SET_DUMPABLE, prctl, set_limits

_WARM = "bisect collections copy datetime decimal fractions functools heapq itertools json math operator random re"
_WARM_MORE = "statistics string typing dataclasses enum contextlib traceback linecache warnings"
_CANNOT_FLUSH = 120
"""The exit code of Python if it cannot write the standard streams at the end."""


def warm_up(serves_many: bool) -> None:
    """Define `exit`, `quit`, `help` and the like, as Python does at startup.

    If the launcher `serves_many` runs, also import the modules that programs use most, before the first fork.
    """
    import site

    site.setquit()
    site.setcopyright()
    site.sethelper()
    if serves_many:
        for name in f"{_WARM} {_WARM_MORE}".split():
            __import__(name)
        gc.collect()
        gc.freeze()


def allow_imports(modules: Mapping[str, str]) -> None:
    """Have `import` find these packages.

    Args:
        modules: name → folder or file. The folder around them is no place to search: it may not be readable.
    """
    if modules:
        sys.meta_path.append(_Named(dict(modules)))


class _Named:
    """Finds top-level packages by their names."""

    def __init__(self, modules: Mapping[str, str]) -> None:
        self._modules = modules

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        where = self._modules.get(name) if path is None else None
        if where is None:
            return None
        if not os.path.isdir(where):
            return spec_from_file_location(name, where)
        init = os.path.join(where, "__init__.py")
        if os.path.exists(init):
            return spec_from_file_location(name, init, submodule_search_locations=[where])
        spec = ModuleSpec(name, None, is_package=True)  # a namespace package
        spec.submodule_search_locations = [where]
        return spec


def become_program(job: Job, place: Place, limits: Mapping[str, int], ready: int) -> None:
    """Exec the command in the forked child, or return to run Python code in this process.

    Writes "+" to `ready` when everything is prepared, and an error message if a step or exec fails. `ready` is closed
    when the program starts.
    """
    try:
        prctl(PR_SET_DUMPABLE, 1)  # process 1 is not dumpable, but this process needs its /proc/self
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
            file.write("500")  # if the host runs out of memory, kill this before the owner
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
        # The file was built from the program's source: if it cannot be started, the program failed, not the sandbox.
        os.write(2, f"cannot be started: {error.strerror}\n".encode())
        os._exit(126)


def _at_work(env: Mapping[str, str], work: str) -> dict[str, str]:
    """Return the variables with /tmp replaced by the work directory, wherever that is."""
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


def run_python(path: str) -> NoReturn:
    """Run a program in this process as `python path` would, from fresh standard streams to the exit code."""
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
    code = 0
    try:
        exec(compile(source, path, "exec", dont_inherit=True), main_module.__dict__)
    except SystemExit as request:
        code = _exit_code(request)
    except BaseException as error:
        # Leave out the frame of this file.
        trace = error.__traceback__ and error.__traceback__.tb_next
        sys.excepthook(type(error), error.with_traceback(trace), trace)
        code = 1
    del main_module
    _exit(code)


def _exit_code(request: SystemExit) -> int:
    """Return the exit code for `sys.exit(…)` as Python does: given a number, nothing, or a message for stderr."""
    code = request.code
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF if -(2**63) <= code < 2**63 else 0xFF
    with contextlib.suppress(Exception):
        print(code, file=sys.stderr)
    return 1


def _exit(code: int) -> NoReturn:
    """End the process in the order in which Python does, but without tearing down the interpreter.

    The teardown would write to every object that the launcher made, so that all their pages would be copied for this
    process, which takes a third of a short program's time.

    One difference: an object that only a module of the standard library holds ends without a call of its __del__.
    """
    if (threading := sys.modules.get("threading")) is not None:
        _guarded(threading._shutdown)  # waits for all non-daemon threads
    atexit._run_exitfuncs()
    flushed = _flush()
    # Objects that only the program's globals hold end now: their __del__ runs and their files are flushed.
    module = sys.modules.pop("__main__", None)
    left = weakref.ref(module) if isinstance(module, types.ModuleType) else lambda: None
    del module
    gc.collect()
    if (module := left()) is not None:  # held elsewhere: Python empties it, private names first
        for name in sorted(module.__dict__, key=lambda name: name[:1] != "_" or name[:2] == "__"):
            if name != "__builtins__":
                module.__dict__[name] = None
        gc.collect()
    os._exit(code if flushed and _flush() else _CANNOT_FLUSH)


def _flush() -> bool:
    """Flush the standard streams, including replaced ones; return False if stdout or stderr cannot be written."""
    own = {
        id(stream): stream
        for name in ("stderr", "__stderr__", "__stdout__", "stdout")
        if (stream := getattr(sys, name, None)) is not None and not getattr(stream, "closed", False)
    }
    done = {key: _guarded(stream.flush) for key, stream in own.items()}
    return all(done.get(id(getattr(sys, name, None)), True) for name in ("stdout", "stderr"))


def _guarded(call: Callable[[], object]) -> bool:
    """Make the call; return False if it raises, and print the error on stderr, as Python does for uncatchable ones."""
    try:
        call()
    except BaseException as error:
        with contextlib.suppress(BaseException):
            held = getattr(call, "__self__", call)
            print(f"Exception ignored in: {held!r}\n{type(error).__name__}: {error}", file=sys.stderr)
        return False
    return True
