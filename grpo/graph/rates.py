"""How fast this machine is, from stages that have been run on it; and what that foretells of others.

A stage's time is taken as a start (process, Ray, engine, what is done once) and so much for every token: generated
ones where it samples, trained ones where it only trains. Its memory is taken as that of the same command before.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from grpo.graph.workload import Workload

PARTS = ("time/rollout_s", "time/reward_s", "time/old_ref_s", "time/learn_s", "time/sync_s")


@dataclass(frozen=True)
class Rate:
    """Of a command on this machine."""

    start_s: float
    per_token_s: float
    tokens: float
    """Mean length of a completion, or of an example or document."""
    peak_mib: float | None


@dataclass(frozen=True)
class Observation:
    """One finished stage."""

    command: str
    seconds: float
    busy_s: float
    """Of which the tokens took."""
    tokens: float
    items: float
    """Completions, or examples and documents, that the tokens are of."""
    peak_mib: float | None


def observe(folder: Path) -> Observation | None:
    """What a finished stage of a graph took; None if it is not one."""
    state = _json(folder / "node.json")
    if state.get("state") != "done":
        return None
    command, summary = state["config"]["stage"], _json(folder / "summary.json")
    rows = [json.loads(line) for line in _lines(folder / "metrics.jsonl")]
    seconds, peak = float(state["seconds"]), state.get("peak_mib")
    busy = tokens = items = 0.0
    if command == "rl":
        phases = [row for row in rows if "time/rollout_s" in row]
        busy = sum(row.get(part, 0.0) for row in phases for part in PARTS)
        tokens = sum(row["tokens/rollout"] for row in phases)
        items = sum(row["tokens/rollout"] / row["length/mean"] for row in phases if row["length/mean"])
    elif command == "sample" and summary.get("tokens_per_s"):
        tokens, items = float(summary["tokens"]), float(summary["samples"])
        busy = tokens / summary["tokens_per_s"]
    elif command == "eval":
        items = float(summary["n_problems"] * summary["k"])
        tokens = items * summary["length"]
    elif command == "pretrain" and rows:
        tokens, busy = float(summary["tokens"]), rows[-1]["time/total_s"]
        items = float(summary["steps"] * state["config"]["documents_per_step"])
    elif "time/update_s" in (rows[-1] if rows else {}):
        tokens = sum(row.get("tokens/learner", 0.0) for row in rows)
        busy = sum(row.get("time/update_s", 0.0) for row in rows)
        items = float(summary["steps"] * state["config"]["batch_size"])
    return Observation(command, seconds, busy, tokens, items, peak)


def rates(observations: Sequence[Observation]) -> dict[str, Rate]:
    """A rate for every command that was observed, the mean over its stages."""
    found: dict[str, Rate] = {}
    for command in dict.fromkeys(o.command for o in observations):
        mine = [o for o in observations if o.command == command]
        tokens, items = sum(o.tokens for o in mine), sum(o.items for o in mine)
        busy = sum(o.busy_s for o in mine)
        peaks = [o.peak_mib for o in mine if o.peak_mib is not None]
        found[command] = Rate(
            start_s=mean(o.seconds - o.busy_s for o in mine),
            per_token_s=busy / tokens if tokens else 0.0,
            tokens=tokens / items if items else 0.0,
            peak_mib=max(peaks) if peaks else None,
        )
    return found


def foretell(command: str, work: Workload, known: Mapping[str, Rate]) -> float | None:
    """Seconds of a stage; None if its command was not observed or its size is not known."""
    rate = known.get(command)
    if rate is None:
        return None
    tokens = work.generated or work.trained or 0.0
    if not tokens and rate.per_token_s:
        return None
    return rate.start_s + tokens * rate.per_token_s


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
