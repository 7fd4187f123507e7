"""What the server knows: the folders, and for each run its curves and sample files. Safe for several threads."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from grpo.view.curves import RunCurves
from grpo.view.folders import Folder, find_folders
from grpo.view.parts import PartCache, RunParts
from grpo.view.status import card
from policies.json_types import JsonDict

SEARCH_EVERY_S = 3.0
"""How often new runs are looked for."""
LOOK_EVERY_S = 0.7
"""How often the files of the known ones are looked at, however many pages are open."""


class UnknownRun(LookupError):
    """A request names a run or a graph that is not there (any more)."""


@dataclass(frozen=True)
class OpenRun:
    """A run that somebody has asked for."""

    folder: Folder
    curves: RunCurves
    parts: RunParts


class Watch:
    """Follows the folders that `grpo view` was given."""

    def __init__(self, roots: Sequence[Path], now: Callable[[], float] = time.time) -> None:
        """Look for runs below the roots, now and then again; `now` is a clock in Unix seconds."""
        self._roots, self._now = list(roots), now
        self.cache = PartCache()
        self._lock = Lock()
        self._open: dict[str, OpenRun] = {}
        self._folders: dict[str, Folder] = {}
        self._searched = self._looked = -1e9
        self._cards: list[JsonDict] = []

    def folders(self) -> list[Folder]:
        """Return every run and graph."""
        with self._lock:
            if time.monotonic() - self._searched > SEARCH_EVERY_S:
                self._folders = {folder.id: folder for folder in find_folders(self._roots)}
                self._searched = time.monotonic()
            return list(self._folders.values())

    def cards(self) -> list[JsonDict]:
        """Return the card of every run and graph, each with a version of what its curves and samples are made of."""
        folders = self.folders()
        with self._lock:
            if time.monotonic() - self._looked > LOOK_EVERY_S:
                now = self._now()
                self._cards = [{**card(folder, now), "version": _version(folder)} for folder in folders]
                self._looked = time.monotonic()
            return self._cards

    def run(self, run_id: str) -> OpenRun:
        """Return a run.

        Raises:
            UnknownRun: there is none of that name.
        """
        folder = self._find(run_id, "run")
        with self._lock:
            known = self._open.get(run_id)
            if known is None or known.folder.path != folder.path:
                known = OpenRun(folder, RunCurves(folder.path), RunParts(folder.path))
                self._open[run_id] = known
            return known

    def graph(self, graph_id: str) -> Folder:
        """Return a graph's folder.

        Raises:
            UnknownRun: there is none of that name.
        """
        return self._find(graph_id, "graph")

    def _find(self, name: str, kind: str) -> Folder:
        found = next((f for f in self.folders() if f.id == name and f.kind == kind), None)
        if found is None:
            raise UnknownRun(f"no {kind} {name!r} here (any more)")
        return found


def _version(folder: Folder) -> dict[str, str]:
    """Return a text that changes when the curves, samples or stages of a folder change."""
    if folder.kind == "graph":
        return {"graph": _stamps(folder.path, ("graph.json",))}
    return {
        "curves": _stamps(folder.path, ("metrics.jsonl", "eval.jsonl")),
        "samples": _stamps(folder.path, ("samples", "eval", "parts", "samples.parquet")),
        "activity": _stamps(folder.path, ("activity.jsonl", "ledger.jsonl")),
    }


def _stamps(path: Path, names: Sequence[str]) -> str:
    stamps = []
    for name in names:
        try:
            stat = (path / name).stat()
            stamps.append(f"{stat.st_mtime_ns}-{stat.st_size}")
        except OSError:
            stamps.append("")
    return "/".join(stamps)
