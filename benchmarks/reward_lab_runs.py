"""Tests whether the run monitor (`rewards.scoring.monitor`) reports planted faults and stays silent on healthy runs.

Runs are simulated: a policy that improves, with lengths, groups and rewards as `grpo rl` would see them; then one
thing is broken. Real runs can be judged too, from their sample files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from grpo.tracking.sample_row import SampleRow
from rewards.config import AuditConfig
from rewards.scoring.monitor import Episode, history
from rewards.scoring.stats import AUDIT, phase_figures
from rewards.types import Score, ScoredGroup
from rollout.types import Prompt, Sample, SampleGroup

PHASES, GROUPS, G, WINDOW = 120, 32, 8, 5
AUDITED_SHARE = 0.05
LIMIT = 512
"""Maximum completion length in tokens."""
Values = dict[str, np.ndarray]


@dataclass
class Phase:
    """The policy's output in one phase; arrays are (GROUPS, G)."""

    progress: float
    """Progress of the run, 0 at the start and 1 at the end."""
    right: np.ndarray
    formed: np.ndarray
    lengths: np.ndarray
    rng: np.random.Generator


@dataclass(frozen=True)
class Plan:
    """A kind of run: what its rewards return, and the fault that should be reported."""

    rewards: Callable[[Phase], Values]
    """Component values; NaN: no verdict."""
    weights: Mapping[str, float] = field(default_factory=lambda: {"accuracy": 1.0, "format": 1.0})
    fault: tuple[str, str] | None = None
    """The fault as (kind, component); None: a healthy run."""
    start: float = 0.0
    """Progress at which the fault begins."""


def phases(seed: int) -> list[Phase]:
    """Simulate a run that learns the format first and the answers slowly; prompts differ in difficulty, replies grow.

    Right replies are a little shorter than wrong ones of the same prompt, as they are in practice.
    """
    rng = np.random.default_rng(seed)
    start, end = rng.uniform(0.02, 0.3), rng.uniform(0.5, 0.95)
    form_by, growth = rng.uniform(0.05, 0.3), rng.uniform(-0.5, 1.0)
    made = []
    for number in range(PHASES):
        t = number / (PHASES - 1)
        skill = start + (end - start) * t
        chance = rng.beta(2 * skill, 2 * (1 - skill), (GROUPS, 1)) * np.ones((1, G))
        right = rng.random((GROUPS, G)) < chance
        formed = rng.random((GROUPS, G)) < min(0.995, 0.1 + 0.9 * t / form_by)
        mean = 4.2 + growth * t + rng.normal(0, 0.3, (GROUPS, 1)) - 0.15 * right
        lengths = np.exp(rng.normal(mean, 0.35)).clip(4, LIMIT).astype(int)
        made.append(Phase(t, right & formed, formed, lengths, rng))
    return made


def figures(phase: Phase, plan: Plan) -> dict[str, float]:
    """Return the phase's row of metrics."""
    values = plan.rewards(phase)
    scored = []
    for g in range(GROUPS):
        samples, scores = [], []
        for i in range(G):
            n = int(phase.lengths[g, i])
            end = "length" if n >= LIMIT else "stop"
            samples.append(Sample("p", i, np.empty(n, np.int32), np.empty(0, np.float32), "", end, 0, 0, 0))
            parts = {
                name: None if math.isnan(v := float(column[g, i])) else v
                for name, column in values.items()
                if name != AUDIT or g < GROUPS * AUDITED_SHARE
            }
            decide = [(w, parts[name]) for name, w in plan.weights.items() if w]
            known = all(v is not None for _, v in decide)
            total = sum(w * (v or 0.0) for w, v in decide) if known else None
            scores.append(Score(total, parts, "ok" if known else "abstain"))
        scored.append(ScoredGroup(SampleGroup(Prompt("p", "", (), None), tuple(samples)), tuple(scores)))
    return phase_figures(scored, plan.weights, "accuracy") | {"reward/total": 0.0}


def heard(plan: Plan, seed: int) -> list[Episode]:
    """Return the monitor's findings for such a run."""
    rows = [figures(phase, plan) | {"step": n + 1.0} for n, phase in enumerate(phases(seed))]
    names = list(plan.weights)
    return history(rows, names, AuditConfig(verifier="other"), "accuracy", WINDOW)


def _both(phase: Phase) -> Values:
    return {"accuracy": phase.right * 1.0, "format": phase.formed * 1.0}


def _flipped(phase: Phase, wrong_accepted: float, right_refused: float) -> np.ndarray:
    """Return a verifier's verdicts with some errors."""
    draw = phase.rng.random(phase.right.shape)
    return np.where(phase.right, draw >= right_refused, draw < wrong_accepted) * 1.0


def _missing(column: np.ndarray, phase: Phase, share: float) -> np.ndarray:
    return np.where(phase.rng.random(column.shape) < share, np.nan, column)


def _length_reward(noise: float) -> Callable[[Phase], Values]:
    def rewards(phase: Phase) -> Values:
        spread = noise * 100
        return _both(phase) | {
            "thorough": (phase.lengths + phase.rng.normal(0, spread, phase.lengths.shape)) / 200
        }

    return rewards


def _paid_for_length(phase: Phase) -> Values:
    """Return an accuracy that accepts every long reply."""
    bar = np.median(phase.lengths, axis=1, keepdims=True)
    return _both(phase) | {
        "accuracy": np.maximum(phase.right & (phase.lengths > bar), phase.lengths > bar) * 1.0
    }


def _exploited(phase: Phase) -> Values:
    """Return verdicts with a hole that the policy finds: more and more wrong answers pass."""
    fooled = phase.rng.random(phase.right.shape) < 0.6 * phase.progress
    return _both(phase) | {"accuracy": (phase.right | fooled) * 1.0, AUDIT: phase.right * 1.0}


THREE = {"accuracy": 1.0, "format": 1.0, "thorough": 1.0}
PLANS: dict[str, Plan] = {
    "accuracy alone": Plan(lambda p: {"accuracy": p.right * 1.0}, {"accuracy": 1.0}),
    "accuracy and format": Plan(_both),
    "format weighs a tenth": Plan(_both, {"accuracy": 1.0, "format": 0.1}),
    "with a graded judge": Plan(
        lambda p: _both(p) | {"judge": 0.5 * p.right + p.rng.beta(3, 2, p.right.shape)},
        {"accuracy": 1.0, "format": 0.5, "judge": 0.5},
    ),
    "with DAPO's length punishment": Plan(
        lambda p: _both(p) | {"overlong": -((p.lengths - 256) / 256).clip(0, 1)},
        {"accuracy": 1.0, "format": 1.0, "overlong": 1.0},
    ),
    "with language consistency": Plan(
        lambda p: _both(p) | {"language_consistency": 1 - p.rng.beta(1, 12, p.right.shape)},
        {"accuracy": 1.0, "format": 1.0, "language_consistency": 1.0},
    ),
    "a hundredth without verdict": Plan(lambda p: _both(p) | {"accuracy": _missing(p.right * 1.0, p, 0.01)}),
    "second verifier as strict": Plan(lambda p: _both(p) | {AUDIT: p.right * 1.0}),
    "second verifier errs on three in a hundred": Plan(lambda p: _both(p) | {AUDIT: _flipped(p, 0.03, 0.03)}),
    "length pays": Plan(_length_reward(0.0), THREE, ("length", "thorough")),
    "length pays, with noise": Plan(_length_reward(0.2), THREE, ("length", "thorough")),
    "brevity pays": Plan(
        lambda p: _both(p) | {"thorough": -p.lengths / 200.0}, THREE, ("length", "thorough")
    ),
    "accuracy believes what is long": Plan(_paid_for_length, fault=("length", "accuracy")),
    "a graded reward on another scale": Plan(
        lambda p: _both(p) | {"judge": p.rng.uniform(0, 100, p.right.shape)},
        {"accuracy": 1.0, "format": 1.0, "judge": 1.0},
        ("dominates", "judge"),
    ),
    "format weighs twenty": Plan(
        lambda p: _both(p) | {"format": (p.rng.random(p.right.shape) < 0.8) * 1.0},
        {"accuracy": 1.0, "format": 20.0},
        ("dominates", "format"),
    ),
    "always one": Plan(lambda p: _both(p) | {"format": np.ones_like(p.right) * 1.0}, fault=("constant", "format")),
    "always zero": Plan(
        lambda p: _both(p) | {"accuracy": np.zeros_like(p.right) * 1.0}, fault=("constant", "accuracy")
    ),
    "stuck from the middle on": Plan(
        lambda p: _both(p) | {"accuracy": np.full(p.right.shape, 0.5) if p.progress > 0.5 else p.right * 1.0},
        fault=("constant", "accuracy"),
        start=0.5,
    ),
    "a fifth without verdict": Plan(
        lambda p: _both(p) | {"accuracy": _missing(p.right * 1.0, p, 0.2)}, fault=("abstains", "accuracy")
    ),
    "no verdict from the middle on": Plan(
        lambda p: _both(p) | {"accuracy": _missing(p.right * 1.0, p, float(p.progress > 0.5))},
        fault=("silent", "accuracy"),
        start=0.5,
    ),
    "verifier takes a quarter of the wrong": Plan(
        lambda p: _both(p) | {"accuracy": _flipped(p, 0.25, 0.0), AUDIT: p.right * 1.0}, fault=("verifier", "accuracy")
    ),
    "verifier refuses half of the right": Plan(
        lambda p: _both(p) | {"accuracy": _flipped(p, 0.0, 0.5), AUDIT: p.right * 1.0}, fault=("verifier", "accuracy")
    ),
    "policy finds a hole in the verifier": Plan(_exploited, fault=("verifier", "accuracy")),
}  # fmt: skip


def planted(seeds: int) -> dict[str, Any]:
    """Run every plan with every seed: was the fault reported, when, and what else was reported?"""
    rows = []
    for name, plan in PLANS.items():
        found = [heard(plan, seed) for seed in range(seeds)]
        kinds = [{(e.finding.kind, e.finding.component): e.first for e in episodes} for episodes in found]
        faulty = plan.fault[1] if plan.fault else ""  # more findings about it are no false alarms
        others = [sorted(fault for fault in k if fault[1] != faulty) for k in kinds]
        row: dict[str, Any] = {
            "run": name,
            "fault": plan.fault,
            "false_alarms": sum(bool(o) for o in others) / seeds,
        }
        row["alarms"] = sorted({f"{kind} {component}" for o in others for kind, component in o})
        if plan.fault is not None:
            begins = math.ceil(plan.start * PHASES) + 1
            delays = sorted(k[plan.fault] - begins + 1 for k in kinds if plan.fault in k)
            row |= {
                "recall": len(delays) / seeds,
                "phases_until_heard": delays[len(delays) // 2] if delays else None,
            }
        rows.append(row)
        said = (
            ""
            if plan.fault is None
            else f"recall {row['recall']:.2f} after {row['phases_until_heard']} phases  "
        )
        print(f"{name:45} {said}false alarms {row['false_alarms']:.2f} {row['alarms']}", flush=True)
    bad, good = [r for r in rows if r["fault"]], [r for r in rows if not r["fault"]]
    return {
        "seeds": seeds, "phases": PHASES, "groups": GROUPS, "group_size": G, "window": WINDOW, "runs": rows,
        "recall": sum(r["recall"] for r in bad) / len(bad),
        "false_alarms_on_healthy_runs": sum(r["false_alarms"] for r in good) / len(good),
    }  # fmt: skip


def real(run_dirs: Sequence[Path]) -> list[dict[str, Any]]:
    """Return the findings for real runs, from their sample files."""
    import json

    from grpo.tracking.samples import read_samples, sample_files
    from rewards.config import RewardConfig, component_labels
    from rewards.scoring.scorer import component_weights

    found_by_run = []
    for run in run_dirs:
        config = json.loads((run / "config.json").read_text())
        rewards = [RewardConfig.model_validate_json(json.dumps(r)) for r in config["rewards"]]
        weights, names = component_weights(rewards), component_labels(rewards)
        size, rows = config["algorithm"]["group_size"], []
        for step, path in sample_files(run / "samples"):
            table = list(read_samples(path))
            kept = [name for name in table[0].components if name in names]
            groups = [_group(table[at : at + size], kept) for at in range(0, len(table), size)]
            rows.append(phase_figures(groups, weights, "accuracy") | {"step": float(step)})
        found = history(rows, names, AuditConfig(), config["eval"]["correct"], WINDOW)
        found_by_run.append(
            {"run": run.name, "phases": len(rows), "rewards": names,
             "findings": [f"updates {e.first} to {e.last}: {e.finding.text}" for e in found]}
        )  # fmt: skip
        print(f"{run}: {len(rows)} phases; {found_by_run[-1]['findings'] or 'nothing found'}", flush=True)
    return found_by_run


def _group(rows: Sequence[SampleRow], names: Sequence[str]) -> ScoredGroup:
    samples = tuple(
        Sample(r.prompt_id, r.index, np.empty(r.tokens, np.int32), np.empty(0, np.float32), "",
               r.finish_reason, 0, 0, 0)
        for r in rows
    )  # fmt: skip
    scores = tuple(Score(r.total, {n: r.components[n] for n in names}, r.verdict) for r in rows)
    return ScoredGroup(SampleGroup(Prompt(rows[0].prompt_id, "", (), None), samples), scores)
