"""Where the runs are: the folders that a user names, and what is found below them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from grpo.common.errors import ConfigError
from grpo.common.key_hints import did_you_mean
from policies.json_types import JsonDict

RUN_FILES = ("metrics.jsonl", "eval.jsonl", "samples.parquet", "manifest.json", "stopped.json")
"""A folder with one of these is a run."""
GRAPH_FILE = "graph.json"
INSIDE_A_RUN = {"checkpoints", "policy", "samples", "eval", "parts", "tensorboard", "tokenizer", "logs"}
MAX_DEPTH = 4
"""Levels below a named folder that are searched."""


@dataclass(frozen=True)
class Folder:
    """A run or a graph that the page can show."""

    id: str
    """Its name on the page and in addresses; unique."""
    path: Path
    kind: Literal["run", "graph"]
    graph: str | None = None
    """Id of the graph whose stage the run is."""


def check_roots(roots: Sequence[Path]) -> None:
    """Check that every named folder is there.

    Raises:
        ConfigError: names the one that is not, and a near one.
    """
    for root in roots:
        if not root.is_dir():
            beside = [p.name for p in root.parent.iterdir() if p.is_dir()] if root.parent.is_dir() else []
            raise ConfigError(
                f"{root} is no folder{did_you_mean(root.name, beside)}; name a run, or a folder of runs"
            )


def find_folders(roots: Sequence[Path]) -> list[Folder]:
    """Find every run and graph in and below the roots, each once, in the order of the roots, then by name."""
    found: dict[Path, Folder] = {}
    taken: set[str] = set()
    seen: set[Path] = set()
    for root in map(Path.resolve, roots):
        for path, kind, graph in _search(root, MAX_DEPTH, None, seen):
            name = _name(path, root, taken)
            taken.add(name)
            real = path.resolve()
            found[real] = Folder(name, real, kind, found[graph].id if graph is not None else None)
    return list(found.values())


def _search(
    path: Path, depth: int, graph: Path | None, seen: set[Path]
) -> Iterator[tuple[Path, Literal["run", "graph"], Path | None]]:
    """Yield (folder, kind, its graph); a run is not searched. Links are followed; no folder comes twice."""
    real = path.resolve()
    if real in seen:
        return
    seen.add(real)
    if (path / GRAPH_FILE).exists():
        yield path, "graph", None
        graph = real
    elif any((path / name).exists() for name in RUN_FILES):
        yield path, "run", graph
        return
    if depth == 0:
        seen.discard(real)  # another root may reach it with depth to spare
        return
    try:
        below = sorted(p for p in path.iterdir() if p.is_dir())
    except OSError:  # not ours to read, or gone meanwhile
        return
    for folder in below:
        if not folder.name.startswith(".") and folder.name not in INSIDE_A_RUN:
            yield from _search(folder, depth - 1, graph, seen)


def _name(path: Path, root: Path, taken: set[str]) -> str:
    """Name a folder below its root: `zero`, else `demo/zero`, else by its whole path."""
    inside = path.relative_to(root)
    names = [str(inside) if inside.parts else root.name, str(Path(root.name) / inside), str(path)]
    return next(name for name in names if name not in taken and name)


def read_json(path: Path) -> JsonDict:
    """Return a JSON object; {} for a file that is missing or damaged, which the page then lacks."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
