"""Compares a program's output with the expected output. Runs outside the sandbox, on bytes."""

from __future__ import annotations

import re

_FLOAT = re.compile(r"[-+]?(?:\d+\.\d*|\.\d+|\d+(?=[eE]))(?:[eE][-+]?\d+)?")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_MAX_NUMBER_CHARS = 400


def same_output(found: bytes, expected: str, tolerance: float = 0.0) -> bool:
    """Return True if both are equal except for line endings, trailing blanks on a line and empty lines at the end.

    Where a number with a point or an exponent is expected, a number within tolerance · max(1, |expected|) is accepted.
    """
    try:
        lines = _lines(found.decode())
    except UnicodeDecodeError:
        return False
    wanted = _lines(expected)
    if len(lines) != len(wanted):
        return False
    return all(a == b or _same_line(a, b, tolerance) for a, b in zip(lines, wanted, strict=True))


def _lines(text: str) -> list[str]:
    lines = [line.rstrip() for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _same_line(found: str, expected: str, tolerance: float) -> bool:
    parts, wanted = re.split(r"(\s+)", found), re.split(r"(\s+)", expected)
    return len(parts) == len(wanted) and all(
        a == b or _same_number(a, b, tolerance) for a, b in zip(parts, wanted, strict=True)
    )


def _same_number(found: str, expected: str, tolerance: float) -> bool:
    if max(len(found), len(expected)) > _MAX_NUMBER_CHARS:
        return False
    if not _FLOAT.fullmatch(expected) or not _NUMBER.fullmatch(found):
        return False
    a, b = float(found), float(expected)
    return a == b or abs(a - b) <= tolerance * max(1.0, abs(b))
