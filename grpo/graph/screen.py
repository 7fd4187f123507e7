"""The graph on screen: a live table in a terminal, a line per event elsewhere (a log, a Ray job)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from grpo.common.console import clock
from grpo.graph.parse import Graph
from grpo.graph.runner import View

STYLES = {
    "waiting": "dim",
    "left out": "dim",
    "running": "bold cyan",
    "done": "green",
    "kept": "green dim",
    "held": "yellow",
    "failed": "bold red",
}
REDRAW_EVERY_S = 0.5
RESERVED_LINES = 2
"""Lines of the terminal that hold no stage: the head of the table, and the line below it."""


class GraphScreen:
    """Shows each stage's state, time and figure."""

    def __init__(self, graph: Graph, console: Console) -> None:
        self.graph, self.console = graph, console
        self.views: dict[str, View] = {name: View() for name in graph.nodes}
        self._live: Live | None = None
        self._drawn = 0.0

    @contextmanager
    def open(self) -> Iterator[GraphScreen]:
        """Draw the table while the block runs, if this is a terminal."""
        if not self.console.is_terminal:
            yield self
            return
        live = Live(self.table(self.window()), console=self.console, auto_refresh=False, transient=True)
        try:
            with live as self._live:
                yield self
        finally:
            self._live = None
            # The whole table, which the terminal scrolls: a live table cannot be taller than the screen.
            self.console.print(self.table(list(self.views)))

    def show(self, name: str, view: View) -> None:
        """Show a stage whose view has changed."""
        before, self.views[name] = self.views[name], view
        if self._live is not None:
            if view.status != before.status or time.monotonic() - self._drawn > REDRAW_EVERY_S:
                self._live.update(self.table(self.window()), refresh=True)
                self._drawn = time.monotonic()
        elif view.status != before.status:
            self.console.print(self.line(name), highlight=False, soft_wrap=True)

    def line(self, name: str) -> str:
        """Return the line of one stage."""
        view, width = self.views[name], max(map(len, self.graph.nodes))
        status = f"[{STYLES[view.status]}]{view.status:8}[/]"
        command, took = self.graph.nodes[name].command, elapsed(view)
        return f"{name:{width}}  {command:12}  {status}  {took:>8}  {escape(view.figure)}"

    def window(self) -> list[str]:
        """Return the stages that fit on the screen, the running one among them."""
        names, room = list(self.views), max(1, self.console.height - RESERVED_LINES)
        at = next(
            (i for i, n in enumerate(names) if self.views[n].status in ("running", "waiting")), len(names)
        )
        first = max(0, min(at - room // 2, len(names) - room))
        return names[first : first + room]

    def table(self, names: Sequence[str]) -> Table:
        """Return the table of these stages."""
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        widths = {"stage": max(5, *map(len, self.views)), "grpo": 12, "state": 8, "time": 7}
        for heading, width in widths.items():
            justify: Literal["left", "right"] = "right" if heading == "time" else "left"
            table.add_column(heading, justify=justify, no_wrap=True, width=width)
        # The rest of the width; without a bound a long figure would take it from the other columns.
        left = self.console.width - sum(widths.values()) - 2 * (len(widths) + 1)
        table.add_column("", no_wrap=True, width=max(left, 10))
        for name in names:
            view = self.views[name]
            status = f"[{STYLES[view.status]}]{view.status}[/]"
            table.add_row(name, self.graph.nodes[name].command, status, elapsed(view), escape(view.figure))
        return table


def elapsed(view: View) -> str:
    """Return the time that a stage took as 1:02:03, "" for one that has not run."""
    return clock(view.seconds) if view.seconds else ""
