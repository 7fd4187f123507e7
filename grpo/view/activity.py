"""What a run does now, who is busy with it, and what its last minutes were spent on."""

from __future__ import annotations

import json
from collections import Counter
from itertools import zip_longest
from pathlib import Path

from grpo.common.errors import BrokenRun
from grpo.tracking.activity import FILE
from grpo.tracking.ledger_file import FILE as LEDGER
from grpo.tracking.ledger_file import read_ledger
from grpo.view.tail import last_lines
from policies.json_types import JsonDict, JsonMapping

BUSY = {
    "rollout": ("engines", "rewards"),
    "reward": ("rewards",),
    "eval": ("engines", "rewards"),
    "old_ref": ("learners",),
    "learn": ("learners",),
    "sync": ("learners", "engines"),
    "checkpoint": ("learners",),
}
"""Part of a phase → whose work it is; rewards judge what is finished while the engines go on."""
LAST_BYTES = 1 << 15
MAX_SPANS = 240


def spans(run_dir: Path, now: float, is_live: bool) -> list[JsonDict]:
    """Return [{"part", "step", "from", "to"}] of the last parts, seconds before `now`; "to" 0 of what goes on.

    Args:
        run_dir: the run's.
        now: Unix time.
        is_live: a process holds the run; without one, what began last is not known to have gone on.
    """
    rows = last_events(run_dir / FILE)
    found = []
    for row, after in zip_longest(rows, rows[1:]):
        if row["part"] and (after is not None or is_live):
            end = now if after is None else after["at"]
            found.append(
                {"part": row["part"], "step": row["step"], "from": now - row["at"], "to": max(0.0, now - end)}
            )
    return found[-MAX_SPANS:]


def current(run_dir: Path) -> JsonDict | None:
    """Return the last line of the activity: {"at", "step", "part"}; None for a run that has none."""
    rows = last_events(run_dir / FILE)
    return rows[-1] if rows else None


def last_events(path: Path) -> list[JsonDict]:
    """Return what the end of a file of activity says."""
    rows = []
    for line in last_lines(path, LAST_BYTES):
        try:
            row = json.loads(line)
            rows.append({"at": float(row["at"]), "step": int(row["step"]), "part": str(row["part"])})
        except (ValueError, KeyError, TypeError):
            continue  # two processes wrote at once, or the disk was full; the next line is whole again
    return rows


def lanes(config: JsonMapping) -> list[JsonDict]:
    """Return who works in a run: [{"name", "count"}]."""
    counts = {
        "engines": (config.get("engine") or {}).get("workers"),
        "rewards": config.get("reward_workers"),
        "learners": (config.get("learner") or {}).get("ranks"),
    }
    return [{"name": name, "count": count} for name, count in counts.items() if count]


def workers(run_dir: Path) -> list[JsonDict]:
    """Return what each rollout worker has done, [{"worker", "done", "lost", "groups", "cause"}]; [] without ledger."""
    try:
        rows = read_ledger(run_dir / LEDGER)
    except BrokenRun as error:
        return [{"worker": None, "done": 0, "lost": 0, "groups": 0, "cause": str(error)}]
    by_state: dict[int, Counter[str]] = {}
    groups: Counter[int] = Counter()
    causes: dict[int, str] = {}
    for row in rows:
        by_state.setdefault(row.worker, Counter())[row.state] += 1
        groups[row.worker] += row.groups
        if row.cause:
            causes[row.worker] = row.cause
    return [
        {
            "worker": worker,
            "done": states["done"],
            "lost": states["lost"],
            "groups": groups[worker],
            "cause": causes.get(worker, ""),
        }
        for worker, states in sorted(by_state.items())
    ]
