"""What a hostile program of the suite is: a text, and what must be true when it has ended.

A program says what it reached in lines that begin with "ESCAPED", and "tried" when it has tried everything. Beyond
what it says, the suite looks for itself (`canaries`): at files, processes, sockets and memory of the host that the
program was given by `@TOKENS@` in its text, and at the next program's view of the sandbox.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from rewards.sandbox.settings import TierName
from rewards.sandbox.types import MIB, Limits, Outcome, Verdict

ROOMY = Limits(wall_s=20.0, memory_bytes=384 * MIB, tasks=160, output_bytes=MIB // 4, tmp_bytes=16 * MIB)
"""For programs that try something and end: a busy host must not make a verdict of it."""
TIGHT = Limits(wall_s=1.0, memory_bytes=192 * MIB, tasks=48, output_bytes=MIB // 4, tmp_bytes=16 * MIB)
"""For programs that only a limit ends."""
OK: frozenset[Verdict] = frozenset({"ok"})
FAILS: frozenset[Verdict] = frozenset({"runtime_error"})
BROKEN: frozenset[Verdict] = frozenset({"compile_error"})
ENDED: frozenset[Verdict] = frozenset(
    {"ok", "runtime_error", "time_limit", "memory_limit", "process_limit", "output_limit"}
)
"""However a bomb goes off, it is the program's own doing, never the sandbox's."""

Danger = Literal["none", "signals", "host"]
"""What a program harms if the sandbox does not hold it: canaries alone; processes of this user; the whole host."""


@dataclass(frozen=True)
class Case:
    """One hostile program."""

    name: str
    language: str
    source: str
    """With `@TOKENS@` (`Canaries.tokens`); Python and C get the helpers of `preludes` put in front."""
    verdicts: frozenset[Verdict] = OK
    """Which ones are right."""
    limits: Limits = ROOMY
    stdin: bytes = b""
    tries: bool = True
    """It must print "tried": a program that dies before it attacks would pass without a reason."""
    within_s: float | None = None
    """Its wall time at most."""
    check: Callable[[Outcome], str | None] | None = None
    """What else is wrong with its outcome."""
    gaps: tuple[TierName, ...] = ()
    """Tiers whose listed gaps let it through."""
    danger: Danger = "none"
    machine: str | None = None
    """The only machine (`os.uname`) whose system calls it makes."""


@dataclass(frozen=True)
class Category:
    """Programs of one kind of attack."""

    name: str
    cases: tuple[Case, ...]


def one_of(*verdicts: Verdict) -> frozenset[Verdict]:
    """For `Case.verdicts`."""
    return frozenset(verdicts)
