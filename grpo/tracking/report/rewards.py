"""The report's lines on rewards: one for each reward, one for the second verifier, one for each finding."""

from __future__ import annotations

import json
from collections.abc import Sequence

from policies.json_types import JsonMapping
from rewards.config import AuditConfig, RewardConfig, component_label, component_labels
from rewards.scoring.monitor import history, summary

DEFAULT_WINDOW = 5


def reward_lines(config: JsonMapping, rows: Sequence[JsonMapping]) -> list[dict[str, str]]:
    """Return [{"kind": "line" or "fault", "text"}]; [] for a run without rewards.

    Args:
        config: config.json of the run.
        rows: metrics.jsonl.
    """
    # Of a phase with several updates the last row alone bears what was sampled.
    phases = [row for row in rows if "reward/total" in row]
    rewards = [RewardConfig.model_validate_json(json.dumps(r)) for r in config.get("rewards") or []]
    if not phases or not rewards:
        return []
    names = component_labels(rewards)
    audit = AuditConfig.model_validate_json(json.dumps(config.get("audit") or {}))
    main = (config.get("eval") or {}).get("correct", "accuracy")
    window = (config.get("guards") or {}).get("window", DEFAULT_WINDOW)
    lines = [{"kind": "line", "text": text} for text in summary(phases, names, audit)]
    episodes = history(phases, names, audit, main, min(window, len(phases)))
    for episode in episodes:
        between = f"after update {episode.first:,}"
        if episode.last != episode.first:
            between = f"after updates {episode.first:,} to {episode.last:,}"
        lines.append({"kind": "fault", "text": f"{between}: {episode.finding.text}"})
    if not episodes:
        watched = "dominance, length, constancy, missing verdicts"
        if audit.verifier is not None:
            watched += f", {component_label(audit.verifier)} beside {audit.of}"
        lines.append({"kind": "line", "text": f"no fault found ({watched})"})
    return lines
