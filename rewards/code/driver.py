"""Calls a function of a program inside the sandbox: reads arguments, writes results, and judges nothing.

    stdin   encode((source, entry point, [encode((args, kwargs)), …], seconds per call, report arguments?))
    stdout  one frame per call: (number, "value", encode(result), encode((args, kwargs)) or None if unchanged)
            or (number, "raised", names of the exception's classes, message)

The program runs in this process and may do anything to it: the process holds no expected values, and frames that
the program forges count as its results, which are compared outside. The program's own output goes to stderr.
"""

from __future__ import annotations

import os
import signal
import sys
import types
from collections.abc import Callable

from rewards.code.data import NotPlain, Value, decode, encode, plain
from rewards.code.preamble import missing

_MESSAGE_CHARS = 1000


def main() -> None:
    """Serve the request on stdin and exit, even if the program left threads running."""
    sys.stdin, sys.stdout = open(os.devnull), sys.stderr  # noqa: SIM115 (the program uses it until the process ends)
    source, entry_point, calls, seconds, report_arguments = decode(read_all(0))
    channel = os.dup(1)
    os.dup2(2, 1)
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    write, leave, alarm = os.write, os._exit, signal.setitimer

    def send(*frame: Value) -> None:
        data = memoryview(encode(frame))
        while data:
            data = data[write(channel, data) :]

    # The alarm's default action ends the process. A program may disable it; the harness has a time limit of its own.
    alarm(signal.ITIMER_REAL, seconds)
    try:
        function = load(source, entry_point)
    except BaseException as error:
        send(-1, "raised", *describe(error))
        leave(0)
        raise
    for number, call in enumerate(calls):
        alarm(signal.ITIMER_REAL, seconds)
        send(number, *_call(function, call, report_arguments))
    leave(0)


def load(source: str, entry_point: str) -> Callable[..., Value]:
    """Run the program as a module named `program` and return the entry point, which may be a method of `Solution`.

    A program with a class `Solution` may use the names of LeetCode's preamble without importing them.
    """
    module = types.ModuleType("program")
    sys.modules["program"] = module
    code = compile(source, "program.py", "exec", dont_inherit=True)
    names = module.__dict__
    if "Solution" in code.co_names:
        names.update(missing(code))
    exec(code, names)
    found, solution = names.get(entry_point), names.get("Solution")
    # A method may be called as one of the preamble's or an imported function is: `search`, `merge`, `add`.
    is_own = getattr(found, "__module__", None) == module.__name__
    is_method = not is_own and (found is None or hasattr(solution, entry_point))
    function: Callable[..., Value] = (
        getattr(solution(), entry_point) if solution is not None and is_method else names[entry_point]
    )
    return function


def _call(function: Callable[..., Value], call: bytes, report_arguments: bool) -> tuple[Value, ...]:
    args, kwargs = plain(decode(call))
    try:
        value = function(*args, **kwargs)
        try:
            result = encode(value)
        except NotPlain as error:
            result = encode(unfit(str(error)))
    except BaseException as error:
        return ("raised", *describe(error))
    after = None
    if report_arguments:
        try:
            now = encode((args, kwargs), strict=True)
            after = None if now == call else now
        except NotPlain:
            after = None
    return "value", result, after


def unfit(why: str) -> Value:
    """Return a stand-in for a result that cannot be encoded: `encode` writes the name of its class, `why`."""
    return type(why, (), {})()


def describe(error: BaseException) -> tuple[list[str], str]:
    """Return the class names of an exception, the most derived first, and its message."""
    names = [kind.__name__ for kind in type(error).__mro__]
    try:
        message = str(error)[:_MESSAGE_CHARS]
    except BaseException:
        message = ""
    return names, message


def read_all(fd: int) -> bytes:
    """Return all bytes up to the end of a file descriptor."""
    parts = []
    while part := os.read(fd, 1 << 20):
        parts.append(part)
    return b"".join(parts)
