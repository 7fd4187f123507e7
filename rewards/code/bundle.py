"""Modules of this package as one Python program for the sandbox, which sees the standard library alone.

    sandbox.run("python", bundle("driver"), request)

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
for name, code in marshal.loads({parts!r}):
    module = sys.modules[name] = types.ModuleType(name)
    exec(code, module.__dict__)
module.main()
"""


@functools.cache
def bundle(last: str) -> bytes:
    """Source of a program that loads the modules up to `last` and calls its `main`.

    Compiled here: the launcher's interpreter is the one below this virtual environment, so its byte code is the same.
    """
    folder = Path(__file__).parent
    parts = []
    for name in _PARTS[: _PARTS.index(last) + 1]:
        source = (folder / f"{name}.py").read_text(encoding="utf-8")
        parts.append(
            (f"rewards.code.{name}", compile(source, f"<{name}>", "exec", dont_inherit=True, optimize=2))
        )
    return _BOOT.format(parts=marshal.dumps(parts)).encode()
