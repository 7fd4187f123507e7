"""Derive the verdict of a run from what was observed of it. Pure functions.

The program's exit code and messages decide only between "ok" and "runtime_error"; the harness or the kernel's counts
decide whether a limit was reached.
"""

from __future__ import annotations

import os

from rewards.sandbox.job import Report, Work
from rewards.sandbox.types import Outcome, Verdict

_REASONS = {
    "time": "ran longer than {wall_s:g} s",
    "memory": "held more than {memory_bytes} bytes of memory",
    "tasks": "had more than {tasks} processes and threads at once",
    "output": "wrote more than {output_bytes} bytes to one stream",
    "disk": "filled its work directory",
    "stopped": "was stopped",
}
_VERDICTS: dict[str, Verdict] = {
    "time": "time_limit",
    "memory": "memory_limit",
    "tasks": "process_limit",
    "output": "output_limit",
    "disk": "runtime_error",  # as if the kernel limited it and the program got "no space left"
}


def unstarted(verdict: Verdict, reason: str, tier: str) -> Outcome:
    """Return the outcome of a program that never ran."""
    return Outcome(verdict, reason, None, b"", b"", 0.0, 0.0, 0, tier)


def judge(report: Report, work: Work, tier: str) -> Outcome:
    """Return the outcome of a run."""
    if report.failure:
        return unstarted("sandbox_error", report.failure, tier)
    code = None if report.status is None else os.waitstatus_to_exitcode(report.status)
    if code is not None and code < 0:
        code = 128 - code
    verdict: Verdict = "ok" if code == 0 else "runtime_error"
    reason = "" if code == 0 else f"exit code {code}"
    if report.flag:
        verdict = _VERDICTS.get(report.flag, "sandbox_error")
        reason = _REASONS[report.flag].format(**vars(work))
    return Outcome(
        verdict,
        reason,
        code,
        report.stdout,
        report.stderr,
        report.wall_s,
        report.cpu_s,
        report.max_rss_bytes,
        tier,
    )
