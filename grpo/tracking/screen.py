"""What a run prints while it runs: one line per phase and one per evaluation, in rich's markup. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping

from rich.markup import escape

from grpo.common.console import clock
from policies.json_types import JsonMapping

PHASE_TIMES = ("rollout", "reward", "old_ref", "learn", "sync")
"""The parts of a phase that follow one another; their sum is its duration."""

MOST_GROUPS = 12
"""Groups of an evaluation that its line shows; eval.jsonl has all."""


def summary_line(step: int, steps: int, metrics: Mapping[str, float], eta_s: float) -> str:
    """Render one phase as a line: rewards, length, entropy, KL, log-prob mismatch, times and what needs attention."""
    components = [
        (name.removeprefix("reward/"), value)
        for name, value in metrics.items()
        if name.startswith("reward/") and name not in ("reward/total", "reward/abstained_share")
    ]
    seconds = sum(metrics.get(f"time/{part}_s", 0.0) for part in PHASE_TIMES)
    parts = [
        f"[bold]{step:>{len(str(steps))}}/{steps}[/]",
        f"reward [bold green]{_short(metrics.get('reward/total'))}[/]"
        + "".join(f" [dim]{escape(name)}[/] {_short(value)}" for name, value in components),
        f"[dim]length[/] {_short(metrics.get('length/mean'))}",
        f"[dim]entropy[/] {_short(metrics.get('policy/entropy'))}",
        f"[dim]kl[/] {_short(metrics.get('policy/kl'))}",
        f"[dim]mismatch[/] {_short(metrics.get('logprob_mismatch/max'))}",
        f"[dim]zero variance[/] {metrics.get('group/zero_variance_share', math.nan):.0%}",
        f"{seconds:.1f} s",
        f"[dim]left[/] {clock(eta_s)}",
    ]
    for name, warning in (("length/truncated_share", "truncated"), ("reward/abstained_share", "no verdict")):
        if metrics.get(name, 0.0) > 0.005:
            parts.append(f"[yellow]{warning} {metrics[name]:.0%}[/]")
    if discarded := metrics.get("sampling/discarded_groups", 0.0):
        rounds = metrics.get("sampling/rounds", math.nan)
        parts.append(f"[dim]discarded[/] {discarded:.0f} groups in {rounds:.0f} rounds")
    if filled := metrics.get("sampling/filled_groups", 0.0):
        parts.append(f"[yellow]filled with {filled:.0f} groups without variance[/]")
    return "  ".join(parts)


def eval_line(row: JsonMapping) -> str:
    """Render one evaluation (`EvalResult.figures()`) as a line."""
    by_group = list(row["by_group"].items())
    more = f" … {len(by_group) - MOST_GROUPS:,} more" if len(by_group) > MOST_GROUPS else ""
    groups = escape(" ".join(f"{name}:{value:.2f}" for name, value in by_group[:MOST_GROUPS])) + more
    estimates = " ".join(f"pass@{k} {value:.3f}" for k, value in row["pass_at"].items() if k != "1")
    return (
        f"[bold cyan]eval[/] step {row['step']}: pass@1 [bold]{row['pass1']:.3f}[/] "
        f"[{row['ci_low']:.3f}, {row['ci_high']:.3f}] {estimates} cons@{row['k']} {row['consk']:.3f} "
        f"{shown_rating(row)}length {row['length']:.1f} {groups}"
    )


def shown_rating(row: JsonMapping) -> str:
    """Render the rating of an evaluation, with a space behind it; empty if its data has no ratings."""
    if (rating := row.get("rating")) is None:
        return ""
    if rating["value"] is None:
        return f"rating {'above' if rating['solved'] else 'below'} all problems "
    return f"rating {rating['value']:.0f} [{rating['low']:.0f}, {rating['high']:.0f}] "


def _short(value: float | None) -> str:
    """Round to three significant digits; a missing value is a dash."""
    if value is None or math.isnan(value):
        return "–"
    return f"{value:.1e}" if value and abs(value) < 1e-3 else f"{value:.3g}"
