"""How a run or a graph is doing: runs, is done, was stopped (and why), or was killed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from grpo.common.errors import BrokenRun
from grpo.tracking.stopped import Stopped, read_stopped
from grpo.view.activity import current
from grpo.view.folders import Folder, read_json
from grpo.view.tail import last_rows
from policies.json_types import JsonDict

State = Literal["running", "finished", "stopped", "incomplete"]
KEY_FIGURES = ("reward/total", "loss", "heldout/loss", "length/mean")


def card(folder: Folder, now: float) -> JsonDict:
    """Return what the list of runs shows of one: state, step, what it does, why it stopped, its last figures."""
    if folder.kind == "graph":
        return {
            "id": folder.id,
            "kind": "graph",
            "path": str(folder.path),
            "graph": None,
            **_graph(folder.path),
        }
    config = read_json(folder.path / "config.json")
    rows, evals = last_rows(folder.path / "metrics.jsonl"), last_rows(folder.path / "eval.jsonl")
    last = rows[-1] if rows else {}
    live = is_held(folder.path / ".lock")
    stopped, problem = None, ""
    try:
        stopped = read_stopped(folder.path)
    except BrokenRun as error:
        problem = str(error)
    done = (folder.path / "summary.json").exists()
    state: State = "running" if live else "finished" if done else "stopped" if stopped else "incomplete"
    doing = current(folder.path) if live else None
    return {
        "id": folder.id,
        "kind": "run",
        "path": str(folder.path),
        "graph": folder.graph,
        "stage": config.get("stage") or "run",
        "state": state,
        "step": last.get("step"),
        "steps": config.get("steps") or config.get("max_steps"),
        "model": (config.get("policy") or {}).get("model"),
        "part": doing["part"] if doing else None,
        "part_s": round(now - doing["at"]) if doing else None,
        "figures": {key: last[key] for key in KEY_FIGURES if last.get(key) is not None},
        "pass1": evals[-1].get("pass1") if evals else None,
        "stopped": _shown(stopped) if stopped and state == "stopped" else None,
        "problem": problem,
        "report": (folder.path / "report.html").exists(),
    }


def _shown(stopped: Stopped) -> JsonDict:
    message = stopped.message or stopped.error
    return {"title": stopped.title, "message": message, "step": stopped.step, "at": stopped.at}


def _graph(path: Path) -> JsonDict:
    content = read_json(path / "graph.json")
    stages = [stage for stage in content.get("stages") or [] if isinstance(stage, dict)]
    statuses = [str(stage.get("status")) for stage in stages]
    done = sum(status in ("done", "kept") for status in statuses)
    live = is_held(path / ".lock")
    state: State = "running" if live else "stopped" if "failed" in statuses else "finished"
    if not live and done < len(stages) and state == "finished":
        state = "incomplete"
    return {
        "stage": "graph",
        "state": state,
        "name": content.get("name"),
        "step": done,
        "steps": len(stages),
        "report": (path / "report.html").exists(),
    }


def is_held(lock: Path) -> bool:
    """Return True if a process holds the lock of a run directory.

    Read from the kernel's table: taking the lock to try it would make a run that starts at that moment fail.
    """
    try:
        stat = lock.stat()
        table = Path("/proc/locks").read_text(encoding="ascii")
    except OSError:
        return False
    name = f"{os.major(stat.st_dev):02x}:{os.minor(stat.st_dev):02x}:{stat.st_ino}"
    return any(name in line.split() and "FLOCK" in line for line in table.splitlines())
