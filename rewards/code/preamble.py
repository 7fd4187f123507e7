"""The names that a LeetCode-style `class Solution` may use without imports: `List`, `deque`, `heappush`, `inf`, …

LeetCode, and the data sets made from it, run a solution behind a block of imports. `missing` resolves only the names
that a program uses and that neither it nor Python defines, so nothing is imported that is not used. This file runs
inside the sandbox: standard library only.
"""

from __future__ import annotations

import builtins
import importlib
from collections.abc import Iterator
from types import CodeType

_MODULES = (
    "typing", "collections", "heapq", "bisect", "math", "itertools", "functools", "string", "re", "random", "operator",
    "copy", "datetime", "statistics", "sys", "json", "time", "fractions", "decimal", "array", "queue", "enum",
    "dataclasses", "io", "os",
)  # fmt: skip
"""Where two modules export the same name, the first one counts."""
_STAR = _MODULES[: _MODULES.index("sys")]
"""The modules whose public names are known by themselves; the others only by the module's name."""


def missing(code: CodeType) -> dict[str, object]:
    """Return the names of the preamble that the code reads and that Python's builtins lack, with their values."""
    wanted = {name for name in _names(code) if not hasattr(builtins, name)}
    found: dict[str, object] = {name: importlib.import_module(name) for name in wanted.intersection(_MODULES)}
    for module_name in _STAR:
        left = wanted.difference(found)
        if not left:
            break
        module = importlib.import_module(module_name)
        public = getattr(module, "__all__", None) or [n for n in vars(module) if not n.startswith("_")]
        found.update((name, getattr(module, name)) for name in left.intersection(public))
    if "datetime" in found:  # both the module and its class: LeetCode's star import leaves the class
        found["datetime"] = importlib.import_module("datetime").datetime
    return found


def _names(code: CodeType) -> Iterator[str]:
    """Yield every name that the code or the code inside it reads as a global or an attribute."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
