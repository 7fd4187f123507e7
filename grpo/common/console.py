"""What stages print to: a terminal wraps a line at its width, a log file gets it whole, so that `grep` finds it."""

from __future__ import annotations

from rich.console import Console

console = Console(width=None if Console().is_terminal else 120)
"""For tables; in a log file they are 120 wide."""


def say(text: str) -> None:
    """Print one line, with rich's markup."""
    console.print(text, highlight=False, soft_wrap=not console.is_terminal)
