"""The last line of a training run: where its policy and its report are."""

from __future__ import annotations

from pathlib import Path

from rich.markup import escape

from grpo.common.console import say
from grpo.tracking.report.page import write_report


def show_policy(run_dir: Path) -> None:
    """Write report.html and print where it and the policy are."""
    report = write_report(run_dir, run_dir / "report.html")
    say(f"policy: {escape(str(run_dir / 'policy'))}   report: {escape(str(report))}")


def show_stop(run_dir: Path) -> None:
    """Write report.html, with the reason of the stop on top, and print where it is."""
    say(f"report of the stop: {escape(str(write_report(run_dir, run_dir / 'report.html')))}")
