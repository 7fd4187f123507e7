"""graph.json: the stages of a graph and how far each is, while `grpo run` runs and after it; `grpo view` reads it.

{"name": "r1-tiny", "seed": 1, "stages": [{"name": "base", "command": "pretrain", "parents": [], "status": "done",
 "seconds": 41.2, "figure": "…", "peak_mib": 812.0, "held": ""}, …]}
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Protocol

from grpo.graph.parse import Graph
from grpo.graph.runner import Progress, View
from policies.files import write_atomic

FILE = "graph.json"


class Screen(Protocol):
    """Shows the state of the stages to a person."""

    def show(self, name: str, view: View) -> None:
        """Show a stage whose view has changed."""


class ProgressFile:
    """A screen that passes on what it is shown, and writes graph.json whenever the status of a stage changes."""

    def __init__(self, graph: Graph, progress: Progress, screen: Screen) -> None:
        """Write nothing yet: the folder may belong to somebody else."""
        self._graph, self._progress, self._screen = graph, progress, screen
        self._views = dict(progress.views)

    def show(self, name: str, view: View) -> None:
        """Show a stage, and write the file if its status has changed."""
        self._screen.show(name, view)
        before, self._views[name] = self._views[name], view
        if view.status != before.status:
            self.write()

    def write(self) -> Path:
        """Write the file atomically; returns its path."""
        stages = []
        for node in self._graph.nodes.values():
            view = self._views[node.name]
            stages.append(
                {
                    "name": node.name,
                    "command": node.command,
                    "parents": list(node.parents),
                    "status": view.status,
                    "seconds": round(view.seconds, 3),
                    "figure": view.figure,
                    "peak_mib": view.peak_mib,
                    "held": self._progress.held.get(node.name, ""),
                }
            )
        content = {"name": self._graph.name, "seed": self._graph.seed, "stages": stages}
        path = self._graph.run_dir / FILE
        write_atomic(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
        return path
