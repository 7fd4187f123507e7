"""Figures of a stage that has ended: read from its summary, looked up by path, told in a few words, held to a gate."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from grpo.common.errors import ConfigError
from grpo.graph.config import Gate
from grpo.graph.parse import Node


def read_figures(node: Node) -> dict[str, Any]:
    """The stage's summary, with the last row of eval.jsonl under "eval" if it has one; {} before its end."""
    path = node.folder / node.stage.summary
    if not path.exists():
        return {}
    figures = json.loads(path.read_text(encoding="utf-8"))
    evals = node.folder / "eval.jsonl"
    if evals.exists() and (lines := evals.read_text(encoding="utf-8").splitlines()):
        figures["eval"] = json.loads(lines[-1])
    return figures


def look_up(figures: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path; None if it is not there."""
    current: Any = figures
    for part in path.split("."):
        if not isinstance(current, Mapping) or part not in current:
            return None
        current = current[part]
    return current


def why_held(node: Node, gate: Gate, figures: Mapping[str, Any]) -> str | None:
    """Why a gate does not open; None if it does.

    Raises:
        ConfigError: the metric is no figure of the stage.
    """
    value = look_up(figures, gate.metric)
    if not isinstance(value, int | float):
        known = ", ".join(key for key, v in figures.items() if isinstance(v, int | float))
        raise ConfigError(
            f"stage {node.name}: gate.metric = {gate.metric!r} is {value!r} in {node.folder / node.stage.summary}; "
            f"numbers there are {known}, and what lies deeper by its path"
        )
    if gate.at_least is not None and not value >= gate.at_least:  # also NaN
        return f"{gate.metric} = {value:.4g}, wanted at least {gate.at_least:g}"
    if gate.at_most is not None and not value <= gate.at_most:
        return f"{gate.metric} = {value:.4g}, wanted at most {gate.at_most:g}"
    return None


def key_figure(command: str, figures: Mapping[str, Any]) -> str:
    """What the stage came to, in a few words; "" if its summary does not say."""

    def number(path: str, digits: int = 3) -> str:
        value = look_up(figures, path)
        return f"{value:.{digits}f}" if isinstance(value, int | float) else "–"

    if not figures:
        return ""
    if command == "pretrain":
        gate = "  ".join(f"{k} {v:.2f}" for k, v in (figures.get("trace_accuracy") or {}).items())
        return f"{figures.get('steps', 0):,} steps  trace accuracy {gate}"
    if command == "rl":
        if figures.get("final_pass1") is None:
            return f"{figures.get('steps', 0):,} updates"
        return f"pass@1 {number('base_pass1')} → {number('final_pass1')}"
    if command == "sample":
        return f"{figures.get('samples', 0):,} samples  score {number('mean_score')}"
    if command == "curate":
        kept, of, mixed = (figures.get(k, 0) for k in ("kept", "samples", "mixed"))
        return f"kept {kept:,} of {of:,}" + (f", {mixed:,} mixed in" if mixed else "")
    if command == "pairs":
        if "kept" in figures:
            return f"kept {figures['kept']:,} of {figures.get('pairs', 0):,} pairs"
        return f"{figures.get('label_1', 0):,} good, {figures.get('label_0', 0):,} bad"
    if command == "eval":
        return (
            f"pass@1 {number('pass1')}  cons@{figures.get('k')} {number('consk')}  format {number('format')}"
        )
    if figures.get("final_heldout_accuracy") is not None:
        return f"held-out accuracy {number('final_heldout_accuracy')}"
    return f"loss {number('first_loss')} → {number('final_loss')}"
