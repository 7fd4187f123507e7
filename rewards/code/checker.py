"""Runs HumanEval-style test code in a sandbox of its own, which has the expected values but not the program.

`candidate` is a proxy. If the harness has already sent the outcome of a call, the proxy returns it. Otherwise the proxy
records the call and returns a stand-in, so that the test code runs on and reveals more of its calls. A pass in which
every call was known gives the verdict; after any other pass, the harness lets the program compute the recorded calls
and starts a new pass.

    stdin   encode((setup code, test code, entry point, [(call, "value", result, arguments after) | (call, "raised",
            names, message) | (call, "died", reason)]))
    stdout  encode of ("passed",), ("failed", reason), ("calls", [call, …]), or ("unusable", reason): the test code
            cannot be used
"""

from __future__ import annotations

import ast
import builtins
import os
import random
import signal

from rewards.code.data import Drained, NotPlain, Opaque, Value, decode, encode, plain
from rewards.code.driver import read_all

MAX_CALLS = 20_000
_GUESS_S = 0.3
"""Time limit of a pass after its first unknown call: a stand-in may make a loop endless."""
_SHOWN_CHARS = 160


class _Enough(BaseException):
    """Ends the pass: nothing that follows would be reliable, or the program died."""


class _Died(BaseException):
    """Reports that the program did not survive this call."""


class StandIn:
    """Stands for the result of an unknown call: it equals anything, and no operation on it fails."""

    def _itself(self, *_: object, **__: object) -> object:
        return self

    def _true(self, *_: object) -> bool:
        return True

    def __iter__(self) -> object:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __float__(self) -> float:
        return 0.0

    def __int__(self) -> int:
        return 0

    def __complex__(self) -> complex:
        return 0j

    def __hash__(self) -> int:
        return 0

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    __index__ = __int__
    __call__ = __getitem__ = _itself
    __bool__ = __contains__ = __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _true


for _operation in "add sub mul truediv floordiv mod pow matmul lshift rshift and or xor".split():
    for _side in ("", "r"):
        setattr(StandIn, f"__{_side}{_operation}__", StandIn._itself)
for _operation in "neg pos abs invert round trunc floor ceil".split():
    setattr(StandIn, f"__{_operation}__", StandIn._itself)


class Candidate:
    """The proxy for the program's function."""

    def __init__(self, known: list[tuple[object, ...]]) -> None:
        self._known = known
        self.calls: list[bytes] = []
        self.is_guessing = False
        """True from the first unknown call of this pass on: what follows may not be true."""
        self.unusable = ""

    def __call__(self, *args: object, **kwargs: object) -> object:
        """Return or raise the known outcome of a call, or record an unknown call."""
        try:
            call = encode((args, kwargs), strict=True)
        except NotPlain as error:
            if not self.is_guessing and _holds_foreign((args, kwargs)):
                raise _Died("its result cannot be handed back to it") from None
            self.unusable = "" if self.is_guessing else f"the check passes an argument that {error}"
            raise _Enough from None
        number = len(self.calls)
        self.calls.append(call)
        if number >= MAX_CALLS:
            # In a guessing pass the program did not cause this, so the harness decides.
            raise _Enough if self.is_guessing else _Died(f"more than {MAX_CALLS} calls")
        if not self.is_guessing and number < len(self._known) and self._known[number][0] == call:
            return _answer(self._known[number], args, kwargs)
        if not self.is_guessing:
            self.is_guessing = True
            signal.signal(signal.SIGALRM, _stop)
            signal.setitimer(signal.ITIMER_REAL, _GUESS_S)
        return StandIn()


def _holds_foreign(value: object) -> bool:
    """Return True if these arguments contain something that came from the program and is not plain data."""
    if isinstance(value, dict):
        return any(_holds_foreign(item) for pair in value.items() for item in pair)
    if isinstance(value, list | tuple | set | frozenset):
        return any(_holds_foreign(item) for item in value)
    return isinstance(value, Opaque | Drained)


def _stop(*_: object) -> None:
    raise _Enough


def _answer(known: tuple[Value, ...], args: tuple[Value, ...], kwargs: dict[str, Value]) -> Value:
    _, kind, *rest = known
    if kind == "died":
        raise _Died(rest[0])
    if kind == "raised":
        raise _exception(*rest)
    result, after = rest
    if after is not None:
        for old, new in zip((args, kwargs), plain(decode(after)), strict=True):
            _update(old, new)
    return plain(decode(result))


def _update(old: object, new: object) -> object:
    """Make the check's own argument equal to the program's modified copy; containers keep their identity."""
    if isinstance(old, list) and isinstance(new, list):
        old[:] = [_update(old[i], item) if i < len(old) else item for i, item in enumerate(new)]
    elif isinstance(old, dict) and isinstance(new, dict):
        merged = {key: _update(old[key], item) if key in old else item for key, item in new.items()}
        old.clear()
        old.update(merged)
    elif isinstance(old, set) and isinstance(new, set):
        old.clear()
        old.update(new)
    elif isinstance(old, tuple) and isinstance(new, tuple) and len(old) == len(new):
        return tuple(map(_update, old, new))
    else:
        return new
    return old


def _exception(names: list[str], message: str) -> BaseException:
    """Return the nearest built-in exception. A class that is no `Exception` (SystemExit) is not turned into one."""
    for name in names:
        kind = getattr(builtins, name, None)
        if isinstance(kind, type) and issubclass(kind, BaseException):
            if not issubclass(kind, Exception):
                return _Died(f"raised {name}")
            try:
                return kind(message)
            except Exception:  # some exceptions, such as UnicodeDecodeError, need more arguments
                return Exception(message)
    return Exception(message)


class _GuardAsserts(ast.NodeTransformer):
    """Lets an assertion that fails on a guess pass: it is no verdict, and more calls may follow."""

    def visit_Assert(self, node: ast.Assert) -> ast.stmt:
        """Rewrite as `try: assert …; except Exception: if not guessing: raise`."""
        guard = ast.parse("try: pass\nexcept Exception:\n  if not __is_guessing__(): raise").body[0]
        assert isinstance(guard, ast.Try)
        guard.body = [node]
        return guard


def main() -> None:
    """Run one pass: read the request from stdin and write the reply to stdout."""
    request = decode(read_all(0))
    channel = os.dup(1)
    os.dup2(2, 1)
    reply = run_check(*request)
    data = memoryview(encode(reply))
    while data:
        data = data[os.write(channel, data) :]
    os._exit(0)


def run_check(setup: str, code: str, entry_point: str, known: list[tuple[Value, ...]]) -> tuple[Value, ...]:
    """Run the test code with the known outcomes; the module docstring describes the reply."""
    candidate = Candidate(known)
    namespace: dict[str, Value] = {"__name__": "check", "__is_guessing__": lambda: candidate.is_guessing}
    random.seed(0)  # a check that draws random cases must draw the same ones in every pass
    try:
        exec(compile(setup, "setup.py", "exec", dont_inherit=True), namespace)
        tree = ast.fix_missing_locations(_GuardAsserts().visit(ast.parse(code)))
        test = compile(tree, "check.py", "exec", dont_inherit=True)
    except Exception as error:
        return "unusable", f"{type(error).__name__}: {error}"
    namespace["candidate"] = namespace[entry_point] = candidate
    try:
        exec(test, namespace)
        if callable(check := namespace.get("check")):
            check(candidate)
    except _Died as error:
        return "failed", str(error)
    except _Enough:
        if candidate.unusable:
            return "unusable", candidate.unusable
    except BaseException as error:
        if not candidate.calls:
            return "unusable", f"{type(error).__name__}: {error} before the first call"
        if not candidate.is_guessing:
            return "failed", _place(error, code)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    if candidate.is_guessing:
        return "calls", candidate.calls
    return ("passed",) if candidate.calls else ("unusable", "the check never calls the candidate")


def _place(error: BaseException, code: str) -> str:
    """Return the line of the test code that failed, for a reader of the samples."""
    trace, line = error.__traceback__, 0
    while trace:
        if trace.tb_frame.f_code.co_filename == "check.py":
            line = trace.tb_lineno
        trace = trace.tb_next
    lines = code.splitlines()
    shown = lines[line - 1].strip()[:_SHOWN_CHARS] if 0 < line <= len(lines) else ""
    return f"{type(error).__name__} at line {line} of the check: {shown}"
