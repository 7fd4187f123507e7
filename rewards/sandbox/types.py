"""What a sandboxed run is asked for and what it answers. Plain data; no process is started here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Verdict = Literal[
    "ok",
    "runtime_error",
    "compile_error",
    "time_limit",
    "memory_limit",
    "output_limit",
    "process_limit",
    "sandbox_error",
    "unsupported_language",
]
"""How a run ended. "sandbox_error" is a fault of the sandbox itself: a reward abstains on it, it never becomes a 0."""

LANGUAGES = ("python", "c", "cpp", "javascript", "java", "rust", "go", "bash")

MIB = 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """Bounds of one run. Reaching one is a verdict of its own, decided outside the sandbox."""

    wall_s: float = 10.0
    """Wall time of the program, sleeping and stopped included."""
    compile_wall_s: float = 30.0
    memory_bytes: int = 512 * MIB
    """Resident memory of the whole process tree, not address space."""
    tasks: int = 256
    """Processes and threads at one time."""
    output_bytes: int = 1 * MIB
    """Bytes read from stdout, and from stderr, each; more ends the run with "output_limit"."""
    tmp_bytes: int = 64 * MIB
    """Size of the private /tmp, which is also the work directory."""
    open_files: int = 256

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 < value < math.inf:
                raise ValueError(f"{name} is {value}: every limit is above 0 and finite")


@dataclass(frozen=True)
class Outcome:
    """What was seen from outside."""

    verdict: Verdict
    reason: str
    """One sentence for a reader; empty for "ok"."""
    exit_code: int | None
    """None if the program never started; 128 + signal if a signal ended it."""
    stdout: bytes
    stderr: bytes
    wall_s: float
    cpu_s: float
    """User + system time of the process tree, as far as the tier can tell."""
    max_rss_bytes: int
    tier: str
    """Name of the isolation it ran under, e.g. "namespaces"."""
