"""The graph on screen: a table that lives in a terminal, a line per event elsewhere (a log, a Ray job)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

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
        with Live(self.table(), console=self.console, auto_refresh=False) as self._live:
            try:
                yield self
            finally:
                self._live.update(self.table(), refresh=True)
                self._live = None

    def show(self, name: str, view: View) -> None:
        """A stage's view has changed."""
        before, self.views[name] = self.views[name], view
        if self._live is not None:
            if view.status != before.status or time.monotonic() - self._drawn > REDRAW_EVERY_S:
                self._live.update(self.table(), refresh=True)
                self._drawn = time.monotonic()
        elif view.status != before.status:
            self.console.print(self.line(name), highlight=False, soft_wrap=True)

    def line(self, name: str) -> str:
        """One stage in a line."""
        view, width = self.views[name], max(map(len, self.graph.nodes))
        status = f"[{STYLES[view.status]}]{view.status:8}[/]"
        return f"{name:{width}}  {self.graph.nodes[name].command:12}  {status}  {clock(view):>8}  {escape(view.figure)}"

    def table(self) -> Table:
        """All stages."""
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for heading in ("stage", "grpo", "state", "time", ""):
            table.add_column(heading, justify="right" if heading == "time" else "left", no_wrap=True)
        for name, view in self.views.items():
            status = f"[{STYLES[view.status]}]{view.status}[/]"
            table.add_row(name, self.graph.nodes[name].command, status, clock(view), escape(view.figure))
        return table


def clock(view: View) -> str:
    """1:02:03, or nothing for a stage that has not run."""
    if not view.seconds:
        return ""
    minutes, seconds = divmod(round(view.seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
