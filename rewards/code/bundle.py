"""Modules of this package as one Python program for the sandbox, which sees the standard library alone.

    runner.run_job(Job("python", bundle("driver", runner.has_same_python), (request,)))

What runs there runs outside too, as the same file: no second copy, no text of code inside a string.
"""

from __future__ import annotations

import functools
import marshal
from pathlib import Path

_PARTS = ("data", "driver", "checker")
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
    """Source, in ASCII, of a program that loads the modules up to `last` and calls its `main`.

    Args:
        last: "driver" or "checker".
        has_same_python: True if the program will run in the Python version of this process: then the modules are
            compiled here, once. Else they are sent as text.
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
