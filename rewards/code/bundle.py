"""Packs modules of this package into one Python program for the sandbox, which has only the standard library.

    runner.run_job(Job("python", bundle("driver", runner.has_same_python), (request,)))

The sandbox runs the same files as the harness: there is no second copy, and no code inside a string.
"""

from __future__ import annotations

import functools
import marshal
from pathlib import Path

_PARTS = ("data", "preamble", "driver", "checker")
_BOOT = """\
import marshal, sys, types
for name in ("rewards", "rewards.code"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = []
for name, code in {parts}:
    module = sys.modules[name] = types.ModuleType(name)
    exec(code, module.__dict__)
module.main()
"""


@functools.cache
def bundle(last: str, has_same_python: bool) -> bytes:
    """Return the ASCII source of a program that loads the modules up to `last` and calls its `main`.

    Args:
        last: "driver" or "checker".
        has_same_python: True if the program will run in the Python version of this process; the modules are then
            compiled here, once. Otherwise they are sent as text.
    """
    folder = Path(__file__).parent
    sources = [
        (f"rewards.code.{name}", (folder / f"{name}.py").read_text(encoding="utf-8"))
        for name in _PARTS[: _PARTS.index(last) + 1]
    ]
    if not has_same_python:
        return _BOOT.format(parts=ascii(sources)).encode()
    compiled = [
        (name, compile(source, f"<{name}>", "exec", dont_inherit=True, optimize=2))
        for name, source in sources
    ]
    return _BOOT.format(parts=f"marshal.loads({marshal.dumps(compiled)!r})").encode()
