"""What a sandbox is asked for (`Job`), what it answers (`Outcome`), and what a sandbox is (`JobRunner`).

    (outcome,) = runner.run_job(Job("python", b"print(input()[::-1])", (b"abc",)))

Plain data; no process is started here.
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
"""How a run ended. "sandbox_error" is a failure of the sandbox itself: a reward abstains on it and never gives a 0."""

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


@dataclass(frozen=True)
class Job:
    """One program and the inputs that it is run on, each run in a fresh sandbox."""

    language: str
    """One of `LANGUAGES`."""
    source: bytes
    stdins: tuple[bytes, ...] = (b"",)
    limits: Limits = field(default_factory=Limits)
    total_wall_s: float | None = None
    """Wall time of all runs together, without compiling; runs that it leaves no time for are a "time_limit" too."""
    wait_s: float = 30.0
    """How long the job may wait for a sandbox beyond the times that the limits give it: queues, network, failed hosts.
    Only sandboxes that are shared with others have such waits."""


class JobRunner(Protocol):
    """A sandbox: the local one (`rewards.sandbox.sandbox`) or a pool of hosts (`rewards.sandbox.remote`).

    An implementation never raises for what a program does. A verdict other than "sandbox_error" and
    "unsupported_language" is a statement about the program, so a failure of the sandbox itself must be one of these.
    Any thread may call it.
    """

    @property
    def has_same_python(self) -> bool:
        """True if Python programs run in this process's Python version, so that byte code may be sent."""

    def run_job(self, job: Job) -> list[Outcome]:
        """One outcome per input, in order."""

    def close(self) -> None:
        """End every run; later jobs are "sandbox_error"."""
