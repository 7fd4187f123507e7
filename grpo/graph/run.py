"""`grpo run`: a graph from its recipe to its tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from rich.markup import escape

from grpo.common.console import console, say, show
from grpo.common.errors import RunError
from grpo.graph.launch import Ended, launch
from grpo.graph.parse import Graph, Node
from grpo.graph.progress_file import ProgressFile
from grpo.graph.runner import Progress, View, run_nodes
from grpo.graph.screen import GraphScreen
from grpo.graph.tables import TABLES, printed, summary
from policies.files import write_atomic
from policies.json_types import JsonDict


def run(
    graph: Graph, address: str | None, until: str | None, from_: str | None, allow_change: bool = False
) -> JsonDict:
    """Run the stages that are not up to date; leaves summary.json and report.html in the graph's run directory.

    Raises:
        ConfigError, BrokenRun: see `run_nodes`.
        RunError: see `run_nodes`; or a gate is shut.
    """
    progress = Progress({name: View() for name in graph.nodes})
    screen = GraphScreen(graph, console)
    file = ProgressFile(graph, progress, screen)

    def start(node: Node, log: Path, on_tick: Callable[[str], None]) -> Ended:
        return launch(node, address, log, on_tick, allow_change)

    try:
        with screen.open():
            run_nodes(graph, progress, start, file, until, from_, allow_change)
            file.write()  # a gate's verdict comes after its stage's last view
    finally:
        if progress.hashes:  # some stage is done: its figures deserve a page, also after a failure
            found, page = leave(graph, progress)
    for table in TABLES:
        if found[table]:
            show(printed(f"{graph.name}: {table}", found[table]))
    say(f"summary: {escape(str(graph.run_dir / 'summary.json'))}   report: {escape(str(page))}")
    if progress.held:
        held = [name for name, view in progress.views.items() if view.status == "held"]
        reasons = "; ".join(f"{name}: {reason}" for name, reason in progress.held.items())
        raise RunError(f"a gate is shut ({reasons}); not run: {', '.join(held) or 'nothing'}")
    return found


def leave(graph: Graph, progress: Progress) -> tuple[JsonDict, Path]:
    """Write summary.json and report.html if a figure has changed; returns the summary and the path of the page."""
    found = summary(graph, progress)
    path, page = graph.run_dir / "summary.json", graph.run_dir / "report.html"
    text = json.dumps(found, indent=2, ensure_ascii=False) + "\n"
    if not page.exists() or not path.exists() or path.read_text(encoding="utf-8") != text:
        from grpo.graph.page import write_page

        write_page(graph, progress, page)
        write_atomic(path, text)
    return found, page
