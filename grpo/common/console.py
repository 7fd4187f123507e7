"""What stages print to, and how they write a duration.

A terminal wraps a line at its width; a log file gets it whole, so that `grep` finds it.
"""

from __future__ import annotations

from rich.console import Console

console = Console(width=None if Console().is_terminal else 120)
"""Tables go here; in a log file they are 120 columns wide."""


def say(text: str) -> None:
    """Print one line, with rich's markup."""
    console.print(text, highlight=False, soft_wrap=not console.is_terminal)


def clock(seconds: float) -> str:
    """A duration as 1:02:03, or 2:03 below an hour; to the nearest second, and 0:00 for what is negative."""
    minutes, second = divmod(max(0, round(seconds)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
