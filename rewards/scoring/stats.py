"""What the scores of a phase say about the rewards: the one source of these figures, for metrics, guards and report.
Pure; judged by `rewards.scoring.monitor`, names and units in grpo/tracking/metrics.py.

All comparisons are made inside groups, since only differences inside a group become advantages.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rewards.types import Score, ScoredGroup

AUDIT = "second_verifier"
"""Name in `Score.components` of the verifier that judges a sample of the groups and never decides."""
RIGHT = 0.5
"""A verifier accepts an answer from this value on."""
_MIN_ODD = 0.05


@dataclass(frozen=True)
class ComponentStats:
    """One component over many samples."""

    applied: int
    """Samples it applied to."""
    scored: int
    """… of which it gave a number for."""
    mean: float
    """Over `scored`; NaN if none."""
    std: float
    """Population standard deviation over `scored`; NaN if none."""


@dataclass(frozen=True)
class AuditCounts:
    """Samples that the second verifier judged beside a component."""

    agree: int = 0
    only_reward: int = 0
    """The reward accepts, the verifier does not: what a policy would learn to exploit."""
    only_verifier: int = 0
    unjudged: int = 0
    """One of the two gave no number."""


def phase_figures(
    groups: Sequence[ScoredGroup], weights: Mapping[str, float], audited: str
) -> dict[str, float]:
    """Figures of one phase by their names in metrics.jsonl.

    Args:
        groups: every group of the phase.
        weights: of the components in the total; one that is missing does not decide.
        audited: component that the second verifier is compared with.

    Returns:
        reward/<component>, reward_std/<component>, reward_abstained/<component>; where the phase allows it,
        reward_share/<component>, length_corr/<component>, length_corr/total, audit/*.
    """
    figures: dict[str, float] = {}
    stats = {name: value for name, value in component_stats(groups).items() if name != AUDIT}
    for name in sorted(stats):
        figures[f"reward/{name}"] = stats[name].mean
        figures[f"reward_std/{name}"] = stats[name].std if stats[name].scored else 0.0
        figures[f"reward_abstained/{name}"] = 1.0 - stats[name].scored / stats[name].applied
    figures |= {f"reward_share/{name}": share for name, share in variance_shares(groups, weights).items()}
    for name in ("total", *sorted(stats)):
        if (correlation := length_correlation(groups, name)) is not None:
            figures[f"length_corr/{name}"] = correlation
    counts = audit_counts(groups, audited)
    if counts != AuditCounts():
        figures |= {f"audit/{name}": float(count) for name, count in vars(counts).items()}
    return figures


def component_stats(groups: Sequence[ScoredGroup]) -> dict[str, ComponentStats]:
    """Statistics by component name, in order of first appearance."""
    values: dict[str, list[float | None]] = {}
    for group in groups:
        for score in group.scores:
            for name, value in score.components.items():
                values.setdefault(name, []).append(value)
    return {name: _stats(column) for name, column in values.items()}


def verdict_shares(groups: Sequence[ScoredGroup]) -> dict[str, float]:
    """Share of samples by verdict; all four are present, zeros if there are no samples."""
    verdicts = [score.verdict for group in groups for score in group.scores]
    return {v: verdicts.count(v) / max(len(verdicts), 1) for v in ("ok", "abstain", "timeout", "error")}


def variance_shares(groups: Sequence[ScoredGroup], weights: Mapping[str, float]) -> dict[str, float]:
    """Share of the total's variance inside groups that each weighted component explains; they add up to 1.

    cov(w_k c_k, total) / var(total), both around the group's mean. Negative for one that pulls against the others;
    {} if no group has spread.
    """
    covariances: dict[str, float] = {}
    variance = 0.0
    for group in groups:
        judged = [score for score in group.scores if score.total is not None]
        totals = _centred([score.total or 0.0 for score in judged])
        variance += math.fsum(t * t for t in totals)
        for name in dict.fromkeys(name for score in judged for name in score.components):
            part = [weights.get(name, 0.0) * (score.components.get(name) or 0.0) for score in judged]
            product = math.fsum(p * t for p, t in zip(_centred(part), totals, strict=True))
            covariances[name] = covariances.get(name, 0.0) + product
    if variance < 1e-12:
        return {}
    return {name: covariances[name] / variance for name in sorted(covariances) if weights.get(name)}


def length_correlation(groups: Sequence[ScoredGroup], name: str) -> float | None:
    """Pearson correlation inside groups of a component ("total": the sum) with the tokens of the completion.

    Completions that the length limit ended are left out: their reward is low because they are unfinished. None where
    one of the two does not vary, or where so few samples differ from the rest of their group (under 5%) that the
    correlation would hang on them.
    """
    values: list[float] = []
    lengths: list[float] = []
    odd = 0
    for group in groups:
        kept = [
            (value, float(len(sample.token_ids)))
            for sample, score in zip(group.group.samples, group.scores, strict=True)
            if not sample.is_truncated and (value := _value(score, name)) is not None
        ]
        odd += len(kept) - max(Counter(value for value, _ in kept).values(), default=0)
        values += _centred([value for value, _ in kept])
        lengths += _centred([length for _, length in kept])
    spread = math.fsum(v * v for v in values) * math.fsum(x * x for x in lengths)
    if spread < 1e-12 or odd < _MIN_ODD * len(values):
        return None
    return math.fsum(v * x for v, x in zip(values, lengths, strict=True)) / math.sqrt(spread)


def audit_counts(groups: Sequence[ScoredGroup], component: str) -> AuditCounts:
    """How the second verifier and `component` agree on the samples that both were given."""
    counts = {"agree": 0, "only_reward": 0, "only_verifier": 0, "unjudged": 0}
    for score in (score for group in groups for score in group.scores if AUDIT in score.components):
        first, second = score.components.get(component), score.components[AUDIT]
        if first is None or second is None:
            counts["unjudged"] += 1
        elif (first >= RIGHT) == (second >= RIGHT):
            counts["agree"] += 1
        else:
            counts["only_reward" if first >= RIGHT else "only_verifier"] += 1
    return AuditCounts(**counts)


def _value(score: Score, name: str) -> float | None:
    return score.total if name == "total" else score.components.get(name)


def _centred(values: Sequence[float]) -> list[float]:
    mean = math.fsum(values) / len(values) if values else 0.0
    return [value - mean for value in values]


def _stats(column: Sequence[float | None]) -> ComponentStats:
    numbers = [value for value in column if value is not None]
    if not numbers:
        return ComponentStats(len(column), 0, math.nan, math.nan)
    mean = math.fsum(numbers) / len(numbers)
    variance = math.fsum((x - mean) ** 2 for x in numbers) / len(numbers)
    return ComponentStats(len(column), len(numbers), mean, math.sqrt(variance))
