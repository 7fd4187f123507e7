"""Formats the laboratory's report for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rewards.lab.checks import Check
from rewards.lab.lab import LabReport

_MARKS = {
    "pass": "[green]pass[/]",
    "fail": "[bold red]FAIL[/]",
    "warn": "[yellow]warn[/]",
    "skip": "[dim]skip[/]",
}


def lines(report: LabReport) -> Iterator[str]:
    """Yield lines with rich markup: one per check, then the examples of failures and the summary."""
    from rich.markup import escape

    style = f" ({report.style})" if report.style else ""
    yield f"[bold]{escape(report.reward)}[/]{style}, judged as {report.judges}, {report.rows:,} rows"
    for kind, name in report.templates.items():
        yield f"  right completions of {kind}: template {escape(repr(name) if ' ' in name else name)}"
    yield ""
    for check in report.checks:
        yield f"{_MARKS[check.status]}  {check.name:10} {escape(_told(check))}"
        if check.status in ("fail", "warn"):
            for item in check.examples:
                yield escape(
                    f"        line {item.line}, {item.variant}; reference {item.answer[:60]!r}: expected "
                    f"{item.expected}, got {item.got[:200]}"
                )
                yield f"          [dim]{escape(repr(item.completion))}[/]"
    for trace in report.traces:
        yield ""
        yield escape(trace)
    yield ""
    if report.rows_per_s is not None and report.slowest_s is not None:
        yield f"{_rate(report.rows_per_s)} completions/s in one process, slowest {report.slowest_s:.3g} s"
    if report.tried < report.cases:
        yield f"{report.tried:,} of {report.cases:,} cases were tried: it is too slow, or hangs"
    counts = {s: sum(check.status == s for check in report.checks) for s in ("pass", "fail", "warn", "skip")}
    summary = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    yield f"{'[green]fit to train with[/]' if report.passed else '[bold red]not fit to train with[/]'}: {summary}"


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _told(check: Check) -> str:
    share = f"{check.cases - check.failed:,}/{check.cases:,}  " if check.cases else ""
    detail = f" ({check.detail})" if check.detail else ""
    return f"{share}{check.meaning}{detail}"
