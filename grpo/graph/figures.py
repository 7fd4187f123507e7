"""The figures of a finished stage: read from its summary, shown in a few words, compared with a gate."""

from __future__ import annotations

import json

from grpo.common.errors import ConfigError
from grpo.graph.config import Gate
from grpo.graph.parse import Node
from grpo.stages.figures import Figures, look_up
from policies.json_types import JsonDict


def read_figures(node: Node) -> JsonDict:
    """Return the stage's summary, with the last row of eval.jsonl under "eval" if it has one; {} before its end."""
    path = node.folder / node.stage.summary
    if not path.exists():
        return {}
    figures = json.loads(path.read_text(encoding="utf-8"))
    evals = node.folder / "eval.jsonl"
    if evals.exists() and (lines := evals.read_text(encoding="utf-8").splitlines()):
        figures["eval"] = json.loads(lines[-1])
    return figures


def why_held(node: Node, gate: Gate, figures: Figures) -> str | None:
    """Return why a gate does not open; None if it opens.

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


def key_figure(node: Node, figures: Figures) -> str:
    """Return what the stage achieved, in a few words; "" before its end."""
    return node.stage.key_figure(figures) if figures else ""
