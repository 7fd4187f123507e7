"""A graph of `grpo run` for the page: where each stage's box stands, how far it is, the end of its log."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from grpo.graph.drawing import HEIGHT, WIDTH, layout
from grpo.graph.launch import tail
from grpo.view.folders import Folder, read_json
from policies.json_types import JsonDict

LOG_CHARS = 4000


def stage_graph(folder: Folder, folders: Sequence[Folder]) -> JsonDict:
    """Return boxes and lines of a graph, in pixels, with each stage's status, figure, run and the end of its log."""
    content = read_json(folder.path / "graph.json")
    stages = [
        s for s in content.get("stages") or [] if isinstance(s, dict) and isinstance(s.get("name"), str)
    ]
    names = {stage["name"] for stage in stages}
    plan = layout({s["name"]: [p for p in s.get("parents") or [] if p in names] for s in stages})
    runs = {f.path: f.id for f in folders}
    shown = []
    for stage in stages:
        left, top = plan.boxes[stage["name"]]
        run = runs.get((folder.path / stage["name"]).resolve())
        log = folder.path / "logs" / f"{stage['name']}.log"
        shown.append({**stage, "x": left, "y": top, "run": run, "log": _end(log)})
    return {
        "name": content.get("name"),
        "seed": content.get("seed"),
        "stages": shown,
        "edges": list(plan.edges.values()),
        "width": plan.width,
        "height": plan.height,
        "box": [WIDTH, HEIGHT],
    }


def _end(log: Path) -> str:
    return tail(log, 0)[-LOG_CHARS:] if log.exists() else ""
