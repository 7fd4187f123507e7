"""`grpo doctor --policies`: does the engine compute what the learner computes, for every family and dtype?

A child process starts the real engine on one small policy after the other (`grpo/tools/policy_parity.py`), each with
every switch that its family was published with. A float32 row fails beyond `TOLERANCE` or with other experts; in
bfloat16 hidden states differ by rounding and some tokens take other experts, so the row shows by how much.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from grpo.common.console import say
from grpo.common.errors import ConfigError
from grpo.tools.policy_parity import Parity
from policies.families.registry import FAMILIES

DTYPES = ("float32", "bfloat16")
TOLERANCE = 1e-4
"""Largest accepted |Δ log-prob| in float32, in nats."""
BFLOAT16_MEAN = 0.4
"""Largest accepted mean |Δ log-prob| in bfloat16, in nats. Random weights so far from uniform amplify rounding: V2's
experts, scaled by 16, by 0.17 on average; other weights differ by several nats."""
CHILD = (sys.executable, "-m", "grpo.tools.policy_parity")
SECONDS_EACH = 120.0
"""A row takes some 3 s; the first one waits for vLLM's import."""


def presets(names: Sequence[str]) -> list[str]:
    """Return the presets to measure: those named, or the published shape of every family.

    Raises:
        ConfigError: a name is unknown.
    """
    known = {name: family.name for family in FAMILIES.values() for name in family.presets}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigError(f"unknown preset {unknown[0]!r}; there are {', '.join(known)}")
    return list(names) or [name for name in known if name.startswith("mini-")]


def run(names: Sequence[str], as_json: bool) -> int:
    """Measure, print the table, and return the exit code: 1 if a row fails."""
    asked = [(name, dtype) for name in presets(names) for dtype in DTYPES]
    rows = []
    for row in measured(asked):
        rows.append(row)
        if not as_json:
            say(f"{len(rows)}/{len(asked)}  {row.preset} {row.dtype}: {problem(row) or 'ok'}")
    if as_json:
        print(json.dumps([asdict(row) | {"problem": problem(row)} for row in rows], indent=1))
    else:
        Console().print(table(rows))
    return int(any(problem(row) for row in rows))


def measured(asked: Sequence[tuple[str, str]]) -> Iterator[Parity]:
    """Yield a row for every (preset, dtype) as it comes; those that the child did not reach say so."""
    limit_s = SECONDS_EACH * len(asked)
    expired = threading.Event()
    seen = 0
    with tempfile.TemporaryFile("w+") as errors:
        child = subprocess.Popen(
            [*CHILD, json.dumps(asked)], stdout=subprocess.PIPE, stderr=errors, text=True
        )

        def end() -> None:
            expired.set()
            child.kill()

        timer = threading.Timer(limit_s, end)
        timer.start()
        assert child.stdout is not None  # a pipe
        try:
            for line in child.stdout:
                if line.startswith('{"preset"'):
                    seen += 1
                    yield Parity(**json.loads(line))
        finally:
            timer.cancel()
            child.kill()
            child.wait()
            child.stdout.close()
        errors.seek(0)
        last = (errors.read().strip().splitlines() or ["no message"])[-1]
    reason = f"not done after {limit_s:g} s" if expired.is_set() else last
    for preset, dtype in asked[seen:]:
        yield Parity(preset, dtype, error=f"the process of the engine ended: {reason}")


def problem(row: Parity) -> str:
    """Return what is wrong with a row, "" if nothing is."""
    if row.error:
        return row.error
    found = []
    if row.dtype == "float32" and not row.largest <= TOLERANCE:
        found.append(f"engine and learner differ by {row.largest:.1e} nats")
    if row.dtype == "float32" and row.routing not in (None, 1.0):
        found.append(f"other experts for {1 - (row.routing or 0):.2%} of the tokens")
    if row.dtype == "bfloat16" and not row.mean <= BFLOAT16_MEAN:
        found.append(f"engine and learner differ by {row.mean:.2f} nats on average")
    if not row.round_trip:
        found.append("a saved policy does not save again with the same bits")
    return "; ".join(found)


def table(rows: Sequence[Parity]) -> Table:
    """Lay the rows out for the terminal."""
    out = Table(box=None, padding=(0, 1))
    for header, justify in (
        ("", "left"), ("policy", "left"), ("family", "left"), ("dtype", "left"), ("max Δ", "right"),
        ("mean Δ", "right"), ("same experts", "right"), ("synced, read back", "right"), ("export", "left"),
    ):  # fmt: skip
        out.add_column(header, justify=justify, no_wrap=header not in ("export",))  # type: ignore[arg-type]
    for row in rows:
        bad = problem(row)
        out.add_row(
            "[bold red]fail[/]" if bad else "[green]ok[/]",
            row.preset,
            row.family,
            row.dtype,
            f"{row.largest:.1e}",
            f"{row.mean:.1e}",
            "—" if row.routing is None else f"{row.routing:.2%}",
            f"{row.synced}, {row.read_back}",
            bad.replace("[", r"\[") if bad else "same bits",
        )
    return out
