"""The request to a sandbox (`Job`), its answer (`Outcome`), and the sandbox's interface (`JobRunner`).

    (outcome,) = runner.run_job(Job("python", b"print(input()[::-1])", (b"abc",)))

These are plain data; this module starts no process.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, Protocol

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
"""How a run ended. "sandbox_error" is a failure of the sandbox itself: a reward abstains and never gives a 0."""

LANGUAGES = ("python", "c", "cpp", "javascript", "java", "rust", "go", "bash")

MIB = 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """The limits of one run. Each has a verdict of its own, which is decided outside the sandbox."""

    wall_s: float = 10.0
    """Wall time of the program in seconds, including time asleep or stopped."""
    compile_wall_s: float = 30.0
    memory_bytes: int = 512 * MIB
    """Resident memory of the whole process tree, not address space."""
    tasks: int = 256
    """Processes and threads at any one time."""
    output_bytes: int = 1 * MIB
    """Most bytes read from stdout and from stderr, each; more end the run with "output_limit"."""
    tmp_bytes: int = 64 * MIB
    """Size in bytes of the private /tmp, which is also the work directory."""
    open_files: int = 256

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 < value < math.inf:
                raise ValueError(f"{name} is {value}: every limit is above 0 and finite")


@dataclass(frozen=True)
class Outcome:
    """The result of a run, as seen from outside the sandbox."""

    verdict: Verdict
    reason: str
    """One sentence for a reader; empty for "ok"."""
    exit_code: int | None
    """None if the program never started; 128 + signal if a signal ended it."""
    stdout: bytes
    stderr: bytes
    wall_s: float
    cpu_s: float
    """User and system time of the process tree in seconds, as far as the tier can measure it."""
    max_rss_bytes: int
    tier: str
    """The name of the isolation that the run had, for example "namespaces"."""


@dataclass(frozen=True)
class Job:
    """One program and its inputs; each input is a run in a fresh sandbox."""

    language: str
    """One of `LANGUAGES`."""
    source: bytes
    stdins: tuple[bytes, ...] = (b"",)
    limits: Limits = field(default_factory=Limits)
    total_wall_s: float | None = None
    """Wall time in seconds of all runs together, without compiling.

    Runs for which no time is left are a "time_limit" too.
    """
    wait_s: float = 30.0
    """Seconds that the job may wait for a sandbox beyond its limits: queues, network, failed hosts.
    The local sandbox has no such waits and ignores it."""


class JobRunner(Protocol):
    """A sandbox: the local one (`rewards.sandbox.sandbox`) or a pool of hosts (`rewards.sandbox.remote`).

    An implementation never raises for what a program does. A verdict other than "sandbox_error" and
    "unsupported_language" is a statement about the program, so a failure of the sandbox itself must be one of these.
    Any thread may call it.
    """

    @property
    def has_same_python(self) -> bool:
        """Return whether Python programs run in this process's Python version, so that byte code may be sent."""

    def run_job(self, job: Job) -> list[Outcome]:
        """Run the program on every input; return one outcome per input, in order."""

    def close(self) -> None:
        """End every run. Later jobs return "sandbox_error"."""
