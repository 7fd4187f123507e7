"""A hostile program of the suite: its text, and what must be true when it has ended.

A program reports what it reached in lines that begin with "ESCAPED", and prints "tried" when it has tried everything.
Besides, the suite itself checks (`canaries`) the files, processes, sockets and memory of the host that `@TOKENS@` in
the program's text name, and the next program's view of the sandbox.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from rewards.sandbox.settings import TierName
from rewards.sandbox.types import MIB, Limits, Outcome, Verdict

ROOMY = Limits(wall_s=20.0, memory_bytes=384 * MIB, tasks=160, output_bytes=MIB // 4, tmp_bytes=16 * MIB)
"""Limits for programs that try something and end: a busy host must not turn that into a limit verdict."""
TIGHT = Limits(wall_s=1.0, memory_bytes=192 * MIB, tasks=48, output_bytes=MIB // 4, tmp_bytes=16 * MIB)
"""Limits for programs that only a limit ends."""
OK: frozenset[Verdict] = frozenset({"ok"})
FAILS: frozenset[Verdict] = frozenset({"runtime_error"})
BROKEN: frozenset[Verdict] = frozenset({"compile_error"})
ENDED: frozenset[Verdict] = frozenset(
    {"ok", "runtime_error", "time_limit", "memory_limit", "process_limit", "output_limit"}
)
"""The right verdicts for a bomb: however it ends, the program is to blame, never the sandbox."""

Danger = Literal["none", "signals", "host"]
"""What a program harms if the sandbox does not hold it: only canaries, this user's processes, or the whole host."""


@dataclass(frozen=True)
class Case:
    """One hostile program."""

    name: str
    language: str
    source: str
    """The program's text, with `@TOKENS@` (`Canaries.tokens`). Python and C get the helpers of `preludes` prepended."""
    verdicts: frozenset[Verdict] = OK
    """The verdicts that are right."""
    limits: Limits = ROOMY
    stdin: bytes = b""
    tries: bool = True
    """True if it must print "tried": otherwise a program that dies before it attacks would pass."""
    within_s: float | None = None
    """The longest wall time in seconds that it may take; None if any will do."""
    check: Callable[[Outcome], str | None] | None = None
    """Returns anything else that is wrong with the outcome, or None."""
    gaps: tuple[TierName, ...] = ()
    """The tiers whose listed gaps let the program through."""
    danger: Danger = "none"
    machine: str | None = None
    """The only machine (`os.uname`) whose system calls it makes; None if it runs on all."""


@dataclass(frozen=True)
class Category:
    """The programs of one kind of attack."""

    name: str
    cases: tuple[Case, ...]


def one_of(*verdicts: Verdict) -> frozenset[Verdict]:
    """Return the set of these verdicts, for `Case.verdicts`."""
    return frozenset(verdicts)
